"""One class-conditional diffusion model (DDPM, arXiv 2006.11239) and the steps that move by it.

A level is an index of the 1000 noise levels of training; level -1 is the image without noise.
At level i an image is x_i = sqrt(a_i) x + sqrt(1 - a_i) noise, its signal a_i falling from 1 to 0
(the literature's alpha-bar). Steps between levels are those of DDIM (arXiv 2010.02502).
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import pairwise
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from xbench.core.pairs import Pair
from xbench.core.profiles import Profile
from xbench.methods import ode, training
from xbench.methods.base import TrainData, Training, normals, setting
from xbench.methods.conditional import (
    ConditionalConfig,
    ConditionalLearner,
    ConditionalMethod,
    ConditionalTraining,
)

#: Noise levels of training, as in every official code of the family.
LEVELS = 1000


class DiffusionConfig(ConditionalConfig):
    """What SDEdit, DDIB and CycleDiffusion share; they share the training with it."""

    betas: Literal["linear", "cosine"] = setting(
        "linear", "train", "noise schedule: DDPM's 1e-4 to 0.02, or arXiv 2102.09672's"
    )
    predicts: Literal["epsilon", "v"] = setting(
        "epsilon", "train", "what the network predicts: the noise (DDPM), or v (arXiv 2202.00512)"
    )
    steps: int = setting(
        1000, "infer", "steps over all levels, of which a method may use a share", ge=1, le=LEVELS
    )
    grid: float = setting(
        1.0, "infer", "levels (k/steps)^grid: above 1, shorter steps near the image", gt=0
    )
    decay: bool = setting(True, "train", "warm up and decay the learning rate (official: constant)")


#: Network and optimiser by profile. `paper` has the network of the official DDPM for 256 pixels.
SETTINGS: dict[str, dict[str, Any]] = {
    "smoke": {
        "channels": (16, 32),
        "layers": 1,
        "attention": (False, False),
        "batch": 16,
        "betas": "cosine",
        "predicts": "v",
    },
    "quick": {
        "channels": (32, 64, 96),
        "layers": 1,
        "attention": (False, False, True),
        "batch": 16,
        "learning_rate": 2e-3,
        "betas": "cosine",
        "predicts": "v",
    },
    "standard": {
        "factor": 4,
        "channels": (128, 256, 256, 256),
        "attention": (False, False, True, True),
        "learning_rate": 3e-4,
        "weight_decay": 0.0,
    },
    "paper": {
        "factor": 1,
        "channels": (128, 128, 256, 256, 512, 512),
        "attention": (False, False, False, False, True, False),
        "batch": 64,
        "accumulate": 8,
        "learning_rate": 1e-4,
        "weight_decay": 0.0,
        "ema": 0.9999,
        "decay": False,
    },
}


class Prediction(NamedTuple):
    """What a network takes a noisy image for: an image without noise, and unit noise."""

    clean: Tensor
    noise: Tensor


#: A denoiser: noisy images `[B, C, H, W]` and their level to what they are made of.
Predict = Callable[[Tensor, int], Prediction]
#: Level → a, the signal that is left; 1 at level -1.
Signal = Mapping[int, float]


def make_signal(betas: Literal["linear", "cosine"]) -> dict[int, float]:
    """The signal of every level under diffusers' noise schedules, in float64."""
    from diffusers import DDIMScheduler

    names = {"linear": "linear", "cosine": "squaredcos_cap_v2"}
    scheduler = DDIMScheduler(num_train_timesteps=LEVELS, beta_schedule=names[betas])
    left = (1 - scheduler.betas.double()).cumprod(0).tolist()
    return {-1: 1.0, **dict(enumerate(left))}


def make_levels(strength: float, steps: int, power: float = 1.0) -> list[int]:
    """Levels from that of `strength` (a share of all levels) down to -1, the clean image.

    `steps` steps cover all levels, of which a strength takes its share. A power above 1 makes
    the steps near the clean image shorter, where the noise is about as fine as the texture.
    """
    times = ode.times(1 - strength, steps, power)
    return sorted({round(LEVELS * (1 - time)) - 1 for time in times}, reverse=True)


def mix(clean: Tensor, noise: Tensor, a: float) -> Tensor:
    """The noisy image of signal a."""
    return math.sqrt(a) * clean + math.sqrt(1 - a) * noise


def read(output: Tensor, x: Tensor, a: float, predicts: Literal["epsilon", "v"]) -> Prediction:
    """What a network's output says about its input x of signal a."""
    if predicts == "v":
        return Prediction(
            math.sqrt(a) * x - math.sqrt(1 - a) * output,
            math.sqrt(a) * output + math.sqrt(1 - a) * x,
        )
    return Prediction((x - math.sqrt(1 - a) * output) / math.sqrt(a), output)


