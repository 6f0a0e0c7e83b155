"""SDEdit (arXiv 2108.01073): noise the image, denoise it under the target's label."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from xbench.methods.base import setting
from xbench.methods.diffusion import (
    DiffusionConfig,
    DiffusionMethod,
    Predict,
    Signal,
    descend,
    endless_noise,
    mix,
    with_inference,
)


class SDEditConfig(DiffusionConfig):
    """Settings of SDEdit."""

    strength: float = setting(
        0.5, "infer", "share of the levels: 0 keeps, 1 renews (official: 0.4 or 0.5)", ge=0, le=1
    )


def sdedit(
    predict: Predict, signal: Signal, levels: Sequence[int], x: Tensor, noises: Iterator[Tensor]
) -> Tensor:
    """Add noise to x up to the first level, then walk down with DDPM's ancestral steps."""
    start = mix(x, next(noises), signal[levels[0]])
    return descend(predict, signal, levels, start, 1.0, noises)


class SDEdit(DiffusionMethod):
    """Uses only the target's label; the source domain has no effect."""

    name = "sdedit"
    about = "noise the image, denoise it under the target's label (arXiv 2108.01073)"
    Config = SDEditConfig
    config: SDEditConfig
    knob = "strength"
    stochastic = True
    by_profile = with_inference(
        smoke={"steps": 10},
        quick={"steps": 50, "strength": 0.4},
        medium={"steps": 50, "strength": 0.4},
        standard={"steps": 100},
    )

    def evaluations(self) -> int:
        """One per step."""
        return len(self.levels(self.config.strength)) - 1

    @torch.inference_mode()
    def translate(
        self, images: Tensor, source: str, target: str, *, generators: Sequence[torch.Generator]
    ) -> Tensor:
        """Noise and denoise, once (the official demo repeats it three times)."""
        x = self.encode(images)
        levels, noises = self.levels(self.config.strength), endless_noise(x, generators)
        return self.decode(sdedit(self.predictor(target), self.signal, levels, x, noises), images)
