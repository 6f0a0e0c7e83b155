"""Fourier domain adaptation: the target's amplitudes at low frequencies (arXiv 2004.05498)."""

from collections.abc import Sequence

import torch
from torch import Tensor, fft

from xbench.methods.base import Method, MethodConfig, TrainData, evenly_spaced, setting


class FDAConfig(MethodConfig):
    """Settings of Fourier domain adaptation."""

    beta: float = setting(
        0.09,
        "infer",
        "half-width of the window exchanged, as a share of the image side (paper: .01, .05, .09)",
        ge=0,
        le=0.5,
    )
    references: int = setting(
        64,
        "infer",
        "training images whose amplitudes are averaged (paper: one at random; ours repeats)",
        ge=1,
    )


class FDA(Method):
    """Keeps the phases of an image and takes the target's mean amplitudes at low frequencies."""

    name = "fda"
    about = "low-frequency amplitudes of the target domain, phases kept (arXiv 2004.05498)"
    Config = FDAConfig
    config: FDAConfig
    knob = "beta"

    def setup(self, data: TrainData) -> None:
        """Average the amplitudes of evenly spaced training images of each domain."""
        self.amplitudes = {}
        for domain in self.domains:
            images = evenly_spaced(data.train(domain), self.config.references)
            # Divided by the number of pixels, so that they fit images of other sizes.
            spectra = fft.fft2(images.to(self.device), norm="forward")
            self.amplitudes[domain] = fft.fftshift(spectra.abs().mean(dim=(0, 1)))

    def translate(
        self, images: Tensor, source: str, target: str, *, generators: Sequence[torch.Generator]
    ) -> Tensor:
        """Exchange the amplitudes in a square around the zero frequency."""
        height, width = images.shape[-2:]
        reference = self.amplitudes[target]
        radius = int(self.config.beta * min(height, width, *reference.shape))
        spectrum = fft.fftshift(fft.fft2(images, norm="forward"), dim=(-2, -1))
        amplitude, phase = spectrum.abs(), spectrum.angle()
        window(amplitude, radius).copy_(window(reference, radius))
        mixed = fft.ifftshift(torch.polar(amplitude, phase), dim=(-2, -1))
        result: Tensor = fft.ifft2(mixed, norm="forward").real
        return result


def window(spectrum: Tensor, radius: int) -> Tensor:
    """The square up to `radius` from the zero frequency of a shifted spectrum `[..., H, W]`.

    >>> window(torch.zeros(8, 8), 2).shape
    torch.Size([5, 5])
    """
    middle, center = (size // 2 for size in spectrum.shape[-2:])
    rows = slice(max(0, middle - radius), middle + radius + 1)
    return spectrum[..., rows, max(0, center - radius) : center + radius + 1]
