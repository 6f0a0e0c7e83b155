"""What reaches a fluoroscope's detector, and what it makes of it."""

from dataclasses import dataclass

import torch
from torch import Tensor

from xbench.datasets.phantom.projection import gaussian


@dataclass(frozen=True)
class Noise:
    """Noise of the detector and the display.

    Attributes:
        photons: detected quanta per pixel in the middle of the image; 0 for a noiseless detector.
        electronic: standard deviation of the read-out, in quanta.
        grain: standard deviation of white noise in the grey values, at mid-grey; it decreases
            towards white, as air is saturated in the published images.
        spread: whether light spreads in the scintillator also without noise (version 1: no).
    """

    photons: float = 0.0
    electronic: float = 0.0
    grain: float = 0.0
    spread: bool = False


def middle(image: Tensor) -> tuple[slice, slice]:
    """The central half of both axes, which sets exposure and window."""
    size = image.shape[-1]
    middle = slice(size // 4, size - size // 4)
    return middle, middle


def scatter(ratio: float, primary: Tensor, reference: float) -> Tensor:
    """Scatter: a smooth part that follows the beam, and a constant part (our choice).

    Arteries are too fine to change it.
    """
    smooth = gaussian(primary.clamp(max=4 * reference)[None], 30 * primary.shape[-1] / 256)[0]
    return ratio * (0.65 * smooth + 0.35 * reference)


def moved(image: Tensor, motion: tuple[float, float], scale: float) -> Tensor:
    """The image, moved by a fraction of a pixel (first-order approximation)."""
    down, right = torch.gradient(image)
    return (image - scale * (motion[0] * down + motion[1] * right)).clamp(0, 1)


def detect(
    blur: float,
    air: float,
    noise: Noise,
    signal: Tensor,
    reference: float,
    generator: torch.Generator,
) -> Tensor:
    """Attenuation measured by a detector that receives the share `signal` of the beam.

    `reference` is the share of the primary beam that sets the exposure.
    """
    signal = gaussian(signal[None], max(blur, 0.3))[0]
    if noise.photons:
        signal = _quanta(signal * (noise.photons / reference), noise, generator)
        signal = signal * (reference / noise.photons)
    elif noise.spread:
        signal = _spread(signal)
    # Signals above 1.25 of air, or below a fiftieth of the reference, carry no information.
    return -torch.log((signal / air).clamp(min=0.02 * reference, max=1.25))


def _quanta(expected: Tensor, noise: Noise, generator: torch.Generator) -> Tensor:
    counts = torch.poisson(expected, generator=generator)
    counts += noise.electronic * torch.randn(expected.shape, generator=generator)
    return _spread(counts)


def _spread(signal: Tensor) -> Tensor:
    """Light spreads in the scintillator: the noise is correlated over neighbouring pixels."""
    return 0.55 * signal + 0.45 * gaussian(signal[None], 0.8)[0]


def shading(size: int) -> Tensor:
    """Heel effect and vignetting `[H, W]`: smallest in the upper middle, 1 in the lower corners."""
    axis = (torch.arange(size) + 0.5) / size * 2 - 1
    return 0.3 * (axis[:, None] ** 2 + axis[None, :] ** 2) + 0.2 * (axis[:, None] + 1)
