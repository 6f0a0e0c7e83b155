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
from scipy.spatial.distance import cdist
from skimage.feature import graycomatrix, graycoprops
from skimage.filters import threshold_otsu
from skimage.segmentation import find_boundaries

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]


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


# --- cell by cell -----------------------------------------------------------------------------


def cells(x: Array) -> list[Array]:
    """The 64 cells of an image, row by row: edges at round(k n / 8)."""
    down, across = ([round(k * size / 8) for k in range(9)] for size in x.shape)
    return [x[down[i] : down[i + 1], across[j] : across[j + 1]] for i in range(8) for j in range(8)]


def laplacian(x: Array) -> Array:
    """4-neighbour Laplacian, 0 at the border."""
    result = np.zeros_like(x)
    for row in range(1, x.shape[0] - 1):
        for column in range(1, x.shape[1] - 1):
            beside = x[row, column - 1] + x[row, column + 1]
            result[row, column] = x[row - 1, column] + x[row + 1, column] + beside
            result[row, column] -= 4 * x[row, column]
    return result


def local_descriptors(x: Array) -> Array:
    """The 11 descriptors of each cell of one image, [64, 11]."""
    down, right = np.gradient(x)
    once, twice = (scipy.ndimage.gaussian_filter(x, sigma, mode="reflect") for sigma in (1, 2))
    maps = (x, right, down, laplacian(x), x - once, once - twice)
    rows = []
    for grey, gx, gy, curved, fine, middle in zip(*map(cells, maps), strict=True):
        row = [grey.mean(), grey.std(), gx.mean(), gy.mean(), np.hypot(gx, gy).mean()]
        row += [curved.std(), math.log(fine.std() + 1e-3), math.log(middle.std() + 1e-3)]
        row += [np.quantile(grey, 0.1), np.quantile(grey, 0.9)]
        row += [math.log((gx**2).mean() + 1e-5) - math.log((gy**2).mean() + 1e-5)]
        rows.append(row)
    return np.array(rows)


def local_texture_distance(output: Array, target: Array, train: Array) -> float:
    """`ltd` of two images, standardised by the cells of training images [n, H, W]."""
    pool = np.concatenate([local_descriptors(x) for x in train])
    gaps = []
    for k in range(11):
        mean, deviation = pool[:, k].mean(), pool[:, k].std()
        if deviation > 0:
            a, b = ((local_descriptors(x)[:, k] - mean) / deviation for x in (output, target))
            gaps.append((a - b) ** 2)
    return float(np.mean(gaps))


def copied(x: Array, train: Array) -> float:
    """The largest correlation of each cell's residual with that of a training image, averaged."""

    def residuals(image: Array) -> list[Array]:
        found = cells(image - scipy.ndimage.gaussian_filter(image, 1, mode="reflect"))
        return [cell / (np.sqrt((cell**2).sum()) + 1e-3) for cell in found]

    others = [residuals(image) for image in train]
    largest = [
        max((cell * other[place]).sum() for other in others)
        for place, cell in enumerate(residuals(x))
    ]
    return float(np.mean(largest))


# --- gradients and contours -------------------------------------------------------------------


def gradient_likeness(a: Array, b: Array) -> float:
    """Correlation of gradient magnitudes under a Gaussian of side / 64 px."""
    sigma = max(a.shape) / 64
    steep = [np.hypot(*np.gradient(scipy.ndimage.gaussian_filter(x, sigma))) for x in (a, b)]
    return float(np.corrcoef(steep[0].ravel(), steep[1].ravel())[0, 1])


def match(outputs: Array, references: Array, groups: list[str]) -> float:
    """Share of outputs that resemble no reference of another group more than their own."""
    own = 0
    for row, x in enumerate(outputs):
        others = [y for y, group in zip(references, groups, strict=True) if group != groups[row]]
        mine = gradient_likeness(x, references[row])
        own += not any(gradient_likeness(x, y) > mine for y in others)
    return own / len(outputs)


