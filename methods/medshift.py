"""MedShift: one class-conditional flow for all domains (arXiv 2508.21435).

Training regresses the velocity of straight paths from noise (t = 0) to data (t = 1), with the
domain as class label. A translation integrates the source-conditioned flow backward from the
image at t = 1 to the shared latent z_tau, then the target-conditioned flow forward to t = 1
(Figure 1). The authors' network and settings are not published: those here are our choice.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional

from xbench.core.pairs import Pair
from xbench.core.profiles import Profile
from xbench.methods import ode
from xbench.methods.base import Cost, TrainData, Training, setting
from xbench.methods.conditional import (
    ConditionalConfig,
    ConditionalLearner,
    ConditionalMethod,
    ConditionalTraining,
)
from xbench.methods.nets.unet import velocity
from xbench.methods.training import Batch


class MedShiftConfig(ConditionalConfig):
    """Settings of MedShift; `quick` values chosen on the phantom's val split.

    Learning rate, weight decay, average and VAE are those of the authors' GenerativeZoo.
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


#: Network and optimiser by profile. `paper` has the widths of the authors' GenerativeZoo.
SETTINGS: dict[str, dict[str, Any]] = {
    "smoke": {"channels": (16, 32), "layers": 1, "attention": (False, False), "batch": 16},
    "quick": {
        "channels": (32, 64, 96),
        "layers": 1,
        "attention": (False, False, True),
        "batch": 16,
        "learning_rate": 2e-3,
    },
    "standard": {
        "factor": 4,
        "channels": (128, 256, 256, 256),
        "attention": (False, False, True, True),
        "learning_rate": 3e-4,
        "steps": 8,
    },
    "paper": {
        "codec": "vae",
        "batch": 256,
        "attention": (False, False, True),
        "label_dropout": 0.2,
        "steps": 10,
    },
}


class MedShift(ConditionalMethod):
    """Encode the source backward to a shared latent, decode it under the target's label."""

    name = "medshift"
    about = "one conditional flow, source encoded to a shared latent (arXiv 2508.21435)"
    Config = MedShiftConfig
    config: MedShiftConfig
    knob = "tau"
    null_label = True

    @classmethod
    def configure(cls, profile: Profile) -> MedShiftConfig:
        """The profile's network; the class defaults for a profile unknown here."""
        return MedShiftConfig(**SETTINGS.get(profile.name, {}))

    def trainings(self, pairs: Sequence[Pair]) -> list[Training]:
        """One network for all domains and pairs."""
        return [FlowMatching(self)]

    def cost(self) -> Cost:
        """One network serves one pair and all pairs alike."""
        config, params = self.config, self.params()
        steps = len(self.times(config.tau)) - 1
        weights = (config.guidance_source, config.guidance_target)
        nfe = sum(steps * ode.SOLVERS[config.solver][1] * (1 + (w not in (0, 1))) for w in weights)
        return Cost(params=params, params_total=params, nfe=nfe)

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
        """One evaluation of the network, at one time for the whole batch."""
        time = torch.full((len(x),), t, device=x.device)
        with torch.autocast("cuda", torch.bfloat16, enabled=x.device.type == "cuda"):
            return velocity(self.net, x, time, torch.tensor(labels, device=x.device)).to(x.dtype)

    @torch.inference_mode()
    def encodings(self, images: Tensor, source: str, taus: Sequence[float]) -> dict[float, Tensor]:
        """Latents z_tau of several tau from one trajectory."""
        field = self.field(source, self.config.guidance_source)
        full = self.times(min(taus))
        path = dict(
            zip(
                full,
                ode.trajectory(field, self.encode(images), full, self.config.solver),
                strict=True,
            )
        )
        latents = {}
        for tau in taus:
            grid = self.times(tau)
            # All times but the last lie on the common trajectory; the last step is tau's own.
            shared = [t for t in grid if t in path]
            tail = [shared[-1], *(t for t in grid if t not in path)]
            latents[tau] = ode.integrate(field, path[shared[-1]], tail, self.config.solver)
        return latents

    @torch.inference_mode()
    def render(self, latents: Tensor, target: str, tau: float, like: Tensor) -> Tensor:
        """Integrate from tau up to 1 under the target's label."""
        if tau == 1 and self.codec.lossless:
            return like.clone()
        grid = self.times(tau)[::-1]
        field = self.field(target, self.config.guidance_target)
        return self.decode(ode.integrate(field, latents, grid, self.config.solver), like)

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


class FlowMatching(ConditionalTraining):
    """The flow-matching regression: x_t = (1 - (1-s) t) z + t x, target x - (1-s) z."""

    objective = "flow-matching-v1"

    def make_learner(self, data: TrainData, seed: int) -> "FlowLearner":
        """What learns the velocity."""
        return FlowLearner(self.method, data, seed)


class FlowLearner(ConditionalLearner):
    """Regress the velocity at random times."""

    def __init__(self, method: ConditionalMethod, data: TrainData, seed: int) -> None:
        super().__init__(method, data, seed)
        assert isinstance(method.config, MedShiftConfig)
        self.config = method.config

    def draw(self, generator: torch.Generator) -> Batch:
        """Domains, images, noises and times."""
        device, count, null = self.method.device, self.batch, len(self.method.domains)
        labels = torch.randint(null, (count,), generator=generator, device=device)
        data = self.images(labels, generator)
        noise = torch.randn(data.shape, generator=generator, device=device)
        time = torch.rand(count, generator=generator, device=device)
        # Dropped per sample: a share of the batch would never drop anything in a small one.
        chance = torch.rand(count, generator=generator, device=device)
        return {
            "data": data,
            "noise": noise,
            "time": time,
            "labels": labels.masked_fill(chance < self.config.label_dropout, null),
        }

    def losses(self, batch: Batch) -> Iterator[tuple[str, dict[str, Tensor]]]:
        """Mean squared error of the velocity."""
        data, noise, time = batch["data"], batch["noise"], batch["time"]
        t, keep = time[:, None, None, None], 1 - self.config.sigma
        point = (1 - keep * t) * noise + t * data
        predicted = velocity(self.networks["net"], point, time, batch["labels"])
        yield "net", {"flow": functional.mse_loss(predicted.float(), data - keep * noise)}
