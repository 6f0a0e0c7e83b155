"""Shuffle: a random training image of the target domain. What realism alone is worth."""

from collections.abc import Sequence

import torch
from torch import Tensor

from xbench.methods.base import Method, TrainData


class Shuffle(Method):
    """Ignores the source: its outputs are as real as can be, and show other heads."""

    name = "shuffle"
    about = "a random training image of the target domain (reference: a cheat)"
    any_size = False
    stochastic = True

    def setup(self, data: TrainData) -> None:
        """Keep the training images."""
        self.training = {domain: data.train(domain) for domain in self.domains}

    def translate(
        self, images: Tensor, source: str, target: str, *, generators: Sequence[torch.Generator]
    ) -> Tensor:
        """Draw one training image for each image."""
        training = self.training[target]
        drawn = [torch.rand((), generator=g, device=g.device).item() for g in generators]
        return training[[int(share * len(training)) for share in drawn]].to(images)
