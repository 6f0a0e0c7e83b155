"""What is stored of a unit, and how files of unknown origin are read.

A results folder may come from someone else, an editor, an earlier or a later version of xbench.
Nothing that a record names is run or imported, and names that become paths cannot leave a folder.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeInt,
    SerializerFunctionWrapHandler,
    StringConstraints,
    ValidationError,
    model_serializer,
    model_validator,
)
from pydantic_core import from_json

from xbench.core.pixels import bone_bright
from xbench.core.text import visible
from xbench.records.units import UnitId

SCHEMA_VERSION = 1
#: Version of rows that xbench did not make (`xbench score --as`).
EXTERNAL = "external"

#: Signs that are refused in names: control codes, and what cannot be seen.
_UNSEEN = r"\p{Cc}\p{Co}\p{Zl}\p{Zp}[\p{Cf}--[\u200c\u200d]]"
#: A name of one line, all of which can be seen.
Name = Annotated[str, StringConstraints(pattern=rf"^[^{_UNSEEN}]*$")]
#: Part of a file's name: joined with a suffix or `--`, it cannot lead out of a folder.
Component = Annotated[str, StringConstraints(pattern=rf"^[^/\\{_UNSEEN}]+$", max_length=200)]
#: A single line without control codes; what cannot be seen becomes its code.
Line = Annotated[
    str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f-\x9f]*$"), AfterValidator(visible)
]
#: The same for text of several lines.
Text = Annotated[
    str,
    StringConstraints(pattern=r"^[^\x00-\x08\x0b-\x1f\x7f-\x9f]*$"),
    AfterValidator(partial(visible, keep="\n\t")),
]

Count = Annotated[int, Field(ge=0, lt=2**63)]
Number = Annotated[float, Field(allow_inf_nan=False)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
#: Depth of lists and dictionaries in settings; deeper ones would exhaust whoever reads them.
DEPTH = 8


def _plain(value: Any, depth: int = DEPTH) -> Any:
    """A setting: JSON of bounded depth, its texts of one line."""
    if isinstance(value, str) and visible(value) != value:
        raise ValueError("a text with signs that cannot be seen")
    if isinstance(value, dict | list):
        if not depth:
            raise ValueError("lists in lists beyond all bounds")
        for part in [*value, *(value.values() if isinstance(value, dict) else ())]:
            _plain(part, depth - 1)
    return value


Settings = Annotated[dict[Line, Any], AfterValidator(_plain)]


class Stored(BaseModel):
    """Base of what is stored: typed, no unknown fields."""

    model_config = ConfigDict(extra="forbid")


class MethodFacts(Stored):
    """Which method made the images, and what it costs; None where that is not known."""

    name: Name
    label: Name
    version: Line
    reference: bool
    config: Settings
    params: Count | None
    params_total: Count | None
    params_training: Count | None
    params_dead: Count = 0
    nfe: Count | None
    stochastic: bool
    train_images: Count | None
    train_seconds: Seconds | None
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

    name: Name
    label: Name
    key: Component
    config: Settings
    split: Component
    assignments: list[Line] = []
    domains: list[Component]
    domain_groups: dict[Component, Name]
    ids: list[Component] = Field(min_length=1)
    groups: list[Name]
    content: Sequence[Extent] | None = None

    @property
    def bone_bright(self) -> bool:
        """Whether pictures should show bone bright, as the files do: see `pixels.bone_bright`."""
        return bone_bright(self.config.get("polarity"), self.domains)


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
            intervals of means and of differences follow; None where it follows from `per_image`.
        per_image: the value of each image, of metrics that have one.
    """

    identity: Line
    value: Number | None
    reason: Text | None = None
    pending: bool = False
    n: Count | None = None
    d: Count | None = None
    ci_low: Number | None = None
    ci_high: Number | None = None
    inf: Number | None = None
    left_out: list[Number] | None = None
    per_image: list[Number] | None = None

    @model_serializer(mode="wrap")
    def _known(self, fields: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Only what is known: most metrics lack most fields."""
        said = fields(self)
        if not self.pending:
            said.pop("pending", None)
        return {k: v for k, v in said.items() if v is not None or k == "value"}


class Provenance(Stored):
    """Code, packages and machine behind a record; None where that is not known."""

    xbench: Line | None = None
    commit: Line | None = None
    dirty: bool | None = None
    python: Line | None = None
    platform: Line | None = None
    cpu: Line | None = None
    threads: Count | None = None
    device: Line | None = None
    packages: dict[Line, Line | None] = {}
    gpu: Line | None = None
    cuda: Line | None = None
    #: How networks computed: precision, which were compiled, memory layout; of training, too.
    compute: dict[Line, Line] = {}


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
    seconds: dict[Line, Seconds]
    provenance: Provenance
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
        if not n == len(set(data.ids)) == len(data.groups):
            raise ValueError("ids are not unique, or differ in number from groups")
        if data.content is not None and len(data.content) != n:
            raise ValueError("content is not known of every image")
        if any(len(values) != n for values in self.values_per_image()):
            raise ValueError("a metric has not one value per image")
        return self


class Record(Finished):
    """A finished unit of a run: translated images, and what metrics say of them."""

    metrics: dict[Line, Value]
    #: Correlation of outputs with inputs, averaged over images; below 0 means inverted greys.
    polarity: Annotated[float, Field(ge=-1.001, le=1.001)] | None = None
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
    train_images: Count
    measures: dict[Line, list[list[Number | None]]]
    structures: list[Line]
    places: dict[Line, list[tuple[Number, Number]]]
    angles: list[tuple[Number, Number]]
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
    label: Name
    seed: NonNegativeInt
    source: Component
    target: Component
    traceback: Annotated[str, AfterValidator(partial(visible, keep="\n\t"))]
    finished: Line

    @property
    def unit(self) -> UnitId:
        """The unit that it is of."""
        return UnitId(self.label, self.seed, self.source, self.target)


class TrainingLog(Stored):
    """The done-marker of a training."""

    recipe: Settings
    weights_sha256: Line
    images: Count
    seconds: Seconds
    curve: dict[Line, list[Number]]
    #: How networks computed: see `Provenance`.
    compute: dict[Line, Line] = {}


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
