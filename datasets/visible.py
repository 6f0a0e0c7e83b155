"""What methods may see of a data set: training images, and nothing of them that is padding."""

import math
from collections.abc import Callable, Sequence

import numpy as np

from xbench.core.pixels import Pixels
from xbench.datasets.base import Dataset, Images

#: Sides of squares to train on are multiples of it, which networks halve without padding.
MULTIPLE = 8
#: Share of a domain's images that may be too small for the squares, and so are left out.
LEFT_OUT = 0.05


class Squares(Images):
    """Squares of `side` px that cover what of each image is no padding, as if they were images.

    Every image has as many squares, so that none counts more than another. Images whose content is
    shorter than the side are left out.

    >>> from xbench.datasets.base import Box
    >>> tall = Images([np.zeros((2, 32, 32), np.uint16)], [Box(0, 4, 32, 24)] * 2)
    >>> squares = Squares(tall, 24)
    >>> len(squares), squares[0].shape
    (4, torch.Size([1, 24, 24]))
    """

    def __init__(self, images: Images, side: int) -> None:
        super().__init__(images.parts)
        self.side = side
        boxes = {row: images.content(row) for row in range(len(images))}
        boxes = {row: box for row, box in boxes.items() if min(box.height, box.width) >= side}
        high = _steps([box.height for box in boxes.values()], side)
        wide = _steps([box.width for box in boxes.values()], side)
        self.places = [
            (row, box.top + round(down), box.left + round(right))
            for row, box in boxes.items()
            for down in np.linspace(0, box.height - side, high)
            for right in np.linspace(0, box.width - side, wide)
        ]

    def __len__(self) -> int:
        return len(self.places)

    def _row(self, index: int) -> Pixels:
        row, top, left = self.places[index]
        return super()._row(row)[top : top + self.side, left : left + self.side]


def _steps(lengths: Sequence[int], side: int) -> int:
    """Squares along one direction: neighbours share at least half of their pixels."""
    return 1 + max((math.ceil(2 * (length - side) / side) for length in lengths), default=0)


def common_side(domains: Sequence[Images]) -> int | None:
    """Side in px of the squares to train on, or None where no image is padded.

    As large as nearly all images of every domain allow.
    """
    if not any(images.boxes for images in domains):
        return None
    shortest = []
    for images in filter(len, domains):
        lengths = [min(images.content(row)[2:]) for row in range(len(images))]
        shortest.append(int(np.quantile(lengths, LEFT_OUT, method="lower")))
    side = min(shortest)
    return side // MULTIPLE * MULTIPLE if side > 2 * MULTIPLE else side


class TrainOnly:
    """The part of a data set that a method may see: training images by domain.

    Padding is no anatomy and must not be learned. So where images are padded, a method sees squares
    of their content, all of one size, unless it takes `whole` images alone.

    It holds images, not the data set: no attribute leads from it to labels or test images.
    """

    def __init__(self, dataset: Dataset, *, whole: bool = False) -> None:
        images = {domain: dataset.train(domain) for domain in dataset.domains}
        side = None if whole else common_side(list(images.values()))
        if side is not None:
            images = {domain: Squares(own, side) for domain, own in images.items()}
        self.train: Callable[[str], Images] = images.__getitem__


class WithPaired(TrainOnly):
    """What the reference row `paired` sees besides: aligned training images by domain."""

    def __init__(self, dataset: Dataset) -> None:
        super().__init__(dataset)
        paired = {domain: dataset.paired(domain) for domain in dataset.domains}
        self.paired: Callable[[str], Images | None] = paired.__getitem__
