"""Networks that only training needs: the patch discriminator, and CUT's projector of features.

Also here: the least-squares losses of GANs (LSGAN, arXiv 1611.04076).
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from xbench.methods.nets.resnet import BlurDown, instance_norm


class PatchDiscriminator(nn.Module):
    """PatchGAN: a score for every overlapping patch, 70 pixels wide with three layers.

    Args:
        channels: of the images.
        width: channels after the first convolution (reference: 64).
        layers: convolutions that halve the size (reference: 3).
        antialias: blur before dropping pixels, as CUT does.
    """

    def __init__(
        self, channels: int = 1, width: int = 64, layers: int = 3, antialias: bool = False
    ) -> None:
        super().__init__()
        stride = 1 if antialias else 2
        widths = [min(2**n, 8) * width for n in range(layers + 1)]
        # The first convolution is not normalised; the last normalised one keeps the size.
        modules = [
            nn.Conv2d(channels, width, 4, stride, padding=1),
            nn.LeakyReLU(0.2),
            *([BlurDown(width)] if antialias else []),
        ]
        for n in range(1, layers + 1):
            halves = n < layers
            modules += [
                nn.Conv2d(widths[n - 1], widths[n], 4, stride if halves else 1, padding=1),
                instance_norm(widths[n]),
                nn.LeakyReLU(0.2),
                *([BlurDown(widths[n])] if antialias and halves else []),
            ]
        self.layers = nn.Sequential(*modules, nn.Conv2d(widths[-1], 1, 4, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        """Images `[B, channels, H, W]` to unbounded scores `[B, 1, h, w]` (256 px: 30 × 30)."""
        scores: Tensor = self.layers(x)
        return scores


class PatchProjector(nn.Module):
    """CUT's network F: for each tap of the generator, a two-layer perceptron to unit vectors.

    Args:
        widths: channels at each tap.
        out: length of the vectors.
    """

    def __init__(self, widths: Sequence[int], out: int = 256) -> None:
        super().__init__()
        self.perceptrons = nn.ModuleList(
            nn.Sequential(nn.Linear(width, out), nn.ReLU(), nn.Linear(out, out)) for width in widths
        )

    def forward(self, features: Sequence[Tensor], locations: Tensor) -> list[Tensor]:
        """Project the features at chosen locations.

        Args:
            features: `[B, C, h, w]` for each tap.
            locations: `[B, taps, S]`, indices into the flattened h × w.

        Returns:
            Vectors of norm 1, `[B, S, out]` for each tap.
        """
        projected = []
        for tap, perceptron in enumerate(self.perceptrons):
            flat = features[tap].flatten(2)
            chosen = locations[:, tap, None].expand(-1, flat.shape[1], -1)
            vectors = perceptron(flat.gather(2, chosen).transpose(1, 2))
            projected.append(vectors / (vectors.norm(dim=2, keepdim=True) + 1e-7))
        return projected


def discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """LSGAN's loss of a discriminator, given its scores of real and of fake images."""
    return (least_squares(real, 1.0) + least_squares(fake, 0.0)) / 2


def least_squares(scores: Tensor, goal: float) -> Tensor:
    """LSGAN's loss: mean of (scores - goal)² over patches and images; 1 is real, 0 is fake."""
    return torch.mean((scores.float() - goal) ** 2)
