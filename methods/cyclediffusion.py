"""CycleDiffusion (arXiv 2210.05559): record the noise of a random path to the image, replay it.

A random path from noise to the source image is drawn from the known posterior. The part of each
step that the source's model does not predict is its noise; the target's model gets the same noise.
The noises are made when they are used. The official code stores them, which would take the memory
of 850 images per image in the 1000-step setting (0.9 GB at 512 x 512 pixels).
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor

from xbench.methods import ode
from xbench.methods.base import setting
from xbench.methods.diffusion import (
    DiffusionConfig,
    DiffusionMethod,
    descend,
    endless_noise,
    mix,
    slope,
    toward,
    with_inference,
)
from xbench.methods.flow import SIGNALS, TRIED_SOLVERS, time_of
from xbench.methods.sdedit import sdedit


class CycleDiffusionConfig(DiffusionConfig):
    """Settings of CycleDiffusion."""

    signal: float = setting(
        0.00067, "infer", "signal a at the start of the path: 1 keeps the image "
        "(official: 0.00067, 850 of 1000 levels of linear betas)",
        ge=0, le=1,
    )  # fmt: skip
    evaluations: int = setting(
        1799, "infer", "network evaluations per image, all ways (official: one per level)", ge=1
    )
    solver: ode.Solver = setting("euler", "infer", "drift of a step (official: euler)")
    eta: float = setting(
        0.1, "infer", "noise per step: 1 as much as DDPM; 0 leaves none to record", gt=0, le=1
    )
    refine: float = setting(
        0.897, "infer", "signal of a final SDEdit, 1 for none (official: 0.897, 100 levels)",
        gt=0, le=1,
    )  # fmt: skip


def record(
    field: ode.Field,
    solver: ode.Solver,
    times: Sequence[float],
    image: Tensor,
    eta: float,
    noises: Iterator[Tensor],
) -> Iterator[Tensor]:
    """Yield the start of a random path up to the image, then the noise of each step.

    The last step, onto the clean image, has no noise.
    """
    x = mix(image, next(noises), times[0])
    yield x
    for t, later in pairwise(times[:-1]):
        truth = (image - x) / (1 - t)
        mean, sigma = toward(x, truth, t, later, eta)
        following = mean + sigma * next(noises)
        mean, _ = toward(x, slope(field, solver, x, t, later), t, later, eta)
        yield (following - mean) / sigma
        x = following


class CycleDiffusion(DiffusionMethod):
    """Records noise under the source's label and replays it under the target's."""

    name = "cyclediffusion"
    version = 2
    about = "noises of a random path, recorded and replayed (arXiv 2210.05559)"
    Config = CycleDiffusionConfig
    config: CycleDiffusionConfig
    stochastic = True
    tuned: ClassVar = {
        "signal": SIGNALS,
        "eta": (0.1, 1.0),
        "refine": (0.897, 1.0),
        "solver": TRIED_SOLVERS,
    }
    by_profile = with_inference(
        smoke={"evaluations": 10, "refine": 1.0},
        quick={"evaluations": 16, "solver": "midpoint", "signal": 0.08, "eta": 1.0, "refine": 1.0},
        medium={"evaluations": 16, "solver": "euler", "signal": 0.026, "eta": 1.0, "refine": 1.0},
        standard={"evaluations": 200},
    )

    def ways(self) -> tuple[list[float], list[float]]:
        """Rising times of the recorded and replayed path, and of the final SDEdit.

        The steps are shared in proportion to their lengths; recording leaves its last step out.
        """
        start, restart = self.tau, time_of(self.config.refine)
        ratio = (1 - restart) / (1 - start) if start < 1 else 0.0
        allowed = self.config.evaluations / self.order
        steps = max(1, int((allowed + 1) / (2 + ratio)))
        grid, again = self.config.grid, max(1, round(steps * ratio))
        return ode.times(start, steps, grid)[::-1], ode.times(restart, again, grid)[::-1]

    def evaluations(self) -> int:
        """One per step and way, except for the last recorded step, and one per refining step."""
        path, refine = (len(way) - 1 for way in self.ways())
        return (max(0, 2 * path - 1) + refine) * self.order

    @torch.inference_mode()
    def translate(
        self, images: Tensor, source: str, target: str, *, generators: Sequence[torch.Generator]
    ) -> Tensor:
        """Record and replay step by step, then refine."""
        solver, eta, (path, refine) = self.config.solver, self.config.eta, self.ways()
        x = self.encode(images)
        noises = endless_noise(x, generators)
        recorded = record(self.field(source), solver, path, x, eta, noises)
        start, field = next(recorded), self.field(target)
        y = descend(field, solver, path, start, eta, recorded)
        if len(refine) > 1:
            y = sdedit(field, solver, refine, y, 1.0, noises)
        return self.decode(y, images)
