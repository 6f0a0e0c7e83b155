"""The network of Hierarchy Flow (arXiv 2308.06909): features taken off an image, styled, put back.

A block subtracts features from its input, one group of them after the other, and hands on every
stage of that. On the way back, block by block, each channel is given the mean and the deviation
that a style asks for, and the features are added again. The released way back is not the inverse
of the way there, not even if the style changes nothing; `exact` is.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from xbench.methods.nets.resnet import instance_norm


def statistics(x: Tensor) -> tuple[Tensor, Tensor]:
    """Means and deviations `[B, C, 1, 1]` over the pixels of `[B, C, H, W]`."""
    var, mean = torch.var_mean(x, dim=(2, 3), keepdim=True)
    return mean, (var + 1e-5).sqrt()


def restyled(x: Tensor, mean: Tensor, deviation: Tensor) -> Tensor:
    """AdaIN: `[B, C, H, W]` with other means and deviations `[B, C, 1, 1]`."""
    own_mean, own_deviation = statistics(x)
    return (x - own_mean) / own_deviation * deviation + mean


class HierarchyBlock(nn.Module):
    """One level of the hierarchy: its features, its style, and how they are put back.

    Args:
        given: channels of the input.
        wanted: channels of the output, a multiple of `given`.
        code: length of style codes.
        exact: whether the way back inverts the way there.
    """

    def __init__(self, given: int, wanted: int, code: int, exact: bool) -> None:
        super().__init__()
        self.groups, self.exact = wanted // given, exact
        self.features = nn.Sequential(
            *(nn.Conv2d(given, 2 * given, 3, padding=1), instance_norm(2 * given), nn.ReLU()),
            *(nn.Conv2d(2 * given, 2 * given, 3, padding=1), instance_norm(2 * given), nn.ReLU()),
            *(nn.Conv2d(2 * given, wanted, 3, padding=1), nn.ReLU()),
        )
        self.style = nn.Sequential(
            *(nn.Linear(code, 3 * wanted), nn.ReLU()),
            *(nn.Linear(3 * wanted, 3 * wanted), nn.ReLU()),
            nn.Linear(3 * wanted, 2 * wanted),
        )
        self.weight = nn.Parameter(torch.tensor(0.5))

    def take(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Subtract the features one group after the other.

        Args:
            x: `[B, given, H, W]`.

        Returns:
            All stages `[B, wanted, H, W]`, and the features `[B, groups, given, H, W]`.
        """
        features = self.features(x).unflatten(1, (self.groups, -1))
        return (x[:, None] - features.cumsum(dim=1)).flatten(1, 2), features

    def give(self, stages: Tensor, features: Tensor, code: Tensor) -> Tensor:
        """Style the stages by codes `[B, code]`, and put the features back: `[B, given, H, W]`."""
        mean, deviation = self.style(code)[:, :, None, None].chunk(2, dim=1)
        return self.merge(restyled(stages, mean, deviation), features)

    def merge(self, stages: Tensor, features: Tensor) -> Tensor:
        """Add the features to the stages, the last group first: `[B, given, H, W]`.

        The exact way back mixes two answers to what a stage was, and adds what was taken off it.
        The released one adds the last group, and mixes the others.
        """
        split, w = stages.unflatten(1, (self.groups, -1)), self.weight
        x: Tensor = split[:, -1] + features[:, -1]
        for j in reversed(range(self.groups - 1)):
            if self.exact:
                x = w * x + (1 - w) * split[:, j] + features[:, j]
            else:
                x = w * (x + split[:, j]) + (1 - w) * features[:, j]
        return x


class StyleEncoder(nn.Module):
    """Images `[B, channels, H, W]` to style codes `[B, code]`."""

    def __init__(self, channels: int, width: int, code: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *(nn.Conv2d(channels, width, 7, 1, 3, padding_mode="reflect"), nn.ReLU()),
            *(nn.Conv2d(width, 2 * width, 4, 2, 1, padding_mode="reflect"), nn.ReLU()),
            *(nn.Conv2d(2 * width, 4 * width, 4, 2, 1, padding_mode="reflect"), nn.ReLU()),
        )
        self.last = nn.Conv2d(4 * width, code, 1)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        pooled = self.layers(x).mean(dim=(2, 3), keepdim=True)
        code: Tensor = self.last(pooled).flatten(1)
        return code


def tell_apart(net: nn.Module) -> None:
    """He's fresh weights, biases 0. Draws from torch's generator.

    Under torch's own, smaller weights behind biases, codes of all images are the same up to 1 %,
    and a short training never finds what they are good for.
    """
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            assert module.bias is not None
            nn.init.zeros_(module.bias)


class HierarchyNet(nn.Module):
    """Images about in [0, 1], of any size, to images in the style of a code.

    Args:
        domains: how many codes to keep, one for each domain (`codes`; training leaves them 0).
        channels: of the images.
        widths: channels of each block, each a multiple of the one before (reference: 30, 120).
        style_width: of the style encoder (reference: 64).
        code: length of style codes (reference: 8).
        border: reflected pixels around the image (reference: 10).
        exact: whether the way back inverts the way there (reference: no).
    """

    codes: Tensor

    def __init__(
        self,
        domains: int,
        channels: int = 1,
        widths: Sequence[int] = (30, 120),
        style_width: int = 64,
        code: int = 8,
        border: int = 10,
        exact: bool = False,
    ) -> None:
        super().__init__()
        self.border = border
        self.encode = StyleEncoder(channels, style_width, code)
        blocks = [HierarchyBlock(a, b, code, exact) for a, b in pairwise((channels, *widths))]
        self.blocks = nn.ModuleList(blocks)
        self.register_buffer("codes", torch.zeros(domains, code))
        for block in blocks:
            tell_apart(block.style)
        tell_apart(self.encode)

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        """Images `[B, channels, H, W]` and style codes `[B, code]` to images."""
        border = self.border
        x = functional.pad(x, (border,) * 4, mode="reflect")
        taken: list[tuple[HierarchyBlock, Tensor]] = []
        for block in self.blocks:
            assert isinstance(block, HierarchyBlock)
            x, features = block.take(x)
            taken.append((block, features))
        for block, features in reversed(taken):
            x = block.give(x, features, code)
        return functional.pad(x, (-border,) * 4)
