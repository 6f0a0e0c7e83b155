"""One class-conditional diffusion model (DDPM, arXiv 2006.11239) as a flow from noise to image.

The network learns at 1000 noise levels. At level i an image is sqrt(a_i) image +
sqrt(1 - a_i) noise, where the signal a_i falls from 1 to 0. Up to a factor, that is the
state of the path of `flow` at the time with the same signal. A step of DDIM (arXiv 2010.02502) is
the Euler step of the flow whose velocity is the predicted image minus the predicted noise. So the
methods here take MedShift's times, solvers and numbers of evaluations.
"""

import math
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import pairwise
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from xbench.methods import ode, training
from xbench.methods.base import TrainData, normals, setting
from xbench.methods.conditional import ConditionalLearner, ConditionalMethod
from xbench.methods.flow import SIGNALS, TRIED_SOLVERS, FlowConfig, FlowMethod, signal_of, time_of

#: Noise levels of training, as in every official code of the family.
LEVELS = 1000


class DiffusionConfig(FlowConfig):
    """Settings that SDEdit, DDIB and CycleDiffusion have in common; they share one training."""

    betas: Literal["linear", "cosine"] = setting(
        "linear", "train", "noise schedule: DDPM's 1e-4 to 0.02, or arXiv 2102.09672's"
    )
    predicts: Literal["epsilon", "v"] = setting(
        "epsilon", "train", "what the network predicts: the noise (DDPM), or v (arXiv 2202.00512)"
    )
    decay: bool = setting(True, "train", "warm up and decay the learning rate (official: constant)")
    signal: float = setting(
        0.0, "infer", "signal a of the noisiest state: 1 keeps the image, 0 renews it", ge=0, le=1
    )

    def in_other_words(self) -> dict[str, str]:
        """The time of the path at this signal."""
        return {"signal": f"tau={time_of(self.signal):.3g}"}


#: What `quick` and `medium` have in common.
SMALL: dict[str, Any] = dict(
    channels=(32, 64, 96), layers=1, attention=(False, False, True), batch=16,
    learning_rate=2e-3, betas="cosine", predicts="v",
)  # fmt: skip
#: Network and optimiser by profile. `paper` has the network of the official DDPM for 256 pixels.
SETTINGS: dict[str, dict[str, Any]] = {
    "smoke": dict(
        channels=(16, 32), layers=1, attention=(False, False), batch=16,
        betas="cosine", predicts="v",
    ),
    "quick": SMALL,
    "medium": SMALL | {"factor": 4},
    "standard": dict(
        factor=4, channels=(128, 256, 256, 256), attention=(False, False, True, True),
        learning_rate=3e-4, weight_decay=0.0,
    ),
    "paper": dict(
        factor=1, channels=(128, 128, 256, 256, 512, 512),
        attention=(False, False, False, False, True, False), batch=64, accumulate=8,
        learning_rate=1e-4, weight_decay=0.0, ema=0.9999, decay=False,
    ),
}  # fmt: skip


