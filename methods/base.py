"""The one interface behind which every translation method stands.

Images are float32 `[B, 1, H, W]` in [0, 1], air bright and bone dark, in and out.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from xbench.core.pairs import Pair
from xbench.core.profiles import Profile
from xbench.datasets.base import Images

Stage = Literal["train", "infer", "resources"]


def setting(default: Any, stage: Stage, about: str, **limits: Any) -> Any:
    """A configuration field: its default, the stage that it belongs to, what it is and its source.

    Changing an `infer` field never retrains; changing a `train` field always does. A `resources`
    field (memory, say) changes no result and is part of no key.
    """
    return Field(default, description=about, json_schema_extra={"stage": stage}, **limits)


class MethodConfig(BaseModel):
    """Base of the configurations: frozen, no unknown fields, each field made by `setting`."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @classmethod
    def fields(cls, *stages: Stage) -> list[str]:
        """Names of the fields of these stages."""
        return [
            name
            for name, field in cls.model_fields.items()
            if isinstance(extra := field.json_schema_extra, dict) and extra.get("stage") in stages
        ]

    def shown(self) -> dict[str, Any]:
        """All settings that can change a result, JSON-able: what labels and records show."""
        return self.model_dump(mode="json", exclude=set(self.fields("resources")))

    def identity(self) -> dict[str, Any]:
        """What of the configuration changes the images, JSON-able; part of every key.

        Override it where a field has no effect, or names a file whose content matters.
        """
        return self.shown()

    def labelled(self) -> set[str]:
        """Fields that the label shows even at their default."""
        return set()

    def recipe(self) -> dict[str, Any]:
        """The part of `identity` that belongs to training."""
        trained = self.fields("train")
        return {name: value for name, value in self.identity().items() if name in trained}


class TrainData(Protocol):
    """All that training may see: indexable images of each domain, no ids, no other split."""

    def train(self, domain: str) -> Images:
        """Training images of one domain."""


#: Called as training goes on: steps done, steps in all, losses by name.
Progress = Callable[[int, int, Mapping[str, float]], None]


@dataclass
class Log:
    """What a finished training leaves: its wall-clock and its loss curves."""

    seconds: float = 0.0
    curve: dict[str, list[float]] = field(default_factory=dict)


