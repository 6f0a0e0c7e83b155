"""Whether bone is dark or bright, from images alone, and how sure that is.

Two easier questions answer it. Do two domains have the same polarity? The images of one resemble
the mean image of the other, or its negative. Is air bright? The upper corners of a radiograph lie
beside the neck, above the shoulders or off the head, hand or foot. The images vote, and the share
of the votes says how sure a guess is.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from xbench.datasets.decode import Grey
from xbench.datasets.registration import extremes
from xbench.datasets.similarity import SIDE, standardise

#: Least share of the votes for a guess. Upper corners of real chest radiographs: .90 to .95.
CONFIDENT = 0.85
#: Fewest votes for a guess.
LEAST_VOTES = 4
#: An image below this correlation with the mean image may be inverted. Phantom: never below +.5.
INVERTED = -0.3
#: It is inverted if its negative fits the mean image better than itself by this, however it is
#: scaled and shifted, and whichever side is cut off. Of real chest radiographs, an image that is
#: collimated to its upper 60 % has -.4, their negatives have .13 to .4 (one in twenty less).
MARGIN = 0.05
#: Scales, and the greatest shift as a share of the side, at which images are compared.
SCALES, REACH = (0.62, 0.75, 0.9, 1.0, 1.15), 0.3
#: At most so many doubtful images of a domain are compared so: 0.1 s each.
MOST_DOUBTFUL = 60
#: Images of a domain that vote on another domain: 20 ms each.
VOTERS = 24
#: Of more domains, each is compared with the first only.
MOST_DOMAINS = 6


@dataclass(frozen=True)
class Belief:
    """What is known of the polarity of a domain.

    Attributes:
        domain: its name.
        bone_bright: None if the votes do not say it.
        sure: whether a header or enough votes say it.
        why: in words, with the figures.
        opposite: domains of the opposite polarity, for sure.
    """

    domain: str
    bone_bright: bool | None
    sure: bool
    why: str
    opposite: tuple[str, ...] = ()


def air_is_bright(thumbnails: Grey) -> NDArray[np.bool_]:
    """Whether the upper corners are brighter than half of the image, of each: bool `[n]`."""
    rows = thumbnails.reshape(len(thumbnails), -1)
    corners = np.zeros((SIDE, SIDE), np.bool_)
    corners[: SIDE // 8, : SIDE // 5] = corners[: SIDE // 8, -(SIDE // 5) :] = True
    inside = rows[:, corners.ravel()].mean(axis=1)
    return np.asarray(inside > np.median(rows, axis=1))


def agreed(shown: Iterable[bool | None]) -> bool | None:
    """What all headers of a domain say; None if one of them says nothing, or something else."""
    said = set(shown)
    return said.pop() if len(said) == 1 else None


def likeness(one: Grey, other: Grey) -> float:
    """Share of the thumbnails of each of two domains that resemble the mean of the other one.

    The others resemble its negative more.
    """
    one, other = (_halved(x[_evenly(len(x), VOTERS)]) for x in (one, other))
    votes = [
        sum(extremes(_mean(known), image, SCALES[1:], REACH / 2)) > 0
        for known, voters in ((one, other), (other, one))
        for image in voters
    ]
    return float(np.mean(votes))


def believe(domains: Mapping[str, Grey], shown: Mapping[str, bool | None]) -> list[Belief]:
    """The polarity of every domain.

    Args:
        domains: thumbnails by domain, `[n, SIDE, SIDE]`, without constant images.
        shown: whether bone is bright by the files' headers; None if they do not say it.
    """
    signs, relations = _relations(domains)
    beliefs: dict[str, Belief] = {}
    for family in _families(domains, signs):
        beliefs |= _of_family(family, domains, shown, relations)
    return [beliefs[domain] for domain in domains]


def inverted(thumbnails: Grey) -> NDArray[np.bool_]:
    """Which of the thumbnails `[n, SIDE, SIDE]` are negatives of most others: bool `[n]`.

    Of two equal halves, those with dark air count as negatives. A dark or bright band beside the
    anatomy (a collimator) makes no negative: see `MARGIN`.
    """
    doubtful, mean = _doubtful(thumbnails)
    places = np.flatnonzero(doubtful)
    looked_at = places[_evenly(len(places), MOST_DOUBTFUL)]
    # Many more are a second kind of images, not single odd ones: the sample stands for them.
    confirmed = [_is_negative(mean, _halved(thumbnails[[k]])[0]) for k in looked_at]
    result = doubtful & (np.mean(confirmed) > 0.5) if len(places) else doubtful
    result[looked_at] = confirmed
    return np.asarray(result)


def _of_family(
    family: Mapping[str, int],
    domains: Mapping[str, Grey],
    shown: Mapping[str, bool | None],
    relations: Mapping[tuple[str, str], float],
) -> dict[str, Belief]:
    """Beliefs on domains that are known relative to one another: domain → sign of polarity."""
    air = np.concatenate([air_is_bright(domains[d]) ^ (sign < 0) for d, sign in family.items()])
    share = float(air.mean()) if len(air) else 0.5
    header = {d: known for d in family if (known := shown.get(d)) is not None}
    by_header = {known ^ (family[d] < 0) for d, known in header.items()}
    mixed = len(set(family.values())) > 1
    conflict = len(by_header) > 1
    sure = len(by_header) == 1
    bright: bool | None = by_header.pop() if sure else None
    if not sure and not conflict and len(air) >= LEAST_VOTES and max(share, 1 - share) >= CONFIDENT:
        sure, bright = True, share < 0.5
    if bright is None and mixed:  # one of them is inverted for certain
        bright = share < 0.5
    beliefs = {}
    for domain, sign in family.items():
        own = None if bright is None else bright ^ (sign < 0)
        against = tuple(d for d, other in family.items() if other != sign)
        if domain in header:
            why = f"the headers say that bone is {'bright' if header[domain] else 'dark'}"
            if conflict:
                why += (
                    f", but compared with {', '.join(d for d in family if d != domain)} it is not"
                )
        else:
            own_air = air_is_bright(domains[domain])
            dark = float(1 - own_air.mean()) if len(own_air) else 0.5
            side = "darker" if dark > 0.5 else "brighter"
            why = (
                f"the upper corners, mostly air, are {side} than half of the image in "
                f"{max(dark, 1 - dark):.0%} of {len(own_air)} images"
            )
            if len(family) > 1:
                why += f", and {share if share > 0.5 else 1 - share:.0%} of {len(air)} agree"
        likes = [
            relations[pair] for pair in relations if domain in pair and set(pair) & set(against)
        ]
        if likes:
            why += (
                f"; {1 - max(likes):.0%} of its images and those of {', '.join(against)} are each "
                "other's negatives"
            )
        beliefs[domain] = Belief(domain, own, sure, why, against)
    return beliefs


def _relations(
    domains: Mapping[str, Grey],
) -> tuple[dict[tuple[str, str], int], dict[tuple[str, str], float]]:
    """Pairs of domains that are surely of the same (1) or the opposite polarity (-1); shares."""
    first = next(iter(domains), "")
    shares = {
        (one, other): likeness(domains[one], domains[other])
        for one, other in combinations(domains, 2)
        if len(domains) <= MOST_DOMAINS or one == first
        if min(len(domains[one]), len(domains[other])) >= LEAST_VOTES
    }
    signs = {
        pair: 1 if share > 0.5 else -1
        for pair, share in shares.items()
        if max(share, 1 - share) >= CONFIDENT
    }
    return signs, shares


def _families(
    domains: Mapping[str, Grey], signs: Mapping[tuple[str, str], int]
) -> list[dict[str, int]]:
    """Domains that pairs link, each with its sign relative to the first of its family."""
    families: list[dict[str, int]] = []
    for domain in domains:
        if any(domain in family for family in families):
            continue
        family, queue = {domain: 1}, [domain]
        while queue:
            here = queue.pop()
            for (one, other), sign in signs.items():
                if here in (one, other) and (there := other if here == one else one) not in family:
                    family[there] = family[here] * sign
                    queue.append(there)
        families.append(family)
    return families


def _doubtful(thumbnails: Grey) -> tuple[NDArray[np.bool_], Grey]:
    """Images that correlate with the mean of all, negatives inverted, below `INVERTED`; the mean.

    Mean and signs are computed in turns, so that the negatives do not cancel the others in it.
    """
    rows = standardise(thumbnails)
    signs = np.where(rows @ rows[0] < 0, -1.0, 1.0)
    for _ in range(5):
        signs = np.where(rows @ (signs @ rows) < 0, -1.0, 1.0)
    balance = signs.sum() or float(signs @ np.where(air_is_bright(thumbnails), 1.0, -1.0))
    mean = standardise((signs @ rows)[None] * (1 if balance >= 0 else -1))
    small = _halved(mean.reshape(1, SIDE, SIDE))[0]
    return np.asarray((rows @ mean[0]) < INVERTED), small


def _is_negative(mean: Grey, image: Grey) -> bool:
    """Whether the negative of an image lies over the mean better than itself, see `MARGIN`."""
    return all(sum(extremes(mean, part, SCALES, REACH)) < -MARGIN for part in _parts(image))


def _parts(image: Grey) -> list[Grey]:
    """An image, and the image without what may be a collimator, NaN there."""
    side = len(image)
    cuts = [(0, 0, 0, 0)]
    for share in (side // 5, 2 * side // 5):
        cuts += [tuple(share * (k == edge) for k in range(4)) for edge in range(4)]  # type: ignore[misc]
    fifth = side // 5
    cuts += [(fifth, fifth, 0, 0), (0, 0, fifth, fifth), (fifth,) * 4]
    parts = []
    for top, bottom, left, right in cuts:
        part = np.full_like(image, np.nan)
        rows, columns = slice(top, side - bottom), slice(left, side - right)
        part[rows, columns] = image[rows, columns]
        parts.append(part)
    return parts


def _mean(images: Grey) -> Grey:
    side = images.shape[-1]
    return standardise(standardise(images).mean(axis=0)[None]).reshape(side, side)


def _halved(thumbnails: Grey) -> Grey:
    """At half the side, `[n, SIDE / 2, SIDE / 2]`."""
    half = SIDE // 2
    small: Grey = thumbnails.reshape(-1, half, 2, half, 2).mean(axis=(2, 4))
    return small


def _evenly(number: int, most: int) -> NDArray[np.intp]:
    """At most `most` of the indices below a number."""
    return np.linspace(0, number - 1, min(most, number)).astype(np.intp)
