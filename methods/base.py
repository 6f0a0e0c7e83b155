"""The interface of every translation method.

Images are float32 `[B, 1, H, W]` in [0, 1], air bright and bone dark, in and out.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from xbench.core.compute import Compute
from xbench.core.forms import Form
from xbench.core.pairs import Pair
from xbench.core.profiles import Profile
from xbench.datasets.base import Images

Stage = Literal["train", "infer", "resources"]


def setting(default: Any, stage: Stage, about: str, **limits: Any) -> Any:
    """A configuration field: its default, its stage, what it is and where the default comes from.

    Another value of a `train` field needs another training; an `infer` field only matters when
    translating; a `resources` field (memory, say) changes no result and is part of no key.
    """
    return Field(default, description=about, json_schema_extra={"stage": stage}, **limits)


class MethodConfig(BaseModel):
    """Base of all configurations: frozen, without unknown fields, each field made by `setting`.

    >>> class Blur(MethodConfig):
    ...     sigma: float = setting(2.0, "infer", "width of the blur in pixels", gt=0)
    ...     chunks: int = setting(1, "resources", "images at once")
    >>> Blur(sigma=3).shown()
    {'sigma': 3.0}
    """

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
        """All settings that can change a result, as JSON values, for labels and records."""
        return self.model_dump(mode="json", exclude=set(self.fields("resources")))

    def identity(self) -> dict[str, Any]:
        """The settings that change the images, as JSON values; part of every key.

        Override it where a field has no effect, or names a file whose content matters.
        """
        return self.shown()

    def in_other_words(self) -> dict[str, str]:
        """Field → what its value means on another scale, which labels show beside the value."""
        return {}

    def always_shown(self) -> set[str]:
        """Names of the fields that the label shows even at their default."""
        return set()

    def recipe(self) -> dict[str, Any]:
        """The part of `identity` that belongs to training."""
        trained = self.fields("train")
        return {name: value for name, value in self.identity().items() if name in trained}


class TrainData(Protocol):
    """What a training may see: images of each domain by index, no ids, no other split."""

    def train(self, domain: str) -> Images:
        """Training images of one domain."""


#: Called during training with the steps done, the number of steps, and the losses by name.
Progress = Callable[[int, int, Mapping[str, float]], None]


@dataclass
class Log:
    """Seconds and loss curves of a finished training, and how it computed (`core.compute`)."""

    seconds: float = 0.0
    curve: dict[str, list[float]] = field(default_factory=dict)
    compute: dict[str, str] = field(default_factory=dict)


class Training(ABC):
    """One thing to learn. Methods share trainings of the same recipe, data, budget and seed."""

    #: Everything that decides the result: network and objective, from `train` fields only.
    recipe: dict[str, Any]
    #: The pairs that cannot be translated without it; None for all.
    pairs: frozenset[Pair] | None = None

    @abstractmethod
    def fit(
        self, data: TrainData, images: int, seed: int, checkpoint: Path, progress: Progress
    ) -> Log:
        """Train.

        Args:
            data: training images by domain.
            images: the budget in drawn images: steps × batch size.
            seed: of every random number.
            checkpoint: a folder for checkpoints; a killed training resumes from there and ends
                with the same weights.
            progress: called during training.

        Returns:
            Seconds (those of killed runs included, up to their last checkpoint) and loss curves.
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
        params_training: further parameters that one training needs (discriminators, say).
        nfe: network evaluations per translated image.
        params_dead: how many of `params` have no effect on the images (and get no gradient).
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

    A method that needs no training implements only `translate`.
    """

    name: ClassVar[str]
    #: Raise it by hand whenever the same configuration gives different images.
    version: ClassVar[int] = 1
    #: Hash of a plug-in's file, used instead of the version.
    plugin: ClassVar[str | None] = None
    Config: ClassVar[type[MethodConfig]] = MethodConfig
    #: Profile name → settings that differ there from the defaults of `Config`.
    by_profile: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    #: The `infer` setting that trades structure against realism, if there is one.
    knob: ClassVar[str | None] = None
    #: Settings that `xbench tune` chooses on `val`, in this order → the values that it tries.
    tuned: ClassVar[Mapping[str, Sequence[Any]]] = {}
    #: Profile → factor on its training images: that of ½, 1, 2 and 4 with the least `ltd` on `val`
    #: that two cores train within twelve minutes (see `xbench plot budget`); 1 where not measured.
    factors: ClassVar[Mapping[str, float]] = {}
    #: Whether other random numbers give another translation of the same image.
    stochastic: ClassVar[bool] = False
    needs_training: ClassVar[bool] = False
    #: Which images `translate` is given; all but `source` are for reference rows alone: true images
    #: of the target's views, or noise-free ones.
    given: ClassVar[Literal["source", "target", "expected"]] = "source"
    #: Whether it takes images of other sizes than the one it was made for.
    any_size: ClassVar[bool] = True
    #: The pretrained weights without which it cannot run, if there are any.
    needs: ClassVar[str | None] = None
    about: ClassVar[str] = ""
    #: How its networks compute on its device; whoever makes a method for a run sets it.
    computing: Compute = Compute()
    #: Once settled: the form of `busy_networks`, and how many images are translated at once.
    form: Form | None = None
    at_once: int | None = None
    #: Whether the user was warned that it returns images of a wrong scale.
    warned: bool = False

    def __init__(
        self, config: MethodConfig, domains: Sequence[str], size: int, device: torch.device
    ) -> None:
        self.config = config
        self.domains = tuple(domains)
        self.size = size
        self.device = device

    @classmethod
    def configure(cls, profile: Profile) -> MethodConfig:
        """The settings at a profile: the defaults, changed by `by_profile`."""
        return cls.Config(**cls.by_profile.get(profile.name, {}))

    @classmethod
    def budget(cls, profile: Profile) -> int:
        """Training images per network."""
        return round(cls.profile_images(profile) * cls.factors.get(profile.name, 1))

    @classmethod
    def profile_images(cls, profile: Profile) -> int:
        """The training images per network that a profile states."""
        return profile.train_images if cls.needs_training else 0

    @classmethod
    def unavailable(cls) -> str:
        """Why it cannot run here, in a few words; empty if it can. `--method all` leaves it out."""
        return ""

    @classmethod
    def references(cls, config: MethodConfig) -> dict[str, dict[str, Any]]:
        """Name → settings of reference rows to show beside this one (a codec's round trip, say)."""
        return {}

    def check(self) -> None:  # noqa: B027 - optional
        """Called before any work starts.

        Raises:
            UserError: something that the user must provide (weights, say) is missing.
        """

    def setup(self, data: TrainData) -> None:  # noqa: B027 - optional
        """Look at training images once, without learning (a reference histogram, say)."""

    def trainings(self, pairs: Sequence[Pair]) -> list[Training]:
        """The trainings needed to translate these pairs; none by default."""
        return []

    def busy_networks(self) -> Mapping[str, nn.Module]:
        """Networks of many calls per image, which may be compiled or laid out in another way."""
        return {}

    @property
    def computes_in(self) -> torch.dtype:
        """In which its networks translate."""
        return torch.float32

    def cost(self) -> Cost:
        """Parameters and network evaluations; zero for a filter."""
        return Cost()

    @abstractmethod
    def translate(
        self, images: Tensor, source: str, target: str, *, generators: Sequence[torch.Generator]
    ) -> Tensor:
        """Translate a batch of source-domain images into the target domain.

        Args:
            images: float32 `[B, 1, H, W]` in [0, 1] on the method's device.
            source: domain of the images.
            target: domain to translate into.
            generators: one per image, so that the result does not depend on the batch.

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
        """Translate to several targets; override it where they can share work."""
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
        """Translate at several values of the knob; override it where they can share work.

        Returns:
            Value → target → the images that `translate_all` gives with the knob at this value.

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


def evenly_spaced(images: Images, number: int) -> Tensor:
    """At most `number` of the images `[n, 1, H, W]`, evenly spaced in their list."""
    return images[even_places(len(images), number)]


def even_places(count: int, number: int) -> list[int]:
    """At most `number` of `count` places, evenly spaced.

    >>> even_places(9, 3), even_places(2, 3)
    ([0, 4, 8], [0, 1])
    """
    places: list[int] = np.linspace(0, count - 1, min(count, number)).round().astype(int).tolist()
    return places


def normals(
    generators: Sequence[torch.Generator], *shape: int, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Standard normal numbers `[B, *shape]`, each row drawn from its own generator."""
    return torch.stack(
        [torch.randn(*shape, generator=g, dtype=dtype, device=g.device) for g in generators]
    )
