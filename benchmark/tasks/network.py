"""One network for all tasks: masks, landmarks and view angles of an image."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

#: Widths of the levels; the first works on blocks of 2 x 2 pixels.
WIDTHS = (24, 48, 96)
#: Cells along each side of the map from which angles are read, and width of their hidden layer.
CELLS, HIDDEN = 4, 64


class Predictions(NamedTuple):
    """Outputs for images `[B, 1, H, W]`.

    Attributes:
        masks: logits `[B, structures, H, W]`.
        heat: logits of the place of each landmark `[B, landmarks, H, W]`.
        angles: cosine and sine of each angle, before scaling to length 1 `[B, angles, 2]`.
    """

    masks: Tensor
    heat: Tensor
    angles: Tensor


def _block(inputs: int, outputs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width in (inputs, outputs):
        layers += [nn.Conv2d(width, outputs, 3, padding=1), nn.GroupNorm(8, outputs), nn.SiLU()]
    return nn.Sequential(*layers)


class TaskNet(nn.Module):
    """A U-Net whose last level gives maps, and whose deepest gives angles.

    Sides of images must be multiples of 8.
    """

    def __init__(self, structures: int, landmarks: int, angles: int) -> None:
        super().__init__()
        self.structures, self.angles = structures, angles
        first, second, third = WIDTHS
        self.down = nn.ModuleList([_block(4, first), _block(first, second), _block(second, third)])
        self.up = nn.ModuleList([_block(third + second, second), _block(second + first, first)])
        self.maps = nn.Conv2d(first, 4 * (structures + landmarks), 1)
        self.view = nn.Sequential(
            nn.AdaptiveAvgPool2d(CELLS),
            nn.Flatten(),
            nn.Linear(third * CELLS**2, HIDDEN),
            nn.SiLU(),
            nn.Linear(HIDDEN, 2 * angles),
        )

    def forward(self, images: Tensor) -> Predictions:
        """Images `[B, 1, H, W]` in [0, 1]."""
        x, skipped = functional.pixel_unshuffle(images - 0.5, 2), []
        for level, block in enumerate(self.down):
            x = block(functional.avg_pool2d(x, 2) if level else x)
            skipped.append(x)
        angles = self.view(x).unflatten(1, (self.angles, 2))
        for block, other in zip(self.up, reversed(skipped[:-1]), strict=True):
            x = block(torch.cat([functional.interpolate(x, scale_factor=2.0), other], dim=1))
        maps = functional.pixel_shuffle(self.maps(x), 2)
        return Predictions(maps[:, : self.structures], maps[:, self.structures :], angles)
