"""Hierarchy Flow: features of an image are restyled and put back, without a critic (2308.06909).

The released network; style codes of all domains from one encoder, so that one network serves all
pairs. Translating uses the mean code of the target's training images instead of one image's. The
released loss compares features of a VGG network; this one, whose weights come from nowhere, those
of fixed filters, and every row says so: `hierarchyflow[loss=filters]`. A "flow" by name alone: the
released way back does not invert the way there.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import torch
from pydantic import model_validator
from torch import Tensor

from xbench.core.hashing import seed_from
from xbench.core.pairs import Pair
from xbench.datasets.base import Images
from xbench.datasets.resident import resident
from xbench.methods import training
from xbench.methods.base import (
    Log,
    MethodConfig,
    Progress,
    TrainData,
    Training,
    evenly_spaced,
    setting,
)
from xbench.methods.conditional import ConditionalTraining, JointMethod, choose
from xbench.methods.nets.hierarchy import HierarchyNet
from xbench.methods.texture import LEVELS, FilterBank, content_loss, style_loss

#: Training images of each domain that standardise the filters.
FITTED = 32
#: Images that the style encoder works on at once.
CHUNK = 32


class HierarchyFlowConfig(MethodConfig):
    """Settings of Hierarchy Flow; defaults are the official ones."""

    widths: tuple[int, ...] = setting(
        (30, 120), "train", "channels of each block, multiples of the one before (official)"
    )
    style_width: int = setting(64, "train", "style encoder's first width (official: 64)", ge=1)
    border: int = setting(10, "train", "reflected pixels around the image (official: 10)", ge=0)
    back: Literal["official", "exact"] = setting(
        "official", "train", "the way back: as released, or the inverse of the way there"
    )
    loss: Literal["filters"] = setting(
        "filters", "train", "features that the loss compares (official: VGG's, not offered)"
    )
    content_level: int = setting(
        2, "train", "level of the pyramid at which contents are compared (our choice, on val)",
        ge=1, le=LEVELS,
    )  # fmt: skip
    style_weight: float = setting(
        0.1, "train", "weight of the style loss; the content's is 1 (official: 0.1)", ge=0
    )
    leave_out: float = setting(
        0.0, "train", "share of the channels, furthest in style, that do not count (official: 0.2, "
        "which would leave out the grey value: of these filters only one sees it)",
        ge=0, lt=1,
    )  # fmt: skip
    batch: int = setting(4, "train", "images per step (official: 1 on each of 4 GPUs)", ge=1)
    accumulate: int = setting(1, "resources", "chunks in which a batch is worked off", ge=1)
    learning_rate: float = setting(1e-4, "train", "Adam's, cosine to 0 (official: 1e-4)", gt=0)
    strength: float = setting(
        1.0, "infer", "style: 0 the source's, 1 the target's, a blend between (our choice)",
        ge=0, le=1,
    )  # fmt: skip

    @model_validator(mode="after")
    def _widths_divide(self) -> Self:
        if not self.widths or any(b % a or b < a for a, b in pairwise((1, *self.widths))):
            raise ValueError("widths must be multiples, each of the one before")
        return self

    def always_shown(self) -> set[str]:
        """The loss, which is not the official one."""
        return {"loss"}


#: A smaller network and larger steps for short runs.
QUICK: dict[str, Any] = dict(
    widths=(10, 40), style_width=32, border=6, style_weight=5.0, learning_rate=2e-3
)
SETTINGS: dict[str, dict[str, Any]] = {
    "smoke": dict(widths=(8, 16), style_width=16, border=2, style_weight=1.0, learning_rate=2e-3),
    "quick": QUICK,
    "medium": QUICK,
}


class HierarchyFlow(JointMethod):
    """One call of the network under the mean style code of the target."""

    name = "hierarchyflow"
    about = "features restyled level by level, no critic (arXiv 2308.06909)"
    Config = HierarchyFlowConfig
    config: HierarchyFlowConfig
    net: HierarchyNet
    factors: ClassVar = {"quick": 2}
    by_profile = SETTINGS
    knob = "strength"
    objective = "hierarchyflow-v1"

    def make_net(self, device: torch.device) -> HierarchyNet:
        """Network and style encoder."""
        config = self.config
        return HierarchyNet(
            len(self.domains),
            widths=config.widths,
            style_width=config.style_width,
            border=config.border,
            exact=config.back == "exact",
        ).to(device)

    def make_learner(self, data: TrainData, seed: int) -> "HierarchyLearner":
        """Content against style."""
        return HierarchyLearner(self, data, seed)

    def trainings(self, pairs: Sequence[Pair]) -> list[Training]:
        """One network and its codes."""
        return [HierarchyTraining(self)]

    @torch.inference_mode()
    def translate(
        self, images: Tensor, source: str, target: str, *, generators: Sequence[torch.Generator]
    ) -> Tensor:
        """Deterministic: the generators are not used."""
        a, b = (self.net.codes[self.domains.index(domain)] for domain in (source, target))
        code = torch.lerp(a, b, self.config.strength)
        result: Tensor = self.net(images, code.expand(len(images), -1))
        return result


class HierarchyTraining(ConditionalTraining):
    """The training of the network, then the codes of the domains, which it stores."""

    method: HierarchyFlow

    def fit(
        self, data: TrainData, images: int, seed: int, checkpoint: Path, progress: Progress
    ) -> Log:
        """See `Training`."""
        log = super().fit(data, images, seed, checkpoint, progress)
        net = self.method.net
        codes = [self._mean_code(data.train(domain)) for domain in self.method.domains]
        net.codes.copy_(torch.stack(codes))
        return log

    @torch.no_grad()
    def _mean_code(self, images: Images) -> Tensor:
        net, device = self.method.net, self.method.device
        starts = range(0, len(images), CHUNK)
        codes = [net.encode(images[start : start + CHUNK].to(device)) for start in starts]
        return torch.cat(codes).mean(dim=0)


class HierarchyLearner(training.Learner):
    """The content of one image, the style of one of another domain.

    One counted image is one whose content is translated, and one whose style is wanted. The output
    is not clamped to [0, 1] before the loss, as it is officially: fresh networks would get no
    gradient from what they clamp.
    """

    def __init__(self, method: HierarchyFlow, data: TrainData, seed: int) -> None:
        config = self.config = method.config
        self.batch, self.accumulate, self.device = config.batch, config.accumulate, method.device
        self.images = [data.train(domain) for domain in method.domains]
        self.near = resident(self.images, method.computing, self.device) or self.images
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed_from(seed, "init"))
            net = method.make_net(torch.device("cpu"))
        self.net = net.to(self.device)
        seen = torch.cat([evenly_spaced(images, FITTED) for images in self.images])
        self.bank = FilterBank(seen.to(self.device))
        self.networks, self.averages = {"net": self.net}, {}
        self.optimizers = {
            "net": torch.optim.Adam(net.parameters(), lr=config.learning_rate, fused=True)
        }

    def schedule(self, step: int, steps: int) -> float:
        """Cosine to 0."""
        return training.warmup_cosine(step, steps, warmup=0)

    def draw(self, generator: torch.Generator) -> training.Batch:
        """Images in [0, 1] of two different domains: contents, and styles."""
        domains, size = len(self.images), (self.batch,)
        first = torch.randint(domains, size, generator=generator, device=self.device)
        step = torch.randint(1, domains, size, generator=generator, device=self.device)
        return {
            "content": choose(self.near, first, generator),
            "style": choose(self.near, (first + step) % domains, generator),
        }

    def losses(self, batch: training.Batch) -> Iterator[tuple[str, dict[str, Tensor]]]:
        """Content and style of the translated image."""
        config = self.config
        made = self.net(batch["content"], self.net.encode(batch["style"]))
        ours, content, style = (self.bank(x) for x in (made, batch["content"], batch["style"]))
        yield (
            "net",
            {
                "content": content_loss(ours, content, config.content_level),
                "style": config.style_weight * style_loss(ours, style, config.leave_out),
            },
        )
