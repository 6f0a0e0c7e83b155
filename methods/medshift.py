"""MedShift: one class-conditional flow for all domains (arXiv 2508.21435).

The network learns the velocity of straight paths from noise (t = 0) to data (t = 1), with the
domain as class label. A translation integrates the flow of the source domain backward from the
image at t = 1 to the shared latent z_tau, then the flow of the target domain forward to t = 1
(Figure 1). The authors' network and settings are not published: those here are our choice.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional

from xbench.methods import ode
from xbench.methods.base import TrainData, setting
from xbench.methods.conditional import ConditionalConfig, ConditionalLearner, ConditionalMethod
from xbench.methods.training import Batch

#: The network's embedding of times is made for 0 to 1000: times from 0 to 1 would hardly move it.
TIME_SCALE = 1000


class MedShiftConfig(ConditionalConfig):
    """Settings of MedShift; those of `quick` were chosen on the phantom's val split.

    Learning rate, weight decay, weight average and VAE are those of the authors' GenerativeZoo.
    """

    label_dropout: float = setting(
        0.1, "train", "chance of each sample to train the null label (our choice)", ge=0, le=1
    )
    sigma: float = setting(1e-4, "train", "noise left on data at t = 1 (GenerativeZoo)", ge=0)
    tau: float = setting(0.1, "infer", "time of the shared latent: 1 keeps, 0 renews", ge=0, le=1)
    guidance_source: float = setting(1.0, "infer", "guidance weight w while encoding", ge=0)
    guidance_target: float = setting(1.0, "infer", "guidance weight w while decoding", ge=0)
    solver: Literal["euler", "midpoint", "heun", "rk4"] = setting(
        "midpoint", "infer", "Euler's inversion error is large (methods compared at equal steps)"
    )
    steps: int = setting(4, "infer", "solver steps over the whole interval, each way", ge=1)
    grid: float = setting(
        1.5, "infer", "times 1 - (k/steps)^grid: above 1, shorter steps near the image", gt=0
    )


#: What `quick` and `medium` have in common.
SMALL: dict[str, Any] = dict(
    channels=(32, 64, 96), layers=1, attention=(False, False, True), batch=16, learning_rate=2e-3
)
#: Network and optimiser by profile. `medium` has the network of `quick` on larger pixel blocks, so
#: that a step costs as much; `paper` has the widths of the authors' GenerativeZoo.
SETTINGS: dict[str, dict[str, Any]] = {
    "smoke": dict(channels=(16, 32), layers=1, attention=(False, False), batch=16),
    "quick": SMALL,
    "medium": SMALL | {"factor": 4},
    "standard": dict(
        factor=4, channels=(128, 256, 256, 256), attention=(False, False, True, True),
        learning_rate=3e-4, steps=8,
    ),
    "paper": dict(
        codec="vae", batch=256, attention=(False, False, True), label_dropout=0.2, steps=10
    ),
}  # fmt: skip


class MedShift(ConditionalMethod):
    """Encode the source backward to a shared latent, decode it under the target's label."""

    name = "medshift"
    about = "one conditional flow, source encoded to a shared latent (arXiv 2508.21435)"
    Config = MedShiftConfig
    config: MedShiftConfig
    by_profile = SETTINGS
    knob = "tau"
    objective = "flow-matching-v1"
    null_label = True

    def make_learner(self, data: TrainData, seed: int) -> "FlowLearner":
        """Flow matching."""
        return FlowLearner(self, data, seed)

    def evaluations(self) -> int:
        """Solver steps × evaluations per step, each way; twice as many with guidance."""
        config = self.config
        steps = len(self.times(config.tau)) - 1
        weights = (config.guidance_source, config.guidance_target)
        return sum(steps * ode.SOLVERS[config.solver][1] * (1 + (w not in (0, 1))) for w in weights)

    def times(self, tau: float) -> list[float]:
        """Solver times from 1 down to tau."""
        return ode.times(tau, self.config.steps, self.config.grid)

    def field(self, domain: str, weight: float) -> ode.Field:
        """The guided velocity v = v_null + w (v_domain - v_null)."""
        label, null = self.domains.index(domain), len(self.domains)

        def guided(x: Tensor, t: float) -> Tensor:
            if weight in (0, 1):
                return self.evaluate(x, t, [label if weight else null] * len(x))
            both = self.evaluate(torch.cat([x, x]), t, [label] * len(x) + [null] * len(x))
            conditional, unconditional = both.chunk(2)
            return unconditional + weight * (conditional - unconditional)

        return guided

    def evaluate(self, x: Tensor, t: float, labels: list[int]) -> Tensor:
        """The velocity at one time for the whole batch."""
        time = torch.full((len(x),), t, device=x.device) * TIME_SCALE
        return self.predict(x, time, torch.tensor(labels, device=x.device))

    @torch.inference_mode()
    def encodings(self, images: Tensor, source: str, taus: Sequence[float]) -> dict[float, Tensor]:
        """Latents z_tau of several tau, from one trajectory."""
        field, solver = self.field(source, self.config.guidance_source), self.config.solver
        times = self.times(min(taus))
        states = ode.trajectory(field, self.encode(images), times, solver)
        path = dict(zip(times, states, strict=True))
        latents = {}
        for tau in taus:
            own = self.times(tau)
            # All its times but the last lie on the common trajectory; the last step is its own.
            shared = [t for t in own if t in path]
            tail = [shared[-1], *(t for t in own if t not in path)]
            latents[tau] = ode.integrate(field, path[shared[-1]], tail, solver)
        return latents

    @torch.inference_mode()
    def render(self, latents: Tensor, target: str, tau: float, like: Tensor) -> Tensor:
        """Integrate from tau up to 1 under the target's label, and decode."""
        if tau == 1 and self.codec.lossless:
            return like.clone()
        field = self.field(target, self.config.guidance_target)
        x = ode.integrate(field, latents, self.times(tau)[::-1], self.config.solver)
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
        tau = self.config.tau
        return self.translate_path(images, source, targets, [tau], generators=generators)[tau]

    def translate_path(
        self,
        images: Tensor,
        source: str,
        targets: Sequence[str],
        values: Sequence[float],
        *,
        generators: Mapping[str, Sequence[torch.Generator]],
    ) -> dict[float, dict[str, Tensor]]:
        """One encoding trajectory for all tau and all targets."""
        latents = self.encodings(images, source, values)
        return {
            tau: {target: self.render(latents[tau], target, tau, images) for target in targets}
            for tau in values
        }


class FlowLearner(ConditionalLearner):
    """Regression of the velocity: x_t = (1 - (1-sigma) t) z + t x, target x - (1-sigma) z."""

    config: MedShiftConfig

    def draw(self, generator: torch.Generator) -> Batch:
        """Domains, images, noise and times."""
        batch = super().draw(generator)
        labels = batch["labels"]
        batch["time"] = torch.rand(self.batch, generator=generator, device=labels.device)
        # Dropped sample by sample: a share of a small batch could be less than one label.
        chance = torch.rand(self.batch, generator=generator, device=labels.device)
        null = len(self.method.domains)
        batch["labels"] = labels.masked_fill(chance < self.config.label_dropout, null)
        return batch

    def losses(self, batch: Batch) -> Iterator[tuple[str, dict[str, Tensor]]]:
        """Mean squared error of the velocity."""
        data, noise, time = batch["data"], batch["noise"], batch["time"]
        t, keep = time[:, None, None, None], 1 - self.config.sigma
        point = (1 - keep * t) * noise + t * data
        net = self.networks["net"]
        predicted = net(point, time * TIME_SCALE, class_labels=batch["labels"]).sample
        yield "net", {"flow": functional.mse_loss(predicted.float(), data - keep * noise)}
