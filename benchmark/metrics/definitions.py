"""The built-in metrics, in the order of their columns: a decorated function each.

A new metric is one more function here, and its value in `tests/references/values.json`. What a
function computes lies in a module of its own, imported when it is called: tables need the
declarations without torch. Identities are frozen: whoever changes a value changes the identity.
"""

from typing import TYPE_CHECKING, Any

from xbench.metrics.base import metric

if TYPE_CHECKING:
    from torch import Tensor

# A covariance of fewer images says next to nothing, and at 16 the conditional forms still have
# 16 // 4 = 4 dimensions.
FRECHET_MIN_N = 16
PSNR_RANGE = (0.0, 96.33)


@metric(
    "SSIM",
    against="source",
    identity="ssim-gauss11-v1",
    higher_is_better=True,
    span=(-1, 1),
)
def ssim(output: "Tensor", source: "Tensor") -> "Tensor":
    """Structural similarity of output and source: is the anatomy kept?"""
    from xbench.metrics.structural import ssim

    return ssim(output, source)


@metric(
    "PSNR",
    against="source",
    identity="psnr-v1",
    higher_is_better=True,
    unit="dB",
    span=PSNR_RANGE,
    decimals=2,
)
def psnr(output: "Tensor", source: "Tensor") -> "Tensor":
    """Peak signal-to-noise ratio of output and source."""
    from xbench.metrics.structural import psnr

    return psnr(output, source)


@metric(
    "SSIM ref",
    against="target",
    identity="ssim-gauss11-v1",
    higher_is_better=True,
    span=(-1, 1),
)
def ssim_ref(output: "Tensor", target: "Tensor") -> "Tensor":
    """Structural similarity of output and aligned target image."""
    from xbench.metrics.structural import ssim

    return ssim(output, target)


@metric(
    "PSNR ref",
    against="target",
    identity="psnr-v1",
    higher_is_better=True,
    unit="dB",
    span=PSNR_RANGE,
    decimals=2,
)
def psnr_ref(output: "Tensor", target: "Tensor") -> "Tensor":
    """Peak signal-to-noise ratio of output and aligned target image."""
    from xbench.metrics.structural import psnr

    return psnr(output, target)


def _frechet(output: Any, target: Any) -> float:
    from xbench.metrics.frechet import frechet_distance

    return frechet_distance(output, target)


def _conditional(source: Any, target: Any, output: Any) -> float:
    from xbench.metrics.frechet import conditional_frechet_distance

    return conditional_frechet_distance(source, target, output)


def _kernel(output: Any, target: Any) -> float:
    from xbench.metrics.kernel import kernel_distance

    return kernel_distance(output, target)


@metric(
    "FTD",
    against="target",
    kind="features",
    space="texture",
    identity="ftd-v1",
    span=(0, None),
    decimals=2,
    min_n=FRECHET_MIN_N,
    extrapolates=True,
)
def ftd(output: Any, target: Any) -> float:
    """Fréchet texture distance: 62 standardised descriptors, no weights needed."""
    return _frechet(output, target)


@metric(
    "CFTD",
    against="target",
    kind="conditional",
    space="texture",
    identity="cftd-v1",
    span=(0, None),
    decimals=2,
    min_n=FRECHET_MIN_N,
)
def cftd(source: Any, target: Any, output: Any) -> float:
    """Conditional Fréchet texture distance: given the source, is it this target?"""
    return _conditional(source, target, output)


@metric(
    "FID",
    against="target",
    kind="features",
    space="inception",
    identity="fid-inception-clean-v1",
    span=(0, None),
    decimals=1,
    min_n=FRECHET_MIN_N,
    extrapolates=True,
)
def fid(output: Any, target: Any) -> float:
    """Fréchet Inception distance on the features of clean-fid."""
    return _frechet(output, target)


@metric(
    "CFID",
    against="target",
    kind="conditional",
    space="inception",
    identity="cfid-inception-pca32-v1",
    span=(0, None),
    decimals=1,
    min_n=FRECHET_MIN_N,
)
def cfid(source: Any, target: Any, output: Any) -> float:
    """Conditional Fréchet Inception distance on up to 32 principal components."""
    return _conditional(source, target, output)


