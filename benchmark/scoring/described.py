"""Metrics that compare descriptions of images: of cells, or of gradients (kind `described`)."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xbench.metrics.base import Metric
from xbench.metrics.filters import filled
from xbench.scoring.cases import Boxes, Case, Sample, batches, cut

#: Pixels of training images up to which their descriptions are kept: 256 MB of float64.
MOST_KEPT = 2**25


@dataclass(frozen=True)
class _Context:
    """See `metrics.base.Context`."""

    groups: Sequence[str]
    deviations: Callable[[], NDArray[np.float64]]


def described(
    metric: Metric, case: Case, deviations: Callable[[], NDArray[np.float64]] | None
) -> NDArray[np.float64]:
    """The value of every image, `[n]`, from descriptions of outputs and of others."""
    assert metric.function is not None
    assert deviations is not None
    others = {
        "source": case.source,
        "target": case.target,
        "anatomy": case.target if case.aligned else case.source,
        "training": case.training,
    }
    other = others[metric.against]
    assert other is not None
    theirs = (
        training(metric, other) if metric.against == "training" else descriptions(metric, other)
    )
    context = _Context(case.output.groups, deviations)
    values: NDArray[np.float64] = metric.function(
        descriptions(metric, case.output), theirs, context
    )
    return values


def no_cell(
    metric: Metric, case: Case, deviations: Callable[[], NDArray[np.float64]] | None
) -> str:
    """Why an image has no value: nothing varies, or all of its cells touch padding."""
    cells = np.isfinite(descriptions(metric, case.output)).any()
    if metric.scaled and cells and deviations and not deviations().any():
        return "the images do not vary"
    hidden = metric.leaves_out and case.output.counts is not None
    return f"an image has no cell without {'unpredictable pixels' if hidden else 'padding'}"


def training(metric: Metric, sample: Sample) -> Iterable[NDArray[np.float64]]:
    """Descriptions of training images in batches; they are kept for the next pair if they fit."""
    if len(sample) * sample.images[0].numel() > MOST_KEPT:
        return describe(metric, sample)
    return [descriptions(metric, sample)]


def descriptions(metric: Metric, sample: Sample) -> NDArray[np.float64]:
    """Descriptions `[n, …]` of a sample, computed once for all metrics of one identity."""
    if metric.identity not in sample.kept:
        sample.kept[metric.identity] = np.concatenate(list(describe(metric, sample)))
    return sample.kept[metric.identity]


def describe(metric: Metric, sample: Sample) -> Iterator[NDArray[np.float64]]:
    """Descriptions of a sample, batch by batch."""
    assert metric.describe is not None
    for rows, _ in batches(len(sample), None):
        images = sample.images[rows]
        inside = _inside(sample.boxes, rows, images)
        counts = sample.counting(metric, rows)
        if counts is None:
            yield metric.describe(images, inside).numpy()
        else:
            more = (counts,) if metric.built_in else ()
            yield metric.describe(filled(images, counts), inside, *more).numpy()


def _inside(boxes: Boxes, rows: Sequence[int], images: Tensor) -> Tensor | None:
    """Where images are no padding, bool `[n, H, W]`; None for everywhere."""
    if not boxes:
        return None
    inside = torch.zeros(len(rows), *images.shape[2:], dtype=torch.bool)
    for mask, row in zip(inside, rows, strict=True):
        cut(mask, boxes[row])[:] = True
    return inside
