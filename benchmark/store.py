"""Records and images on disk. A record is the only sign that a unit is done.

Below `<out>/<dataset>/<profile>/`, the path of a record is its unit's name and the key inside
says what made it, so a unit can never stand there twice, and a stale one is seen and redone.
"""

import gc
import hashlib
import os
import re
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from xbench.errors import UserError
from xbench.files import atomic, set_aside, write_text
from xbench.plan import Unit
from xbench.records import (
    DataFacts,
    Failure,
    MethodFacts,
    Record,
    Stored,
    StoredT,
    Unreadable,
    Value,
    parse,
)
from xbench.settings import file_name

#: Views of every unit that are kept as one 8-bit strip.
STRIP_VIEWS = 6
STRIP_SIDE = 128
#: Files that are read one after the other, and how many such batches at the same time.
BATCH = 64
READERS = 8


__all__ = ["DataFacts", "Failure", "MethodFacts", "Record", "Store", "Stored", "Value"]


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
        record = read(self.record_path(unit), Record)
        if record is None or name_of_record(record) != file_name_of(unit):
            return None
        return record if record.key == unit.key else None

    def records(self) -> list[Record]:
        """All whole records, in the order of their paths."""
        return [record for _, record in self._read_all()]

    def record_files(self) -> list[tuple[Path, Record]]:
        """All whole records with their paths."""
        return [(self.folder / "records" / name, record) for name, record in self._read_all()]

    def _read_all(self) -> list[tuple[str, Record]]:
        """All whole records by file name; what is left out is told in a warning per reason.

        A record that lies under another unit's name was copied or edited, and would be counted
        for a row that it does not belong to: it is left out too.
        """
        folder = self.folder / "records"
        found: list[tuple[str, Record]] = []
        left_out: dict[str, list[str]] = {}
        with no_collection():
            for name, raw in _read_files(folder, _json_files(folder)):
                try:
                    record = parse(raw, Record)
                    if name != f"{name_of_record(record)}.json":
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
        folder = self.folder / "failed"
        paths = [folder / name for name in _json_files(folder)]
        return [(path, failure) for path in paths if (failure := read(path, Failure))]

    def write_record(self, unit: Unit, record: Record) -> None:
        """Store a record whose images are there; an earlier failure of the unit is forgotten."""
        write_text(self.record_path(unit), _json(record))
        self.failure_path(unit).unlink(missing_ok=True)

    def write_failure(self, unit: Unit, failure: Failure) -> None:
        """Store a failure."""
        write_text(self.failure_path(unit), failure.model_dump_json(indent=1) + "\n")

    def write_unit(self, unit: Unit, record: Record, pixels: np.ndarray) -> None:
        """Store a finished unit: its images, uint16 `[n, H, W]`, a strip of some, and its record.

        Nothing takes an earlier file's place before all is on the disk, so a full one loses
        nothing. Then the earlier record goes, the images come and the record comes last: a kill
        in between leaves a unit that is not done.
        """
        folder, ids = self.images_path(unit), record.data.ids
        strip = strip_path(self.folder, unit.entry.label, unit.seed, unit.source, unit.target)
        for path in folder.glob(".*.part.png"):  # of a process that was killed in this unit
            path.unlink(missing_ok=True)
        # Parts take their places in reverse order.
        with ExitStack() as parts:
            parts.enter_context(atomic(self.record_path(unit))).write_text(_json(record), "utf-8")
            chosen = make_strip(pixels[spread(len(ids), STRIP_VIEWS)])
            Image.fromarray(chosen).save(parts.enter_context(atomic(strip)), optimize=True)
            for name, image in zip(ids, pixels, strict=True):
                # Not flushed one by one: after a power cut their hash in the record tells.
                part = parts.enter_context(atomic(folder / f"{name}.png", flush=False))
                Image.fromarray(image).save(part, compress_level=1)
            self.record_path(unit).unlink(missing_ok=True)
        self.failure_path(unit).unlink(missing_ok=True)

    def read_images(self, unit: Unit, ids: Sequence[str]) -> np.ndarray:
        """The images of a unit, uint16 `[n, H, W]`.

        Raises:
            OSError: an image is missing or damaged.
        """
        return _read_pngs(self.images_path(unit), ids)

    def images_of(self, record: Record) -> np.ndarray:
        """The images of a record, uint16 `[n, H, W]`.

        Raises:
            OSError: an image is missing or damaged.
            ValueError: they differ in size.
        """
        return _read_pngs(self.folder / "images" / name_of_record(record), record.data.ids)


def _read_pngs(folder: Path, ids: Sequence[str]) -> np.ndarray:
    """Images as PNG and nothing else: of other formats, some start a program to be read."""
    images = []
    for name in ids:
        with Image.open(folder / f"{name}.png", formats=["PNG"]) as image:
            images.append(np.asarray(image).astype(np.uint16))
    return np.stack(images)


def _json(record: Record) -> str:
    """A record with a line for every field, but one for each list of numbers."""
    text = re.sub(r"\[[\d\s,.eE+-]+\]", _one_line, record.model_dump_json(indent=1))
    return text + "\n"


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


def name_of_record(record: Record) -> str:
    """The name of a record's unit, which is where it belongs below `records`."""
    return unit_file(record.method.label, record.seed, record.source, record.target)


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
    """Move a damaged file aside where that is allowed; what is to be said of it."""
    if error.damaged:
        with suppress(OSError):
            set_aside(path)
            return f"{error}; kept as .corrupt, to be redone"
    return str(error)


def _json_files(folder: Path) -> list[str]:
    """Names `a/b.json` of the files below a folder; neither hidden ones nor in linked folders."""

    def walk(below: str) -> Iterator[str]:
        with suppress(FileNotFoundError), os.scandir(os.path.join(folder, below)) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    yield from walk(f"{below}{entry.name}/")
                elif entry.name.endswith(".json") and entry.name[0] != "." and entry.is_file():
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
    """Keep Python's cycle collector from looking at very many new objects without cycles."""
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
    pixels = np.empty((len(images), *images.shape[2:]), np.uint16)
    # One by one, as float64 takes four times the room, and on the CPU: not every device has it.
    for place, image in enumerate(images.detach().cpu()[:, 0]):
        pixels[place] = (image.double().clamp(0, 1) * 65535).round().numpy()
    return pixels


def from_pixels(pixels: np.ndarray) -> Tensor:
    """uint16 `[n, H, W]` to float32 `[n, 1, H, W]` in [0, 1]."""
    return torch.from_numpy(np.divide(pixels, 65535, dtype=np.float32)).unsqueeze(1)


def pixels_digest(pixels: np.ndarray) -> str:
    """SHA-256 of uint16 images in order."""
    return hashlib.sha256(np.ascontiguousarray(pixels).astype("<u2").tobytes()).hexdigest()
