"""Registration of small images: how well one lies over another, scaled and shifted.

Correlations are those of the pixels that both images have, at every shift at once, by Fourier
transforms (Padfield 2012, IEEE Trans. Image Processing 21(5)); pixels that are NaN do not count.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from xbench.datasets.decode import Grey

Array = NDArray[np.float64]
#: Least variance of an overlap, as a share of that of the whole image, which has a correlation.
LEAST_VARIANCE = 1e-4


class Place(NamedTuple):
    """Where an image lies best over another.

    Attributes:
        correlation: of the pixels that both have.
        scale: by how much the image has to be enlarged about its centre.
        down: by how much it has to be moved then, as a share of its height.
        right: likewise of its width.
    """

    correlation: float
    scale: float
    down: float
    right: float


def place(fixed: Grey, moving: Grey, scales: Sequence[float], *, reach: float = 0.3) -> Place:
    """The scale and shift that bring a square image best over another, finer than a pixel.

    Args:
        fixed: `[S, S]`.
        moving: `[S, S]`.
        scales: to be tried, in ascending order and even steps.
        reach: greatest shift, as a share of the side.
    """
    side, found = len(fixed), _surfaces(fixed, moving, scales, overlap=0.4, reach=reach)
    best = np.unravel_index(int(found.argmax()), found.shape)
    middle, step = found.shape[1] // 2, scales[1] - scales[0] if len(scales) > 1 else 0.0
    scale, down, right = (_finer(found, best, axis) for axis in range(3))
    return Place(
        float(found[best]),
        scales[0] + scale * step,
        (down - middle) / side,
        (right - middle) / side,
    )


def extremes(
    fixed: Grey, moving: Grey, scales: Sequence[float], reach: float
) -> tuple[float, float]:
    """The greatest and the least correlation over scales and shifts."""
    found = _surfaces(fixed, moving, scales, overlap=0.3, reach=reach)
    return float(found.max()), float(found.min())


def scaled(image: Grey, scale: float) -> Array:
    """A square image enlarged about its centre, NaN where it has no pixels."""
    return laid(image, Place(1, scale, 0, 0))


def laid(moving: Grey, where: Place) -> Array:
    """A square image at its place over another, NaN where it has no pixels."""
    side = len(moving)
    centre = (side - 1) / 2
    offset = [centre - (centre + shift * side) / where.scale for shift in (where.down, where.right)]
    out: Array = ndimage.affine_transform(
        moving.astype(np.float64), [1 / where.scale] * 2, offset, order=1, cval=np.nan
    )
    return out


def explained(fixed: Grey, moving: Grey, where: Place) -> float:
    """Share of the variance of an image that the other explains, laid over it.

    By a cubic curve of greys, of the one or of the other, whichever explains more.
    """
    over = laid(moving, where)
    has = ~np.isnan(over)
    one, other = (part[has] - part[has].mean() for part in (fixed.astype(np.float64), over))
    if not (one.std() > 0 and other.std() > 0):
        return 0.0
    shares = []
    for x, y in ((other, one), (one, other)):
        powers = np.vander(x / x.std(), 4)
        left = y - powers @ np.linalg.lstsq(powers, y, rcond=None)[0]
        shares.append(1 - float(left.var() / y.var()))
    return max(shares)


def _surfaces(
    fixed: Grey, moving: Grey, scales: Sequence[float], overlap: float, reach: float
) -> Array:
    """Correlations `[scales, shifts down, shifts right]`; 0 where less than `overlap` is shared."""
    side, most = len(fixed), int(reach * len(fixed))
    images = np.stack([scaled(moving, scale) for scale in scales])
    # So large that no shift brings an image around the edge of the transform.
    size, shifts = fft.next_fast_len(side + most, real=True), np.arange(-most, most + 1)

    def there(values: Array) -> NDArray[np.complex128]:
        spectrum: NDArray[np.complex128] = fft.rfft2(values, (size, size))
        return spectrum

    def back(product: NDArray[np.complex128]) -> Array:
        whole: Array = fft.irfft2(product, (size, size))
        return whole[..., shifts[:, None] % size, shifts[None, :] % size]

    one, has_one = _centred(fixed.astype(np.float64)[None])
    other, has_other = _centred(images)
    f, f_has, f_square = there(one), there(has_one), there(one**2)
    m, m_has, m_square = (np.conj(there(x)) for x in (other, has_other, other**2))
    number = np.maximum(back(f_has * m_has), 1e-6)
    sum_f, sum_m = back(f * m_has), back(f_has * m)
    covariance = back(f * m) - sum_f * sum_m / number
    spread_f = back(f_square * m_has) - sum_f**2 / number
    spread_m = back(f_has * m_square) - sum_m**2 / number
    least = LEAST_VARIANCE * np.maximum((one**2).sum() * (other**2).sum((-2, -1)), 1e-12)
    product = np.maximum(spread_f, 0) * np.maximum(spread_m, 0)
    enough = (number >= overlap * side**2) & (product > least[:, None, None])
    return np.where(enough, covariance / np.sqrt(np.where(enough, product, 1)), 0)


def _centred(images: Array) -> tuple[Array, Array]:
    """Images `[n, S, S]` without their means, 0 where they are NaN; and where they are not."""
    has = ~np.isnan(images)
    number = np.maximum(has.sum((-2, -1), keepdims=True), 1)
    values = np.where(has, images, 0)
    means = values.sum((-2, -1), keepdims=True) / number
    return np.where(has, values - means, 0), has.astype(np.float64)


def _finer(found: Array, best: tuple[np.intp, ...], axis: int) -> float:
    """The place of the maximum along an axis, by a parabola through it and its neighbours."""
    line = found[tuple(slice(None) if k == axis else i for k, i in enumerate(best))]
    index = int(best[axis])
    if not 0 < index < len(line) - 1:
        return float(index)
    before, here, after = line[index - 1 : index + 2]
    bend = before - 2 * here + after
    return index + (float(before - after) / (2 * float(bend)) if bend < 0 else 0.0)
