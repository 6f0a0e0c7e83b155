"""Records and images on disk. A record is the only sign that a unit is done.

Below `<out>/<dataset>/<profile>/`, the path of a record is its unit's name and the key inside
says what made it, so a unit can never stand there twice, and a stale one is seen and redone.
"""

import hashlib
import json
import re
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from PIL import Image
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor

from xbench.errors import UserError
from xbench.files import atomic, set_aside, write_text
from xbench.plan import Unit
from xbench.settings import file_name

#: Views of every unit that are kept as one 8-bit strip.
STRIP_VIEWS = 6
STRIP_SIDE = 128


class Stored(BaseModel):
    """Base of what is stored: typed, no unknown fields."""

    model_config = ConfigDict(extra="forbid")


class MethodFacts(Stored):
    """Which method made the images, and what it costs; None where nobody knows."""

    name: str
    label: str
    version: str
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
    weights_sha256: dict[str, str]
    #: What `--method` and `--set` were given.
    given: str = ""
    assignments: list[str] = []


class DataFacts(Stored):
    """Which images were translated."""

    name: str
    label: str
    key: str
    config: dict[str, Any]
    split: str
    assignments: list[str] = []
    domains: list[str]
    domain_groups: dict[str, str]
    ids: list[str]
    groups: list[str]


class Value(Stored):
    """A metric's value, or the reason for its absence.

    Attributes:
        identity: definition and version.
        value: over all images.
        reason: why there is no value.
        pending: whether weights were missing: when they have come, the unit is scored again.
        n: images that it rests on.
        d: dimensions of the features that were compared.
        ci_low: lower end of the 95 % interval over groups; None where groups are too few.
        ci_high: its upper end.
        inf: the value extrapolated to endless images.
        left_out: the value without each block of groups (see `metrics.uncertainty`), from which
            intervals of means and of differences follow.
        per_image: the value of each image, of metrics that have one.
    """

    identity: str
    value: float | None
    reason: str | None = None
    pending: bool = False
    n: int | None = None
    d: int | None = None
    ci_low: float | None = None
    ci_high: float | None = None
    inf: float | None = None
    left_out: list[float] | None = None
    per_image: list[float] | None = None


class Record(Stored):
    """A finished unit."""

    schema_version: Literal[1] = 1
    key: str
    method: MethodFacts
    data: DataFacts
    profile: str
    seed: int
    source: str
    target: str
    metrics: dict[str, Value]
    #: Correlation of outputs with inputs, averaged over images; below 0 means inverted greys.
    polarity: float | None = None
    images_sha256: str
    seconds: dict[str, float]
    provenance: dict[str, Any]
    finished: str


class Failure(Stored):
    """A unit that failed: kept to be looked at, never counted as done."""

    key: str
    label: str
    seed: int
    source: str
    target: str
    traceback: str
    finished: str


StoredT = TypeVar("StoredT", bound=Stored)


class Store:
    """The files of one data set and profile."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def probe(self) -> None:
        """Find out before any work whether results can be written.

        Raises:
            UserError: they cannot.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_text(self.folder / ".probe", "")
            (self.folder / ".probe").unlink()
        except OSError as error:
            raise UserError(
                f"the output folder {self.folder} cannot be written: {error.strerror}",
                "expected: a folder in which you may create files",
                "try: --out ANOTHER/FOLDER",
            ) from error

    def record_path(self, unit: Unit) -> Path:
        """Where the record of a unit lies."""
        return self.folder / "records" / f"{file_name_of(unit)}.json"

    def failure_path(self, unit: Unit) -> Path:
        """Where a failure of a unit lies."""
        return self.folder / "failed" / f"{file_name_of(unit)}.json"

    def images_path(self, unit: Unit) -> Path:
        """The folder of a unit's 16-bit PNGs."""
        return self.folder / "images" / file_name_of(unit)

    def find(self, unit: Unit) -> Record | None:
        """The record of a unit if it is there, whole, and made by the same key."""
        path = self.record_path(unit)
        record = read(path, Record) if path.exists() else None
        return record if record and record.key == unit.key else None

    def records(self) -> list[Record]:
        """All whole records, in the order of their paths."""
        return [record for _, record in self.record_files()]

    def record_files(self) -> Iterator[tuple[Path, Record]]:
        """All whole records with their paths."""
        for path in sorted((self.folder / "records").rglob("[!.]*.json")):
            record = read(path, Record)
            if record:
                yield path, record

    def write_record(self, unit: Unit, record: Record) -> None:
        """Store a finished unit; an earlier failure of it is forgotten."""
        text = re.sub(r"\[[\d\s,.eE+-]+\]", _one_line, record.model_dump_json(indent=1))
        write_text(self.record_path(unit), text + "\n")
        self.failure_path(unit).unlink(missing_ok=True)

    def write_failure(self, unit: Unit, failure: Failure) -> None:
        """Store a failure."""
        write_text(self.failure_path(unit), failure.model_dump_json(indent=1) + "\n")

    def forget(self, unit: Unit) -> None:
        """Remove a record before its images are made anew."""
        self.record_path(unit).unlink(missing_ok=True)

    def write_images(self, unit: Unit, ids: Sequence[str], pixels: np.ndarray) -> None:
        """Write uint16 `[n, H, W]` as one 16-bit PNG per id, and the strip of some views."""
        folder = self.images_path(unit)
        folder.mkdir(parents=True, exist_ok=True)
        for name, image in zip(ids, pixels, strict=True):
            Image.fromarray(image).save(folder / f"{name}.png", compress_level=1)
        chosen = spread(len(ids), STRIP_VIEWS)
        path = strip_path(self.folder, unit.entry.label, unit.seed, unit.source, unit.target)
        with atomic(path) as part:
            Image.fromarray(make_strip(pixels[chosen])).save(part, optimize=True)

    def read_images(self, unit: Unit, ids: Sequence[str]) -> np.ndarray:
        """What `write_images` wrote, uint16 `[n, H, W]`.

        Raises:
            OSError: an image is missing or damaged.
        """
        folder = self.images_path(unit)
        return np.stack(
            [np.asarray(Image.open(folder / f"{i}.png")).astype(np.uint16) for i in ids]
        )


