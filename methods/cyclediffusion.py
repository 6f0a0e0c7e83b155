"""CycleDiffusion (arXiv 2210.05559): record the noise of a random path to the image, replay it.

A random path from noise to the source image is drawn from the known posterior. The part of each
step that the source's model does not predict is its noise; the target's model gets the same noise.
The noises are made when they are used. The official code stores them, which would take the memory
of 850 images per image in the 1000-step setting (0.9 GB at 512 x 512 pixels).
"""

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from xbench.methods.base import setting
from xbench.methods.diffusion import (
    DiffusionConfig,
    DiffusionMethod,
    Predict,
    Prediction,
    Signal,
    ddim_step,
    descend,
    endless_noise,
    mix,
    with_inference,
)
from xbench.methods.sdedit import sdedit


class CycleDiffusionConfig(DiffusionConfig):
    """Settings of CycleDiffusion."""

    strength: float = setting(
        0.85, "infer", "share of the levels that the path takes (official: 850 of 1000)", ge=0, le=1
    )
    eta: float = setting(
        0.1, "infer", "noise per step: 1 as much as DDPM; 0 leaves none to record", gt=0, le=1
    )
    refine: float = setting(
        0.1, "infer", "strength of a final SDEdit (official: 100 of 1000), 0 for none", ge=0, le=1
    )


def record(
    predict: Predict,
    signal: Signal,
    levels: Sequence[int],
    image: Tensor,
    eta: float,
    noises: Iterator[Tensor],
) -> Iterator[Tensor]:
    """Yield the start of a random path down to the image, then the noise of each step.

    The last step, onto the clean image, has no noise.
    """
    x = mix(image, next(noises), signal[levels[0]])
    yield x
    for level, lower in pairwise(levels[:-1]):
        a, b = signal[level], signal[lower]
        truth = Prediction(image, (x - math.sqrt(a) * image) / math.sqrt(1 - a))
        mean, sigma = ddim_step(truth, a, b, eta)
        following = mean + sigma * next(noises)
        mean, _ = ddim_step(predict(x, level), a, b, eta)
        yield (following - mean) / sigma
        x = following


class CycleDiffusion(DiffusionMethod):
    """Records noise under the source's label and replays it under the target's."""

    name = "cyclediffusion"
    about = "noises of a random path, recorded and replayed (arXiv 2210.05559)"
    Config = CycleDiffusionConfig
    config: CycleDiffusionConfig
    knob = "strength"
    stochastic = True
    by_profile = with_inference(
        smoke={"steps": 5},
        quick={"steps": 13, "grid": 1.5, "eta": 1.0, "refine": 0.0},
        medium={"steps": 13, "grid": 1.5, "eta": 1.0, "refine": 0.0},
        standard={"steps": 100},
    )

    def evaluations(self) -> int:
        """One per step and way, except for the last recorded step, and one per refining step."""
        steps = len(self.levels(self.config.strength)) - 1
        refine = len(self.levels(self.config.refine)) - 1
        return max(0, 2 * steps - 1) + refine

    @torch.inference_mode()
    def translate(
        self, images: Tensor, source: str, target: str, *, generators: Sequence[torch.Generator]
    ) -> Tensor:
        """Record and replay step by step, then refine."""
        config, signal = self.config, self.signal
        levels = self.levels(config.strength)
        x = self.encode(images)
        noises = endless_noise(x, generators)
        recorded = record(self.predictor(source), signal, levels, x, config.eta, noises)
        start = next(recorded)
        y = descend(self.predictor(target), signal, levels, start, config.eta, recorded)
        if config.refine:
            y = sdedit(self.predictor(target), signal, self.levels(config.refine), y, noises)
        return self.decode(y, images)
