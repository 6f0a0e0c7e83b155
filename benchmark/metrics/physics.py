"""Physics of X-ray images: noise, attenuation, edges, soft tissue.

Noise, attenuation and soft tissue are the causes of the gap between simulator and fluoroscope that
the MedShift paper names (arXiv 2508.21435); edges show what the image formation does to bone.

Each image is measured for itself, and two sets, which need not be aligned nor of one size, are
compared by the means over their images. So every image weighs the
same, measures can be kept, and an interval costs next to nothing. No masks are needed: air, soft
tissue and bone are separated by the greys of each image.

Wherever images are taken, they are float [n, 1, H, W] in [0, 1], air bright and bone dark, H and W
at least 16; other shapes, values outside [0, 1] or not finite raise a ValueError. Measures are
float64 [n, k] on the CPU, always finite, whatever the other images of the batch are.
"""

import math
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from xbench.metrics.filters import filter_axis, gaussian_taps
from xbench.metrics.images import chunks
from xbench.metrics.quantiles import quantiles

Measured = Tensor | NDArray[np.floating]

MIN_SIZE = 16

# Noise power spectrum: side of the patches in pixels, and the share of them that is used.
PATCH = 8
SMOOTHEST = 0.25
# Rings in units of 1/8 cycles/px: power in the first measures the anatomy in a patch, the others
# are the spectrum. The rings between hold more bone than noise at 64 px, and are left out.
ANATOMY_RING, NOISE_RINGS = 1, (4, 5)
# Power of noise of two 8-bit grey levels, which is hardly visible. It is added to every power, so
# that differences far below it count for little.
POWER_FLOOR = (2 / 255) ** 2

GREY_BINS = 1024
# The part of the pixels whose greys are compared, the dense bone. Over all of them air and soft
# tissue outweigh it: from synthetic_high to real_exposure, the phantom without its attenuation gap
# has 57 % less of this distance, but only 16 % less of the one over all pixels.
DARKEST = 0.25

# Standard deviations in pixels of the two Gaussians, and share of the pixels taken as edges.
FINE, COARSE = 0.7, 2.0
STEEPEST = 0.02
# Gradient per pixel, less than a 16-bit step, that makes the ratio 1 where there is no edge.
GRADIENT_FLOOR = 0.5 / 65535

# Soft tissue lies between these parts of the way from air to bone, that is, between quantiles.
TISSUE = (0.1, 0.3)
AIR, BONE = 0.99, 0.05

# Pixels worked on at once: few enough for the cache of a CPU core.
_CHUNK = 2**16


