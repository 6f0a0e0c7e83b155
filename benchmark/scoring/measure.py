"""One metric on one case: its value, its interval, its limit for endless images."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from xbench.core.errors import Unavailable
from xbench.core.isolation import undisturbed
from xbench.core.places import without_folders
from xbench.datasets.base import Images
from xbench.metrics.base import Metric
from xbench.metrics.extractors import Extractor
from xbench.metrics.filters import filled
from xbench.metrics.statistics import FeatureStatistics
from xbench.metrics.uncertainty import extrapolate, jackknife, jackknife_interval, left_out
from xbench.records.schema import Value
from xbench.scoring.cases import (
    BATCH,
    FEW,
    Boxes,
    Case,
    Sample,
    batches,
    common,
    cut,
    in_order,
)
from xbench.scoring.described import described, no_cell
from xbench.scoring.features import cached_features

Rows = NDArray[np.intp]
#: A value from some rows of the output and some of the target.
Statistic = Callable[[Rows, Rows], float]


@dataclass(frozen=True)
class Space:
    """Features, and the statistics that scale them.

    Attributes:
        extractor: what makes features of images.
        cache: folder of features that were made before.
        statistics: of training images; None for raw features.
    """

    extractor: Extractor
    cache: Path
    statistics: FeatureStatistics | None = None

    def features(self, sample: Sample) -> NDArray[np.float64]:
        """Features `[n, d]` of a sample, computed once."""
        name = self.extractor.key
        if name not in sample.kept:
            sample.kept[name] = cached_features(self.extractor, sample, self.cache, BATCH).numpy()
        return sample.kept[name]


def measure(
    metric: Metric,
    case: Case,
    space: Space | None,
    deviations: Callable[[], NDArray[np.float64]] | None = None,
) -> Value:
    """The value of a metric, with its interval over groups.

    Args:
        metric: its declaration.
        case: the images.
        space: where its features come from, for distances of features.
        deviations: of the descriptors of a `described` metric over training images.

    Returns:
        A value; or the reason why there is none.
    """
    if reason := lacking(metric, case):
        return empty(metric, reason)
    per_image: NDArray[np.float64] | None = None
    dimensions = None
    if metric.kind == "per image":
        try:
            per_image = _per_image(metric, case)
        except Unavailable as error:  # a plug-in that fails empties its own column alone
            return empty(metric, str(error))
        statistic = _mean_of(per_image)
    elif metric.kind == "described":
        per_image = described(metric, case, deviations)
        if not np.isfinite(per_image).all():
            return empty(metric, no_cell(metric, case, deviations))
        statistic = _mean_of(per_image)
    elif metric.kind == "measures":
        statistic = _of_measures(metric, case)
    else:
        assert space is not None
        statistic, dimensions = _of_features(metric, case, space)
    value = _with_interval(metric, case, statistic)
    if value.value is not None and not np.isfinite(value.value):
        return empty(metric, "the value is not finite")
    value.d = dimensions
    if per_image is not None:
        value.per_image = [round(x, 6) for x in per_image.tolist()]
    return value


def _mean_of(per_image: NDArray[np.float64]) -> Statistic:
    return lambda rows, _: float(per_image[rows].mean())


def empty(metric: Metric, reason: str, *, pending: bool = False) -> Value:
    """The value of a metric that has none; `pending` where weights may come."""
    short = without_folders(reason)
    return Value(identity=metric.identity, value=None, reason=short, pending=pending)


def lacking(metric: Metric, case: Case) -> str | None:
    """Why a metric cannot be computed from these images, if so."""
    if metric.paired and not case.aligned:
        return "the data are not aligned"
    if metric.against == "masks" and case.output.masks is None:
        return "the data have no bone masks"
    source = metric.against in ("source", "masks") or metric.kind == "conditional"
    if case.source is None and (source or (metric.against == "anatomy" and not case.aligned)):
        return "there is no source image"
    if metric.unit == "mm" and case.output.sides_mm is None:
        return "the size of a pixel is not known"
    if metric.against == "training" and not case.training:
        return "there are no training images"
    side = _least_side(metric, case)
    if side < metric.min_side:
        return f"images of {side} px, needs {metric.min_side}"
    groups = len(set(case.output.groups))
    if groups < metric.min_groups:
        return f"{groups} groups, needs {metric.min_groups}"
    n = len(case.output) if metric.of_source else min(len(case.output), len(case.target))
    return f"n = {n}, needs {metric.min_n}" if n < metric.min_n else None


def _least_side(metric: Metric, case: Case) -> int:
    """Least height or width in px of what a metric sees of the outputs.

    Cells are cut from whole images; all other metrics see images without their padding.
    """
    boxes = None if metric.kind == "described" else case.output.boxes
    if boxes and metric.kind == "per image":
        boxes = common(boxes, _boxes(case.source if metric.of_source else case.target))
    sides = [side for box in boxes or () for side in (box.height, box.width)]
    return min(sides, default=min(case.output.images[0].shape[-2:]))


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
            if not metric.per_image:  # a mean's follow from its images
                value.left_out = [float(f"{x:.7g}") for x in without]
            interval = jackknife_interval(whole, without, groups, lowest=lowest)
        else:
            interval = jackknife(joint, groups, samples=samples, lowest=lowest)
        value.ci_low, value.ci_high = interval
        if metric.extrapolates:
            value.inf = extrapolate(joint, groups, metric.min_n, samples=samples)
    except Unavailable:  # too few groups: the value stands alone
        pass
    return value


def _per_image(metric: Metric, case: Case) -> NDArray[np.float64]:
    """The value of every image, `[n]`; `Unavailable` if the function of a plug-in fails."""
    output, function = case.output, metric.function
    assert function is not None
    other = case.target if metric.paired else case.source
    boxes = output.boxes if metric.against == "masks" else common(output.boxes, _boxes(other))
    # A plug-in may work on a GPU, which wants more at once.
    found = list(batches(len(output), boxes, FEW if metric.built_in else BATCH))
    parts = []
    for rows, box in found:
        if metric.against == "masks":
            assert output.masks is not None
            second = cut(torch.from_numpy(output.masks[rows]), box)
        else:
            assert other is not None
            second = cut(other.images[rows], box)
        images, counts = cut(output.images[rows], box), output.counting(metric, rows)
        more: tuple[Tensor, ...] = ()
        if counts is not None:
            more = (cut(counts, box),)
            images, second = filled(images, *more), filled(second, *more)
        parts.append(
            function(images, second, *more) if metric.built_in else guarded(metric, images, second)
        )
    values = in_order([part.cpu() for part in parts], found)
    if metric.unit == "mm":  # of distances in px at 64 px
        assert output.sides_mm is not None
        values = values * np.asarray(output.sides_mm) / 64
    return values


def _boxes(sample: Sample | None) -> Boxes:
    return sample.boxes if sample else None


def guarded(metric: Metric, output: Tensor, other: Tensor) -> Tensor:
    """What the function of a plug-in returns for some images, float64 `[B]` on the CPU.

    Raises:
        Unavailable: it raised, or returned something else than a value in range per image.
    """
    assert metric.function is not None
    try:
        with undisturbed(), torch.no_grad():
            result = metric.function(output.clone(), other.clone())
    except Exception as error:
        first = (str(error).splitlines() or [""])[0]
        raise _failed(metric, f"raised {type(error).__name__}: {first}") from error
    if not isinstance(result, Tensor):
        raise _failed(metric, f"returned {type(result).__name__}, not a torch tensor")
    if result.shape != output.shape[:1]:
        shape = tuple(result.shape)
        raise _failed(metric, f"returned {shape} for {len(output)} images, not one value for each")
    if not torch.isfinite(result).all():
        raise _failed(metric, "returned values that are not finite")
    values = result.detach().cpu().double()
    low, high = metric.span
    below, above = low is not None and values.min() < low, high is not None and values.max() > high
    if below or above:
        limits = f"{values.min():g} to {values.max():g}"
        raise _failed(metric, f"returned {limits}, outside of its range {metric.span}")
    return values


def _failed(metric: Metric, what: str) -> Unavailable:
    """The footnote of an empty column; also a warning at once, as it is a mistake."""
    text = f"{metric.name} {what}"
    warnings.warn(f"the plug-in metric {text}", stacklevel=1)
    return Unavailable(text)


def _of_measures(metric: Metric, case: Case) -> Statistic:
    """Distance between the mean measures of two sets of images."""
    gap = metric.gap
    assert gap is not None
    ours, theirs = (_measures(metric, sample) for sample in (case.output, case.target))
    return lambda rows, others: float(gap(ours[rows], theirs[others]))


def _measures(metric: Metric, sample: Sample) -> NDArray[np.float64]:
    """Measures `[n, k]` of a sample, computed once."""
    assert metric.function is not None
    if metric.name not in sample.kept:
        found = list(batches(len(sample), sample.boxes, FEW))
        parts = [metric.function(cut(sample.images[rows], box)) for rows, box in found]
        sample.kept[metric.name] = in_order(parts, found)
    return sample.kept[metric.name]


def _of_features(metric: Metric, case: Case, space: Space) -> tuple[Statistic, int]:
    """Distance between the features of two sets of images, and their dimensions."""
    function: Callable[..., Any] | None = metric.function
    assert function is not None
    output, target = space.features(case.output), space.features(case.target)
    statistics = space.statistics
    if metric.kind == "conditional":
        assert case.source is not None
        source = space.features(case.source)
        if statistics is not None:
            k = statistics.dimensions(len(output))
            source, target, output = (statistics.project(x, k) for x in (source, target, output))
        return (
            lambda rows, _: float(function(source[rows], target[rows], output[rows])),
            output.shape[1],
        )
    if statistics is not None:
        output, target = statistics.standardise(output), statistics.standardise(target)
    return lambda rows, others: float(function(output[rows], target[others])), output.shape[1]


def polarity(output: Images | Tensor, source: Images | Tensor) -> float:
    """Pearson correlation of each output with its source, averaged; flat images count as 0."""
    parts = []
    for rows, _ in batches(len(output), None, FEW):
        flat = (x[rows].flatten(1) for x in (source, output))
        given, made = (x - x.mean(1, keepdim=True) for x in flat)
        parts.append(functional.cosine_similarity(given, made))
    return float(torch.cat(parts).mean())
