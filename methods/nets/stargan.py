"""Networks of StarGAN (arXiv 1711.09020): a generator that knows a label, a critic with two heads.

The official generator is given its label as constant maps beside the image. A constant times a
convolution is a constant, which the instance norm behind it takes away: the label has an effect
only where the zeros around the image break it, and reaches the middle through the statistics of
the norms. With reflected borders it has none at all, and the larger the image, the weaker it is.
"""

from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from xbench.methods.nets.resnet import instance_norm

Padding = Literal["zeros", "reflect"]


class LabelledNorm(nn.Module):
    """Instance norm of an image's own statistics, then a scale and a shift per channel.

    Args:
        width: channels.
        domains: length of the labels that scale and shift depend on; 0: they are the same for all.
    """

    def __init__(self, width: int, domains: int) -> None:
        super().__init__()
        self.norm = instance_norm(width)
        if domains:
            self.affine = nn.Linear(domains, 2 * width)
        else:
            self.weight = nn.Parameter(torch.ones(width))
            self.bias = nn.Parameter(torch.zeros(width))
        self.domains = domains

    def forward(self, x: Tensor, label: Tensor) -> Tensor:
        """Features `[B, width, H, W]` under labels `[B, domains]`."""
        if not self.domains:
            # Group norm has no statistics of its own to track: an image's are always used.
            return functional.group_norm(x, len(self.weight), self.weight, self.bias)
        scale, shift = self.affine(label)[:, :, None, None].chunk(2, dim=1)
        normed: Tensor = self.norm(x) * (1 + scale) + shift
        return normed


class Layer(nn.Module):
    """A convolution without bias, the norm, and a ReLU unless `linear`."""

    def __init__(self, conv: nn.Module, width: int, domains: int, linear: bool = False) -> None:
        super().__init__()
        self.conv, self.norm, self.linear = conv, LabelledNorm(width, domains), linear

    def forward(self, x: Tensor, label: Tensor) -> Tensor:
        """Features `[B, C, H, W]` under labels `[B, domains]`."""
        normed: Tensor = self.norm(self.conv(x), label)
        return normed if self.linear else normed.relu()


class Residual(nn.Module):
    """x plus two layers of it, the second one without a ReLU."""

    def __init__(self, width: int, domains: int, padding: Padding) -> None:
        super().__init__()
        self.first, self.second = (
            Layer(conv(width, width, 3, padding=padding), width, domains, linear)
            for linear in (False, True)
        )

    def forward(self, x: Tensor, label: Tensor) -> Tensor:
        """Features `[B, width, H, W]` under labels `[B, domains]`."""
        residual: Tensor = self.second(self.first(x, label), label)
        return x + residual


class StarGenerator(nn.Module):
    """Images in [-1, 1] to images in [-1, 1] of a labelled domain; sides are multiples of 4.

    Args:
        domains: number of labels.
        channels: of the images.
        width: channels after the first convolution (reference: 64).
        blocks: residual blocks (reference: 6).
        inject: `border`, the label as maps beside the image (reference), or `adain`, scale and
            shift of all norms from the label, which does not weaken with the image's size.
        padding: `zeros` (reference) or `reflect`, under which `border` has no effect.
    """

    def __init__(
        self,
        domains: int,
        channels: int = 1,
        width: int = 64,
        blocks: int = 6,
        inject: str = "border",
        padding: Padding = "zeros",
    ) -> None:
        super().__init__()
        self.border = inject == "border"
        maps, known = (domains, 0) if self.border else (0, domains)
        layers: list[nn.Module] = [
            Layer(conv(channels + maps, width, 7, padding=padding), width, known)
        ]
        for given in (width, 2 * width):
            halve = conv(given, 2 * given, 4, stride=2, padding=padding)
            layers.append(Layer(halve, 2 * given, known))
        layers += [Residual(4 * width, known, padding) for _ in range(blocks)]
        for given in (4 * width, 2 * width):
            double = nn.ConvTranspose2d(given, given // 2, 4, 2, padding=1, bias=False)
            layers.append(Layer(double, given // 2, known))
        self.layers = nn.ModuleList(layers)
        self.last = conv(width, channels, 7, padding=padding)

    def forward(self, x: Tensor, label: Tensor) -> Tensor:
        """Images `[B, channels, H, W]` under labels `[B, domains]`: one-hot, or a blend of two."""
        label = label.to(x.dtype)
        if self.border:
            maps = label[:, :, None, None].expand(-1, -1, *x.shape[2:])
            x = torch.cat([x, maps], dim=1)
        for layer in self.layers:
            x = layer(x, label)
        image: Tensor = self.last(x).tanh()
        return image


class StarCritic(nn.Module):
    """Scores of overlapping patches and a domain for the whole image; no norm, as WGAN-GP needs.

    Args:
        size: side of the square images, a multiple of 2 ** layers.
        domains: number of labels.
        channels: of the images.
        width: channels after the first convolution (reference: 64).
        layers: convolutions that halve the size (reference: 6).
    """

    def __init__(
        self, size: int, domains: int, channels: int = 1, width: int = 64, layers: int = 6
    ) -> None:
        super().__init__()
        widths = [channels, *(width * 2**n for n in range(layers))]
        trunk: list[nn.Module] = []
        for given, wanted in pairwise(widths):
            trunk += [nn.Conv2d(given, wanted, 4, 2, padding=1), nn.LeakyReLU(0.01)]
        self.trunk = nn.Sequential(*trunk)
        self.scores = conv(widths[-1], 1, 3)
        self.classes = nn.Conv2d(widths[-1], domains, size // 2**layers, bias=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Images `[B, channels, size, size]` to scores `[B, 1, h, w]` and logits `[B, domains]`."""
        features = self.trunk(x)
        scores: Tensor = self.scores(features)
        return scores, self.classes(features).flatten(1)


def conv(
    given: int, wanted: int, kernel: int, *, stride: int = 1, padding: Padding = "zeros"
) -> nn.Conv2d:
    """A convolution without bias that keeps the size, or halves it."""
    return nn.Conv2d(
        given, wanted, kernel, stride, (kernel - 1) // 2, bias=False, padding_mode=padding
    )
