"""What a metric says of a set of images: its value, its interval, its limit for endless images."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xbench.core.errors import Unavailable
from xbench.datasets.base import Box, Images
from xbench.metrics import physics
from xbench.metrics.base import Metric
from xbench.metrics.custom import values_of
from xbench.metrics.extractors import Extractor
from xbench.metrics.frechet import conditional_frechet_distance, frechet_distance
from xbench.metrics.kernel import kernel_distance
from xbench.metrics.spaces import FeatureSpace
from xbench.metrics.structural import psnr, ssim
from xbench.metrics.uncertainty import extrapolate, jackknife, jackknife_interval, left_out
from xbench.records.schema import Value
from xbench.scoring.features import cached_features

Rows = NDArray[np.intp]
#: The part of each image that is no padding; None where there is no padding.
Boxes = Sequence[Box] | None
#: A value from some rows of the output and some of the target.
Statistic = Callable[[Rows, Rows], float]
BATCH = 64
#: Images that are compared one by one need no large batches.
FEW = 8


@dataclass(eq=False)
class Sample:
    """Images of one kind, with the group of each.

    Attributes:
        images: float32 `[n, 1, H, W]` in [0, 1], or what gives them by index.
        groups: head, patient or acquisition of each.
        boxes: what of each is no padding.
        masks: true bone of each, bool `[n, H, W]`, where it is known.
        kept: vectors of the images, by the name of what made them.
    """

    images: Images | Tensor
    groups: Sequence[str]
    boxes: Boxes = None
    masks: NDArray[np.bool_] | None = None
    kept: dict[str, NDArray[np.float64]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, row: int) -> Tensor:
        """One image `[1, H, W]` without its padding."""
        return cut(self.images[row], self.boxes[row] if self.boxes else None)

    def rows(self, chosen: Sequence[int]) -> "Sample":
        """Some of the images."""
        return Sample(
            self.images[list(chosen)],
            [self.groups[row] for row in chosen],
            [self.boxes[row] for row in chosen] if self.boxes else None,
            self.masks[list(chosen)] if self.masks is not None else None,
        )


@dataclass(frozen=True)
class Case:
    """What is compared.

    Attributes:
        output: translated images.
        source: what they were made of, row by row; None where there is none.
        target: true images of the target domain.
        aligned: whether row i of the target shows the view of row i of the output.
    """

    output: Sample
    source: Sample | None
    target: Sample
    aligned: bool


@dataclass(frozen=True)
class Space:
    """Features and the statistics in whose units they are compared.

    Attributes:
        extractor: what makes features of images.
        cache: folder of features that were made before.
        units: statistics of training images; None for raw features.
    """

    extractor: Extractor
    cache: Path
    units: FeatureSpace | None = None

    def features(self, sample: Sample) -> NDArray[np.float64]:
        """Features `[n, d]` of a sample, computed once."""
        name = self.extractor.key
        if name not in sample.kept:
            sample.kept[name] = cached_features(self.extractor, sample, self.cache, BATCH).numpy()
        return sample.kept[name]


def measure(metric: Metric, case: Case, space: Space | None) -> Value:
    """The value of a metric, with its interval over groups.

    Args:
        metric: its facts.
        case: the images.
        space: where its features live, for distances of features.

    Returns:
        A value; or the reason why there is none.
    """
    if reason := lacking(metric, case):
        return Value(identity=metric.identity, value=None, reason=reason)
    per_image = d = None
    if metric.kind == "per image":
        try:
            per_image = _per_image(metric, case)
        except Unavailable as error:  # a plug-in that fails empties its own column alone
            return Value(identity=metric.identity, value=None, reason=str(error))
        statistic: Statistic = lambda rows, _: float(per_image[rows].mean())  # noqa: E731
    elif metric.kind == "measures":
        statistic = _of_measures(metric, case)
    else:
        assert space is not None
        if metric.kind == "conditional" and space.units is not None and not space.units.axes.size:
            reason = "the features do not vary"
            return Value(identity=metric.identity, value=None, reason=reason)
        statistic, d = _of_features(metric, case, space)
    value = _with_interval(metric, case, statistic)
    value.d = d
    if per_image is not None:
        value.per_image = [round(x, 6) for x in per_image.tolist()]
    return value


def lacking(metric: Metric, case: Case) -> str | None:
    """Why a metric cannot be computed from these images, if so."""
    if metric.paired and not case.aligned:
        return "the data are not aligned"
    if case.source is None and (metric.of_source or metric.kind == "conditional"):
        return "there is no source image"
    if metric.needs_masks and case.output.masks is None:
        return "the data have no bone masks"
    n = len(case.output) if metric.of_source else min(len(case.output), len(case.target))
    return f"n = {n}, needs {metric.min_n}" if n < metric.min_n else None


def _with_interval(metric: Metric, case: Case, statistic: Statistic) -> Value:
    """Evaluate a statistic on all images, without blocks of groups, and for endless images."""
    n, m = len(case.output), len(case.target)
    alone = metric.of_source or case.aligned
    groups = list(case.output.groups)
    samples = None
    if not alone:
        groups, samples = groups + list(case.target.groups), ["output"] * n + ["target"] * m

    def joint(rows: Rows) -> float:
        return statistic(rows, rows) if alone else statistic(rows[rows < n], rows[rows >= n] - n)

    whole = joint(np.arange(len(groups)))
    value = Value(identity=metric.identity, value=whole, n=n)
    lowest = -np.inf if metric.span[0] is None else metric.span[0]
    try:
        if alone:
            without = left_out(joint, groups)
            value.left_out = [float(f"{x:.7g}") for x in without]
            interval = jackknife_interval(whole, without, groups, lowest=lowest)
        else:
            interval = jackknife(joint, groups, samples=samples, lowest=lowest)
        value.ci_low, value.ci_high = interval
        if metric.kind == "frechet":
            value.inf = extrapolate(joint, groups, metric.min_n, samples=samples)
    except Unavailable:  # too few groups: the value stands alone
        pass
    return value


def _per_image(metric: Metric, case: Case) -> NDArray[np.float64]:
    """SSIM, PSNR, bone Dice or what a plug-in measures of every image, `[n]`.

    Raises:
        Unavailable: the plug-in fails.
    """
    output = case.output
    if metric.needs_masks:
        assert output.masks is not None
        parts = [
            physics.bone_dice(cut(output.images[rows], box), _cut_masks(output.masks[rows], box))
            for rows, box in batches(len(output), output.boxes, FEW)
        ]
        return _in_order(parts, list(batches(len(output), output.boxes, FEW)))
    if metric.function is not None:
        function: Callable[[Tensor, Tensor], Tensor] = partial(values_of, metric)
    else:
        function = {"ssim": ssim, "psnr": psnr}[metric.name.removesuffix("_ref")]
    other = case.target if metric.paired else case.source
    assert other is not None
    # A plug-in may work on a GPU, which wants more at once.
    most = BATCH if metric.function else FEW
    found = list(batches(len(output), common(output.boxes, other.boxes), most))
    parts = [
        function(cut(output.images[rows], box), cut(other.images[rows], box)).cpu()
        for rows, box in found
    ]
    return _in_order(parts, found)


def _of_measures(metric: Metric, case: Case) -> Statistic:
    """Distance between the mean measures of two sets of images."""
    made, gap = physics.MEASURES[metric.name]
    ours, theirs = (_measures(metric.name, made, s) for s in (case.output, case.target))
    return lambda rows, others: gap(ours[rows], theirs[others])


def _measures(name: str, made: Callable[[Tensor], Tensor], sample: Sample) -> NDArray[np.float64]:
    """Measures `[n, k]` of a sample, computed once."""
    if name not in sample.kept:
        found = list(batches(len(sample), sample.boxes, FEW))
        parts = [made(cut(sample.images[rows], box)) for rows, box in found]
        sample.kept[name] = _in_order(parts, found)
    return sample.kept[name]


def _of_features(metric: Metric, case: Case, space: Space) -> tuple[Statistic, int]:
    """Distance between the features of two sets of images, and their dimensions."""
    output, target = space.features(case.output), space.features(case.target)
    units = space.units
    if metric.kind == "conditional":
        assert case.source is not None
        source = space.features(case.source)
        if units is not None:
            k = units.dimensions(len(output))
            source, target, output = (units.project(x, k) for x in (source, target, output))
        return (
            lambda rows, _: conditional_frechet_distance(source[rows], target[rows], output[rows]),
            output.shape[1],
        )
    if units is not None and (metric.kind == "frechet" or units.scaled):
        output, target = units.standardise(output), units.standardise(target)
    distance = frechet_distance if metric.kind == "frechet" else kernel_distance
    return lambda rows, others: distance(output[rows], target[others]), output.shape[1]


def cut(images: Tensor, box: Box | None) -> Tensor:
    """Images `[..., H, W]` without their padding."""
    if box is None:
        return images
    return images[..., box.top : box.top + box.height, box.left : box.left + box.width]


def _cut_masks(masks: NDArray[np.bool_], box: Box | None) -> Tensor:
    return cut(torch.from_numpy(masks), box)


def batches(n: int, boxes: Boxes, most: int = BATCH) -> Iterator[tuple[list[int], Box | None]]:
    """Rows of images that can be stacked once their padding is off, some at a time."""
    alike: dict[Box | None, list[int]] = {}
    for row in range(n):
        alike.setdefault(boxes[row] if boxes else None, []).append(row)
    for box, rows in alike.items():
        for start in range(0, len(rows), most):
            yield rows[start : start + most], box


def _in_order(
    parts: Sequence[Tensor], found: Sequence[tuple[list[int], Box | None]]
) -> NDArray[np.float64]:
    """Results of batches in the order of their rows."""
    joined = torch.cat(list(parts)).double().numpy()
    ordered = np.empty_like(joined)
    ordered[[row for rows, _ in found for row in rows]] = joined
    return ordered


def common(boxes: Boxes, others: Boxes) -> Boxes:
    """What is no padding in either of two images."""
    if not boxes or not others or boxes == others:
        return boxes or others
    shared = []
    for a, b in zip(boxes, others, strict=True):
        top, left = max(a.top, b.top), max(a.left, b.left)
        bottom = min(a.top + a.height, b.top + b.height)
        right = min(a.left + a.width, b.left + b.width)
        shared.append(Box(top, left, bottom - top, right - left))
    return shared
