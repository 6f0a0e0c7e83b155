"""The residual generator of CycleGAN (arXiv 1703.10593) and CUT (arXiv 2007.15651).

Two convolutions halve the size, residual blocks follow, two convolutions double the size again.
CycleGAN's convolutions have strides; CUT blurs before it drops pixels ("anti-aliased"). Both have
the same weights.
"""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional


def instance_norm(width: int) -> nn.Module:
    """Instance normalisation without weights or running statistics.

    Group norm with one channel per group: the numbers of `InstanceNorm2d`, at three times the speed
    on a CPU.
    """
    return nn.GroupNorm(width, width, affine=False)


class BlurDown(nn.Module):
    """Binomial blur [1, 2, 1] on reflected borders, then every second pixel; no weights."""

    kernel: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        outer, inner = [1 / 16, 2 / 16, 1 / 16], [2 / 16, 4 / 16, 2 / 16]
        kernel = torch.tensor([[[outer, inner, outer]]] * channels)
        self.register_buffer("kernel", kernel, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """`[B, channels, H, W]` to half the size, rounded up."""
        padded = functional.pad(x, (1, 1, 1, 1), mode="reflect")
        return functional.conv2d(padded, self.kernel, stride=2, groups=len(self.kernel))


class ResidualBlock(nn.Module):
    """x plus two normalised convolutions of it, without an activation after the sum."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, padding_mode="reflect"),
            instance_norm(width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1, padding_mode="reflect"),
            instance_norm(width),
        )

    def forward(self, x: Tensor) -> Tensor:
        """`[B, C, H, W]` to the same shape."""
        residual: Tensor = self.body(x)
        return x + residual


def stem(channels: int, width: int, antialias: bool, kernel: int = 7) -> list[nn.Module]:
    """Layers from the image to `4 * width` features at a quarter of the size."""
    layers: list[nn.Module] = [
        # A separate layer, since CUT contrasts the padded pixels too.
        nn.ReflectionPad2d(kernel // 2),
        nn.Conv2d(channels, width, kernel),
        instance_norm(width),
        nn.ReLU(),
    ]
    for given in (width, 2 * width):
        layers += [
            nn.Conv2d(given, 2 * given, 3, stride=1 if antialias else 2, padding=1),
            instance_norm(2 * given),
            nn.ReLU(),
            *([BlurDown(2 * given)] if antialias else []),
        ]
    return layers


def head(channels: int, width: int, antialias: bool, kernel: int = 7) -> list[nn.Module]:
    """Layers from `4 * width` features at a quarter of the size to the image in [-1, 1]."""
    layers: list[nn.Module] = []
    for given in (4 * width, 2 * width):
        if antialias:
            # The reference's transposed blur [1, 3, 3, 1] is bilinear interpolation.
            layers += [nn.Upsample(scale_factor=2, mode="bilinear")]
            layers += [nn.Conv2d(given, given // 2, 3, padding=1)]
        else:
            layers += [nn.ConvTranspose2d(given, given // 2, 3, 2, padding=1, output_padding=1)]
        layers += [instance_norm(given // 2), nn.ReLU()]
    last = nn.Conv2d(width, channels, kernel, padding=kernel // 2, padding_mode="reflect")
    return [*layers, last, nn.Tanh()]


class ResnetGenerator(nn.Module):
    """Images in [-1, 1] to images in [-1, 1], height and width multiples of 4.

    Args:
        channels: of input and output.
        width: channels after the first convolution (reference: 64).
        blocks: residual blocks (reference: 9).
        antialias: CUT's blurred down- and upsampling instead of CycleGAN's strides.
        kernel: size of the first and the last convolution, odd (reference: 7).
    """

    def __init__(
        self,
        channels: int = 1,
        width: int = 64,
        blocks: int = 9,
        antialias: bool = False,
        kernel: int = 7,
    ) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *stem(channels, width, antialias, kernel),
            *(ResidualBlock(4 * width) for _ in range(blocks)),
            *head(channels, width, antialias, kernel),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Translate `[B, channels, H, W]`."""
        output: Tensor = self.layers(x)
        return output

    def features(self, x: Tensor, taps: Sequence[int]) -> list[Tensor]:
        """Outputs of the layers numbered `taps` (ascending); layers after the last do not run."""
        outputs = []
        for index, layer in enumerate(self.layers[: taps[-1] + 1]):
            x = layer(x)
            if index in taps:
                outputs.append(x)
        return outputs


def encoder_taps(blocks: int, antialias: bool = True) -> tuple[int, ...]:
    """Numbers of the layers that CUT contrasts.

    They are the padded pixels, both widening convolutions, the first and the middle block.

    >>> encoder_taps(9)
    (0, 4, 8, 12, 16)
    """
    second, first_block = (8, 12) if antialias else (7, 10)
    return tuple(dict.fromkeys((0, 4, second, first_block, first_block + blocks // 2)))


def tap_channels(taps: Sequence[int], channels: int = 1, width: int = 64) -> list[int]:
    """Channels at each of the `encoder_taps`."""
    return [channels, 2 * width, *[4 * width] * (len(taps) - 2)]


def tap_positions(
    taps: Sequence[int], height: int, width: int, antialias: bool = True, kernel: int = 7
) -> list[int]:
    """Positions (pixels) at each of the `encoder_taps` for images of `height` × `width`."""
    # Anti-aliased convolutions keep the size and a blur after them halves it.
    sizes = [1, 2, 4] if antialias else [2, 4, 4]
    divisors = [*sizes, *[4] * (len(taps) - 4)]
    border = 2 * (kernel // 2)
    return [(height + border) * (width + border), *((height // d) * (width // d) for d in divisors)]


def init_normal(net: nn.Module) -> None:
    """CycleGAN's fresh weights: N(0, 0.02), biases 0. Draws from torch's generator."""
    _init(net, partial(nn.init.normal_, std=0.02))


def init_xavier(net: nn.Module) -> None:
    """CUT's fresh weights: Xavier normal with gain 0.02, biases 0. Draws from torch's generator."""
    _init(net, partial(nn.init.xavier_normal_, gain=0.02))


def _init(net: nn.Module, fill: Callable[[Tensor], Tensor]) -> None:
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            fill(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