def normalised_gradients(x: Array, sigma: float) -> Array:
    """Gradients of one image, nearly of length 1 where they are steep, [2, H, W]."""
    smooth = scipy.ndimage.gaussian_filter(x, sigma, mode="nearest")
    field = np.stack(np.gradient(smooth))
    length = np.sqrt((field**2).sum(0))
    result: Array = field / np.sqrt(length**2 + length.mean() ** 2)
    return result


def ngf(a: Array, b: Array, sigma: float | None = None) -> tuple[float, float]:
    """Agreement of gradient directions, unsigned and signed."""
    sigma = sigma or max(a.shape) / 32
    first, second = normalised_gradients(a, sigma), normalised_gradients(b, sigma)
    product = (first * second).sum(0)
    lengths = [(field**2).sum(0) for field in (first, second)]
    unsigned = (product**2).sum() / np.sqrt((lengths[0] ** 2).sum() * (lengths[1] ** 2).sum())
    return float(unsigned), float(product.sum() / np.sqrt(lengths[0].sum() * lengths[1].sum()))


def edge_pixels(x: Array) -> Mask:
    """Zero crossings of the second derivative along the gradient, where that is steep."""
    smooth = scipy.ndimage.gaussian_filter(x, 1.5 * max(x.shape) / 64, mode="nearest")
    gy, gx = np.gradient(smooth)
    (gyy, gyx), gxx = np.gradient(gy), np.gradient(gx)[1]
    along = gx**2 * gxx + 2 * gx * gy * gyx + gy**2 * gyy
    steepness = np.hypot(gx, gy)
    found = np.zeros(x.shape, dtype=bool)
    for row, column in np.argwhere(steepness > np.quantile(steepness, 0.8)):
        after = [along[row + 1 : row + 2, column], along[row, column + 1 : column + 2]]
        found[row, column] = any((along[row, column] * value < 0).any() for value in after)
    return found


def surface_distances(a: Mask, b: Mask) -> tuple[float, float, float]:
    """Mean distance between the pixels of two contours: of both, from a to b, from b to a.

    In px at 64 px, each at most 8.
    """
    apart = cdist(np.argwhere(a), np.argwhere(b)) * 64 / max(a.shape)
    there, back = apart.min(1).clip(max=8), apart.min(0).clip(max=8)
    return float(np.concatenate([there, back]).mean()), float(there.mean()), float(back.mean())


def edge_shifts(a: Array, b: Array) -> tuple[float, float, float]:
    """`surface_distances` of the edges of two images."""
    return surface_distances(edge_pixels(a), edge_pixels(b))


def bone_shift(x: Array, mask: Mask) -> float:
    """Mean distance of the outline of the darkest pixels, as many as the mask has, from its own."""
    ranks = scipy.stats.rankdata(x, method="ordinal").reshape(x.shape)
    outlines = [
        find_boundaries(np.pad(region, 1, "edge"), mode="inner")[1:-1, 1:-1] & region
        for region in (ranks <= mask.sum(), mask)
    ]
    return surface_distances(outlines[0], outlines[1])[0]


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


def balls(output: Array, target: Array, k: int = 5) -> tuple[float, float]:
    """Coverage and density (Naeem et al. 2020), sample by sample."""
    radii = [sorted(np.linalg.norm(x - y) for y in target)[k] for x in target]
    inside = np.array(
        [
            [np.linalg.norm(x - y) < radius for x, radius in zip(target, radii, strict=True)]
            for y in output
        ]
    )
    return float(inside.any(0).mean()), float(inside.sum() / (k * len(output)))


def cmmd(a: Array, b: Array) -> float:
    """1000 times the squared MMD with a Gaussian kernel of 10, pairs with itself included."""

    def mean(x: Array, y: Array) -> float:
        return float(np.mean([math.exp(-((u - v) ** 2).sum() / 200) for u in x for v in y]))

    return 1000 * (mean(a, a) + mean(b, b) - 2 * mean(a, b))
