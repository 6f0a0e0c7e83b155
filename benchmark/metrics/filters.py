"""Separable symmetric filters on batches of images."""

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor


def gaussian_taps(sigma: float, radius: int) -> list[float]:
    """Half of a sampled Gaussian, centre first, such that the whole kernel sums to one.

    Args:
        sigma: standard deviation in pixels.
        radius: taps on either side of the centre.

    Returns:
        `radius + 1` weights, at distances 0, 1, …, radius.
    """
    half = torch.exp(-0.5 * (torch.arange(radius + 1, dtype=torch.float64) / sigma) ** 2)
    weights: list[float] = (half / (2 * half.sum() - half[0])).tolist()
    return weights


def filter_axis(images: Tensor, taps: list[float], axis: int) -> Tensor:
    """Valid correlation with a symmetric kernel along one axis.

    Slices add whole rows at a time and use the symmetry, which on the CPU is several times
    faster than `conv2d` in float64.

    Args:
        images: [..., H, W], any float type.
        taps: half of the kernel, centre first (see `gaussian_taps`).
        axis: the axis to filter.

    Returns:
        The filtered images, shorter by `2 * (len(taps) - 1)` along `axis`.
    """
    radius = len(taps) - 1
    length = images.shape[axis] - 2 * radius
    out = images.narrow(axis, radius, length) * taps[0]
    for distance in range(1, radius + 1):
        before = images.narrow(axis, radius - distance, length)
        after = images.narrow(axis, radius + distance, length)
        out.add_(before + after, alpha=taps[distance])
    return out


def gradients(images: Tensor) -> tuple[Tensor, Tensor]:
    """Downward and rightward gradients of [..., H, W], as `numpy.gradient` has them.

    Central differences, one-sided ones at the border; faster than `torch.gradient`.
    """
    return _gradient(images, -2), _gradient(images, -1)


def _gradient(images: Tensor, axis: int) -> Tensor:
    out, last = torch.empty_like(images), images.shape[axis] - 1
    inner = out.narrow(axis, 1, last - 1)
    torch.sub(images.narrow(axis, 2, last - 1), images.narrow(axis, 0, last - 1), out=inner)
    out *= 0.5
    for place in (0, last):
        start = min(place, last - 1)
        torch.sub(
            images.narrow(axis, start + 1, 1),
            images.narrow(axis, start, 1),
            out=out.narrow(axis, place, 1),
        )
    return out


def continued(x: Tensor, inside: Tensor) -> Tensor:
    """Images with the nearest other pixel in place of padding, so that its border is no edge.

    Args:
        x: images [n, H, W].
        inside: where they are no padding, bool [n, H, W]: a rectangle of each.
    """
    places = []
    for axis in (2, 1):
        lines = inside.any(axis).byte()
        first, count = lines.argmax(1, keepdim=True), lines.sum(1, keepdim=True)
        places.append(torch.arange(lines.shape[1]).clamp(first, first + count - 1))
    rows, columns = places
    return x[torch.arange(len(x))[:, None, None], rows[:, :, None], columns[:, None, :]]


def filled(images: Tensor, counts: Tensor) -> Tensor:
    """Images with the nearest pixel that counts in place of those that do not.

    Args:
        images: [n, 1, H, W].
        counts: which pixels count, bool [n, H, W]; an image without any stays as it is.
    """
    from scipy import ndimage  # it takes longer to import than everything else here

    result = images.clone()
    for image, own in zip(result, counts.cpu().numpy(), strict=True):
        if own.any() and not own.all():
            places = ndimage.distance_transform_edt(
                ~own, return_distances=False, return_indices=True
            )
            rows, columns = torch.from_numpy(places).long()
            image.copy_(image[:, rows, columns])
    return result


# Pixels of a line that are filtered by one product with a matrix, unless the kernel is wide.
_BLOCK = 16


def blurred(images: Tensor, sigma: float, *, mode: str = "symmetric") -> Tensor:
    """Images under a Gaussian cut at 4 sigma, as `scipy.ndimage.gaussian_filter` has it.

    Products with blocks of the band matrix that filters a line: for wide kernels these are faster
    than sums of slices.

    Args:
        images: [..., H, W], float64.
        sigma: standard deviation in pixels.
        mode: how `numpy.pad` continues images at the border: `symmetric` is SciPy's `reflect`,
            `edge` its `nearest`.
    """
    rows, columns = (_blur_blocks(size, sigma, mode) for size in images.shape[-2:])
    lines = _joined([block @ images[..., used, :] for used, block in rows], -2)
    return _joined([lines[..., used] @ block.mT for used, block in columns], -1)


def _joined(parts: list[Tensor], axis: int) -> Tensor:
    return torch.cat(parts, axis) if len(parts) > 1 else parts[0]


@lru_cache(maxsize=32)
def _blur_blocks(size: int, sigma: float, mode: str) -> list[tuple[slice, Tensor]]:
    """Blocks of rows of the matrix [size, size] that filters a line, and the columns they use."""
    radius = int(4 * sigma + 0.5)
    half = torch.tensor(gaussian_taps(sigma, radius), dtype=torch.float64)
    taps = torch.cat([half.flip(0), half[1:]])
    places = np.pad(np.arange(size), radius, mode=mode)  # type: ignore[call-overload]
    blocks = []
    step = max(_BLOCK, 2 * radius)
    for start in range(0, size, step):
        pixels = range(start, min(start + step, size))
        block = torch.zeros(len(pixels), size, dtype=torch.float64)
        for row, pixel in zip(block, pixels, strict=True):
            row.index_add_(0, torch.from_numpy(places[pixel : pixel + len(taps)]), taps)
        used = block.any(0).nonzero()
        first, end = int(used[0]), int(used[-1]) + 1
        blocks.append((slice(first, end), block[:, first:end].contiguous()))
    return blocks