def with_inference(**changes: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """`SETTINGS` and, by profile, the settings of a method that do not touch the training."""
    return {profile: values | changes.get(profile, {}) for profile, values in SETTINGS.items()}


class Prediction(NamedTuple):
    """The parts of a noisy image as a network predicts them: the clean image, and unit noise."""

    clean: Tensor
    noise: Tensor


def make_signal(betas: Literal["linear", "cosine"]) -> list[float]:
    """The signal of every level under diffusers' noise schedules, in float64."""
    from diffusers import DDIMScheduler

    names = {"linear": "linear", "cosine": "squaredcos_cap_v2"}
    scheduler = DDIMScheduler(num_train_timesteps=LEVELS, beta_schedule=names[betas])
    left: list[float] = (1 - scheduler.betas.double()).cumprod(0).tolist()
    return left


class Schedule:
    """The level of a time, between the levels of training too, for the network's embedding."""

    def __init__(self, betas: Literal["linear", "cosine"]) -> None:
        times = np.array([time_of(signal) for signal in make_signal(betas)])
        #: Log signal-to-noise ratio of each level, halved and negated, so that it rises.
        self._noisiness = np.log((1 - times) / times)

    def level(self, time: float) -> float:
        """The level of a time; times beyond the first and the last level count as these.

        The clean image is treated as one of level 0.
        """
        if time in (0, 1):
            return float((1 - time) * (LEVELS - 1))
        noisiness = math.log((1 - time) / time)
        return float(np.interp(noisiness, self._noisiness, np.arange(LEVELS)))

    def time(self, level: float) -> float:
        """The time of a level: the inverse of `level`."""
        return 1 / (1 + math.exp(np.interp(level, np.arange(LEVELS), self._noisiness)))


def read(output: Tensor, x: Tensor, a: float, predicts: Literal["epsilon", "v"]) -> Prediction:
    """The prediction that a network's output stands for.

    Args:
        output: of the network, `[B, C, H, W]`.
        x: what the network saw, sqrt(a) image + sqrt(1 - a) noise.
        a: the signal of x.
        predicts: what the network was trained to predict.
    """
    if predicts == "v":
        return Prediction(
            math.sqrt(a) * x - math.sqrt(1 - a) * output,
            math.sqrt(a) * output + math.sqrt(1 - a) * x,
        )
    return Prediction((x - math.sqrt(1 - a) * output) / math.sqrt(a), output)


def mix(clean: Tensor, noise: Tensor, t: float) -> Tensor:
    """The noisy image at time t of the path."""
    return t * clean + (1 - t) * noise


def toward(x: Tensor, slope: Tensor, t: float, later: float, eta: float) -> tuple[Tensor, float]:
    """Mean and standard deviation of a step of DDIM (2010.02502) from time t to a later one.

    With `eta` 0 it is deterministic, x + (later - t) slope; 1 is DDPM's posterior (the smaller of
    its two variances).

    Args:
        x: the noisy image at time t.
        slope: clean image minus noise, over the step.
        t: where x is.
        later: where the step leads.
        eta: share of fresh noise (0: deterministic, 1: ancestral).
    """
    clean, noise = x + (1 - t) * slope, x - t * slope
    ratio = (1 - later) / later * t / (1 - t)
    sigma = eta * (1 - later) * math.sqrt(1 - ratio**2)
    return later * clean + math.sqrt((1 - later) ** 2 - sigma**2) * noise, sigma


def slope(field: ode.Field, solver: ode.Solver, x: Tensor, t: float, later: float) -> Tensor:
    """The velocity over a step as the solver sees it: the step divided by its length."""
    step, _ = ode.SOLVERS[solver]
    return (step(field, x, t, later - t) - x) / (later - t)


def descend(
    field: ode.Field,
    solver: ode.Solver,
    times: Sequence[float],
    x: Tensor,
    eta: float,
    noises: Iterator[Tensor],
) -> Tensor:
    """Walk x along rising times; each step but the one onto the image takes one noise."""
    for t, later in pairwise(times):
        x, sigma = toward(x, slope(field, solver, x, t, later), t, later, eta)
        if sigma > 0:
            x = x + sigma * next(noises)
    return x


def with_hint(x: Tensor, hint: Tensor | None) -> Tensor:
    """What a network sees: x, and the channels without noise beside it, if any."""
    return x if hint is None else torch.cat([x, hint.to(x.dtype)], dim=1)


def endless_noise(like: Tensor, generators: Sequence[torch.Generator]) -> Iterator[Tensor]:
    """Yield unit noise of this shape and dtype forever, each image's from its own generator."""
    while True:
        yield normals(generators, *like.shape[1:], dtype=like.dtype)


class DiffusionMethod(FlowMethod):
    """A method on the diffusion model; nothing is clipped, which would break inversion."""

    config: DiffusionConfig
    objective = "denoising-v1"
    knob = "signal"
    factors: ClassVar = {"quick": 4}
    tuned: ClassVar = {"signal": SIGNALS, "solver": TRIED_SOLVERS}

    @cached_property
    def schedule(self) -> Schedule:
        """Levels of times."""
        return Schedule(self.config.betas)

    @property
    def tau(self) -> float:
        """Time of the path at the knob's signal."""
        return time_of(self.config.signal)

    def make_learner(self, data: TrainData, seed: int) -> "DenoisingLearner":
        """The same for all methods of the family, so that they share one training."""
        return DenoisingLearner(self, data, seed)

    def field(self, domain: str, hint: Tensor | None = None) -> ode.Field:
        """The velocity of a domain: predicted image minus predicted noise.

        Args:
            domain: its label.
            hint: channels without noise `[B, c, h, w]`, for a network that sees such beside x.
        """
        label = self.domains.index(domain)

        def velocity(x: Tensor, t: float) -> Tensor:
            level = self.schedule.level(t)
            levels = torch.full((len(x),), level, device=x.device)
            labels = torch.full((len(x),), label, device=x.device)
            seen = x / math.hypot(t, 1 - t)
            output = self.predict(with_hint(seen, hint), levels, labels)
            a = signal_of(self.schedule.time(level))
            parts = read(output, seen, a, self.config.predicts)
            return parts.clean - parts.noise

        return velocity


class DenoisingLearner(ConditionalLearner):
    """Regression of the noise, or of v, at random levels."""

    config: DiffusionConfig

    def __init__(self, method: ConditionalMethod, data: TrainData, seed: int) -> None:
        super().__init__(method, data, seed)
        self.signal = torch.tensor(make_signal(self.config.betas), device=method.device)

    def schedule(self, step: int, steps: int) -> float:
        """Constant if `decay` is off."""
        return super().schedule(step, steps) if self.config.decay else 1.0

    def draw(self, generator: torch.Generator) -> training.Batch:
        """Domains, images, noise and levels; every level is as likely as the others."""
        batch = super().draw(generator)
        device = self.method.device
        batch["level"] = torch.randint(LEVELS, (self.batch,), generator=generator, device=device)
        return batch

    def losses(self, batch: training.Batch) -> Iterator[tuple[str, dict[str, Tensor]]]:
        """Mean squared error of the network's prediction."""
        data, noise = batch["data"], batch["noise"]
        a = self.signal[batch["level"]][:, None, None, None]
        noisy = a.sqrt() * data + (1 - a).sqrt() * noise
        wanted = noise
        if self.config.predicts == "v":
            wanted = a.sqrt() * noise - (1 - a).sqrt() * data
        net = self.networks["net"]
        seen = with_hint(noisy, batch.get("hint"))
        predicted = net(seen, batch["level"], class_labels=batch["labels"]).sample
        yield "net", {"denoising": functional.mse_loss(predicted.float(), wanted)}
