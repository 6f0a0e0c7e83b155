"""Nearest: the training image of the target domain that is most like the source."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from xbench.methods.base import Method, TrainData

#: Training images compared at once.
BATCH = 256


class Nearest(Method):
    """Retrieves instead of translating: real images of similar views, and of other heads."""

    name = "nearest"
    about = "the most similar training image of the target domain (reference: a cheat)"
    any_size = False

    def setup(self, data: TrainData) -> None:
        """Keep the training images; their thumbnails are made when a domain is aimed at."""
        self.training = {domain: data.train(domain) for domain in self.domains}
        self._thumbnails: dict[str, Tensor] = {}

    def translate(
        self, images: Tensor, source: str, target: str, *, generators: Sequence[torch.Generator]
    ) -> Tensor:
        """The training image with the largest correlation on images averaged over 2 x 2 pixels."""
        training = self.training[target]
        if target not in self._thumbnails:
            parts = [
                thumbnails(training[start : start + BATCH])
                for start in range(0, len(training), BATCH)
            ]
            self._thumbnails[target] = torch.cat(parts)
        likeness = thumbnails(images.cpu()) @ self._thumbnails[target].T
        return training[likeness.argmax(1).tolist()].to(images)


def thumbnails(images: Tensor) -> Tensor:
    """Images [n, 1, H, W] averaged over 2 x 2 pixels, less their mean, of length 1: [n, p]."""
    small = functional.avg_pool2d(images, 2).flatten(1)
    return functional.normalize(small - small.mean(1, keepdim=True), dim=1)
