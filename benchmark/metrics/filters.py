"""Separable symmetric filters on batches of images, as weighted sums of shifted slices."""

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
