"""Records and images on disk. A record is the only sign that a unit is done.

Below `<out>/<dataset>/<profile>/` the path of a record names its unit, and the key inside says how
it was made: no unit is stored twice, and a stale one is recognised and run again.
"""

import gc
import json
import os
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, Generic, TypeVar

from PIL import Image

from xbench.core.errors import UserError
from xbench.core.files import atomic, set_aside, within, write_text
from xbench.core.pixels import Pixels
from xbench.records.images import (
    STRIP_VIEWS,
    make_strip,
    read_png,
    read_pngs,
    spread,
    without_padding,
    write_strip,
)
from xbench.records.schema import (
    Failure,
    Finished,
    Record,
    StoredT,
    Unreadable,
    UtilityRecord,
    parse,
)
from xbench.records.units import UnitId

#: Files that are read one after the other, and how many such batches at the same time.
BATCH = 64
READERS = 8
#: Most pixels of the masks of one unit, as of 256 images of 512 px.
MOST_MASKS = 512 * 512 * 256

FinishedT = TypeVar("FinishedT", bound=Finished)


class Records(Generic[FinishedT]):
    """Records and failures of units of one kind, in one folder."""

    kind: type[FinishedT]

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def probe(self) -> None:
        """Make sure, before any work, that results can be written.

        Raises:
            UserError: they cannot.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with TemporaryFile(dir=self.folder):  # has no name that processes could share
                pass
        except OSError as error:
            raise UserError(
                f"the output folder {self.folder} cannot be written: {error.strerror}",
                "expected: a folder in which you may create files",
                "try: --out ANOTHER/FOLDER",
            ) from error

    def record_path(self, unit: UnitId) -> Path:
        """Where the record of a unit lies."""
        return self._place("records", f"{unit.path}.json")

    def failure_path(self, unit: UnitId) -> Path:
        """Where a failure of a unit lies."""
        return self._place("failed", f"{unit.path}.json")

    def _place(self, kind: str, name: str) -> Path:
        """A path below the folder; `OSError` if it leads out of it (see `within`)."""
        return within(self.folder, self.folder / kind / name)

    def find(self, unit: UnitId, key: str) -> FinishedT | None:
        """The record of a unit if it is there, whole, and made by this key."""
        record = read(self.record_path(unit), self.kind)
        if record is None or record.unit.path != unit.path:
            return None
        return record if record.key == key else None

    def records(self) -> list[FinishedT]:
        """All whole records, in the order of their paths."""
        return [record for _, record in self._read_all()]

    def record_files(self) -> list[tuple[Path, FinishedT]]:
        """All whole records with their paths."""
        return [(self.folder / "records" / name, record) for name, record in self._read_all()]

    def _read_all(self) -> list[tuple[str, FinishedT]]:
        """All whole records by file name; one warning per reason names those left out.

        A record under another unit's name was copied or edited, and would count for a row that it
        does not belong to: it is left out too.
        """
        folder = within(self.folder, self.folder / "records")
        found: list[tuple[str, FinishedT]] = []
        left_out: dict[str, list[str]] = {}
        with no_collection():
            for name, raw in _read_files(folder, _json_files(folder)):
                try:
                    record = parse(raw, self.kind)
                    if name != f"{record.unit.path}.json":
                        raise Unreadable("edited or copied: it belongs to another place")
                    found.append((name, record))
                except Unreadable as error:
                    left_out.setdefault(_set_aside(folder / name, error), []).append(name)
        for reason, names in left_out.items():
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            warnings.warn(f"left out: {folder / names[0]}{more}: {reason}", stacklevel=3)
        return found

    def failures(self) -> list[tuple[Path, Failure]]:
        """All failures with their paths."""
        folder = within(self.folder, self.folder / "failed")
        paths = [folder / name for name in _json_files(folder)]
        return [(path, failure) for path in paths if (failure := read(path, Failure))]

    def write_record(self, unit: UnitId, record: FinishedT) -> None:
        """Store a record whose images are there; an earlier failure of the unit is forgotten."""
        write_text(self.record_path(unit), _json(record))
        self.failure_path(unit).unlink(missing_ok=True)

    def write_failure(self, unit: UnitId, failure: Failure) -> None:
        """Store a failure."""
        write_text(self.failure_path(unit), failure.model_dump_json(indent=1) + "\n")


class Store(Records[Record]):
    """The files of a run: records, and images of their units."""

    kind = Record

    def images_path(self, unit: UnitId) -> Path:
        """The folder of a unit's 16-bit PNGs."""
        return self._place("images", unit.path)

    def strip_path(self, unit: UnitId) -> Path:
        """The strip of some of a unit's images."""
        return self._place("strips", f"{unit.path}.webp")

    def write_unit(self, unit: UnitId, record: Record, pixels: Pixels) -> None:
        """Store a finished unit: its images, uint16 `[n, H, W]`, a strip of some, and its record.

        All files are on the disk before one replaces an earlier file, so a full disk loses
        nothing. Then the earlier record is removed, the images are renamed into place and the
        record last: after a kill in between, the unit counts as not done.
        """
        folder, ids = self.images_path(unit), record.data.ids
        strip = self.strip_path(unit)
        for path in folder.glob(".*.part.png"):  # of a process that was killed in this unit
            path.unlink(missing_ok=True)
        # Parts take their places in reverse order.
        with ExitStack() as parts:
            parts.enter_context(atomic(self.record_path(unit))).write_text(_json(record), "utf-8")
            chosen = spread(len(ids), STRIP_VIEWS)
            shown = without_padding(pixels, record.data.content)[chosen]
            write_strip(make_strip(shown), parts.enter_context(atomic(strip)))
            for name, image in zip(ids, pixels, strict=True):
                # Not flushed one by one: after a power cut, the hash in the record differs.
                part = parts.enter_context(atomic(folder / f"{name}.png", flush=False))
                Image.fromarray(image).save(part, compress_level=1)
            self.record_path(unit).unlink(missing_ok=True)
        self.failure_path(unit).unlink(missing_ok=True)

    def images_of(self, record: Record) -> Pixels:
        """The images of a record, uint16 `[n, H, W]`.

        Raises:
            OSError: an image is missing or damaged, or they differ in size.
        """
        return read_pngs(self.images_path(record.unit), record.data.ids)


