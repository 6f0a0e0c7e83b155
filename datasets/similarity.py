"""Similarity of images, computed on thumbnails: hashes, details, edges."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage, sparse

from xbench.datasets.decode import Grey

#: Side of a thumbnail in pixels.
SIDE = 64

#: The eight lowest frequencies of a discrete cosine transform of `SIDE` samples, without the
#: constant one: [8, SIDE].
_COSINES = np.cos(np.pi * np.outer(np.arange(1, 9), 2 * np.arange(SIDE) + 1) / (2 * SIDE))


def thumbnail(image: Grey) -> Grey:
    """An image `[H, W]` averaged down (or interpolated up) to float32 `[SIDE, SIDE]`.

    Same range; the aspect ratio is not kept.
    """
    picture = Image.fromarray(np.ascontiguousarray(image, np.float32))
    return np.asarray(picture.resize((SIDE, SIDE), Image.Resampling.BILINEAR))


def perceptual_hashes(thumbnails: Grey) -> NDArray[np.uint64]:
    """A hash of 64 bits for each of the thumbnails `[n, SIDE, SIDE]`: uint64 `[n]`.

    Each bit says whether one of the 8 × 8 lowest cosine coefficients lies above their median
    (Zauner 2010): brightness, contrast, noise and compression change few bits.
    """
    waves = (_COSINES @ thumbnails @ _COSINES.T).reshape(-1, 64)
    bits = waves > np.median(waves, axis=1, keepdims=True)
    return np.packbits(bits, axis=1).view(np.uint64).reshape(-1)


def near_pairs(hashes: NDArray[np.uint64], bits: int) -> NDArray[np.intp]:
    """All pairs of hashes that differ in at most `bits` bits: indices `[n, 2]`, first < second."""
    pairs = [np.empty((0, 2), np.intp)]
    for first in range(len(hashes) - 1):
        distance = np.bitwise_count(hashes[first + 1 :] ^ hashes[first])
        second = np.flatnonzero(distance <= bits) + first + 1
        pairs.append(np.stack([np.full_like(second, first), second], axis=1))
    return np.concatenate(pairs)


def clusters(number: int, pairs: NDArray[np.intp]) -> NDArray[np.int32]:
    """A label for each of `number` images, equal if a chain of pairs `[n, 2]` links them."""
    links = sparse.coo_array((np.ones(len(pairs)), tuple(pairs.T)), shape=(number, number))
    labels: NDArray[np.int32] = sparse.csgraph.connected_components(links, directed=False)[1]
    return labels


def standardise(images: NDArray[np.floating]) -> Grey:
    """Images `[n, …]` as rows `[n, d]` of zero mean and unit length; constant images as zeros.

    The dot product of two rows is the correlation of the images.
    """
    rows = images.reshape(len(images), -1).astype(np.float32)
    rows = rows - rows.mean(axis=1, keepdims=True)
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    unit: Grey = np.divide(rows, length, out=np.zeros_like(rows), where=length > 1e-6)
    return unit


def blurred(thumbnails: Grey) -> Grey:
    """Thumbnails without what copies of a quarter of the size have lost."""
    smooth: Grey = ndimage.gaussian_filter(thumbnails, (0, 2.5, 2.5))
    return smooth


def details(thumbnails: Grey) -> Grey:
    """Details, which distinguish views: thumbnails minus their blur (sigma 2), standardised."""
    return standardise(thumbnails - ndimage.gaussian_filter(thumbnails, (0, 2, 2)))


def finest(thumbnails: Grey) -> NDArray[np.float64]:
    """Share of each thumbnail's variance in what a blur (sigma 1) takes away: float64 `[n]`."""
    rest = thumbnails - ndimage.gaussian_filter(thumbnails, (0, 1, 1))
    share: NDArray[np.float64] = rest.var(axis=(1, 2)) / np.maximum(
        thumbnails.var(axis=(1, 2), dtype=np.float64), 1e-12
    )
    return share


def edges(thumbnails: Grey) -> Grey:
    """Edges, which domains share: gradient magnitude after a blur (sigma 2), standardised.

    The square root limits the weight of the strongest edge, between head and air; the blur
    tolerates a small shift.
    """
    smooth = ndimage.gaussian_filter(thumbnails, (0, 2, 2))
    along_y, along_x = np.gradient(smooth, axis=(1, 2))
    return standardise(np.sqrt(np.hypot(along_y, along_x)))


def outlines(thumbnails: Grey) -> Grey:
    """Edges, and edges relative to those around them, standardised together.

    The second half (blur of sigma 1.5, surroundings of 6) keeps a strong edge that one domain alone
    has, of soft tissue or a wedge filter, from outweighing all the others.
    """
    smooth = ndimage.gaussian_filter(thumbnails, (0, 1.5, 1.5))
    along_y, along_x = np.gradient(smooth, axis=(1, 2))
    steep = np.hypot(along_y, along_x)
    around = ndimage.gaussian_filter(steep, (0, 6, 6))
    relative = standardise(steep / (around + 1e-3))
    return standardise(np.concatenate([edges(thumbnails), relative], axis=1))


def are_partners(shares: NDArray[np.float64]) -> bool:
    """Whether partners are on average more similar than other rows, by three standard errors.

    Args:
        shares: `closer_others` of each row. Fewer than four rows can never be.
    """
    # The mean of n uniform numbers in [0, 1] is 0.5 ± 0.29 / sqrt(n).
    return len(shares) > 0 and bool(shares.mean() <= 0.5 - 3 * 0.29 / len(shares) ** 0.5)


def misaligned(one: Grey, other: Grey) -> NDArray[np.bool_] | None:
    """Which rows of `one` and `other` (standardised, `[n, d]`, n > 1) show different views.

    The partner of a row is the row with the same index in the other domain. A row is misaligned if
    it resembles more than half of the other rows there more than its partner; if three quarters
    of the rows are clearly aligned, more than a tenth.

    Returns:
        bool `[n]`; None if rows are no partners (`are_partners`).
    """
    shares = closer_others(one, other)
    if not are_partners(shares):
        return None
    return np.asarray(shares > (0.1 if np.quantile(shares, 0.75) <= 0.02 else 0.5))


def closer_others(one: Grey, other: Grey, sample: int = 500) -> NDArray[np.float64]:
    """Share of the other domain's rows that a row resembles more than its partner, `[n]`.

    Averaged over both directions: 0 for aligned rows, about 1/2 for random ones. At most `sample`
    rows are compared with, evenly spaced.
    """
    number = len(one)
    chosen = np.linspace(0, number - 1, min(number, sample)).round().astype(np.intp)
    # The margin covers rounding, so that a partner never counts as closer than itself.
    partners = (one * other).sum(axis=1, keepdims=True) + 1e-4
    closer = (one @ other[chosen].T > partners).sum(axis=1)
    closer += (other @ one[chosen].T > partners).sum(axis=1)
    others = len(chosen) - np.isin(np.arange(number), chosen)
    return np.asarray(closer / (2 * others))
