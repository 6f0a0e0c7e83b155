"""Paths between noise and image, and what the methods that walk along them have in common.

At time t of the path an image is x_t = (1 - t) noise + t image: noise at 0, the image at 1. The
state of a diffusion model is the same mix up to a factor, sqrt(a) image + sqrt(1 - a) noise, where
the signal a (alpha-bar in the literature) and the time say the same: t / (1 - t) is
sqrt(a / (1 - a)). So flows and diffusion models share times, solvers and numbers of evaluations.
"""

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from xbench.methods import ode
from xbench.methods.base import setting
from xbench.methods.conditional import ConditionalConfig, ConditionalMethod


def signal_of(time: float) -> float:
    """The signal a of an image at a time of the path.

    >>> [round(signal_of(t), 3) for t in (0, 0.3, 0.6, 1)]
    [0.0, 0.155, 0.692, 1.0]
    """
    return time**2 / (time**2 + (1 - time) ** 2)


def time_of(signal: float) -> float:
    """The time of the path at which an image has this signal a: the inverse of `signal_of`.

    >>> [round(time_of(a), 3) for a in (0, 0.1952, 0.659, 1)]
    [0.0, 0.33, 0.582, 1.0]
    """
    image, noise = math.sqrt(signal), math.sqrt(1 - signal)
    return image / (image + noise)


#: Signals that are tried for every method that goes through noise, from almost the image to noise.
SIGNALS = (0.9, 0.66, 0.4, 0.2, 0.08, 0.026, 0.006, 0.0)
#: Solvers that are tried, at the same number of evaluations.
TRIED_SOLVERS: tuple[ode.Solver, ...] = ("euler", "midpoint", "heun")


class FlowConfig(ConditionalConfig):
    """Settings of all methods that solve a differential equation."""

    evaluations: int = setting(
        16, "infer", "network evaluations per image at most, all ways together", ge=1
    )
    solver: ode.Solver = setting(
        "midpoint", "infer", "euler: first order (DDIM's step); midpoint, heun: second; rk4: fourth"
    )
    grid: float = setting(
        1.5, "infer", "times 1 - (1 - tau) (k/steps)^grid: above 1, shorter steps near the image",
        gt=0,
    )  # fmt: skip


class FlowMethod(ConditionalMethod):
    """A method that walks from the image towards noise, or back, or both."""

    config: FlowConfig

    def steps(self, calls: float) -> int:
        """Solver steps that `evaluations` allows, if each evaluation of the field costs `calls`."""
        return max(1, int(self.config.evaluations / (self.order * calls)))

    @property
    def order(self) -> int:
        """Evaluations of the field in one step of the solver."""
        return ode.SOLVERS[self.config.solver][1]


class LatentMethod(FlowMethod):
    """Encode the image to a latent at time tau under the source's label, decode it under another's.

    Deterministic. A flow (MedShift) and a diffusion model's flow (DDIB) differ only in their field.
    """

    @property
    @abstractmethod
    def tau(self) -> float:
        """Time of the latent: 1 is the image, 0 is noise."""

    @abstractmethod
    def source_field(self, domain: str) -> ode.Field:
        """The velocity while encoding, `[B, C, h, w]` and a time to the same shape."""

    def target_field(self, domain: str) -> ode.Field:
        """The velocity while decoding."""
        return self.source_field(domain)

    @property
    def calls(self) -> int:
        """Network evaluations that one evaluation of both fields costs."""
        return 2

    def way(self, tau: float) -> list[float]:
        """Solver times from 1 down to tau."""
        return ode.times(tau, self.steps(self.calls), self.config.grid)

    def evaluations(self) -> int:
        """Those of both ways."""
        return (len(self.way(self.tau)) - 1) * self.order * self.calls

    @torch.inference_mode()
    def latents(self, images: Tensor, source: str, tau: float) -> Tensor:
        """Codes `[B, C, h, w]` at time tau of images `[B, 1, H, W]`."""
        x, field = self.encode(images), self.source_field(source)
        return ode.integrate(field, x, self.way(tau), self.config.solver)

    @torch.inference_mode()
    def render(self, latents: Tensor, target: str, like: Tensor) -> Tensor:
        """Decode codes at the method's own tau to images of the size of `like`."""
        if self.tau == 1 and self.codec.lossless:
            return like.clone()
        back = self.way(self.tau)[::-1]
        x = ode.integrate(self.target_field(target), latents, back, self.config.solver)
        return self.decode(x, like)

    def translate(
        self, images: Tensor, source: str, target: str, *, generators: Sequence[torch.Generator]
    ) -> Tensor:
        """Deterministic: the generators are not used."""
        return self.translate_all(images, source, [target], generators={})[target]

    def translate_all(
        self,
        images: Tensor,
        source: str,
        targets: Sequence[str],
        *,
        generators: Mapping[str, Sequence[torch.Generator]],
    ) -> dict[str, Tensor]:
        """Encode once for all targets."""
        latents = self.latents(images, source, self.tau)
        return {target: self.render(latents, target, images) for target in targets}
