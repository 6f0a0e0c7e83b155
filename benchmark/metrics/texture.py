"""The 62 texture descriptors behind the Fréchet texture distance (`ftd-v1`).

What the definition leaves open is settled so, and a test pins it against an independent
implementation with scikit-image, SciPy and NumPy:

- Standard deviations are those of the population; quantiles interpolate linearly; kurtosis is 3
  for a normal distribution.
- Co-occurrence offsets are those of `skimage.feature.graycomatrix`, rounded to whole pixels: a
  diagonal is (1, 1), (1, 1) and (3, 3) px for the distances 1, 2 and 4. A property is computed
  for each angle, then averaged over the four. Correlation is 1 where the levels have no variance.
- Gaussians are those of `scipy.ndimage.gaussian_filter`: cut at 4 sigma, border mirrored with the
  edge pixel repeated. The gradient is `numpy.gradient` (one-sided at the border), the Laplacian
  `scipy.ndimage.laplace` (same mirror).
- The Hann window is symmetric (`numpy.hanning`). Ring k holds the frequencies from k/24 up to,
  not including, (k + 1)/24 cycles/px; the last one includes .5; the corners beyond are left out.
- A constant image has standard deviation, skewness and kurtosis 0. The mean power of a ring is
  raised to `POWER_FLOOR` at least, so that its logarithm is finite.
"""

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xbench.metrics.cooccurrence import (
    DISTANCES,
    LEVELS,
    PROPERTIES,
    co_occurrence,
    entropy_bits,
)
from xbench.metrics.edges import EDGE_STATISTICS, edge_statistics
from xbench.metrics.images import check_images
from xbench.metrics.quantiles import quantiles

Array = NDArray[np.float64]

QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
SIGMAS = (0, 1, 2, 4)
RINGS = 12

# From this size on every ring holds a frequency, and a 4 px offset leaves plenty of pairs.
MIN_SIZE = 16
# White noise of 16-bit rounding alone has a power of 2e-11, rounding of float64 one below 1e-26.
POWER_FLOOR = 1e-20

DESCRIPTOR_NAMES: tuple[str, ...] = (
    *("mean", "std", "skewness", "kurtosis"),
    *(f"quantile_{round(100 * q):02d}" for q in QUANTILES),
    "entropy",
    *(f"glcm{distance}_{name}" for distance in DISTANCES for name in PROPERTIES),
    *(f"edge{sigma}_{name}" for sigma in SIGMAS for name in EDGE_STATISTICS),
    *(f"power_{ring:02d}" for ring in range(RINGS)),
)

# Pixels worked on at once; such an array of float64 stays in the cache of a CPU core.
_CHUNK = 2**16


def descriptors(images: Tensor) -> Tensor:
    """The 62 texture descriptors of each image, in the order of `DESCRIPTOR_NAMES`.

    Args:
        images: [B, 1, H, W] in [0, 1], H and W at least 16.

    Returns:
        [B, 62], float64 on the CPU, always finite. Intensities in units of the data range,
        entropies in bits, powers as log10 of (data range)² per px⁻².

    Raises:
        ValueError: the shape is another, images are too small, or a value is not finite or
            outside [0, 1].
    """
    check_images(images, MIN_SIZE, "texture descriptors")
    batch, _, height, width = images.shape
    pixels = images.detach().squeeze(1).cpu()
    step = max(1, _CHUNK // (height * width))
    rows = [
        _descriptors(pixels[start : start + step].double().numpy())
        for start in range(0, batch, step)
    ]
    return torch.from_numpy(np.concatenate(rows))


def _descriptors(x: Array) -> Array:
    """Descriptors of a chunk [n, H, W] as [n, 62]."""
    # 64 bins for the entropy; half of them, two by two, are the 32 levels of co-occurrence.
    bins = np.minimum(x * (2 * LEVELS), 2 * LEVELS - 1).astype(np.intp)
    edges = [edge_statistics(x, sigma) for sigma in SIGMAS]
    return np.concatenate(
        [_first_order(x, bins), co_occurrence(bins >> 1), *edges, _spectrum(x)], axis=1
    )


def _first_order(x: Array, bins: NDArray[np.intp]) -> Array:
    """Moments, quantiles and entropy, [n, 12]."""
    count = len(x)
    flat = x.reshape(count, -1)
    size = flat.shape[1]
    constant = flat.min(axis=1) == flat.max(axis=1)
    # The mean of equal numbers may differ from them by rounding, which is no deviation.
    mean = np.where(constant, flat[:, 0], flat.mean(axis=1))
    deviation = flat - mean[:, None]
    square = deviation * deviation
    second = square.mean(axis=1)
    scale = np.where(constant, 1.0, second)
    third = np.einsum("np,np->n", square, deviation) / size
    fourth = np.einsum("np,np->n", square, square) / size
    codes = bins.reshape(count, -1) + 2 * LEVELS * np.arange(count)[:, None]
    histogram = np.bincount(codes.ravel(), minlength=count * 2 * LEVELS).reshape(count, -1)
    return np.column_stack(
        [
            *(mean, np.sqrt(second), third / scale**1.5, fourth / scale**2),
            quantiles(flat, QUANTILES),
            entropy_bits(histogram),
        ]
    )


@lru_cache(maxsize=8)
def _rings(height: int, width: int) -> tuple[Array, NDArray[np.intp], Array]:
    """Window, ring of each coefficient of the half spectrum, and weight of each coefficient."""
    window = np.outer(np.hanning(height), np.hanning(width))
    # Frequencies ky/H and kx/W against k/24, all times H W: whole numbers, so that no coefficient
    # changes its ring by rounding.
    ky = np.minimum(np.arange(height), height - np.arange(height)) * width
    kx = np.arange(width // 2 + 1) * height
    radius = (ky[:, None] ** 2 + kx**2) * (2 * RINGS) ** 2
    edges = (np.arange(RINGS) * height * width) ** 2
    ring = np.searchsorted(edges, radius.ravel(), side="right") - 1
    ring[radius.ravel() > (RINGS * height * width) ** 2] = RINGS  # beyond .5 cycles/px
    # Columns other than the first (and, of even widths, the last) stand for their mirror too.
    twice = np.full(width // 2 + 1, 2.0)
    twice[0] = 1
    if width % 2 == 0:
        twice[-1] = 1
    weight = np.tile(twice, height)
    share = weight / np.bincount(ring, weight, RINGS + 1)[ring] / np.square(window).sum()
    return window, ring, share


def _spectrum(x: Array) -> Array:
    """Logarithm of the ring means of the windowed power spectrum, [n, 12]."""
    window, ring, share = _rings(*x.shape[1:])
    transform = np.fft.rfft2((x - x.mean(axis=(1, 2), keepdims=True)) * window)
    power = np.square(transform.real) + np.square(transform.imag)
    means = [np.bincount(ring, row.ravel() * share, RINGS + 1)[:RINGS] for row in power]
    return np.log10(np.maximum(np.stack(means), POWER_FLOOR))
