"""Identity: the source image unchanged, which every method must beat."""

from collections.abc import Sequence

import torch
from torch import Tensor

from xbench.methods.base import Method


class Identity(Method):
    """Returns its input."""

    name = "identity"
    about = "the source image unchanged (reference)"

    def translate(
        self, images: Tensor, source: str, target: str, *, generators: Sequence[torch.Generator]
    ) -> Tensor:
        """Return the images."""
        return images
