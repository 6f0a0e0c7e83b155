"""Training images kept on a GPU as 16-bit grey values, so that drawing a batch copies nothing.

A table of all grey values, made by `from_pixels` on the CPU, turns them into floats: the values are
those of `Images`, to the last bit, on every device.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from xbench.core.compute import Compute
from xbench.core.pixels import WHITE, from_pixels
from xbench.datasets.base import Images

#: Share of a GPU's free memory that training images may take.
SHARE = 0.25


class Resident:
    """Images of several domains on a device, by domain and by a number that chooses one.

    >>> pixels = np.array([[[0]], [[65535]]], np.uint16)
    >>> table = Resident([Images([pixels])], torch.device("cpu"))
    >>> table.choose(torch.tensor([0, 0]), torch.tensor([0.1, 0.9])).flatten().tolist()
    [0.0, 1.0]
    """

    def __init__(self, images: Sequence[Images], device: torch.device) -> None:
        counts = [len(own) for own in images]
        self.counts = torch.tensor(counts, device=device)
        self.starts = self.counts.cumsum(0) - self.counts
        # As signed numbers: few operations take unsigned ones of 16 bits.
        parts = [torch.from_numpy(own.pixels().view(np.int16)).to(device) for own in images]
        self.store = torch.cat(parts)
        greys = np.arange(WHITE + 1, dtype=np.uint16)
        self.table = from_pixels(greys[None, None]).flatten().to(device)

    def choose(self, domains: Tensor, chance: Tensor) -> Tensor:
        """Images `[B, 1, H, W]` of domains `[B]`: place `int(chance * n)` of the n of each.

        On a GPU nothing waits for the result.
        """
        counts = self.counts[domains]
        # In float64, as Python computes: in float32 the product could round up to n.
        return self.at(self.starts[domains] + (chance.double() * counts).long())

    def at(self, rows: Tensor) -> Tensor:
        """Images `[B, 1, H, W]` at rows `[B]` of all domains, one after the other."""
        greys = self.store[rows].long() & WHITE
        return self.table[greys].unsqueeze(1)


def resident(images: Sequence[Images], compute: Compute, device: torch.device) -> Resident | None:
    """The images on a device if the settings say so; by default on a GPU if they fit easily.

    None for images of another kind, whose values need not be those of 16 bits.
    """
    if compute.resident == "off" or (compute.resident == "auto" and device.type != "cuda"):
        return None
    # A child may choose other pixels, but not turn them into other values.
    plain = all(type(own).__getitem__ is Images.__getitem__ for own in images)
    shapes = {tuple(own[0].shape) for own in images if len(own)}
    if not plain or len(shapes) != 1 or not all(map(len, images)):
        return None
    if compute.resident == "auto":
        room = SHARE * torch.cuda.mem_get_info(device)[0]
        (shape,) = shapes
        if 2 * int(np.prod(shape)) * sum(map(len, images)) > room:
            return None
    return Resident(images, device)
