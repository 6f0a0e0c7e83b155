"""Domain randomisation: images to learn from under strong random changes of their appearance.

The rival of translation, for the row `source-augmented`: a network that has seen every appearance
needs none of the images of the target. Gao et al. (SyntheX, Nature Machine Intelligence 5:294,
2023) find that realistic simulation with strong randomisation does about as well as real training
data, and that translation adds little to it. Geometry stays as it is, so labels hold. The ranges
were fixed before anything was measured, and are tuned on no data set; raise `VERSION` when they
change.
"""

import torch
from torch import Tensor
from torch.nn import functional

#: Part of the keys of the units that use it.
VERSION = "randomised-v1"
#: Pieces of a random grey curve.
PIECES = 8
#: Darkest and brightest grey of a curve lie within this of 0 and of 1.
ENDS = 0.3
#: Width of the blur in px at 64 px: least and most.
BLUR = (0.5, 1.5)
#: Share of the detail beyond the blur that is added: -1 blurs, more than 0 sharpens.
DETAIL = (-1.0, 1.5)
#: Most noise, as its deviation.
NOISE = 0.06


def randomised(images: Tensor, generator: torch.Generator) -> Tensor:
    """Images `[B, 1, S, S]` in [0, 1], each with a sharpness, a grey curve and noise of its own."""
    number, size = len(images), images.shape[-1]

    def drawn(low: float, high: float) -> Tensor:
        share = torch.rand(number, 1, 1, 1, generator=generator, device=images.device)
        return low + (high - low) * share

    detail = images - blurred(images, drawn(*BLUR) * size / 64)
    images = (images + drawn(*DETAIL) * detail).clamp(0, 1)
    images = curved(images, grey_curves(number, generator))
    noise = torch.randn(images.shape, generator=generator, device=images.device)
    return (images + drawn(0, NOISE) * noise).clamp(0, 1)


def grey_curves(number: int, generator: torch.Generator) -> Tensor:
    """Rising grey values at `PIECES` + 1 even steps `[number, PIECES + 1]`.

    From a straight line to one of random steep and flat pieces, with random ends: gamma, contrast,
    brightness and window are all among them.
    """
    device = generator.device
    steps = torch.rand(number, PIECES, generator=generator, device=device).clamp(1e-6).log().neg()
    steps = steps / steps.sum(dim=1, keepdim=True)
    mix, low, high = torch.rand(3, number, 1, generator=generator, device=device)
    steps = mix * steps + (1 - mix) / PIECES
    rising = functional.pad(steps.cumsum(dim=1), (1, 0))
    low, high = ENDS * low, 1 - ENDS * high
    curves: Tensor = low + (high - low) * rising
    return curves


def curved(images: Tensor, curves: Tensor) -> Tensor:
    """Images `[B, 1, S, S]` in [0, 1] through the curves `[B, n + 1]`, linear between n steps."""
    pieces = curves.shape[1] - 1
    place = images.flatten(1) * pieces
    left = place.long().clamp(max=pieces - 1)
    below, above = curves.gather(1, left), curves.gather(1, left + 1)
    out: Tensor = (below + (above - below) * (place - left)).view_as(images)
    return out


def blurred(images: Tensor, sigma: Tensor) -> Tensor:
    """Images `[B, 1, S, S]`, each under a Gaussian of its own width in px `[B, 1, 1, 1]`."""
    number, reach = len(images), int(3 * float(sigma.max())) + 1
    steps = torch.arange(-reach, reach + 1, device=images.device)
    kernel = torch.exp(-(steps**2) / (2 * sigma**2))
    kernel /= kernel.sum(dim=-1, keepdim=True)  # [B, 1, 1, 2 reach + 1]
    stacked = functional.pad(images.transpose(0, 1), (reach,) * 4, mode="replicate")
    for one in (kernel, kernel.transpose(2, 3)):
        stacked = functional.conv2d(stacked, one, groups=number)
    return stacked.transpose(0, 1)
