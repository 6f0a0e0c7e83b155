"""DSBM: diffusion Schrödinger bridge matching by iterated Markovian fitting (arXiv 2303.16852).

Brownian bridges of total variance sigma² lead from images of the source to images of the target.
One network v(x, t, a, b) learns the drift from a to b by the time t since a, E[(x1 - x_t) / (1-t) |
x_t]: it is the forward network of the pair (a, b) and the backward network of (b, a), which the
authors have as two for each pair of domains.

Training is by stages (algorithm 1). The first matches bridges between independent images. Each
round then makes images b' from real images a with the averaged network, and matches bridges from b'
back to a: the trained end is always a real one. All pairs take a round at once, where the authors
take turns. The first stage takes 3/5 of the training images, the rounds share the others equally.
With rounds=0 it is bridge matching, another method.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from typing import ClassVar

import torch
from torch import Tensor

from xbench.core.hashing import seed_from
from xbench.methods import ode
from xbench.methods.base import TrainData, setting
from xbench.methods.bridges import (
    BridgeMethod,
    StagedLearner,
    draw_pairs,
    velocity,
    with_settings,
)
from xbench.methods.conditional import ConditionalConfig
from xbench.methods.diffusion import endless_noise
from xbench.methods.medshift import TIME_SCALE
from xbench.methods.training import Batch

#: The share of the training images that the first stage takes.
FIRST = 0.6
#: Times of training are at least this far from 0 and 1 (official).
CLIP = 1e-4
#: Images that the network works on at once when a round's images are made.
CHUNK = 64

#: The drift of images `[B, C, h, w]` by the time since they left: 0 to 1.
Drift = Callable[[Tensor, float], Tensor]


class DsbmConfig(ConditionalConfig):
    """Bridges, rounds and sampler."""

    sigma: float = setting(
        0.1, "train", "deviation of the Brownian motion, image values from -1 to 1", gt=0
    )
    rounds: int = setting(2, "train", "Markovian projections after the first", ge=0)
    cache: int = setting(
        40, "train", "images of each pair that a round makes and learns from", ge=1
    )
    cache_steps: int = setting(10, "train", "sampler steps by which a round makes them", ge=1)
    noise: float = setting(
        1.0, "infer", "1: the SDE as trained, 0: the ODE of the same marginals", ge=0, le=1
    )
    evaluations: int = setting(
        16, "infer", "network evaluations per image at most (official: 30 to 100)", ge=1
    )

    def identity(self) -> dict[str, object]:
        """Without the cache where there is no round."""
        values = super().identity()
        if not self.rounds:
            del values["cache"], values["cache_steps"]
        return values


class Dsbm(BridgeMethod):
    """Walk from the source image along the learned Schrödinger bridge."""

    name = "dsbm"
    about = "diffusion Schrödinger bridge matching, rounds of IMF (arXiv 2303.16852)"
    Config = DsbmConfig
    config: DsbmConfig
    by_profile = with_settings(
        smoke={"cache": 2, "cache_steps": 4},
        quick={"noise": 0.1},
        medium={"noise": 0.1},
        standard={"rounds": 10, "cache": 200, "cache_steps": 30, "evaluations": 30},
        paper={"rounds": 20, "cache": 400, "cache_steps": 30, "evaluations": 30},
    )
    knob = "noise"
    factors: ClassVar = {"quick": 4}
    tuned: ClassVar = {"noise": (0.0, 0.1, 0.5, 1.0)}
    stochastic = True
    objective = "bridge-matching-v1"

    def make_learner(self, data: TrainData, seed: int) -> "DsbmLearner":
        """Bridge matching, and its rounds."""
        return DsbmLearner(self, data, seed)

    def evaluations(self) -> int:
        """One per step; below noise 1 the drift back, too."""
        return self.steps() * self.calls

    @property
    def calls(self) -> int:
        """Network evaluations of one step."""
        return 1 if self.config.noise == 1 else 2

    def steps(self) -> int:
        """Sampler steps that `evaluations` allows."""
        return max(1, self.config.evaluations // self.calls)

    def lead(
        self, x: Tensor, source: str, target: str, generators: Sequence[torch.Generator]
    ) -> Tensor:
        """Sample a path."""
        config = self.config
        there, back = self.field(source, target), self.field(target, source)
        noises = endless_noise(x, generators)
        return walk(there, back, x, self.steps(), config.sigma, config.noise, noises)


def walk(
    there: Drift,
    back: Drift,
    x: Tensor,
    steps: int,
    sigma: float,
    noise: float,
    noises: Iterator[Tensor],
) -> Tensor:
    """Euler-Maruyama steps of equal length from x at time 0 to 1, the last one without noise.

    The drifts there and back add up to sigma² times the score of the marginal at their time. So
    with a share `noise` of the noise, the drift there less (1 - noise²) / 2 of that sum keeps the
    marginals: at 1 this is the SDE, at 0 the probability-flow ODE, of drift (there - back) / 2.
    """
    length = 1 / steps
    for k in range(steps):
        drift = there(x, k * length)
        if noise < 1:
            drift = drift - (1 - noise**2) / 2 * (drift + back(x, 1 - k * length))
        x = x + length * drift
        if noise > 0 and k < steps - 1:
            x = x + noise * sigma * math.sqrt(length) * next(noises)
    return x


class DsbmLearner(StagedLearner):
    """Regression of the drift of bridges: x_t = (1-t) x0 + t x1 + sigma sqrt(t (1-t)) noise.

    The target is (x1 - x_t) / (1-t), where the official weight sigma sqrt(1-t) of the error bounds
    the loss; its factor sigma, which only decides where gradients are clipped, is left out.
    """

    config: DsbmConfig
    #: Label of a pair → images made in its source, and the real ones of its target that they were
    #: made of; and the stage that they belong to.
    made: dict[int, tuple[Tensor, Tensor]]
    made_for: int = 0

    def later_stages(self) -> list[float]:
        """The rounds share what the first stage leaves."""
        rounds = self.config.rounds
        return [FIRST + (1 - FIRST) * n / rounds for n in range(rounds)]

    def prepare(self, step: int, steps: int) -> None:
        """At the start of a round, or when it is resumed, make its images."""
        super().prepare(step, steps)
        if self.made_for != self.stage:
            domains = range(len(self.method.domains))
            pairs = [(a, b) for a in domains for b in domains if a != b]
            self.made = dict(self.make(a, b) for a, b in pairs)
            self.made_for = self.stage

    @torch.no_grad()
    def make(self, a: int, b: int) -> tuple[int, tuple[Tensor, Tensor]]:
        """The label of (b, a), images `[cache, C, h, w]` made in b, and the real ones of a."""
        config, device, number = self.config, self.method.device, self.config.cache
        seed = seed_from(self.seed, "cache", self.stage, a, b)
        generator = torch.Generator(device).manual_seed(seed)
        real = self.images(torch.full((number,), a, device=device), generator)
        made = []
        for x in real.split(CHUNK):
            noises = (torch.randn(x.shape, generator=generator, device=device) for _ in count())
            there, back = self.drift(a, b), self.drift(b, a)
            made.append(walk(there, back, x, config.cache_steps, config.sigma, 1.0, noises))
        label = b * len(self.method.domains) + a
        return label, (torch.cat(made), real)

    def drift(self, a: int, b: int) -> ode.Field:
        """The drift from a to b of the network that this stage began with."""
        net, label = self.networks["maker"], a * len(self.method.domains) + b

        def field(x: Tensor, t: float) -> Tensor:
            labels = torch.full((len(x),), label, device=x.device)
            return velocity(net, x, t, labels, self.method.computing)

        return field

    def draw(self, generator: torch.Generator) -> Batch:
        """Pairs of domains, ends of bridges, noise and times."""
        device = self.method.device
        source, target = draw_pairs(len(self.method.domains), self.batch, generator, device)
        labels = self.labels(source, target)
        if self.stage:
            size = (self.batch,)
            places = torch.randint(self.config.cache, size, generator=generator, device=device)
            chosen = list(zip(labels.tolist(), places.tolist(), strict=True))
            start, end = (
                torch.stack([self.made[label][side][place] for label, place in chosen])
                for side in (0, 1)
            )
        else:
            start, end = (self.images(domains, generator) for domains in (source, target))
        noise = torch.randn(start.shape, generator=generator, device=device)
        time = torch.rand(self.batch, generator=generator, device=device).clamp(CLIP, 1 - CLIP)
        return {"labels": labels, "start": start, "end": end, "noise": noise, "time": time}

    def losses(self, batch: Batch) -> Iterator[tuple[str, dict[str, Tensor]]]:
        """Mean squared error of the drift, weighted by 1 - t."""
        start, end, time = batch["start"], batch["end"], batch["time"]
        t = time[:, None, None, None]
        point = (
            (1 - t) * start + t * end + self.config.sigma * (t * (1 - t)).sqrt() * batch["noise"]
        )
        net = self.networks["net"]
        drift = net(point, time * TIME_SCALE, class_labels=batch["labels"]).sample.float()
        error = (1 - t).sqrt() * drift - (end - point) / (1 - t).sqrt()
        yield "net", {"bridge": error.square().mean()}