def noise_spectra(images: Tensor) -> Tensor:
    """Noise power spectrum of each image at .5 cycles/px and, along the diagonals, above (.63).

    After IEC 62220-1: half-overlapping patches, less a polynomial of second order fitted to each,
    give the mean of the squared Fourier transform, averaged over rings. As these are no flat
    fields, patches have 8 px and a Hann window. Patches brighter on average than the image's Otsu
    threshold are left out (air may be saturated). Of the others, the quarter with the least power
    at 1/8 cycles/px is used, where anatomy is strongest. The spectrum is their median in the rings
    where anatomy is weakest. White noise of variance s² has a power of s², less a little for
    the median. In a single image, fine sharp texture of bone counts as noise.

    Returns:
        [n, 2], 10 log10 of (power + power of two grey levels of 255): dB of (full grey range)² px².
    """
    operator, rings = _patch_spectrum()
    rows = []
    for x in chunks(images, MIN_SIZE, "noise power spectrum", _CHUNK):
        tiles = x.unfold(1, PATCH, PATCH // 2).unfold(2, PATCH, PATCH // 2)
        patches = tiles.reshape(len(x), -1, PATCH**2)
        power = (patches @ operator).square_() @ rings
        dark = patches.mean(2) < otsu_thresholds(x)[:, None]
        dark |= ~dark.any(1, keepdim=True)  # constant, or a dark spot smaller than a patch
        rows += [_smooth_median(every[used]) for every, used in zip(power, dark, strict=True)]
    return 10 * torch.log10(torch.stack(rows) + POWER_FLOOR)


def grey_distributions(images: Tensor) -> Tensor:
    """Distribution of the grey values of each image.

    Returns:
        [n, 1024], the share of the pixels below 1/1024, 2/1024, …, 1 (the last one with 1).
    """
    rows = []
    for x in chunks(images, MIN_SIZE, "grey value distribution", _CHUNK):
        bins = (x * GREY_BINS).long().clamp_(max=GREY_BINS - 1)
        rows.append(_histograms(bins, GREY_BINS).cumsum(1) / x[0].numel())
    return torch.cat(rows)


def edge_sharpness(images: Tensor) -> Tensor:
    """Sharpness of the steepest edges of each image: a ratio of gradients under two Gaussians.

    At the 2 % of the pixels where the image under a Gaussian of 2 px is steepest, the mean
    gradient under one of .7 px over that under 2 px. An edge blurred by b px has the ratio
    √((b² + 2² + c) / (b² + .7² + c)), c = 1/3 for the central difference (as Zhuo and Sim 2011,
    "Defocus map estimation from a single image", Pattern Recognition 44, who compare with the
    unfiltered gradient). Contrast cancels; noise has little say in where the edges are; edge
    enhancement counts as more than perfectly sharp.

    Returns:
        [n, 1], log2 of the ratio: 0 for an image without edges, about 1.2 for a perfect one.
    """
    rows = []
    for x in chunks(images, MIN_SIZE, "edge sharpness", _CHUNK):
        fine, coarse = (_gradient(x, sigma).flatten(1) for sigma in (FINE, COARSE))
        steepest, where = coarse.topk(max(1, round(STEEPEST * coarse.shape[1])), sorted=False)
        sharp = fine.gather(1, where).mean(1) + GRADIENT_FLOOR
        rows.append(torch.log2(sharp / (steepest.mean(1) + GRADIENT_FLOOR)))
    return torch.cat(rows)[:, None]


def tissue_shares(images: Tensor) -> Tensor:
    """How much of each image shows soft tissue beside bone.

    The contrast (air − grey) / (air − bone), with the quantiles .99 and .05 of the image for air
    and bone, does not depend on the grey scale. Between .1 and .3 lie neck, scalp and cheeks;
    below uneven air, above the thin vault. The measure is the share of the pixels between. It is
    our own: the usual contrast-to-noise ratios of soft tissue need masks.

    Returns:
        [n, 1], in [0, 1]; 0 for a constant image.
    """
    rows = []
    for x in chunks(images, MIN_SIZE, "soft-tissue contrast", _CHUNK):
        flat = x.flatten(1)
        air, bone = torch.from_numpy(quantiles(flat.numpy(), (AIR, BONE))).T[:, :, None]
        bright, dark = (air - part * (air - bone) for part in TISSUE)
        rows.append(((flat < bright) & (flat >= dark)).double().mean(1))
    return torch.cat(rows)[:, None]


def otsu_thresholds(pixels: Tensor) -> Tensor:
    """The grey that parts each image into two classes of least variance (Otsu 1979).

    As `skimage.filters.threshold_otsu`: 256 bins between the least and the greatest grey of the
    image; the middle of the last bin of the darker class.

    Args:
        pixels: float64 [n, H, W] on the CPU.

    Returns:
        [n]; of a constant image its grey.
    """
    flat = pixels.flatten(1)
    low, high = flat.aminmax(dim=1, keepdim=True)
    spread = high - low
    bins = ((flat - low) / torch.where(spread > 0, spread, 1.0) * 256).long().clamp_(max=255)
    counts = _histograms(bins, 256)
    darker = counts.cumsum(1)
    first = (counts * (torch.arange(256) + 0.5)).cumsum(1)
    pixel_count = darker[:, -1:]
    # Variance between the classes, but for factors that are the same for all thresholds.
    gap = first[:, -1:] * darker / pixel_count - first
    between = gap.square() / (darker * (pixel_count - darker)).clamp(min=1)
    best = between[:, :-1].argmax(1, keepdim=True)
    return (low + (best + 0.5) / 256 * spread)[:, 0]


def rms_gap(a: Measured, b: Measured) -> float:
    """Root mean square difference between the mean rows of measures [n, k] and [m, k].

    Raises:
        ValueError: other shapes, no rows, or measures that are not finite.
    """
    first, second = _means(a, b)
    return float((first - second).square().mean().sqrt())


def dark_gap(a: Measured, b: Measured, darkest: float = DARKEST) -> float:
    """Area between the mean rows of `grey_distributions`, below `darkest` and divided by it.

    The first Wasserstein distance of the pooled pixels (Vallender 1974) up to that quantile: how
    far a grey of dense bone has to move on average, in units of the full grey range. The 1024 bins
    make it wrong by 1/1024 at most.

    Raises:
        ValueError: other shapes, no rows, measures that are not finite, or a share outside (0, 1].
    """
    if not 0 < darkest <= 1:
        raise ValueError(f"expected a share of the pixels in (0, 1], got {darkest}")
    first, second = (mean.clamp(max=darkest) for mean in _means(a, b))
    return float((first - second).abs().mean() / darkest)


def _means(a: Measured, b: Measured) -> tuple[Tensor, Tensor]:
    first, second = (torch.as_tensor(x).detach().cpu().double() for x in (a, b))
    for x in (first, second):
        if x.ndim != 2 or not len(x) or x.shape[1] != first.shape[1]:
            shapes = f"{list(first.shape)} and {list(second.shape)}"
            raise ValueError(f"expected measures [n, k] and [m, k], got {shapes}")
        if not x.isfinite().all():
            raise ValueError("expected finite measures")
    return first.mean(0), second.mean(0)


def _histograms(bins: Tensor, size: int) -> Tensor:
    """Counts of the whole numbers below `size` in each row, float64 [n, size]."""
    count = len(bins)
    codes = bins.flatten(1) + size * torch.arange(count)[:, None]
    return torch.bincount(codes.flatten(), minlength=count * size).double().reshape(count, size)


def _gradient(x: Tensor, sigma: float) -> Tensor:
    """Gradient magnitude per pixel of [n, H, W] under a Gaussian; borders are mirrored."""
    radius = math.ceil(3 * sigma)
    padded = functional.pad(x[:, None], (radius + 1,) * 4, mode="reflect")[:, 0]
    taps = gaussian_taps(sigma, radius)
    smooth = filter_axis(filter_axis(padded, taps, -2), taps, -1)
    down = smooth[:, 2:, 1:-1] - smooth[:, :-2, 1:-1]
    right = smooth[:, 1:-1, 2:] - smooth[:, 1:-1, :-2]
    return torch.hypot(down, right).mul_(0.5)


@lru_cache(maxsize=1)
def _patch_spectrum() -> tuple[Tensor, Tensor]:
    """The two matrices that make ring powers of patches [p, 64].

    Detrending, window and Fourier transform are linear: [64, 2 F] gives the real and imaginary
    parts of the half spectrum. The other, [2 F, 3], averages their squares over the rings.
    """
    axis = (torch.arange(PATCH).double() + 0.5) / PATCH
    y, x = (grid.flatten() for grid in torch.meshgrid(axis, axis, indexing="ij"))
    terms = [x**i * y**j for i in range(3) for j in range(3 - i)]
    trend, _ = torch.linalg.qr(torch.stack(terms, 1))
    residual = torch.eye(PATCH**2).double() - trend @ trend.T
    window = (torch.sin(math.pi * x) * torch.sin(math.pi * y)).square()
    rows, columns = torch.fft.fftfreq(PATCH) * PATCH, torch.arange(PATCH // 2 + 1.0)
    v, u = (grid.flatten().double() for grid in torch.meshgrid(rows, columns, indexing="ij"))
    phase = 2 * math.pi * (torch.outer(x, u) + torch.outer(y, v))
    waves = torch.cat([torch.cos(phase), torch.sin(phase)], 1) / window.square().sum().sqrt()
    ring = torch.hypot(u, v).round().clamp(max=NOISE_RINGS[-1])  # the last one takes the corner
    # Columns between the first and the last stand for their mirror images too.
    weight = torch.where((u > 0) & (u < PATCH / 2), 2.0, 1.0).double()
    share = weight[:, None] * (ring[:, None] == torch.tensor([ANATOMY_RING, *NOISE_RINGS]))
    return residual @ (window[:, None] * waves), torch.cat([share, share]) / share.sum(0)


def _smooth_median(power: Tensor) -> Tensor:
    """Median noise powers [2] of the smoothest of the patches [p, 3]."""
    count = max(1, math.ceil(SMOOTHEST * len(power)))
    smoothest = power[:, 0].topk(count, largest=False, sorted=False).indices
    return power[smoothest, 1:].quantile(0.5, dim=0)
