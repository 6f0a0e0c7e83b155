"""The built-in metrics, in the order of their columns: a decorated function each.

Here are those of pixels and of sets of images; `local` has those that compare place by place. A new
metric is one more function, and its value in `tests/references/values.json`. What a function
computes lies in a module of its own, imported when it is called: tables need the declarations
without torch. Identities are frozen: whoever changes a value changes the identity.
"""

from functools import partial
from typing import TYPE_CHECKING, Any

from xbench.metrics.base import metric

if TYPE_CHECKING:
    from torch import Tensor

# A covariance of fewer images says next to nothing, and at 16 the conditional forms still have
# 16 // 4 = 4 dimensions.
FRECHET_MIN_N = 16

# What metrics may be blind to, measured by tests/test_metrics_against_cheats.py.
TURNED = ("mirrored", "upside down")
MOVED = ("moved by 1 px", "moved by 2 px")
CELLS = ("cells swapped", "pasted")
NOISE = ("noise added", "noise removed")
# Sets of such images have the texture of the target domain.
SAME_TEXTURE = (*TURNED, *MOVED, "shuffled", "nearest", "other head")
# Each such image shows the anatomy of its source, in whatever look.
SAME_ANATOMY = ("identity", "blurred", *NOISE, "grey curve")

similarity = partial(metric, identity="ssim-gauss11-v1", higher_is_better=True, span=(-1, 1))
signal_to_noise = partial(
    metric, identity="psnr-v1", higher_is_better=True, unit="dB", span=(0, 96.33), decimals=2
)
frechet = partial(
    metric,
    against="target",
    kind="features",
    span=(0, None),
    min_n=FRECHET_MIN_N,
    extrapolates=True,
)
conditional = partial(
    metric, against="target", kind="conditional", span=(0, None), min_n=FRECHET_MIN_N
)
kernel = partial(metric, against="target", kind="features", min_n=FRECHET_MIN_N, in_tables=False)
measures = partial(metric, against="target", kind="measures", in_tables=False)


@similarity("SSIM", against="source", blind_to=SAME_ANATOMY)
def ssim(output: "Tensor", source: "Tensor") -> "Tensor":
    """Structural similarity of output and source: is the anatomy kept?

    SSIM of Wang et al. 2004 as scikit-image has it: the mean over pixels of (2 μa μb + c₁)(2
    σab + c₂) / ((μa² + μb² + c₁)(σa² + σb² + c₂)), under a Gaussian of 1.5 px cut to 11 × 11,
    c₁ = .01², c₂ = .03², without the border of 5 px. 1 for equal images.
    """
    from xbench.metrics.structural import ssim

    return ssim(output, source)


@signal_to_noise("PSNR", against="source", blind_to=SAME_ANATOMY)
def psnr(output: "Tensor", source: "Tensor") -> "Tensor":
    """Peak signal-to-noise ratio of output and source.

    −10 log₁₀ of the mean squared error, grey range 1, per image and then averaged. Capped at
    96.33 dB (one step of 16 bits), which equal images get.
    """
    from xbench.metrics.structural import psnr

    return psnr(output, source)


@similarity("SSIM ref", against="target", blind_to=("blurred", *NOISE, "grey curve"))
def ssim_ref(output: "Tensor", target: "Tensor", counts: "Tensor | None" = None) -> "Tensor":
    """Structural similarity of output and aligned target image; rewards denoising.

    As `ssim`. The noise of a second exposure costs more than a blur does, so that the floor
    does not bound it.
    """
    from xbench.metrics.structural import ssim

    return ssim(output, target, counts)


@signal_to_noise("PSNR ref", against="target", blind_to=("noise removed",))
def psnr_ref(output: "Tensor", target: "Tensor", counts: "Tensor | None" = None) -> "Tensor":
    """Peak signal-to-noise ratio of output and aligned target image; rewards denoising.

    As `psnr`. The best output is the mean of all possible targets: a denoised image beats the
    floor.
    """
    from xbench.metrics.structural import psnr

    return psnr(output, target, counts)


def _frechet(output: Any, target: Any) -> float:
    from xbench.metrics.frechet import frechet_distance

    return frechet_distance(output, target)


def _conditional(source: Any, target: Any, output: Any) -> float:
    from xbench.metrics.frechet import conditional_frechet_distance

    return conditional_frechet_distance(source, target, output)


def _kernel(output: Any, target: Any) -> float:
    from xbench.metrics.kernel import kernel_distance

    return kernel_distance(output, target)


