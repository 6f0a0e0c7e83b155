"""Floor: a second exposure of the true target. What no method can be expected to beat."""

from collections.abc import Sequence

import torch
from torch import Tensor

from xbench.methods.base import Method


class Floor(Method):
    """Returns what it is given, which is the target and not the source.

    Where a data set has no second exposures, it is given one half of the target's images, which
    are compared with the other half; its row is then called `floor[n/2]`.
    """

    name = "floor"
    about = "a second exposure of the true target (reference)"
    given = "target"

    def translate(
        self, images: Tensor, source: str, target: str, *, generators: Sequence[torch.Generator]
    ) -> Tensor:
        """Return the images."""
        return images
