"""The metrics once more, as their definitions read: NumPy, SciPy, scikit-image, nothing of xbench.

Slow and plain on purpose. `make.py` writes the reference values with it, and tests of single
metrics compare with it on images of their own. Images are float64 [H, W] in [0, 1], sets of images
[n, H, W], features [n, d].
"""

import math

import numpy as np
import scipy.ndimage
import scipy.stats
from numpy.typing import NDArray
from skimage.feature import graycomatrix, graycoprops
from skimage.filters import threshold_otsu

Array = NDArray[np.float64]


# --- texture ----------------------------------------------------------------------------------


def descriptors(x: Array) -> Array:
    """The 62 texture descriptors of one image."""
    constant = x.min() == x.max()
    values = [x.flat[0] if constant else x.mean(), 0.0 if constant else x.std()]
    values.append(0.0 if constant else scipy.stats.skew(x, axis=None))
    values.append(0.0 if constant else scipy.stats.kurtosis(x, axis=None, fisher=False))
    values.extend(np.quantile(x, [0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99]))
    histogram, _ = np.histogram(x, bins=64, range=(0, 1))
    values.append(scipy.stats.entropy(histogram, base=2))
    levels = np.minimum(np.floor(32 * x), 31).astype(np.uint8)
    angles = [0, np.pi / 4, np.pi / 2, 3 * np.pi / 4]
    matrices = graycomatrix(  # type: ignore[no-untyped-call]
        levels, [1, 2, 4], angles, levels=32, symmetric=True, normed=True
    )
    names = ["contrast", "dissimilarity", "homogeneity", "energy", "correlation"]
    rows = [
        graycoprops(matrices, name).mean(axis=1)  # type: ignore[no-untyped-call]
        for name in names
    ]
    rows.append(scipy.stats.entropy(matrices, base=2, axis=(0, 1)).mean(axis=1))
    values.extend(np.stack(rows, axis=1).ravel())
    for sigma in (0, 1, 2, 4):
        smooth = scipy.ndimage.gaussian_filter(x, sigma) if sigma else x
        magnitude = np.hypot(*np.gradient(smooth))
        laplacian = scipy.ndimage.laplace(smooth)
        values += [magnitude.mean(), magnitude.std(), np.quantile(magnitude, 0.9)]
        values += [np.abs(laplacian).mean(), laplacian.std()]
    window = np.outer(np.hanning(x.shape[0]), np.hanning(x.shape[1]))
    power = np.abs(np.fft.fft2((x - x.mean()) * window)) ** 2 / (window**2).sum()
    frequency = np.hypot(np.fft.fftfreq(x.shape[0])[:, None], np.fft.fftfreq(x.shape[1]))
    for ring in range(12):
        low, high = ring / 24 - 1e-12, (ring + 1) / 24 + (1e-12 if ring == 11 else -1e-12)
        chosen = power[(frequency >= low) & (frequency < high)]
        values.append(math.log10(max(chosen.mean(), 1e-20)))
    return np.array(values)


# --- physics ----------------------------------------------------------------------------------


def otsu(x: Array) -> float:
    """Otsu's threshold."""
    return float(threshold_otsu(x))  # type: ignore[no-untyped-call]


def noise_spectrum(x: Array) -> Array:
    """The noise power spectrum of one image, [2] in dB."""
    rows, columns = np.mgrid[:8, :8]
    terms = [np.ones((8, 8)), columns, rows, columns**2, columns * rows, rows**2]
    trend = np.stack(terms, -1).reshape(64, 6)
    window = np.sin(np.pi * (np.arange(8) + 0.5) / 8) ** 2
    window = np.outer(window, window)
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(8), np.fft.fftfreq(8)))
    found = []
    for top in range(0, x.shape[0] - 7, 4):
        for left in range(0, x.shape[1] - 7, 4):
            patch = x[top : top + 8, left : left + 8]
            if patch.mean() >= otsu(x):
                continue
            fit = trend @ np.linalg.lstsq(trend, patch.ravel(), rcond=None)[0]
            power = np.abs(np.fft.fft2((patch - fit.reshape(8, 8)) * window)) ** 2
            power /= (window**2).sum()
            edges = ((0.5, 1.5), (3.5, 4.5), (4.5, 9))  # around 1/8, 4/8 and beyond
            inside = [(frequency > low / 8) & (frequency < high / 8) for low, high in edges]
            found.append([power[ring].mean() for ring in inside])
    smoothest = np.array(sorted(found))[: math.ceil(len(found) / 4), 1:]
    spectrum: Array = 10 * np.log10(np.median(smoothest, axis=0) + (2 / 255) ** 2)
    return spectrum


