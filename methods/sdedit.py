"""SDEdit (arXiv 2108.01073): noise the image, denoise it under the target's label."""

from collections.abc import Iterator, Sequence
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
    with_inference,
)
from xbench.methods.flow import SIGNALS, TRIED_SOLVERS


class SDEditConfig(DiffusionConfig):
    """Settings of SDEdit."""

    signal: float = setting(
        0.0786, "infer", "signal a of the noised image: 1 keeps, 0 renews "
        "(official: 0.0786 or 0.195, strengths .5 and .4 of linear betas)",
        ge=0, le=1,
    )  # fmt: skip
    evaluations: int = setting(
        500, "infer", "network evaluations per image (official: one per level)", ge=1
    )
    solver: ode.Solver = setting("euler", "infer", "drift of a step (official: euler)")
    eta: float = setting(1.0, "infer", "noise per step: 1 as much as DDPM (official)", ge=0, le=1)


def sdedit(
    field: ode.Field,
    solver: ode.Solver,
    times: Sequence[float],
    x: Tensor,
    eta: float,
    noises: Iterator[Tensor],
) -> Tensor:
    """Add noise to x as of the first of rising times, then walk back to the image."""
    start = mix(x, next(noises), times[0])
    return descend(field, solver, times, start, eta, noises)


class SDEdit(DiffusionMethod):
    """Uses only the target's label; the source domain has no effect."""

    name = "sdedit"
    version = 2
    about = "noise the image, denoise it under the target's label (arXiv 2108.01073)"
    Config: ClassVar[type[SDEditConfig]] = SDEditConfig
    config: SDEditConfig
    stochastic = True
    tuned: ClassVar = {"signal": SIGNALS, "eta": (0.0, 1.0), "solver": TRIED_SOLVERS}
    by_profile = with_inference(
        smoke={"evaluations": 10},
        quick={"evaluations": 16, "solver": "midpoint", "signal": 0.9},
        medium={"evaluations": 16, "solver": "euler", "signal": 0.9},
        standard={"evaluations": 100},
    )

    def times(self) -> list[float]:
        """Times from that of the noised image up to 1."""
        return ode.times(self.tau, self.steps(1), self.config.grid)[::-1]

    def evaluations(self) -> int:
        """Those of the one way."""
        return (len(self.times()) - 1) * self.order

    @torch.inference_mode()
    def translate(
        self, images: Tensor, source: str, target: str, *, generators: Sequence[torch.Generator]
    ) -> Tensor:
        """Noise and denoise, once (the official demo repeats it three times)."""
        config, x = self.config, self.encode(images)
        noises, field = endless_noise(x, generators), self.field(target)
        y = sdedit(field, config.solver, self.times(), x, config.eta, noises)
        return self.decode(y, images)
