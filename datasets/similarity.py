"""How alike two images are, judged by thumbnails: perceptual hash, detail, edges."""

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
    """64 bits for each of the thumbnails `[n, SIDE, SIDE]`: uint64 `[n]`.

    A bit says whether one of the 8 × 8 lowest cosine coefficients lies above their median
    (Zauner 2010), so that brightness, contrast, noise and compression change few bits.
    """
    waves = (_COSINES @ thumbnails @ _COSINES.T).reshape(-1, 64)
    bits = waves > np.median(waves, axis=1, keepdims=True)
    return np.packbits(bits, axis=1).view(np.uint64).reshape(-1)


def near_pairs(hashes: NDArray[np.uint64], bits: int) -> NDArray[np.intp]:
    """All pairs of hashes that differ in at most so many bits: `[n, 2]`, first < second."""
    found = [np.empty((0, 2), np.intp)]
    for first in range(len(hashes) - 1):
        distance = np.bitwise_count(hashes[first + 1 :] ^ hashes[first])
        second = np.flatnonzero(distance <= bits) + first + 1
        found.append(np.stack([np.full_like(second, first), second], axis=1))
    return np.concatenate(found)


def clusters(number: int, pairs: NDArray[np.intp]) -> NDArray[np.int32]:
    """A label for each of so many images, equal where pairs `[n, 2]` link them: `[number]`."""
    links = sparse.coo_array((np.ones(len(pairs)), tuple(pairs.T)), shape=(number, number))
    labels: NDArray[np.int32] = sparse.csgraph.connected_components(links, directed=False)[1]
    return labels


def standardise(images: NDArray[np.floating]) -> Grey:
    """Images `[n, …]` as rows of zero mean and unit length, `[n, d]`: products correlate them.

    A constant image becomes zeros.
    """
    rows = images.reshape(len(images), -1).astype(np.float32)
    rows = rows - rows.mean(axis=1, keepdims=True)
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    unit: Grey = np.divide(rows, length, out=np.zeros_like(rows), where=length > 1e-6)
    return unit


def details(thumbnails: Grey) -> Grey:
    """What tells views apart: thumbnails less their blur (sigma 2 pixels), standardised."""
    return standardise(thumbnails - ndimage.gaussian_filter(thumbnails, (0, 2, 2)))


def edges(thumbnails: Grey) -> Grey:
    """What domains share: length of the gradient after a blur (sigma 2 pixels), standardised.

    The square root keeps the strongest edge, that of head and air, from outweighing the others;
    the blur forgives a small shift.
    """
    smooth = ndimage.gaussian_filter(thumbnails, (0, 2, 2))
    along_y, along_x = np.gradient(smooth, axis=(1, 2))
    return standardise(np.sqrt(np.hypot(along_y, along_x)))


def misaligned(one: Grey, other: Grey) -> NDArray[np.bool_] | None:
    """Which rows of `one` and `other` (standardised, `[n, d]`, n > 1) do not belong together.

    A row does not if more than half of the strangers are more alike than its partner; where three
    quarters of the rows are aligned beyond doubt, more than a tenth.

    Returns:
        bool `[n]`; None where partners on the whole are no more alike than strangers, by three
        standard errors.
    """
    shares = _outdone(one, other)
    # The mean of n numbers spread evenly over [0, 1] is 0.5 ± 0.29 / sqrt(n).
    if shares.mean() > 0.5 - 3 * 0.29 / len(shares) ** 0.5:
        return None
    return np.asarray(shares > (0.1 if np.quantile(shares, 0.75) <= 0.02 else 0.5))


def _outdone(one: Grey, other: Grey, sample: int = 500) -> NDArray[np.float64]:
    """Share of the strangers in the other domain that a row resembles more than its partner.

    float64 `[n]`, averaged over both directions: 0 where all are aligned, about 1/2 where names
    mean nothing. Strangers are taken evenly, at most `sample` of them.
    """
    number = len(one)
    chosen = np.linspace(0, number - 1, min(number, sample)).round().astype(np.intp)
    # A partner is never more alike than itself: the margin covers rounding.
    partners = (one * other).sum(axis=1, keepdims=True) + 1e-4
    closer = (one @ other[chosen].T > partners).sum(axis=1)
    closer += (other @ one[chosen].T > partners).sum(axis=1)
    strangers = len(chosen) - np.isin(np.arange(number), chosen)
    return np.asarray(closer / (2 * strangers))
