"""Finds images that a domain has more than once: saved again, resized, cropped, with other greys.

Hashes and details of thumbnails propose pairs. Smooth images have so few degrees of freedom that
some of many are alike there by chance, so that what a pair has in common must be more than that:
all but what noise, saving and resizing change.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from xbench.datasets import similarity
from xbench.datasets.decode import Grey
from xbench.datasets.facts import Seen, files, names, thumbnails
from xbench.datasets.problems import Problem, problem
from xbench.datasets.registration import Place, explained, place

#: Pairs are looked at whose hashes differ in at most so many of 64 bits, and whose coarse details
#: correlate at least so. Measured on the phantom at 64 px: copies that a twentieth was cut off 8 to
#: 14 bits and .84, all other copies up to 6 bits and .99, distinct views at most .81.
HASH_BITS, ALIKE = 14, 0.8
#: A copy explains all of an image's variance but this and so many times the share of the finest
#: details, which are noise, and what saving and resizing lose. Measured: cropped, resized, brighter
#: and JPEG copies leave at most as much as there is of these details, distinct heads at least five
#: times that. Smooth random images have none: of millions of pairs none came as near.
LEFT, FINEST = 0.0005, 1.5
#: Scales and greatest shift (share of the side) at which one is laid over the other.
SCALES, REACH = (0.94, 0.96, 0.98, 1.0, 1.02, 1.04, 1.06), 0.06
#: So many pairs are laid over each other, those with the most similar details: some seconds.
LAID = 500
#: More sets of equal images than this are one problem.
MANY = 5
#: Sides of thumbnails are below this share of those of their originals.
THUMBNAIL = 0.67


def find(domain: str, seen: list[Seen]) -> Iterator[Problem]:
    """One problem for each set of equal images, or one for all of very many."""
    if len(seen) < 2:
        return
    sets: dict[int, list[Seen]] = {}
    labels = similarity.clusters(len(seen), _links(seen))
    for label, one in zip(labels.tolist(), seen, strict=True):
        sets.setdefault(label, []).append(one)
    found: dict[str, list[list[Seen]]] = {}
    for same in sets.values():
        if len(same) > 1:
            check = "leakage" if len(set(map(_split, same))) > 1 else "duplicates"
            found.setdefault(check, []).append(same)
    for check, alike in found.items():
        for group in alike if len(alike) <= MANY else [[s for same in alike for s in same]]:
            splits = " and ".join(sorted(set(map(_split, group))))
            many = f"{len(alike)} images are there more than once, in {splits}"
            what = many if len(alike) > MANY else f"the same image in {splits}"
            fix = "move small copies (thumbnails) out of the folder" if _sizes(alike) else ""
            yield problem(check, domain, f"{what}: {names(group)}", files(group), fix)


def _links(seen: list[Seen]) -> NDArray[np.intp]:
    """Pairs of images that show the same `[n, 2]`."""
    small = thumbnails(seen)
    pairs = similarity.near_pairs(similarity.perceptual_hashes(small), HASH_BITS)
    coarse, whole = similarity.details(similarity.blurred(small)), similarity.standardise(small)
    alike = _correlations(coarse, pairs)
    pairs, alike = pairs[alike >= ALIKE], alike[alike >= ALIKE]
    own = [not _are_exposures(seen[one], seen[other]) for one, other in pairs]
    pairs, alike = pairs[own], alike[own]
    may_differ = LEFT + FINEST * similarity.finest(small)[pairs].max(axis=1, initial=0)
    same = 1 - _correlations(whole, pairs) ** 2 <= may_differ
    rest = np.flatnonzero(~same)
    for k in rest[np.argsort(-alike[rest])][:LAID]:
        same[k] = 1 - _explained(*small[pairs[k]]) <= may_differ[k]
    links: NDArray[np.intp] = pairs[same]
    return links


def _correlations(described: Grey, pairs: NDArray[np.intp]) -> NDArray[np.float64]:
    """The correlation of each of some pairs `[n, 2]` of standardised rows."""
    parts = np.array_split(pairs, len(pairs) // 4096 + 1)
    found = [(described[p[:, 0]] * described[p[:, 1]]).sum(axis=1) for p in parts]
    return np.concatenate(found).astype(np.float64)


def _explained(one: Grey, other: Grey) -> float:
    """Share of the variance of a thumbnail that another explains, as it is or laid over it."""
    places = (Place(1, 1, 0, 0), place(one, other, SCALES, reach=REACH))
    return max(explained(one, other, where) for where in places)


def _sizes(alike: list[list[Seen]]) -> bool:
    """Whether most of the equal images differ in size."""
    small = [min(s.side for s in same) < THUMBNAIL * max(s.side for s in same) for same in alike]
    return sum(small) > len(small) / 2


def _split(seen: Seen) -> str:
    """The split of an image; that of the first exposures if it is a second exposure."""
    return seen.item.split.removesuffix("_repeat")


def _are_exposures(one: Seen, other: Seen) -> bool:
    """Whether one of two images is a second exposure in the split of the other."""
    return one.item.split != other.item.split and _split(one) == _split(other)