class Training(ABC):
    """One thing to learn. Trainings with the same recipe, data, budget and seed are shared."""

    #: What makes the result what it is: network and objective, from `train` fields only.
    recipe: dict[str, Any]
    #: The pairs that cannot be translated without it; None for all.
    pairs: frozenset[Pair] | None = None

    @abstractmethod
    def fit(
        self, data: TrainData, images: int, seed: int, checkpoint: Path, progress: Progress
    ) -> Log:
        """Train on `images` drawn images.

        Args:
            data: training images by domain.
            images: the budget: steps × batch size.
            seed: root of every random number drawn.
            checkpoint: a folder; a run that was killed goes on from what lies there
                and ends with the same weights.
            progress: called as training goes on.

        Returns:
            Wall-clock (killed runs included, up to their last checkpoint) and loss curves.
        """

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write the weights as safetensors into an existing folder."""

    @abstractmethod
    def load(self, folder: Path) -> None:
        """Read what `save` wrote."""


@dataclass(frozen=True)
class Cost:
    """What a method costs.

    Attributes:
        params: parameters needed to translate one pair, frozen codec included.
        params_total: parameters needed for all pairs.
        params_training: parameters that training needs besides (discriminators and the like),
            for one training.
        nfe: network evaluations per translated image.
        params_dead: those of `params` that cannot change the images (and get no gradient).
    """

    params: int = 0
    params_total: int = 0
    params_training: int = 0
    nfe: int = 0
    params_dead: int = 0

    @property
    def params_live(self) -> int:
        """Parameters that have an effect when one pair is translated."""
        return self.params - self.params_dead


class Method(ABC):
    """Learns from the train split, then translates from any source to any target domain.

    A method that needs no training implements `translate` alone.
    """

    name: ClassVar[str]
    #: Bump by hand whenever the same configuration gives other images.
    version: ClassVar[int] = 1
    #: Hash of the file of a plug-in; it stands in for the version.
    plugin: ClassVar[str | None] = None
    Config: ClassVar[type[MethodConfig]] = MethodConfig
    #: The inference setting that trades structure against realism, if there is one.
    knob: ClassVar[str | None] = None
    #: Whether two translations of one image differ by their random numbers.
    stochastic: ClassVar[bool] = False
    needs_training: ClassVar[bool] = False
    #: Whose images `translate` is given; `target` only for the reference row of true images.
    given: ClassVar[Literal["source", "target"]] = "source"
    #: Whether it takes images of other sizes than those that it was made for.
    any_size: ClassVar[bool] = True
    about: ClassVar[str] = ""

    def __init__(
        self,
        config: MethodConfig,
        domains: Sequence[str],
        size: int,
        device: torch.device,
    ) -> None:
        self.config = config
        self.domains = tuple(domains)
        self.size = size
        self.device = device

    @classmethod
    def configure(cls, profile: Profile) -> MethodConfig:
        """The profile's defaults."""
        return cls.Config()

    @classmethod
    def budget(cls, profile: Profile) -> int:
        """Training images per network."""
        return profile.train_images if cls.needs_training else 0

    @classmethod
    def references(cls, config: MethodConfig) -> dict[str, dict[str, Any]]:
        """Methods (and their settings) whose rows bound this one's, as a codec's round trip."""
        return {}

    def check(self) -> None:  # noqa: B027 - optional
        """Raise a UserError if something that the user must provide (weights) is missing.

        Called before any work starts.
        """

    def setup(self, data: TrainData) -> None:  # noqa: B027 - optional
        """Look at training images once, without learning (a reference histogram, say)."""

    def trainings(self, pairs: Sequence[Pair]) -> list[Training]:
        """What must be learned to translate these pairs; nothing by default."""
        return []

    def cost(self) -> Cost:
        """Parameters and network evaluations; zero for a filter."""
        return Cost()

    @abstractmethod
    def translate(
        self,
        images: Tensor,
        source: str,
        target: str,
        *,
        generators: Sequence[torch.Generator],
    ) -> Tensor:
        """Translate a batch of source-domain images into the target domain.

        Args:
            images: float32 `[B, 1, H, W]` in [0, 1] on the method's device.
            source: domain of the images.
            target: domain to translate into.
            generators: one per image, so that batch size and order change nothing.

        Returns:
            float32 `[B, 1, H, W]`; values outside [0, 1] are clamped by the caller.
        """

    def translate_all(
        self,
        images: Tensor,
        source: str,
        targets: Sequence[str],
        *,
        generators: Mapping[str, Sequence[torch.Generator]],
    ) -> dict[str, Tensor]:
        """Translate to several targets; override where work can be shared."""
        return {
            target: self.translate(images, source, target, generators=generators[target])
            for target in targets
        }

    def translate_path(
        self,
        images: Tensor,
        source: str,
        targets: Sequence[str],
        values: Sequence[float],
        *,
        generators: Mapping[str, Sequence[torch.Generator]],
    ) -> dict[float, dict[str, Tensor]]:
        """Translate at several values of the trade-off knob; override where work can be shared.

        Returns:
            By value and target what `translate_all` gives where the knob is configured so.

        Raises:
            ValueError: the method has no knob.
        """
        if self.knob is None:
            raise ValueError(f"{self.name} has no trade-off knob")
        states = {target: [g.get_state() for g in drawn] for target, drawn in generators.items()}
        config = self.config
        results = {}
        try:
            for value in values:
                changed = {**config.model_dump(), self.knob: value}
                self.config = type(config).model_validate(changed)
                for target, drawn in generators.items():
                    for generator, state in zip(drawn, states[target], strict=True):
                        generator.set_state(state)
                results[value] = self.translate_all(images, source, targets, generators=generators)
        finally:
            self.config = config
        return results


def normals(
    generators: Sequence[torch.Generator], *shape: int, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Standard normal `[B, *shape]`, every row drawn from a generator of its own."""
    return torch.stack(
        [torch.randn(*shape, generator=g, dtype=dtype, device=g.device) for g in generators]
    )
