"""Networks of UNSB (arXiv 2305.15086): generator and discriminators that know the bridge's time.

The time is given as the integer index k of the bridge's time grid, not as t_k.

The released generator does not do what the paper says (its issue 29, open). A loop feeds the
block's input to each layer of a residual block's first half, so that the first convolution and the
time have no effect, and the generic initialiser erases the scale's bias of 1. `official=True`
computes exactly what the release computes, and has its layers without effect (frozen here).
`official=False` is the network that was meant: each layer works on the output of the one before,
and the time is added after the normalisation, which would cancel it otherwise.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from xbench.methods.nets.resnet import BlurDown, head, init_xavier, instance_norm, stem


def sinusoids(index: Tensor, size: int) -> Tensor:
    """Sines and cosines `[B, size]` of indices `[B]`, with periods from 2π to 10000 · 2π."""
    half = size // 2
    exponents = torch.arange(half, device=index.device) / (half - 1)
    angles = index[:, None] * torch.exp(-math.log(10_000) * exponents)
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def perceptron(*widths: int) -> nn.Sequential:
    """Linear layers, each followed by a leaky ReLU."""
    layers: list[nn.Module] = []
    for given, wanted in pairwise(widths):
        layers += [nn.Linear(given, wanted), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers)


class BridgeBlock(nn.Module):
    """A residual block; z scales and shifts its middle, the time shifts it too."""

    def __init__(self, width: int, side: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1, padding_mode="reflect")
        self.time = nn.Linear(side, width)
        self.affine = nn.Linear(side, 2 * width)
        self.second = nn.Conv2d(width, width, 3, padding=1, padding_mode="reflect")
        self.norm = instance_norm(width)

    def forward(self, x: Tensor, time: Tensor, style: Tensor) -> Tensor:
        """Features `[B, width, H, W]` under embeddings `[B, side]` of the time and of z."""
        scale, shift = self.affine(style)[:, :, None, None].chunk(2, dim=1)
        shift = shift + self.time(time)[:, :, None, None]
        middle = scale * self.norm(self.first(x)) + shift
        residual: Tensor = self.norm(self.second(functional.relu(middle)))
        return x + residual


class OfficialBlock(nn.Module):
    """The released block: its first convolution and the time have no effect."""

    def __init__(self, width: int, side: int) -> None:
        super().__init__()
        self.affine = nn.Linear(side, 2 * width)
        self.second = nn.Conv2d(width, width, 3, padding=1, padding_mode="reflect")
        self.norm = instance_norm(width)
        # Parameters of the release that have no effect: counted and saved, never used.
        self.unused = nn.ModuleList(
            [nn.Conv2d(width, width, 3), nn.Linear(side, width), nn.Linear(side, 2 * width)]
        ).requires_grad_(False)

    def forward(self, x: Tensor, time: Tensor, style: Tensor) -> Tensor:
        """Features `[B, width, H, W]` under the embedding `[B, side]` of z; time is not used."""
        scale, shift = self.affine(style)[:, :, None, None].chunk(2, dim=1)
        middle = scale * self.norm(x) + shift
        residual: Tensor = self.norm(self.second(functional.relu(middle)))
        return x + residual


class BridgeGenerator(nn.Module):
    """CUT's generator under a time index and a noise vector z; sides are multiples of 4.

    Args:
        channels: of input and output.
        width: channels after the first convolution (reference: 64); z has four times as many.
        blocks: residual blocks (reference: 9).
        official: compute what the released code computes.
        antialias: blurred down- and upsampling instead of strides (reference: yes).
        kernel: size of the first and the last convolution, odd (reference: 7).
    """

    def __init__(
        self,
        channels: int = 1,
        width: int = 64,
        blocks: int = 9,
        official: bool = False,
        antialias: bool = True,
        kernel: int = 7,
    ) -> None:
        super().__init__()
        self.width = width
        self.official = official
        side = 4 * width
        block = OfficialBlock if official else BridgeBlock
        self.stem = nn.Sequential(*stem(channels, width, antialias, kernel))
        self.blocks = nn.ModuleList(block(4 * width, side) for _ in range(blocks))
        self.head = nn.Sequential(*head(channels, width, antialias, kernel))
        self.embed_time = perceptron(width, side, side).requires_grad_(not official)
        self.embed_z = perceptron(side, side, side, side, side)

    def forward(self, x: Tensor, index: Tensor, z: Tensor) -> Tensor:
        """Predict the target image.

        Args:
            x: a state of the bridge, `[B, channels, H, W]`.
            index: index of its time, `[B]`.
            z: standard normal, `[B, 4 * width]`.
        """
        time, style = self.embed(index, z)
        x = self.stem(x)
        for block in self.blocks:
            x = block(x, time, style)
        image: Tensor = self.head(x)
        return image

    def features(self, x: Tensor, index: Tensor, z: Tensor, taps: Sequence[int]) -> list[Tensor]:
        """Outputs of the layers numbered `taps` (`encoder_taps`); later layers do not run."""
        time, style = self.embed(index, z)
        outputs = []
        for number, layer in enumerate([*self.stem, *self.blocks][: taps[-1] + 1]):
            x = layer(x) if number < len(self.stem) else layer(x, time, style)
            if number in taps:
                outputs.append(x)
        return outputs

    def embed(self, index: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        """Embeddings `[B, 4 * width]` of the time index and of z, the latter scaled to RMS 1."""
        time = self.embed_time(sinusoids(index, self.width))
        style = self.embed_z(z * torch.rsqrt(z.square().mean(dim=1, keepdim=True) + 1e-8))
        return time, style

    def initialise(self) -> None:
        """Fresh weights. Draws from torch's generator.

        The release initialises everything with CUT's gain of 0.02; then z and the time have no
        effect at first and hardly any later. The network that was meant starts with gain 1 in
        the layers of z and time, and with scales around 1.
        """
        init_xavier(self)
        if self.official:
            return
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_normal_(module.weight)
        for module in self.modules():
            if isinstance(module, BridgeBlock):
                nn.init.ones_(module.affine.bias[: 4 * self.width])


class TimedConv(nn.Module):
    """A discriminator's layer: convolution, instance norm, the time, leaky ReLU, blur."""

    def __init__(
        self,
        given: int,
        width: int,
        side: int,
        *,
        norm: bool,
        halve: bool,
        antialias: bool,
        official: bool,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(given, width, 4, 2 if halve and not antialias else 1, padding=1)
        self.time = nn.Linear(side, width)
        self.norm = instance_norm(width) if norm else nn.Identity()
        self.blur = BlurDown(width) if halve and antialias else nn.Identity()
        self.official = official

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """Features `[B, given, H, W]` under the embedding `[B, side]` of the time."""
        shift = self.time(time)[:, :, None, None]
        x = self.conv(x)
        # The release adds the time before the norm, which cancels it.
        x = self.norm(x + shift) if self.official else self.norm(x) + shift
        blurred: Tensor = self.blur(functional.leaky_relu(x, 0.2))
        return blurred


class TimedDiscriminator(nn.Module):
    """PatchGAN with a time index as input: UNSB's discriminator, and its energy of image stacks.

    Args:
        channels: 1 for the discriminator, 4 for the energy.
        width: channels after the first convolution (reference: 64).
        layers: convolutions that halve the size (reference: 3).
        official: add the time before the norms, so that it only has an effect in the first layer,
            which has no norm; otherwise after them. Both have the same weights.
        antialias: blur before dropping pixels (reference: yes).
    """

    def __init__(
        self,
        channels: int = 1,
        width: int = 64,
        layers: int = 3,
        official: bool = False,
        antialias: bool = True,
    ) -> None:
        super().__init__()
        self.side = 4 * width
        widths = [channels, *(min(2**n, 8) * width for n in range(layers + 1))]
        self.layers = nn.ModuleList(
            TimedConv(
                widths[n],
                widths[n + 1],
                self.side,
                norm=n > 0,
                halve=n < layers,
                antialias=antialias,
                official=official,
            )
            for n in range(layers + 1)
        )
        self.last = nn.Conv2d(widths[-1], 1, 4, padding=1)
        self.embed_time = perceptron(self.side, self.side, self.side)

    def forward(self, x: Tensor, index: Tensor) -> Tensor:
        """Images `[B, channels, H, W]` at indices `[B]` to unbounded scores `[B, 1, h, w]`."""
        time = self.embed_time(sinusoids(index, self.side))
        for layer in self.layers:
            x = layer(x, time)
        scores: Tensor = self.last(x)
        return scores
