"""MedShift: one class-conditional flow for all domains (arXiv 2508.21435).

The network learns the velocity of straight paths from noise (t = 0) to data (t = 1), with the
domain as class label. A translation integrates the flow of the source domain backward from the
image at t = 1 to the shared latent z_tau, then the flow of the target domain forward to t = 1
(Figure 1). The authors' network and settings are not published: those here are our choice.
"""

from collections.abc import Iterator
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from xbench.methods import ode
from xbench.methods.base import TrainData, setting
from xbench.methods.conditional import ConditionalLearner
from xbench.methods.flow import SIGNALS, TRIED_SOLVERS, FlowConfig, LatentMethod, signal_of, time_of
from xbench.methods.training import Batch

#: The network's embedding of times is made for 0 to 1000: times from 0 to 1 would hardly move it.
TIME_SCALE = 1000


class MedShiftConfig(FlowConfig):
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

    def in_other_words(self) -> dict[str, str]:
        """The signal at tau."""
        return {"tau": f"signal={signal_of(self.tau):.3g}"}


#: What `quick` and `medium` have in common.
SMALL: dict[str, Any] = dict(
    channels=(32, 64, 96),
    layers=1,
    attention=(False, False, True),
    batch=16,
    learning_rate=2e-3,
    tau=0.14,
)
#: Network and optimiser by profile. `medium` has the network of `quick` on larger pixel blocks, so
#: that a step costs as much; `paper` has the widths of the authors' GenerativeZoo.
SETTINGS: dict[str, dict[str, Any]] = {
    "smoke": dict(channels=(16, 32), layers=1, attention=(False, False), batch=16),
    "quick": SMALL,
    "medium": SMALL | {"factor": 4},
    "standard": dict(
        factor=4, channels=(128, 256, 256, 256), attention=(False, False, True, True),
        learning_rate=3e-4, evaluations=32,
    ),
    "paper": dict(
        codec="vae", batch=256, attention=(False, False, True), label_dropout=0.2, evaluations=40
    ),
}  # fmt: skip


class MedShift(LatentMethod):
    """Encode the source backward to a shared latent, decode it under the target's label."""

    name = "medshift"
    version = 2
    about = "one conditional flow, source encoded to a shared latent (arXiv 2508.21435)"
    Config = MedShiftConfig
    config: MedShiftConfig
    by_profile = SETTINGS
    knob = "tau"
    tuned: ClassVar = {"tau": [round(time_of(a), 3) for a in SIGNALS], "solver": TRIED_SOLVERS}
    objective = "flow-matching-v1"
    null_label = True

    def make_learner(self, data: TrainData, seed: int) -> "FlowLearner":
        """Flow matching."""
        return FlowLearner(self, data, seed)

    @property
    def tau(self) -> float:
        """Time of the shared latent."""
        return self.config.tau

    @property
    def calls(self) -> int:
        """Guidance doubles the evaluations of its way."""
        weights = (self.config.guidance_source, self.config.guidance_target)
        return sum(1 + (weight not in (0, 1)) for weight in weights)

    def source_field(self, domain: str) -> ode.Field:
        """The velocity guided as for the source."""
        return self.field(domain, self.config.guidance_source)

    def target_field(self, domain: str) -> ode.Field:
        """The velocity guided as for the target."""
        return self.field(domain, self.config.guidance_target)

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
