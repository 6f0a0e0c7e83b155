"""Where the anatomy lies in the images of each domain, and how large it is there.

Methods learn all that differs between domains, their framing too: one that lies lower in one domain
makes them move every head. Framing is compared by registration of the domains' mean edges.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from xbench.core.pixels import WHITE, Pixels
from xbench.datasets.base import Box
from xbench.datasets.decode import Grey
from xbench.datasets.prepare import View
from xbench.datasets.registration import Place, place

#: Images of a domain that make its mean, and their side in px.
SAMPLE, SIDE = 96, 64
#: Scales that are tried.
SCALES = tuple(np.arange(0.7, 1.45, 0.03).round(2).tolist())
#: Mean edges that correlate less, whatever their places, do not show the same anatomy.
ALIKE = 0.5
#: Least shift (share of the side) and least change of size that are reported.
SHIFT, SIZE = 0.04, 0.06
#: Both halves of the images must agree on a framing, within this share of it.
AGREE = 0.5


class Framing(NamedTuple):
    """How a domain's images must be scaled and moved to lie over those of the first domain.

    Attributes:
        place: see `Place`.
        before: correlation of the mean edges as they are.
        differs: whether the difference is large enough to report, and both halves of the images
            agree on it.
    """

    place: Place
    before: float
    differs: bool

    @property
    def words(self) -> str:
        """Where the anatomy lies and how large it is, relative to the first domain."""
        _, scale, down, right = self.place
        parts = []
        if abs(1 / scale - 1) >= SIZE:
            parts.append(f"is {abs(1 / scale - 1):.0%} {'larger' if scale < 1 else 'smaller'}")
        if abs(down) >= SHIFT:
            parts.append(f"lies {abs(down):.0%} of the height {'higher' if down > 0 else 'lower'}")
        if abs(right) >= SHIFT:
            side = "left" if right > 0 else "right"
            parts.append(f"lies {abs(right):.0%} of the width further to the {side}")
        return " and ".join(parts)


def mean(squares: Iterable[tuple[Pixels, Box]]) -> Grey:
    """The mean edges `[SIDE, SIDE]` of squares of that side.

    NaN where more than half of the squares have padding.
    """
    total, number, count = np.zeros((SIDE, SIDE)), np.zeros((SIDE, SIDE)), 0
    for pixels, box in squares:
        rows, columns = slice(box.top, box.top + box.height), slice(box.left, box.left + box.width)
        total[rows, columns] += _edges(pixels[rows, columns] / WHITE)
        number[rows, columns] += 1
        count += 1
    enough = (number > count / 2) & (number > 0)
    return np.where(enough, total / np.maximum(number, 1), np.nan).astype(np.float32)


def compare(domains: Mapping[str, Sequence[tuple[Pixels, Box]]]) -> dict[str, Framing]:
    """The framing of every domain but the first; without those that show something else.

    Args:
        domains: squares of side `SIDE` by domain, with what is no padding in each.
    """
    (_, first), *others = domains.items()
    found = {}
    for name, squares in others:
        if not (first and squares):
            continue
        whole = place(mean(first), mean(squares), SCALES)
        if whole.correlation < ALIKE or not SCALES[0] < whole.scale < SCALES[-1]:
            continue
        before = place(mean(first), mean(squares), (1.0,), reach=0).correlation
        halves = [place(mean(first[k::2]), mean(squares[k::2]), SCALES) for k in (0, 1)]
        found[name] = Framing(whole, before, _differs(whole, halves))
    return found


def views(framings: Mapping[str, Framing], domains: Sequence[str]) -> dict[str, View]:
    """The part of each domain's squares that all domains show, in the framing of the first.

    Of a domain without a framing, the same part as of the first.
    """
    places = {d: framings[d].place if d in framings else Place(1, 1, 0, 0) for d in domains}
    middles = [(0.5 + p.down, 0.5 + p.right, p.scale / 2) for p in places.values()]
    top = max(down - half for down, _, half in middles)
    left = max(right - half for _, right, half in middles)
    bottom = min(down + half for down, _, half in middles)
    right = min(right + half for _, right, half in middles)
    return {
        domain: View(
            top=round((top - 0.5 - p.down) / p.scale + 0.5, 4),
            left=round((left - 0.5 - p.right) / p.scale + 0.5, 4),
            height=round((bottom - top) / p.scale, 4),
            width=round((right - left) / p.scale, 4),
        )
        for domain, p in places.items()
    }


def _edges(image: NDArray[np.float64]) -> NDArray[np.float64]:
    """Edges of an image `[H, W]`, of mean 0 and deviation 1: domains share them, not greys.

    The square root limits the weight of the strongest edge, between head and air. On the phantom,
    they find a known framing across domains within 2 % of the size and 3 % of the height, greys
    within 8 % and 7 %.
    """
    down, right = np.gradient(ndimage.gaussian_filter(image, 1))
    edges = np.sqrt(np.hypot(down, right))
    found: NDArray[np.float64] = (edges - edges.mean()) / max(float(edges.std()), 1e-6)
    return found


def _differs(whole: Place, halves: Sequence[Place]) -> bool:
    """Whether one part of the difference is large and found in both halves of the images."""
    found = np.array([[p.scale - 1, p.down, p.right] for p in (whole, *halves)])
    least = np.array([SIZE, SHIFT, SHIFT])
    steady = (np.abs(found[1:] - found[0]) <= AGREE * np.abs(found[0])).all(axis=0)
    return bool(((np.abs(found[0]) >= least) & steady).any())
