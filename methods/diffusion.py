"""One class-conditional diffusion model (DDPM, arXiv 2006.11239) and the steps that use it.

A level is the index of one of the 1000 noise levels of training; level -1 is the clean image.
At level i an image is x_i = sqrt(a_i) x + sqrt(1 - a_i) noise, where its signal a_i falls from 1
to 0 (alpha-bar in the literature). Steps between levels are those of DDIM (arXiv 2010.02502).
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import pairwise
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from xbench.methods import ode, training
from xbench.methods.base import TrainData, normals, setting
from xbench.methods.conditional import ConditionalConfig, ConditionalLearner, ConditionalMethod

#: Noise levels of training, as in every official code of the family.
LEVELS = 1000


class DiffusionConfig(ConditionalConfig):
    """Settings that SDEdit, DDIB and CycleDiffusion have in common; they share one training."""

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


#: A denoiser: from noisy images `[B, C, H, W]` and their level to a prediction of their parts.
Predict = Callable[[Tensor, int], Prediction]
#: Level → its signal a; 1 at level -1.
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

    All levels would take `steps` steps; a strength takes its share of them. A power above 1 makes
    the steps near the clean image shorter, where the noise is about as fine as the texture.

    >>> make_levels(0.4, 10)
    [399, 299, 199, 99, -1]
    """
    times = ode.times(1 - strength, steps, power)
    return sorted({round(LEVELS * (1 - time)) - 1 for time in times}, reverse=True)


def mix(clean: Tensor, noise: Tensor, a: float) -> Tensor:
    """The noisy image of signal a."""
    return math.sqrt(a) * clean + math.sqrt(1 - a) * noise


def read(output: Tensor, x: Tensor, a: float, predicts: Literal["epsilon", "v"]) -> Prediction:
    """The prediction that a network's output on x, of signal a, stands for."""
    if predicts == "v":
        return Prediction(
            math.sqrt(a) * x - math.sqrt(1 - a) * output,
            math.sqrt(a) * output + math.sqrt(1 - a) * x,
        )
    return Prediction((x - math.sqrt(1 - a) * output) / math.sqrt(a), output)


def ddim_step(seen: Prediction, a: float, b: float, eta: float) -> tuple[Tensor, float]:
    """Mean and standard deviation of one step from signal a to the larger signal b.

    With `eta` 0 it is deterministic; 1 is DDPM's posterior (the smaller of its two variances).
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
    """Walk x down the levels; eta above 0 takes one noise for each step but the one onto -1."""
    drawn = iter(noises)
    for level, lower in pairwise(levels):
        x, sigma = ddim_step(predict(x, level), signal[level], signal[lower], eta)
        if sigma > 0:
            x = x + sigma * next(drawn)
    return x


def endless_noise(like: Tensor, generators: Sequence[torch.Generator]) -> Iterator[Tensor]:
    """Yield unit noise of this shape and dtype forever, each image's from its own generator."""
    while True:
        yield normals(generators, *like.shape[1:], dtype=like.dtype)


class DiffusionMethod(ConditionalMethod):
    """A method on the diffusion model; nothing is clipped, which would break inversion."""

    config: DiffusionConfig
    objective = "denoising-v1"

    @cached_property
    def signal(self) -> dict[int, float]:
        """The signal by level."""
        return make_signal(self.config.betas)

    def levels(self, strength: float) -> list[int]:
        """Levels from that of a strength down to the clean image."""
        return make_levels(strength, self.config.steps, self.config.grid)

    def make_learner(self, data: TrainData, seed: int) -> "DenoisingLearner":
        """The same for all methods of the family, so that they share one training."""
        return DenoisingLearner(self, data, seed)

    def predictor(self, domain: str) -> Predict:
        """The denoiser of a domain."""
        label = self.domains.index(domain)

        def predict(x: Tensor, level: int) -> Prediction:
            levels, labels = (torch.full((len(x),), n, device=x.device) for n in (level, label))
            output = self.predict(x, levels, labels)
            return read(output, x, self.signal[level], self.config.predicts)

        return predict


class DenoisingLearner(ConditionalLearner):
    """Regression of the noise, or of v, at random levels."""

    config: DiffusionConfig

    def __init__(self, method: ConditionalMethod, data: TrainData, seed: int) -> None:
        super().__init__(method, data, seed)
        signal = make_signal(self.config.betas)
        self.signal = torch.tensor([signal[i] for i in range(LEVELS)], device=method.device)

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
        predicted = net(noisy, batch["level"], class_labels=batch["labels"]).sample
        yield "net", {"denoising": functional.mse_loss(predicted.float(), wanted)}
