"""DDIB (arXiv 2203.08382): encode under the source's label, decode under the target's.

Both ways take DDIM's deterministic steps. The official code differs: on the way up it is one
level off (it takes the clean image for one of level 0 and the last code for one without signal);
its image demo clips and adds a classifier's guidance on the way down, which breaks the cycle.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from xbench.methods.base import setting
from xbench.methods.diffusion import (
    DiffusionConfig,
    DiffusionMethod,
    Predict,
    Signal,
    descend,
    mix,
    with_inference,
)


class DDIBConfig(DiffusionConfig):
    """Settings of DDIB."""

    depth: float = setting(
        1.0, "infer", "share of the levels that is encoded (official: all)", ge=0, le=1
    )


def ascend(predict: Predict, signal: Signal, levels: Sequence[int], x: Tensor) -> Tensor:
    """Walk the clean image x up to the first of `levels`, which are sorted from the top down.

    The noise is predicted at the level of x, as in the official code; diffusers' inverse
    scheduler predicts it at the next level up. For the clean image it is predicted at level 0.
    """
    for level, higher in pairwise(reversed(levels)):
        a = signal[level]
        noise = predict(x, max(level, 0)).noise
        clean = (x - math.sqrt(1 - a) * noise) / math.sqrt(a)
        x = mix(clean, noise, signal[higher])
    return x


class DDIB(DiffusionMethod):
    """Deterministic codes link the domains: images are encoded into noise and decoded from it."""

    name = "ddib"
    about = "deterministic codes under the source's, images under the target's label (2203.08382)"
    Config = DDIBConfig
    config: DDIBConfig
    knob = "depth"
    by_profile = with_inference(
        smoke={"steps": 5},
        quick={"steps": 20, "grid": 1.5},
        medium={"steps": 20, "grid": 1.5},
        standard={"steps": 100},
    )

    def evaluations(self) -> int:
        """One per step, each way."""
        return 2 * (len(self.levels(self.config.depth)) - 1)

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
        levels = self.levels(self.config.depth)
        code = ascend(self.predictor(source), self.signal, levels, self.encode(images))
        return {
            target: self.decode(descend(self.predictor(target), self.signal, levels, code), images)
            for target in targets
        }
