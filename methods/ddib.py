"""DDIB (arXiv 2203.08382): encode under the source's label, decode under the target's.

Both ways are DDIM's deterministic steps. Where the official code differs: it takes the clean
image for one of level 0 and the last code for one of no signal at all, one level off on the way
up; its image demo clips and adds a classifier's guidance on the way down, which breaks the cycle.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
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
    make_levels,
    mix,
)


class DDIBConfig(DiffusionConfig):
    """Settings of DDIB."""

    depth: float = setting(
        1.0, "infer", "share of the levels that is encoded (official: all)", ge=0, le=1
    )


def ascend(predict: Predict, signal: Signal, levels: Sequence[int], x: Tensor) -> Tensor:
    """Walk the clean image x up to the first of the levels (which are given top down).

    The noise is asked for at the level of x, as in the official code; diffusers' inverse
    scheduler asks at the next one up. The clean image counts as one of level 0 there.
    """
    for level, higher in pairwise(reversed(levels)):
        a = signal[level]
        noise = predict(x, max(level, 0)).noise
        clean = (x - math.sqrt(1 - a) * noise) / math.sqrt(a)
        x = mix(clean, noise, signal[higher])
    return x


class DDIB(DiffusionMethod):
    """Source and target meet in the latent code of the image."""

    name = "ddib"
    about = "deterministic codes under the source's, images under the target's label (2203.08382)"
    Config = DDIBConfig
    config: DDIBConfig
    knob = "depth"
    inference: ClassVar[dict[str, dict[str, Any]]] = {
        "smoke": {"steps": 5},
        "quick": {"steps": 20, "grid": 1.5},
        "standard": {"steps": 100},
    }

    def levels(self) -> list[int]:
        """Levels from the deepest down to the clean image."""
        return make_levels(self.config.depth, self.config.steps, self.config.grid)

    def cost(self) -> Cost:
        """One evaluation per step, each way."""
        params = self.params()
        return Cost(params=params, params_total=params, nfe=2 * (len(self.levels()) - 1))

    def translate(
        self, images: Tensor, source: str, target: str, *, generators: Sequence[torch.Generator]
    ) -> Tensor:
        """Deterministic: the generators are not used."""
        return self.translate_all(images, source, [target], generators={})[target]

    @torch.inference_mode()
    def translate_all(
        self,
        images: Tensor,
        source: str,
        targets: Sequence[str],
        *,
        generators: Mapping[str, Sequence[torch.Generator]],
    ) -> dict[str, Tensor]:
        """Encode once for all targets."""
        levels = self.levels()
        code = ascend(self.predictor(source), self.signal, levels, self.encode(images))
        return {
            target: self.decode(descend(self.predictor(target), self.signal, levels, code), images)
            for target in targets
        }