@frechet("FTD", space="texture", identity="ftd-v1", decimals=2, blind_to=SAME_TEXTURE)
def ftd(output: Any, target: Any) -> float:
    """Fréchet texture distance: 62 standardised descriptors, no weights needed.

    |μa − μb|² + Tr(Σa + Σb − 2 √(Σa Σb)) of the descriptors of outputs and targets, covariances
    with n − 1. Each descriptor is divided by its deviation over the pooled training images. The
    62 are: 12 of grey values (mean, deviation, skewness, kurtosis, seven quantiles, entropy),
    18 of co-occurrence (contrast, dissimilarity, homogeneity, energy, correlation, entropy at
    1, 2 and 4 px), 20 of gradients and Laplacians under Gaussians of 0, 1, 2 and 4 px, 12 of
    the power spectrum (logarithms of rings).
    """
    return _frechet(output, target)


@conditional(
    "CFTD", space="texture", identity="cftd-v1", decimals=2, blind_to=(*TURNED, *MOVED, "nearest")
)
def cftd(source: Any, target: Any, output: Any) -> float:
    """Conditional Fréchet texture distance: given the source, is it this target?

    The mean over sources x of the Fréchet distance between the Gaussian conditionals of target
    y and output h given x (Soloveitchik et al. 2021): |μy − μh|² + Tr((Cyx − Chx) Cxx⁺ (Cxy −
    Cxh)) + Tr(Cy|x + Ch|x − 2 √(Cy|x Ch|x)), on the first min(16, n // 4) principal components
    of the training images' descriptors.
    """
    return _conditional(source, target, output)


@frechet("FID", space="inception", identity="fid-inception-clean-v1", decimals=1)
def fid(output: Any, target: Any) -> float:
    """Fréchet Inception distance on the features of clean-fid.

    The formula of `ftd` on 2048 features of Inception-v3, images resized and read as clean-fid
    does in its mode `clean`.
    """
    return _frechet(output, target)


@conditional("CFID", space="inception", identity="cfid-inception-pca32-v1", decimals=1)
def cfid(source: Any, target: Any, output: Any) -> float:
    """Conditional Fréchet Inception distance on up to 32 principal components.

    The formula of `cftd` on the first min(32, n // 4) principal components of Inception's
    features. It is the conditional distance, not CLIP-FID, which others call CFID, too.
    """
    return _conditional(source, target, output)


@kernel("KTD", space="texture", identity="ktd-v1", blind_to=SAME_TEXTURE)
def ktd(output: Any, target: Any) -> float:
    """Kernel texture distance: unbiased for any number of images.

    The squared maximum mean discrepancy of the 62 descriptors, kernel (u·v / d + 1)³, over all
    pairs of images, without a sample's pairs with itself (Gretton et al. 2012). It scatters
    about 0 for equal distributions.
    """
    return _kernel(output, target)


@kernel("KID", space="inception", identity="kid-inception-v1", decimals=4)
def kid(output: Any, target: Any) -> float:
    """Kernel Inception distance: unbiased for any number of images.

    The formula of `ktd` on Inception's features (Bińkowski et al. 2018).
    """
    return _kernel(output, target)


@frechet("CLIP-FID", space="clip", identity="fid-clip-b32-v1", decimals=2, in_tables=False)
def clip_fid(output: Any, target: Any) -> float:
    """Fréchet distance on the CLIP features of clean-fid.

    The formula of `ftd` on the features of CLIP ViT-B/32.
    """
    return _frechet(output, target)


@conditional(
    "CLIP-CFID", space="clip", identity="cfid-clip-b32-pca32-v1", decimals=2, in_tables=False
)
def clip_cfid(source: Any, target: Any, output: Any) -> float:
    """Conditional Fréchet distance on up to 32 principal components of CLIP features.

    The formula of `cfid` on the features of CLIP ViT-B/32.
    """
    return _conditional(source, target, output)


balls = partial(metric, against="target", kind="features", min_n=FRECHET_MIN_N, in_tables=False)


def _coverage(output: Any, target: Any) -> float:
    from xbench.metrics.manifold import coverage

    n = min(len(output), len(target))
    return coverage(output[:n], target[:n])


@balls(
    "coverage",
    space="texture",
    identity="coverage-texture-k5-v1",
    higher_is_better=True,
    span=(0, 1),
    blind_to=SAME_TEXTURE,
)
def coverage(output: Any, target: Any) -> float:
    """Share of target images that an output is close to, by texture descriptors.

    The share of target images whose ball holds an output (Naeem et al. 2020). The ball reaches
    to the fifth nearest other target image. Outputs that leave out a part of the target domain
    lower it; about .97 for equal distributions.
    """
    return _coverage(output, target)


