"""SDEdit (arXiv 2108.01073): noise the image, denoise it under the target's label."""

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from xbench.methods.base import Cost, setting
from xbench.methods.diffusion import (
    DiffusionConfig,
    DiffusionMethod,
    Predict,
    Signal,
    descend,
    endless_noise,
    make_levels,
    mix,
)


class SDEditConfig(DiffusionConfig):
    """Settings of SDEdit."""

    strength: float = setting(
        0.5, "infer", "share of the levels: 0 keeps, 1 renews (official: 0.4 or 0.5)", ge=0, le=1
    )


def sdedit(
    predict: Predict, signal: Signal, levels: Sequence[int], x: Tensor, noises: Iterator[Tensor]
) -> Tensor:
    """Noise x to the first of the levels, then walk down with DDPM's ancestral steps."""
    start = mix(x, next(noises), signal[levels[0]])
    return descend(predict, signal, levels, start, 1.0, noises)


class SDEdit(DiffusionMethod):
    """The source domain plays no part: only the target's label is used."""

    name = "sdedit"
    about = "noise the image, denoise it under the target's label (arXiv 2108.01073)"
    Config = SDEditConfig
    config: SDEditConfig
    knob = "strength"
    stochastic = True
    inference: ClassVar[dict[str, dict[str, Any]]] = {
        "smoke": {"steps": 10},
        "quick": {"steps": 50, "strength": 0.4},
        "standard": {"steps": 100},
    }

    def levels(self) -> list[int]:
        """Levels from the strength's down to the clean image."""
        return make_levels(self.config.strength, self.config.steps, self.config.grid)

    def cost(self) -> Cost:
        """One evaluation per step."""
        params = self.params()
        return Cost(params=params, params_total=params, nfe=len(self.levels()) - 1)

    @torch.inference_mode()
    def translate(
        self, images: Tensor, source: str, target: str, *, generators: Sequence[torch.Generator]
    ) -> Tensor:
        """Noise and denoise, once (the official demo repeats it three times)."""
        x = self.encode(images)
        noises = endless_noise(x, generators)
        return self.decode(
            sdedit(self.predictor(target), self.signal, self.levels(), x, noises), images
        )
