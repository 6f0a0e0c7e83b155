"""Local texture: an image as 8 × 8 cells, described cell by cell (`ltd`, `copied`).

Where a set is compared as a whole, an image may show anything that looks like its domain. Cell by
cell it must show the right texture in the right place.

Images are float [n, 1, H, W] in [0, 1], H and W at least 32; other shapes, values outside [0, 1] or
not finite raise a ValueError. Results are float64 on the CPU.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xbench.metrics.filters import blurred, gradients
from xbench.metrics.images import chunks

Array = NDArray[np.float64]

MIN_SIZE = 32
#: Cells on a side.
GRID = 8
#: Descriptors of a cell, in their order.
DESCRIPTORS = (
    *("mean", "deviation", "slope_x", "slope_y", "gradient", "laplacian"),
    *("fine", "middle", "quantile_10", "quantile_90", "direction"),
)
# Keep logarithms finite: of deviations, and of squared gradients.
DEVIATION_FLOOR, SQUARE_FLOOR = 1e-3, 1e-5
# Added to the norms of residuals, so that noise-free cells correlate with nothing.
NORM_FLOOR = 1e-3
#: Cells with fewer of the pixels that count are left out of `ltd`.
LEAST_COUNTS = 0.75
#: Descriptors of equal cells differ by less, those of cells with different pixels by more.
ROUNDING = 1e-9
# Pixels worked on at once: few enough for the cache of a CPU core.
_CHUNK = 2**15


def edges(size: int) -> NDArray[np.intp]:
    """Where the cells along a side of `size` pixels begin, and where the last one ends.

    >>> edges(64).tolist()
    [0, 8, 16, 24, 32, 40, 48, 56, 64]
    """
    return np.round(np.arange(GRID + 1) * size / GRID).astype(np.intp)


def local_descriptors(images: Tensor) -> Tensor:
    """The 11 descriptors of every cell.

    Mean and standard deviation; mean signed x- and y-gradient (central differences) and mean
    gradient magnitude; standard deviation of the 4-neighbour Laplacian; logarithms of the
    deviations of x - G1 x and G1 x - G2 x, Gs a Gaussian of s px; the .1 and .9 quantiles; the
    log ratio of the mean squared x- and y-gradients. Derivatives and filters see the whole image.

    Returns:
        [n, 64, 11], cells row by row.
    """
    return torch.cat(
        [_descriptors(part) for part in chunks(images, MIN_SIZE, "local texture", _CHUNK)]
    )


def local_texture_distance(output: Array, target: Array, deviations: Array) -> Array:
    """Mean squared difference of standardised descriptors (`ltd-v1`, with such pixels `ltd-v2`).

    Args:
        output: descriptors [n, 64, 11]; cells that are NaN are left out: those that touch padding,
            and those with more than a quarter of pixels that no source determines.
        target: descriptors of the aligned target images.
        deviations: of each descriptor over the cells of training images, [11]; a descriptor with
            0, but for rounding, is left out.

    Returns:
        One value per image, [n]; NaN where no cell is left.
    """
    varies = deviations > ROUNDING
    gaps = (output - target)[..., varies] / deviations[varies]
    # A cell is NaN in all of its descriptors or in none.
    counts = np.isfinite(gaps).sum(axis=(1, 2))
    means: Array = np.nansum(gaps**2, axis=(1, 2)) / np.where(counts, counts, np.nan)
    return means


def local_residuals(images: Tensor) -> Tensor:
    """Residuals x - G1 x of every cell, divided by their norms + 10⁻³.

    Returns:
        [n, 64, p], p the pixels of the largest cell; smaller cells are filled up with zeros.
    """
    parts = []
    for x in chunks(images, MIN_SIZE, "residuals", _CHUNK):
        residual = x - blurred(x, 1.0)
        rows, columns = (np.diff(edges(size)).max() for size in x.shape[1:])
        cells = x.new_zeros(len(x), GRID * GRID, int(rows * columns))
        for places, pixels in _cells(residual):
            cells[:, places, : pixels.shape[-1]] = pixels
        parts.append(cells / (cells.norm(dim=-1, keepdim=True) + NORM_FLOOR))
    return torch.cat(parts)


def largest_correlations(output: Array, training: Iterable[Array]) -> Array:
    """How much of each cell stands in some training image: 1 for a copy (`copied-v1`).

    Args:
        output: residuals [n, 64, p] of `local_residuals`; cells that are NaN are left out.
        training: residuals [m, 64, p] of training images of the same size, some at a time.

    Returns:
        The largest correlation with the same cell of any training image, averaged over cells, [n].
    """
    # Products in torch, as those of NumPy start threads of their own.
    cells = torch.from_numpy(output).transpose(0, 1)
    largest = np.full(output.shape[:2], -1.0)
    for part in training:
        known = torch.from_numpy(part).nan_to_num()  # a cell that touches padding is like nothing
        found = (cells @ known.permute(1, 2, 0)).amax(2)
        np.maximum(largest, found.T.numpy(), out=largest)
    counts = np.isfinite(largest).sum(axis=1)
    means: Array = np.nansum(largest, axis=1) / np.where(counts, counts, np.nan)
    return means


def _descriptors(x: Tensor) -> Tensor:
    """Of images float64 [n, H, W]."""
    slope_y, slope_x = gradients(x)
    fine = blurred(x, 1.0)
    mean = _cell_means
    variances = [mean(part.square()) - mean(part).square() for part in _details(x, fine)]
    # Rounding may leave a variance just below 0.
    deviation, laplacian, *filtered = (variance.clamp_(min=0).sqrt_() for variance in variances)
    means = [mean(x), mean(slope_x), mean(slope_y)]
    squares = slope_x.square_(), slope_y.square_()
    logs = [torch.log(mean(square) + SQUARE_FLOOR) for square in squares]
    magnitude = mean((squares[0] + squares[1]).sqrt_())
    return torch.stack(
        [
            *(means[0], deviation, means[1], means[2], magnitude, laplacian),
            *(torch.log(part + DEVIATION_FLOOR) for part in filtered),
            *(*_quantiles(x, (0.1, 0.9)), logs[0] - logs[1]),
        ],
        dim=-1,
    )


def _details(x: Tensor, fine: Tensor) -> Iterator[Tensor]:
    """What deviations are taken of: the image, its Laplacian, and two bands."""
    # Less the mean of the image, so that squares of nearly constant cells do not cancel.
    yield x - x.mean((1, 2), keepdim=True)
    inside = (slice(None), slice(1, -1), slice(1, -1))
    laplacian = torch.zeros_like(x)
    laplacian[inside] = x[:, :-2, 1:-1] + x[:, 2:, 1:-1] + x[:, 1:-1, :-2] + x[:, 1:-1, 2:]
    laplacian[inside] -= 4 * x[inside]
    yield laplacian
    yield x - fine
    yield fine - blurred(x, 2.0)


def _cell_means(values: Tensor) -> Tensor:
    """Means over the cells of maps [n, H, W], [n, 64]."""
    if _divisible(values):
        sums: Tensor = values.unflatten(1, (GRID, -1)).sum(2).unflatten(2, (GRID, -1)).sum(3)
        return sums.flatten(1) / (values[0].numel() // GRID**2)
    rows, columns = (_averaging(size) for size in values.shape[1:])
    return (rows @ values @ columns.T).flatten(1)


def _divisible(maps: Tensor) -> bool:
    """Whether all cells have one size."""
    return not any(size % GRID for size in maps.shape[-2:])


@lru_cache(maxsize=8)
def _averaging(size: int) -> Tensor:
    """The matrix [8, size] that averages pixels of a side over the cells along it."""
    starts, matrix = edges(size), np.zeros((GRID, size))
    for cell, (start, end) in enumerate(pairwise(starts)):
        matrix[cell, start:end] = 1 / (end - start)
    return torch.from_numpy(matrix)


def _quantiles(x: Tensor, levels: Sequence[float]) -> list[Tensor]:
    """Quantiles of every cell, interpolated linearly, [n, 64] each."""
    found = [x.new_empty(len(x), GRID * GRID) for _ in levels]
    for places, pixels in _cells(x):
        ordered = torch.from_numpy(np.sort(pixels.numpy(), axis=-1))  # vectorised, unlike torch's
        for level, quantile in zip(levels, found, strict=True):
            place = level * (pixels.shape[-1] - 1)
            low = int(place)
            step = ordered[..., low + 1] - ordered[..., low]
            quantile[:, places] = ordered[..., low] + step * (place - low)
    return found


def _cells(maps: Tensor) -> Iterator[tuple[list[int], Tensor]]:
    """Cells of equal size together: their places among the 64, and their pixels [..., cells, p]."""
    if _divisible(maps):  # a view will do
        height, width = (size // GRID for size in maps.shape[-2:])
        blocks = maps.unflatten(-2, (GRID, height)).unflatten(-1, (GRID, width))
        yield list(range(GRID**2)), blocks.transpose(-3, -2).flatten(-2).flatten(-3, -2)
        return
    (rows, heights), (columns, widths) = (
        (edges(size)[:-1], np.diff(edges(size))) for size in maps.shape[-2:]
    )
    for height in np.unique(heights):
        for width in np.unique(widths):
            down, across = np.flatnonzero(heights == height), np.flatnonzero(widths == width)
            y = torch.from_numpy(rows[down][:, None] + np.arange(height))
            x = torch.from_numpy(columns[across][:, None] + np.arange(width))
            pixels = maps[..., y[:, None, :, None], x[None, :, None, :]]
            places = (down[:, None] * GRID + across).ravel().tolist()
            yield places, pixels.reshape(*maps.shape[:-2], len(places), -1)


def without(described: Tensor, inside: Tensor | None, least: float = 1) -> Tensor:
    """Descriptions [n, 64, k] with NaN in all cells that have less than a share `least` inside.

    Args:
        described: of images.
        inside: where images are no padding, or which pixels count, bool [n, H, W]; None for all.
        least: by default, cells that touch what is not inside are left out.
    """
    if inside is None:
        return described
    enough = _cell_means(inside.double()) > least - 1e-9
    return torch.where(enough[..., None], described, torch.nan)
