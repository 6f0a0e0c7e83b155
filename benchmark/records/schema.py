"""What is stored of a unit, and how files of unknown origin are read.

A results folder may come from a stranger, an editor, an earlier or a later version of xbench.
Nothing that a record names is run or imported, and names that become paths cannot leave a folder.
"""

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    NonNegativeInt,
    StringConstraints,
    ValidationError,
    model_validator,
)
from pydantic_core import from_json

from xbench.records.units import UnitId

SCHEMA_VERSION = 1
#: Version of rows that xbench did not make (`xbench score --as`).
EXTERNAL = "external"

#: A single line, without control codes.
Line = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f-\x9f]*$")]
#: Text of several lines, without control codes.
Text = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x08\x0b-\x1f\x7f-\x9f]*$")]
#: Part of a file's name: joined with a suffix or `--`, it cannot lead out of a folder.
Component = Annotated[
    str, StringConstraints(pattern=r"^[^/\\\x00-\x1f\x7f-\x9f]+$", max_length=200)
]


class Stored(BaseModel):
    """Base of what is stored: typed, no unknown fields."""

    model_config = ConfigDict(extra="forbid")


class MethodFacts(Stored):
    """Which method made the images, and what it costs; None where that is not known."""

    name: Line
    label: Line
    version: Line
    reference: bool
    config: dict[str, Any]
    params: int | None
    params_total: int | None
    params_training: int | None
    params_dead: int = 0
    nfe: int | None
    stochastic: bool
    train_images: int | None
    train_seconds: float | None
    weights_sha256: dict[Component, Line]
    #: What `--method` and `--set` were given.
    given: Line = ""
    assignments: list[Line] = []


#: Top, left, height and width in pixels.
Extent = tuple[int, int, int, int]


class DataFacts(Stored):
    """Which images were translated.

    Attributes:
        content: top, left, height and width of what is no padding, of each image; None where no
            image is padded.
    """

    name: Line
    label: Line
    key: Component
    config: dict[str, Any]
    split: Component
    assignments: list[Line] = []
    domains: list[Component]
    domain_groups: dict[str, Line]
    ids: list[Component]
    groups: list[Line]
    content: Sequence[Extent] | None = None


class Value(Stored):
    """A metric's value, or the reason for its absence.

    Attributes:
        identity: definition and version.
        value: over all images.
        reason: why there is no value.
        pending: whether weights were missing: once they are there, the unit is scored again.
        n: number of images behind the value.
        d: dimensions of the features that were compared.
        ci_low: lower end of the 95 % interval over groups; None where groups are too few.
        ci_high: its upper end.
        inf: the value extrapolated to endless images.
        left_out: the value without each block of groups (see `metrics.uncertainty`), from which
            intervals of means and of differences follow.
        per_image: the value of each image, of metrics that have one.
    """

    identity: Line
    value: float | None
    reason: Text | None = None
    pending: bool = False
    n: int | None = None
    d: int | None = None
    ci_low: float | None = None
    ci_high: float | None = None
    inf: float | None = None
    left_out: list[float] | None = None
    per_image: list[float] | None = None


class Finished(Stored):
    """What all records of finished units say."""

    schema_version: Literal[1] = 1
    key: Line
    method: MethodFacts
    data: DataFacts
    profile: Component
    seed: NonNegativeInt
    source: Component
    target: Component
    seconds: dict[str, float]
    provenance: dict[str, Any]
    finished: Line

    @property
    def unit(self) -> UnitId:
        """The unit that it is of."""
        return UnitId(self.method.label, self.seed, self.source, self.target)

    def values_per_image(self) -> Iterator[Sequence[object]]:
        """All lists with a value for every image."""
        return iter(())

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        """Check what tables rely on; a file that was edited by hand may break it."""
        data, n = self.data, len(self.data.ids)
        if not {self.source, self.target} <= set(data.domains):
            raise ValueError("source or target is no domain of the data")
        if not set(data.domains) <= data.domain_groups.keys():
            raise ValueError("a domain has no group")
        if len(data.groups) != n:
            raise ValueError("ids and groups differ in number")
        if any(len(values) != n for values in self.values_per_image()):
            raise ValueError("a metric has not one value per image")
        return self


