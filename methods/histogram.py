"""Histogram matching: each image gets the grey-value distribution of the target domain."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from xbench.methods.base import Method, MethodConfig, TrainData, evenly_spaced, setting


class HistogramConfig(MethodConfig):
    """Settings of histogram matching."""

    references: int = setting(
        64, "infer", "training images of the target pooled into the reference (our choice)", ge=1
    )


class Histogram(Method):
    """scikit-image's `match_histograms` against pooled training images of the target domain."""

    name = "histogram"
    about = "grey values matched to the target domain's training images"
    Config = HistogramConfig
    config: HistogramConfig

    def setup(self, data: TrainData) -> None:
        """Pool evenly spaced training images of each domain into one reference image."""
        self.pooled = {}
        for domain in self.domains:
            images = evenly_spaced(data.train(domain), self.config.references)
            self.pooled[domain] = images.reshape(-1, images.shape[-1]).numpy()

    def translate(
        self, images: Tensor, source: str, target: str, *, generators: Sequence[torch.Generator]
    ) -> Tensor:
        """Match each image by itself, so that the batch has no effect."""
        from skimage.exposure import match_histograms

        reference = self.pooled[target]
        matched = [match_histograms(image[0].cpu().numpy(), reference) for image in images]
        return torch.from_numpy(np.stack(matched)).to(images).unsqueeze(1)
