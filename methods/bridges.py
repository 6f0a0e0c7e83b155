"""Base of the methods that lead a source image straight to the target's domain (no noise between).

One network for all pairs, v(x, t, a, b), is given both labels: row n a + b of one table, for n
domains. The rows of a = b are never trained; such a translation returns its input. Network,
optimiser and budget are MedShift's at every profile.

Some of them train in stages: what the network has learned so far makes the pairs of images that it
learns from next. `StagedLearner` keeps a copy of the averaged weights of that moment.
"""

import copy
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from xbench.core.compute import Compute, autocast
from xbench.methods import medshift, ode
from xbench.methods.base import TrainData
from xbench.methods.conditional import ConditionalConfig, ConditionalLearner, ConditionalMethod

#: Network and optimiser by profile: MedShift's, without what only MedShift has.
NETWORKS: dict[str, dict[str, Any]] = {
    profile: {name: v for name, v in settings.items() if name in ConditionalConfig.model_fields}
    for profile, settings in medshift.SETTINGS.items()
}


def with_settings(**changes: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """`NETWORKS` and, by profile, settings of a method's own."""
    return {profile: values | changes.get(profile, {}) for profile, values in NETWORKS.items()}


def velocity(net: nn.Module, x: Tensor, t: float, labels: Tensor, compute: Compute) -> Tensor:
    """The output for x `[B, C, h, w]` at a time in [0, 1] under labels of pairs `[B]`."""
    times = torch.full((len(x),), t * medshift.TIME_SCALE, device=x.device)
    with autocast(compute, x.device):
        output: Tensor = net(x, times, class_labels=labels).sample
    return output.to(x.dtype)


def draw_pairs(
    domains: int, number: int, generator: torch.Generator, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Indices of random sources and targets `[number]` each, never the same domain."""
    size = (number,)
    source = torch.randint(domains, size, generator=generator, device=device)
    step = torch.randint(1, domains, size, generator=generator, device=device)
    return source, (source + step) % domains


class BridgeMethod(ConditionalMethod):
    """One network that is given the labels of source and target."""

    def label_count(self) -> int:
        """One for each ordered pair, the unused ones of a domain with itself included."""
        return len(self.domains) ** 2

    def field(self, source: str, target: str) -> ode.Field:
        """The velocity from source to target, by the time since the source: 0 to 1."""
        a, b = (self.domains.index(domain) for domain in (source, target))
        label = a * len(self.domains) + b

        def field(x: Tensor, t: float) -> Tensor:
            labels = torch.full((len(x),), label, device=x.device)
            return velocity(self.net, x, t, labels, self.computing)

        return field

    @torch.inference_mode()
    def translate(
        self, images: Tensor, source: str, target: str, *, generators: Sequence[torch.Generator]
    ) -> Tensor:
        """Lead the images over, unless they are there already."""
        if source == target:
            return images.clone()
        moved = self.lead(self.encode(images), source, target, generators)
        return self.decode(moved, images)

    @abstractmethod
    def lead(
        self, x: Tensor, source: str, target: str, generators: Sequence[torch.Generator]
    ) -> Tensor:
        """Encoded images `[B, C, h, w]` of the source to those of the target."""


class StagedLearner(ConditionalLearner):
    """Learns from real images first, then, in later stages, from images that it made itself.

    Attributes:
        stage: that of the present step; 0 is the first.
    """

    def __init__(self, method: BridgeMethod, data: TrainData, seed: int) -> None:
        super().__init__(method, data, seed)
        self.seed, self.stage = seed, 0
        if self.later_stages():
            # Among the networks, so that checkpoints hold it.
            self.networks["maker"] = copy.deepcopy(self.averages["net"])

    def later_stages(self) -> list[float]:
        """The shares of all steps after which a stage begins; none by default."""
        return []

    def prepare(self, step: int, steps: int) -> None:
        """At the start of a stage, keep the averaged network, which makes that stage's images."""
        starts = [max(1, round(share * steps)) for share in self.later_stages()]
        if step in starts:
            self.networks["maker"].load_state_dict(self.averages["net"].state_dict())
        self.stage = sum(step >= start for start in starts)

    def labels(self, source: Tensor, target: Tensor) -> Tensor:
        """Labels of pairs `[B]` from indices of domains `[B]`."""
        return source * len(self.method.domains) + target