class Record(Finished):
    """A finished unit of a run: translated images, and what metrics say of them."""

    metrics: dict[Line, Value]
    #: Correlation of outputs with inputs, averaged over images; below 0 means inverted greys.
    polarity: float | None = None
    images_sha256: Line

    def values_per_image(self) -> Iterator[Sequence[object]]:
        """See `Finished`."""
        return (v.per_image for v in self.metrics.values() if v.per_image is not None)


class UtilityRecord(Finished):
    """A finished unit of `xbench utility`: networks for tasks, tested on true images of the target.

    Attributes:
        identity: recipe of the networks, and definition of the measures.
        labels: key of the labels.
        train_images: images that each network learned from.
        measures: measure → for each task seed a value per image of `data`; None where the image
            does not show what is measured.
        structures: names of the predicted masks, in the order of their bits.
        places: landmark → predicted (row, column) in px, per image.
        angles: predicted angles in degrees, per image; predictions are those of the first seed.
        masks_sha256: of the predicted masks.
    """

    identity: Line
    labels: Line
    train_images: int
    measures: dict[Line, list[list[float | None]]]
    structures: list[Line]
    places: dict[Line, list[tuple[float, float]]]
    angles: list[tuple[float, float]]
    masks_sha256: Line

    def values_per_image(self) -> Iterator[Sequence[object]]:
        """See `Finished`."""
        yield from (values for runs in self.measures.values() for values in runs)
        yield from self.places.values()
        if self.angles:
            yield self.angles


class Failure(Stored):
    """A unit that failed: kept for its traceback, never counted as done."""

    key: Line
    label: Line
    seed: NonNegativeInt
    source: Component
    target: Component
    traceback: str
    finished: Line

    @property
    def unit(self) -> UnitId:
        """The unit that it is of."""
        return UnitId(self.label, self.seed, self.source, self.target)


class TrainingLog(Stored):
    """The done-marker of a training."""

    recipe: dict[str, Any]
    weights_sha256: str
    images: int
    seconds: float
    curve: dict[str, list[float]]


StoredT = TypeVar("StoredT", bound=Stored)


class Unreadable(Exception):
    """A stored file that cannot be used; the text says why.

    Attributes:
        damaged: it is no whole JSON file, and its unit must be run again.
    """

    def __init__(self, reason: str, *, damaged: bool = False) -> None:
        super().__init__(reason)
        self.damaged = damaged


def parse(raw: bytes, kind: type[StoredT]) -> StoredT:
    """A stored object from its JSON text.

    Raises:
        Unreadable: it is damaged, of a newer schema, or not what this version writes.
    """
    try:
        value = kind.model_validate_json(raw)
    except ValidationError as error:
        problem = error.errors()[0]
        if problem["type"] == "json_invalid":
            raise Unreadable("damaged", damaged=True) from error
        raise Unreadable(_why(raw, ".".join(map(str, problem["loc"])), problem["msg"])) from error
    if b"NaN" in raw or b"Infinity" in raw:  # names or numbers; numbers would spoil keys and tables
        try:
            from_json(raw, allow_inf_nan=False)
        except ValueError as error:
            raise Unreadable("holds a number that is not finite") from error
    return value


def _why(raw: bytes, place: str, message: str) -> str:
    """Why a whole JSON file is not what was expected."""
    found = from_json(raw)
    version = found.get("schema_version") if isinstance(found, dict) else None
    if isinstance(version, int) and version > SCHEMA_VERSION:
        return f"written by a newer version of xbench (schema {version}), which can read it"
    return f"edited, or written by another version of xbench ({place or 'as a whole'}: {message})"