class UtilityStore(Records[UtilityRecord]):
    """The files of `xbench utility`, in the folder `utility` of a run."""

    kind = UtilityRecord
    #: The folder below that of the run.
    name = "utility"

    def __init__(self, run: Path) -> None:
        super().__init__(within(run, run / self.name))

    def masks_path(self, unit: UnitId) -> Path:
        """The masks that a unit's networks saw in the test images, one below the other."""
        return self._place("masks", f"{unit.path}.png")

    def write_unit(self, unit: UnitId, record: UtilityRecord, masks: Pixels) -> None:
        """Store masks uint16 `[n, H, W]`, a bit for each structure, then the record."""
        with atomic(self.masks_path(unit)) as part:
            Image.fromarray(masks.reshape(-1, masks.shape[-1])).save(part, format="PNG")
        self.write_record(unit, record)

    def masks_of(self, record: UtilityRecord) -> Pixels:
        """The masks of a record, uint16 `[n, H, W]`.

        Raises:
            OSError: they are missing or damaged.
            ValueError: they are not one square for every image.
        """
        pixels = read_png(self.masks_path(record.unit), MOST_MASKS)
        return pixels.reshape(len(record.data.ids), pixels.shape[-1], pixels.shape[-1])


def _json(record: Finished) -> str:
    """A record as JSON, a line for every metric and every group of facts."""
    return _lines(record.model_dump(mode="json")) + "\n"


def _lines(value: Any, depth: int = 0) -> str:
    """JSON in which only a dictionary of dictionaries takes more than one line."""
    if not isinstance(value, dict) or not any(isinstance(part, dict) for part in value.values()):
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    start = "\n" + " " * (depth + 1)
    rows = (f"{json.dumps(name)}: {_lines(part, depth + 1)}" for name, part in value.items())
    return "{" + start + f",{start}".join(rows) + start[:-1] + "}"


def read(path: Path, kind: type[StoredT]) -> StoredT | None:
    """Read a stored file; None if there is none, or, with a warning, if it cannot be used.

    A damaged file is moved aside, and what it stood for is redone. One that another version of
    xbench wrote is left where it is.
    """
    raw = _contents(path)
    try:
        return None if raw is None else parse(raw, kind)
    except Unreadable as error:
        warnings.warn(f"left out: {path}: {_set_aside(path, error)}", stacklevel=2)
        return None


def _contents(path: Path) -> bytes | None:
    """A file's bytes; None if there is no such file (any more)."""
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None


def _set_aside(path: Path, error: Unreadable) -> str:
    """Move a damaged file aside where that is allowed; return the reason for the user."""
    if error.damaged:
        with suppress(OSError):
            set_aside(path)
            return f"{error}; kept as .corrupt, to be redone"
    return str(error)


def _json_files(folder: Path) -> list[str]:
    """Names `a/b.json` of the files below a folder; neither hidden ones nor links."""

    def walk(below: str) -> Iterator[str]:
        with suppress(FileNotFoundError), os.scandir(os.path.join(folder, below)) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    yield from walk(f"{below}{entry.name}/")
                elif (
                    entry.name.endswith(".json")
                    and entry.name[0] != "."
                    and entry.is_file(follow_symlinks=False)
                ):
                    yield below + entry.name

    return sorted(walk(""), key=lambda name: name.split("/"))


def _read_files(folder: Path, names: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    """Contents of files, some read ahead: parsing needs a core, reading waits for a disk."""
    batches = [names[start : start + BATCH] for start in range(0, len(names), BATCH)]

    def read_batch(batch: Sequence[str]) -> list[bytes | None]:
        return [_contents(folder / name) for name in batch]

    with ThreadPoolExecutor(READERS) as pool:
        for batch, found in zip(batches, pool.map(read_batch, batches), strict=True):
            for name, raw in zip(batch, found, strict=True):
                if raw is not None:
                    yield name, raw


@contextmanager
def no_collection() -> Iterator[None]:
    """Keep Python's cycle collector from visiting very many new objects without cycles.

    Reading 10,000 records takes 1.2 s of processor time instead of 3.3.
    """
    was_on, was_frozen = gc.isenabled(), gc.get_freeze_count()
    gc.disable()
    try:
        yield
    finally:
        if not was_frozen:  # counts them as old, at once
            gc.freeze()
            gc.unfreeze()
        if was_on:
            gc.enable()