def dark_distance(a: Array, b: Array, share: float = 0.25) -> float:
    """Mean difference of the darkest greys of two sets of equally many pixels, sorted."""
    first, second = np.sort(a.ravel()), np.sort(b.ravel())
    return float(np.abs(first - second)[: round(share * first.size)].mean())


def dark_distance_of_bins(a: Array, b: Array, share: float = 0.25) -> float:
    """The same from distribution functions in 1024 bins, as `hist_emd` is defined."""
    below = [np.histogram(x, bins=1024, range=(0, 1))[0].cumsum() / x.size for x in (a, b)]
    first, second = (np.minimum(x, share) for x in below)
    return float(np.abs(first - second).mean() / share)


def sharpness(x: Array) -> float:
    """log2 of the mean gradient under .7 px over that under 2 px, at the 2 % steepest pixels."""

    def gradient(sigma: float) -> Array:
        reach = math.ceil(3 * sigma)
        padded = np.pad(x, reach + 1, mode="reflect")
        smooth = scipy.ndimage.gaussian_filter(padded, sigma, radius=reach)
        inner = smooth[reach:-reach, reach:-reach]
        down, right = inner[2:, 1:-1] - inner[:-2, 1:-1], inner[1:-1, 2:] - inner[1:-1, :-2]
        return np.hypot(down, right).ravel() / 2

    fine, coarse = gradient(0.7), gradient(2.0)
    steepest = np.argsort(coarse)[-max(1, round(0.02 * x.size)) :]
    least = 0.5 / 65535
    return math.log2((fine[steepest].mean() + least) / (coarse[steepest].mean() + least))


def tissue_share(x: Array) -> float:
    """The share of the pixels from .1 to .3 of the way from air to bone."""
    air, bone = np.quantile(x, (0.99, 0.05))
    way = (air - x) / (air - bone)
    return float(((way > 0.1) & (way <= 0.3)).mean())


def dice(x: Array, mask: NDArray[np.bool_]) -> float:
    """Overlap of the pixels below Otsu's threshold with a mask."""
    dark = x < otsu(x)
    return float(2 * (dark & mask).sum() / (dark.sum() + mask.sum()))


# --- distances of features --------------------------------------------------------------------


def moments(features: Array) -> tuple[Array, Array]:
    """Mean and covariance with N − 1."""
    return features.mean(axis=0), np.cov(features, rowvar=False)


def frechet_by_roots(mean_a: Array, cov_a: Array, mean_b: Array, cov_b: Array) -> float:
    """The formula with explicit symmetric roots, for covariances of any rank."""

    def root(matrix: Array) -> Array:
        values, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
        half: Array = (vectors * np.sqrt(values.clip(min=0))) @ vectors.T
        return half

    middle = root(cov_a) @ cov_b @ root(cov_a)
    gap = mean_a - mean_b
    return float(gap @ gap + np.trace(cov_a) + np.trace(cov_b) - 2 * np.trace(root(middle)))


def conditional_frechet(x: Array, y: Array, h: Array) -> float:
    """Soloveitchik et al. 2021, term by term; x, y and h [n, d]."""
    size, joint = x.shape[1], np.cov(np.hstack([x, y, h]), rowvar=False)
    cuts = range(0, 3 * size, size)
    blocks = [[joint[i : i + size, j : j + size] for j in cuts] for i in cuts]
    inverse = np.linalg.pinv(blocks[0][0], rcond=1e-10, hermitian=True)
    difference = blocks[1][0] - blocks[2][0]
    given = [blocks[k][k] - blocks[k][0] @ inverse @ blocks[0][k] for k in (1, 2)]
    explained = np.trace(difference @ inverse @ difference.T)
    rest = frechet_by_roots(y.mean(axis=0), given[0], h.mean(axis=0), given[1])
    return rest + float(explained)


def kernel_distance(a: Array, b: Array) -> float:
    """Unbiased squared MMD with the cubic kernel, pair by pair."""

    def mean(pairs: list[tuple[Array, Array]]) -> float:
        return float(np.mean([(u @ v / len(u) + 1) ** 3 for u, v in pairs]))

    def others(x: Array) -> list[tuple[Array, Array]]:
        return [(u, v) for i, u in enumerate(x) for j, v in enumerate(x) if i != j]

    return mean(others(a)) + mean(others(b)) - 2 * mean([(u, v) for u in a for v in b])


def principal_components(pooled: Array, k: int) -> Array:
    """The first k principal axes of rows that are centred already, [d, k]."""
    _, _, axes = np.linalg.svd(pooled, full_matrices=False)
    found: Array = axes[:k].T
    return found
