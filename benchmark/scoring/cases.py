"""What is scored: samples of images with their groups and padding, and cases of samples."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xbench.datasets.base import Box, Images
from xbench.metrics.base import Metric

#: The part of each image that is no padding; None where there is no padding.
Boxes = Sequence[Box] | None
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
        masks: true dense bone of each, bool `[n, H, W]`, where it is known.
        sides_mm: side of each at the isocentre, where it is known.
        counts: pixels that metrics against the aligned target do not leave out, bool `[n, H, W]`;
            None for all.
        kept: vectors of the images, by the name of what made them.
    """

    images: Images | Tensor
    groups: Sequence[str]
    boxes: Boxes = None
    masks: NDArray[np.bool_] | None = None
    sides_mm: Sequence[float] | None = None
    counts: NDArray[np.bool_] | None = None
    kept: dict[str, NDArray[np.float64]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, row: int) -> Tensor:
        """One image `[1, H, W]` without its padding."""
        return cut(self.images[row], self.boxes[row] if self.boxes else None)

    def counting(self, metric: Metric, rows: Sequence[int]) -> Tensor | None:
        """Which pixels of some images a metric does not leave out, bool `[B, H, W]`; None: all."""
        if self.counts is None or not metric.leaves_out:
            return None
        return torch.from_numpy(self.counts[rows])

    def rows(self, chosen: Sequence[int]) -> "Sample":
        """Some of the images."""
        return Sample(
            self.images[list(chosen)],
            [self.groups[row] for row in chosen],
            [self.boxes[row] for row in chosen] if self.boxes else None,
            self.masks[list(chosen)] if self.masks is not None else None,
            [self.sides_mm[row] for row in chosen] if self.sides_mm else None,
            self.counts[list(chosen)] if self.counts is not None else None,
        )


@dataclass(frozen=True)
class Case:
    """What is compared.

    Attributes:
        output: translated images.
        source: what they were made of, row by row; None where there is none.
        target: true images of the target domain.
        aligned: whether row i of the target shows the view of row i of the output.
        training: training images of the target domain; None where they are not known.
    """

    output: Sample
    source: Sample | None
    target: Sample
    aligned: bool
    training: Sample | None = None


def cut(images: Tensor, box: Box | None) -> Tensor:
    """Images `[..., H, W]` without their padding."""
    if box is None:
        return images
    return images[..., box.top : box.top + box.height, box.left : box.left + box.width]


def batches(n: int, boxes: Boxes, most: int = BATCH) -> Iterator[tuple[list[int], Box | None]]:
    """Rows of images that can be stacked once their padding is off, some at a time."""
    alike: dict[Box | None, list[int]] = {}
    for row in range(n):
        alike.setdefault(boxes[row] if boxes else None, []).append(row)
    for box, rows in alike.items():
        for start in range(0, len(rows), most):
            yield rows[start : start + most], box


def in_order(
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