def _one_line(numbers: re.Match[str]) -> str:
    """A list of numbers without line breaks."""
    return re.sub(r"\s+", " ", numbers.group()).replace("[ ", "[").replace(" ]", "]")


def file_name_of(unit: Unit) -> str:
    """`<method>/seed<k>/<source>--<target>`."""
    return unit_file(unit.entry.label, unit.seed, unit.source, unit.target)


def unit_file(label: str, seed: int, source: str, target: str) -> str:
    """`<method>/seed<k>/<source>--<target>`."""
    return f"{file_name(label)}/seed{seed}/{source}--{target}"


def strip_path(folder: Path, label: str, seed: int, source: str, target: str) -> Path:
    """Where the 8-bit strip of a unit lies."""
    return folder / "strips" / f"{unit_file(label, seed, source, target)}.png"


def read(path: Path, kind: type[StoredT]) -> StoredT | None:
    """Read a stored file; None, with a warning, if that cannot be.

    A damaged file is moved aside, and what it stood for is redone. One that another version of
    xbench wrote is left where it is.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        aside = set_aside(path)
        warnings.warn(f"{path} is damaged; moved to {aside.name}, to be redone", stacklevel=2)
        return None
    try:
        return kind.model_validate(value)
    except ValidationError:
        warnings.warn(f"{path} was written by another version of xbench; left out", stacklevel=2)
        return None


def spread(n: int, count: int) -> list[int]:
    """Up to `count` of the indices below n, well spread, and in step with no period of the ids.

    Multiples of the golden ratio: evenly spaced ids would often show one view class only.
    """
    chosen = dict.fromkeys(int(n * (k * 0.618034 % 1)) for k in range(min(count, n)))
    return sorted(chosen)


def make_strip(pixels: np.ndarray) -> np.ndarray:
    """Views uint16 `[n, H, W]` side by side in 8 bit, at most `STRIP_SIDE` pixels high."""
    height, width = pixels.shape[1:]
    if height > STRIP_SIDE:
        from torchvision.transforms.functional import resize

        size = [STRIP_SIDE, round(width * STRIP_SIDE / height)]
        pixels = to_pixels(resize(from_pixels(pixels), size, antialias=True))
    strip: np.ndarray = np.concatenate(list(pixels), axis=1)
    return (strip / 257).round().astype(np.uint8)


def to_pixels(images: Tensor) -> np.ndarray:
    """Float images `[n, 1, H, W]` clamped to [0, 1] and rounded to uint16 `[n, H, W]`.

    Raises:
        ValueError: an image is not finite, or has another shape.
    """
    if images.ndim != 4 or images.shape[1] != 1:
        raise ValueError(f"expected images [n, 1, H, W], got {tuple(images.shape)}")
    if not torch.isfinite(images).all():
        raise ValueError("the method returned values that are not finite")
    images = images.detach().cpu().double()  # on the CPU: not every device has float64
    return (images.clamp(0, 1) * 65535).round().numpy().astype(np.uint16)[:, 0]


def from_pixels(pixels: np.ndarray) -> Tensor:
    """uint16 `[n, H, W]` to float32 `[n, 1, H, W]` in [0, 1]."""
    return torch.from_numpy(pixels.astype(np.float32) / np.float32(65535)).unsqueeze(1)


def pixels_digest(pixels: np.ndarray) -> str:
    """SHA-256 of uint16 images in order."""
    return hashlib.sha256(np.ascontiguousarray(pixels).astype("<u2").tobytes()).hexdigest()