@metric(
    "KTD",
    against="target",
    kind="features",
    space="texture",
    identity="ktd-v1",
    min_n=FRECHET_MIN_N,
    in_tables=False,
)
def ktd(output: Any, target: Any) -> float:
    """Kernel texture distance: unbiased for any number of images."""
    return _kernel(output, target)


@metric(
    "KID",
    against="target",
    kind="features",
    space="inception",
    identity="kid-inception-v1",
    decimals=4,
    min_n=FRECHET_MIN_N,
    in_tables=False,
)
def kid(output: Any, target: Any) -> float:
    """Kernel Inception distance: unbiased for any number of images."""
    return _kernel(output, target)


@metric(
    "CLIP-FID",
    against="target",
    kind="features",
    space="clip",
    identity="fid-clip-b32-v1",
    span=(0, None),
    decimals=2,
    min_n=FRECHET_MIN_N,
    extrapolates=True,
    in_tables=False,
)
def clip_fid(output: Any, target: Any) -> float:
    """Fréchet distance on the CLIP features of clean-fid."""
    return _frechet(output, target)


@metric(
    "CLIP-CFID",
    against="target",
    kind="conditional",
    space="clip",
    identity="cfid-clip-b32-pca32-v1",
    span=(0, None),
    decimals=2,
    min_n=FRECHET_MIN_N,
    in_tables=False,
)
def clip_cfid(source: Any, target: Any, output: Any) -> float:
    """Conditional Fréchet distance on up to 32 principal components of CLIP features."""
    return _conditional(source, target, output)


def _rms_gap(a: Any, b: Any) -> float:
    from xbench.metrics.physics import rms_gap

    return rms_gap(a, b)


def _dark_gap(a: Any, b: Any) -> float:
    from xbench.metrics.physics import dark_gap

    return dark_gap(a, b)


@metric(
    "NPS",
    against="target",
    kind="measures",
    gap=_rms_gap,
    identity="nps-v1",
    unit="dB",
    span=(0, None),
    decimals=2,
    in_tables=False,
)
def nps(images: "Tensor") -> "Tensor":
    """Noise power spectrum: difference from the target's, no weights needed."""
    from xbench.metrics.physics import noise_spectra

    return noise_spectra(images)


@metric(
    "grey EMD",
    against="target",
    kind="measures",
    gap=_dark_gap,
    identity="hist-emd-dark25-v1",
    span=(0, 1),
    decimals=4,
    in_tables=False,
)
def hist_emd(images: "Tensor") -> "Tensor":
    """Attenuation: how far the darkest quarter of the grey values lies from the target's."""
    from xbench.metrics.physics import grey_distributions

    return grey_distributions(images)


@metric(
    "edges",
    against="target",
    kind="measures",
    gap=_rms_gap,
    identity="edge-ratio-v1",
    span=(0, None),
    in_tables=False,
)
def edge_ratio(images: "Tensor") -> "Tensor":
    """Sharpness of the steepest edges: |log2| of the ratio to the target's."""
    from xbench.metrics.physics import edge_sharpness

    return edge_sharpness(images)


@metric(
    "tissue",
    against="target",
    kind="measures",
    gap=_rms_gap,
    identity="tissue-share-v1",
    span=(0, 1),
    decimals=4,
    in_tables=False,
)
def tissue_contrast(images: "Tensor") -> "Tensor":
    """Soft tissue that shows beside bone: difference from the target's share."""
    from xbench.metrics.physics import tissue_shares

    return tissue_shares(images)


@metric(
    "bone Dice",
    against="masks",
    identity="bone-dice-otsu-v1",
    higher_is_better=True,
    span=(0, 1),
    in_tables=False,
)
def bone_dice(output: "Tensor", masks: Any) -> "Tensor":
    """Overlap of the output's dark part with the true bone: does it keep its place?"""
    from xbench.metrics.physics import bone_dice

    return bone_dice(output, masks)