def ddim_step(seen: Prediction, a: float, b: float, eta: float) -> tuple[Tensor, float]:
    """Mean and standard deviation of one step from signal a to the larger signal b.

    `eta` 0 is deterministic; 1 is DDPM's posterior (the smaller of its two variances).
    """
    sigma = eta * math.sqrt((1 - b) / (1 - a) * (1 - a / b))
    return math.sqrt(b) * seen.clean + math.sqrt(1 - b - sigma**2) * seen.noise, sigma


def descend(
    predict: Predict,
    signal: Signal,
    levels: Sequence[int],
    x: Tensor,
    eta: float = 0.0,
    noises: Iterable[Tensor] = (),
) -> Tensor:
    """Walk x down the levels; with eta above 0, a noise for every step but that onto level -1."""
    drawn = iter(noises)
    for level, lower in pairwise(levels):
        x, sigma = ddim_step(predict(x, level), signal[level], signal[lower], eta)
        if sigma > 0:
            x = x + sigma * next(drawn)
    return x


def endless_noise(like: Tensor, generators: Sequence[torch.Generator]) -> Iterator[Tensor]:
    """Unit noises of this shape and dtype without end, every image's from its own generator."""
    while True:
        yield normals(generators, *like.shape[1:], dtype=like.dtype)


class DiffusionMethod(ConditionalMethod):
    """A method on the diffusion model; clipping is off throughout, it would break inversion."""

    config: DiffusionConfig
    #: What a method sets besides by profile, of the fields that do not touch training.
    inference: ClassVar[dict[str, dict[str, Any]]] = {}

    @classmethod
    def configure(cls, profile: Profile) -> DiffusionConfig:
        """The profile's network; the class defaults for a profile unknown here."""
        settings = SETTINGS.get(profile.name, {}) | cls.inference.get(profile.name, {})
        config = cls.Config(**settings)
        assert isinstance(config, DiffusionConfig)
        return config

    @cached_property
    def signal(self) -> dict[int, float]:
        """The signal by level."""
        return make_signal(self.config.betas)

    def trainings(self, pairs: Sequence[Pair]) -> list[Training]:
        """One network for all domains, pairs and methods of the family."""
        return [DenoisingTraining(self)]

    def predictor(self, domain: str) -> Predict:
        """The denoiser of a domain."""
        label = self.domains.index(domain)

        def predict(x: Tensor, level: int) -> Prediction:
            levels, labels = (torch.full((len(x),), n, device=x.device) for n in (level, label))
            with torch.autocast("cuda", torch.bfloat16, enabled=x.is_cuda):
                output = self.net(x, levels, class_labels=labels).sample
            return read(output.to(x.dtype), x, self.signal[level], self.config.predicts)

        return predict


class DenoisingTraining(ConditionalTraining):
    """The denoising regression, every level as likely and weighted as the others."""

    objective = "denoising-v1"

    def make_learner(self, data: TrainData, seed: int) -> "DenoisingLearner":
        """What learns the network."""
        return DenoisingLearner(self.method, data, seed)


class DenoisingLearner(ConditionalLearner):
    """Regress the noise, or v, at random levels."""

    def __init__(self, method: ConditionalMethod, data: TrainData, seed: int) -> None:
        super().__init__(method, data, seed)
        assert isinstance(method.config, DiffusionConfig)
        self.config = method.config
        signal = make_signal(self.config.betas)
        self.signal = torch.tensor([signal[i] for i in range(LEVELS)], device=method.device)

    def schedule(self, step: int, steps: int) -> float:
        """Factor on the learning rate."""
        return super().schedule(step, steps) if self.config.decay else 1.0

    def draw(self, generator: torch.Generator) -> training.Batch:
        """Domains, images, noises and levels."""
        device, count = self.method.device, self.batch
        labels = torch.randint(
            len(self.method.domains), (count,), generator=generator, device=device
        )
        data = self.images(labels, generator)
        return {
            "data": data,
            "noise": torch.randn(data.shape, generator=generator, device=device),
            "level": torch.randint(LEVELS, (count,), generator=generator, device=device),
            "labels": labels,
        }

    def losses(self, batch: training.Batch) -> Iterator[tuple[str, dict[str, Tensor]]]:
        """Mean squared error of the network's prediction."""
        data, noise = batch["data"], batch["noise"]
        a = self.signal[batch["level"]][:, None, None, None]
        noisy = a.sqrt() * data + (1 - a).sqrt() * noise
        wanted = noise
        if self.config.predicts == "v":
            wanted = a.sqrt() * noise - (1 - a).sqrt() * data
        net = self.networks["net"]
        predicted = net(noisy, batch["level"], class_labels=batch["labels"]).sample
        yield "net", {"denoising": functional.mse_loss(predicted.float(), wanted)}
