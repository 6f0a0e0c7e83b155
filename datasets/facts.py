"""What the checks of a data set need to know of each image: 16 KiB and a few numbers."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from xbench.core.pixels import WHITE
from xbench.datasets import similarity
from xbench.datasets.decode import Grey, Undecodable
from xbench.datasets.index import Item
from xbench.datasets.prepare import LEAST_SIDE, quantise
from xbench.datasets.problems import EMPTY_RANGE, Problem, listed, problem

#: Grey values this close to 0 or 1 count as black or white: half a step of 8 bits.
END = 0.002


class Loaded(NamedTuple):
    """An image, and what its file says of it.

    Attributes:
        grey: float32 `[H, W]` in [0, 1], air bright and bone dark.
        bits: per sample, as stored; 0 for floating point.
        bone_bright: whether `grey` has bright bone nevertheless, by the header; None if it does
            not say it.
    """

    grey: Grey
    bits: int = 0
    bone_bright: bool | None = None


@dataclass(frozen=True)
class Seen:
    """The facts about an image.

    Attributes:
        low: its 1st percentile.
        high: its 99th percentile.
        black: share of black pixels in its middle; `white` likewise.
        side: the longer side of the file in px; `short` is the other one.
        bits: see `Loaded`; `bone_bright` likewise.
    """

    item: Item
    thumbnail: Grey
    low: float
    high: float
    black: float
    white: float
    digest: bytes
    side: int
    short: int
    bits: int
    bone_bright: bool | None


def look_at(item: Item, load: Callable[[Item], Loaded]) -> Seen | Problem:
    """The facts about an image, or why it cannot be used."""
    try:
        image, bits, bone_bright = load(item)
    except Undecodable as error:
        return problem("corrupt", item.domain, f"{item.file} {error}", (item.file,))
    except OSError as error:
        note = f"{item.file} cannot be read: {error.strerror or error}"
        return problem("corrupt", item.domain, note, (item.file,))
    height, width = image.shape
    if min(height, width) < LEAST_SIDE:
        note = f"{item.file} has {height} x {width} pixels, at least {LEAST_SIDE} are needed"
        return problem("too small", item.domain, note, (item.file,))
    levels = quantise(image)
    below = np.cumsum(np.bincount(levels.ravel(), minlength=WHITE + 1)) / levels.size
    low, high = np.searchsorted(below, (0.01, 0.99)) / WHITE
    middle = levels[height // 4 : height - height // 4, width // 4 : width - width // 4]
    return Seen(
        item=item,
        thumbnail=similarity.thumbnail(image),
        low=float(low),
        high=float(high),
        black=float((middle <= int(END * WHITE)).mean()),
        white=float((middle >= int((1 - END) * WHITE)).mean()),
        digest=hashlib.sha256(repr(levels.shape).encode() + levels.tobytes()).digest(),
        side=max(height, width),
        short=min(height, width),
        bits=bits,
        bone_bright=bone_bright,
    )


def is_empty(seen: Seen) -> bool:
    """Whether an image is constant, or nearly so."""
    return seen.high - seen.low < EMPTY_RANGE


def thumbnails(seen: Sequence[Seen]) -> Grey:
    """`[n, SIDE, SIDE]`."""
    return np.stack([s.thumbnail for s in seen])


def files(seen: Sequence[Seen]) -> tuple[str, ...]:
    """Paths as in the index."""
    return tuple(s.item.file for s in seen)


def names(seen: Sequence[Seen]) -> str:
    """The first files, and the number of the others."""
    return listed(files(seen))