@balls(
    "density",
    space="texture",
    identity="density-texture-k5-v1",
    higher_is_better=True,
    span=(0, None),
    blind_to=SAME_TEXTURE,
)
def density(output: Any, target: Any) -> float:
    """Number of target images that outputs are close to, over 5, by texture descriptors.

    The mean number of balls of `coverage` that hold an output, over 5; about 1 for equal
    distributions, more where outputs crowd together.
    """
    from xbench.metrics.manifold import density

    n = min(len(output), len(target))
    return density(output[:n], target[:n])


@balls(
    "cov. Inception",
    space="inception",
    identity="coverage-inception-k5-v1",
    higher_is_better=True,
    span=(0, 1),
)
def coverage_inception(output: Any, target: Any) -> float:
    """Share of target images that an output is close to, by Inception features.

    As `coverage`.
    """
    return _coverage(output, target)


@balls("CMMD", space="clip_l336", identity="cmmd-clip-l14-336-v1", span=(0, None), decimals=2)
def cmmd(output: Any, target: Any) -> float:
    """Distance between the mean CLIP embeddings of two sets, as the paper's table has it.

    1000 times the squared maximum mean discrepancy of CLIP ViT-L/14-336 embeddings of length 1,
    kernel exp(−|u − v|² / 200), pairs of a sample with itself included (Jayasumana et al.
    2024).
    """
    from xbench.metrics.kernel import cmmd

    return cmmd(output, target)


def _rms_gap(a: Any, b: Any) -> float:
    from xbench.metrics.physics import rms_gap

    return rms_gap(a, b)


def _dark_gap(a: Any, b: Any) -> float:
    from xbench.metrics.physics import dark_gap

    return dark_gap(a, b)


@measures(
    "NPS",
    gap=_rms_gap,
    identity="nps-v1",
    unit="dB",
    span=(0, None),
    decimals=2,
    in_tables=True,
    blind_to=(*SAME_TEXTURE, *CELLS, "grey curve"),
)
def nps(images: "Tensor") -> "Tensor":
    """Noise power spectrum: difference from the target's, no weights needed.

    The root mean square difference, in dB, of the mean spectra of outputs and targets at .5 and
    .63 cycles/px. A spectrum is the median over the image's dark, smooth patches of 8 px:
    detrended, windowed, squared Fourier transform (after IEC 62220-1).
    """
    from xbench.metrics.physics import noise_spectra

    return noise_spectra(images)


@measures(
    "grey EMD",
    gap=_dark_gap,
    identity="hist-emd-dark25-v1",
    span=(0, 1),
    decimals=4,
    blind_to=(*SAME_TEXTURE, *CELLS, "blurred", *NOISE),
)
def hist_emd(images: "Tensor") -> "Tensor":
    """Attenuation: how far the darkest quarter of the grey values lies from the target's.

    The mean distance, in parts of the grey range, by which the darkest quarter of the pixels
    (dense bone) would have to move: the first Wasserstein distance of the mean grey
    distributions below that quantile, over .25.
    """
    from xbench.metrics.physics import grey_distributions

    return grey_distributions(images)


@measures(
    "edges",
    gap=_rms_gap,
    identity="edge-ratio-v1",
    span=(0, None),
    blind_to=(*SAME_TEXTURE, *CELLS, *NOISE, "grey curve", "inverted"),
)
def edge_ratio(images: "Tensor") -> "Tensor":
    """Sharpness of the steepest edges: absolute log2 of the ratio to the target's.

    At the 2 % of the pixels that are steepest under a Gaussian of 2 px: log₂ of the mean
    gradient under .7 px over that under 2 px, averaged over images; the absolute difference
    between outputs and targets.
    """
    from xbench.metrics.physics import edge_sharpness

    return edge_sharpness(images)


@measures(
    "tissue",
    gap=_rms_gap,
    identity="tissue-share-v1",
    span=(0, 1),
    decimals=4,
    blind_to=(*SAME_TEXTURE, *CELLS, "blurred", *NOISE, "grey curve"),
)
def tissue_contrast(images: "Tensor") -> "Tensor":
    """Soft tissue that shows beside bone: difference from the target's share.

    The share of pixels with (air − grey) / (air − bone) from .1 to .3, where air and bone are
    the .99 and .05 quantiles of the image; the absolute difference between the means of outputs
    and targets.
    """
    from xbench.metrics.physics import tissue_shares

    return tissue_shares(images)
