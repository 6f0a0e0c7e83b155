"""Structural similarity and peak signal-to-noise ratio, per image."""

import math

import torch
from torch import Tensor

from xbench.metrics.filters import filter_axis, gaussian_taps
from xbench.metrics.images import check_images

# Images are stored with 16 bits: a root-mean-square error of one 16-bit step is as good as equal,
# and 20 * log10(65535) = 96.33 dB stands for it. Identical images get it too, never infinity.
PSNR_CAP = 20 * math.log10(65535)

# Wang et al. 2004, as scikit-image does it: sigma 1.5 cut at 3.5 sigma makes 11 x 11 taps.
_RADIUS = 5
_TAPS = gaussian_taps(1.5, _RADIUS)
_C1 = 0.01**2
_C2 = 0.03**2

# Pixels worked on at once: few enough for the cache of a CPU core, and just too few for PyTorch
# to share an operation among threads, which on a busy machine wait longer than they work.
_CHUNK = 2**15 - 1
_CHUNK_GPU = 2**22


def ssim(a: Tensor, b: Tensor, counts: Tensor | None = None) -> Tensor:
    """Structural similarity of image pairs (Wang et al. 2004).

    Equals `skimage.metrics.structural_similarity(data_range=1, gaussian_weights=True, sigma=1.5,
    use_sample_covariance=False)`: Gaussian window of 11 x 11, population covariance, mean of the
    map without its 5-pixel border. Computed in float64 in strips of bounded size.

    Args:
        a: images [B, 1, H, W] in [0, 1], H and W at least 11.
        b: images of the same shape.
        counts: pixels over which the map is averaged, bool [B, H, W]; None for all.

    Returns:
        One value per pair, [B], float64 on the CPU, in [-1, 1]; 1 for equal images.

    Raises:
        ValueError: shapes differ or are not [B, 1, H, W], images are smaller than 11 px, or a
            value is not finite or outside [0, 1].
    """
    a, b = _checked(a, b, 2 * _RADIUS + 1, "SSIM")
    batch, height, width = a.shape
    chunk = _CHUNK if a.device.type == "cpu" else _CHUNK_GPU
    images = max(1, chunk // (height * width))
    rows = max(8, chunk // width - 2 * _RADIUS)
    total = torch.zeros(batch, dtype=torch.float64, device=a.device)
    inner = slice(_RADIUS, -_RADIUS)
    weights = None if counts is None else counts[:, inner, inner].to(total)
    for start in range(0, batch, images):
        part = slice(start, start + images)
        for top in range(0, height - 2 * _RADIUS, rows):
            strip = slice(top, top + rows + 2 * _RADIUS)
            similarity = _similarity(a[part, strip], b[part, strip])
            if weights is not None:
                similarity *= weights[part, top : top + rows]
            total[part] += similarity.sum((1, 2))
    size = (height - 2 * _RADIUS) * (width - 2 * _RADIUS)
    return (total / (size if weights is None else weights.sum((1, 2)))).cpu()


def psnr(a: Tensor, b: Tensor, counts: Tensor | None = None) -> Tensor:
    """Peak signal-to-noise ratio of image pairs, data range 1, capped at `PSNR_CAP`.

    Args:
        a: images [B, 1, H, W] in [0, 1].
        b: images of the same shape.
        counts: pixels over which errors are averaged, bool [B, H, W]; None for all.

    Returns:
        One value per pair in dB, [B], float64 on the CPU, in [0, 96.33].

    Raises:
        ValueError: shapes differ or are not [B, 1, H, W], or a value is not finite or outside
            [0, 1].
    """
    a, b = _checked(a, b, 1, "PSNR")
    errors = [(x.double() - y.double()).square() for x, y in zip(a, b, strict=True)]
    if counts is not None:
        errors = [error[own] for error, own in zip(errors, counts, strict=True)]
    error = torch.stack([error.mean() for error in errors])
    return (-10 * torch.log10(error)).clamp(max=PSNR_CAP).cpu()


def _checked(a: Tensor, b: Tensor, smallest: int, what: str) -> tuple[Tensor, Tensor]:
    """Both batches as [B, H, W], on a device that has float64."""
    if a.shape != b.shape:
        raise ValueError(f"expected pairs of images, got {list(a.shape)} and {list(b.shape)}")
    for images in (a, b):
        check_images(images, smallest, what)
    if a.device.type == "mps":
        a, b = a.cpu(), b.cpu()
    return a.squeeze(1), b.squeeze(1)


def _similarity(a: Tensor, b: Tensor) -> Tensor:
    """The map of similarities of a strip, [B, H - 10, W - 10]."""
    a, b = a.double(), b.double()
    # Only the sum of both variances is needed: four maps to filter instead of five.
    mean_a, mean_b, squares, product = (
        filter_axis(filter_axis(image, _TAPS, -2), _TAPS, -1)
        for image in (a, b, a * a + b * b, a * b)
    )
    means = mean_a * mean_b
    powers = mean_a * mean_a + mean_b * mean_b
    above = (2 * means + _C1) * (2 * (product - means) + _C2)
    similarity: Tensor = above / ((powers + _C1) * (squares - powers + _C2))
    return similarity
