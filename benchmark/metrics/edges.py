"""Edge statistics of images at several scales."""

from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from xbench.metrics.quantiles import quantiles

Array = NDArray[np.float64]

EDGE_STATISTICS = (
    *("gradient_mean", "gradient_std", "gradient_quantile_90"),
    *("laplacian_abs", "laplacian_std"),
)

# Rows and columns worked on at once. Strips of so many rows fit the cache of a CPU core, products
# of blocks with band matrices beat shifted slices for wide kernels, and blocks this small stay
# below 2**18 multiplications, from which on OpenBLAS would start threads: on a busy machine those
# wait for each other many times longer than they work.
_ROWS = 30
_COLUMNS = 64


def edge_statistics(x: Array, sigma: int) -> Array:
    """Statistics of the gradient and the Laplacian of smoothed images.

    Args:
        x: images [n, H, W], H and W at least 4 sigma + 1.
        sigma: standard deviation in pixels of the Gaussian applied first; 0 for none.

    Returns:
        [n, 5], the `EDGE_STATISTICS`: mean, standard deviation and .9 quantile of the gradient
        magnitude, mean absolute value and standard deviation of the Laplacian.
    """
    count, height, width = x.shape
    # One pixel more than the filter needs: the smoothed strips get neighbours on all sides.
    # A mirrored image stays mirrored when filtered, so those of the border repeat the edge.
    reach = 4 * sigma + 1
    padded = np.pad(x, ((0, 0), (reach, reach), (reach, reach)), "symmetric")
    magnitude = np.empty(x.shape)
    absolute = np.zeros(count)
    squared = np.zeros(count)
    for top, bottom in _blocks(height, _ROWS):
        strip = _smoothed(padded[:, top : bottom + 2 * reach], sigma)
        _magnitude(strip, top == 0, bottom == height, magnitude[:, top:bottom])
        laplacian = _laplacian(strip)
        squared += np.einsum("nhw,nhw->n", laplacian, laplacian)
        absolute += np.abs(laplacian, out=laplacian).sum(axis=(1, 2))
    flat = magnitude.reshape(count, -1)
    size = height * width
    mean = flat.mean(axis=1)
    upper = quantiles(flat, (0.9,))
    flat -= mean[:, None]
    spread = np.sqrt(np.einsum("np,np->n", flat, flat) / size)
    # With mirrored borders the Laplacian sums to zero: its mean square is its variance.
    return np.column_stack([mean, spread, upper, absolute / size, np.sqrt(squared / size)])


def _blocks(length: int, most: int) -> list[tuple[int, int]]:
    """Start and end of nearly equal parts, none longer than `most`."""
    parts = -(-length // most)
    cuts = [length * part // parts for part in range(parts + 1)]
    return list(pairwise(cuts))


def _smoothed(strip: Array, sigma: int) -> Array:
    """Gaussian filter of [n, h, w] as by SciPy (cut at 4 sigma), where it needs no border."""
    if not sigma:
        return strip
    reach = 8 * sigma
    band = _band(strip.shape[1] - reach, sigma)
    columns = _blocks(strip.shape[2], _COLUMNS)
    lines = np.concatenate([band @ strip[:, :, left:right] for left, right in columns], axis=2)
    columns = _blocks(strip.shape[2] - reach, _COLUMNS)
    return np.concatenate(
        [
            lines[:, :, left : right + reach] @ _band(right - left, sigma).T
            for left, right in columns
        ],
        axis=2,
    )


@lru_cache(maxsize=32)
def _band(length: int, sigma: int) -> Array:
    """Matrix [length, length + 8 sigma] that filters a line."""
    offsets = np.arange(-4 * sigma, 4 * sigma + 1)
    taps = np.exp(-0.5 * (offsets / sigma) ** 2)
    taps /= taps.sum()
    band = np.zeros((length, length + 8 * sigma))
    for row in range(length):
        band[row, row : row + len(taps)] = taps
    return band


def _laplacian(strip: Array) -> Array:
    """4-neighbour Laplacian of the inner pixels of [n, h + 2, w + 2]."""
    out = strip[:, 1:-1, 1:-1] * -4
    for neighbour in (
        *(strip[:, :-2, 1:-1], strip[:, 2:, 1:-1]),
        *(strip[:, 1:-1, :-2], strip[:, 1:-1, 2:]),
    ):
        out += neighbour
    return out


def _magnitude(strip: Array, first: bool, last: bool, out: Array) -> None:
    """Gradient magnitude of the inner pixels of [n, h + 2, w + 2] as by `numpy.gradient`."""
    down = strip[:, 2:, 1:-1] - strip[:, :-2, 1:-1]
    right = strip[:, 1:-1, 2:] - strip[:, 1:-1, :-2]
    # At the border the neighbour outside repeats the edge, and half of the central difference
    # is missing: the one-sided difference is twice as much.
    right[:, :, 0] *= 2
    right[:, :, -1] *= 2
    if first:
        down[:, 0] *= 2
    if last:
        down[:, -1] *= 2
    down *= down
    right *= right
    down += right
    down *= 0.25
    np.sqrt(down, out=out)
