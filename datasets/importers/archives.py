"""Archives from elsewhere, extracted so that nothing leaves the folder and no disk fills up."""

import lzma
import os
import re
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, BinaryIO

from xbench.core.errors import UserError

if TYPE_CHECKING:  # only for the type: base needs torch
    from xbench.datasets.base import Progress

#: Endings of the archives that are read, in lower case.
SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
#: What the readers of archives raise at damaged ones.
_DAMAGE = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    NotImplementedError,
    UnicodeDecodeError,
)
_CHUNK = 2**20


@dataclass(frozen=True)
class _Member:
    """One entry: its name, what it is, and how to read it if it is a file."""

    name: str
    is_file: bool
    is_folder: bool
    open: Callable[[], IO[bytes] | None]


def is_archive(path: Path) -> bool:
    """Whether a file is, by its ending, an archive that `extract` reads."""
    return path.name.lower().endswith(SUFFIXES)


def stem(archive: Path) -> str:
    """An archive's name without the ending."""
    endings = [ending for ending in SUFFIXES if archive.name.lower().endswith(ending)]
    return archive.name[: -len(max(endings, key=len))] if endings else archive.name


def human(number: int) -> str:
    """Bytes for people: `1.5 GB`."""
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if number >= size:
            return f"{number / size:.1f} {unit}"
    return f"{number} bytes"


def check_space(folder: Path, needs: Mapping[str, int]) -> None:
    """Refuse to start what the disk has no room for.

    Args:
        folder: an existing folder on the disk in question.
        needs: what for → bytes.

    Raises:
        UserError: less is free than all of it needs.
    """
    free = shutil.disk_usage(folder).free
    if sum(needs.values()) > free:
        parts = " and ".join(f"{human(size)} for {what}" for what, size in needs.items())
        raise UserError(
            f"{folder}: {human(free)} are free on this disk, too little",
            f"expected: room for {parts}",
            "make room, or set XBENCH_HOME to a folder on a larger disk",
        )


def extract(archive: Path, to: Path, limit_bytes: int, progress: "Progress | None" = None) -> None:
    """Extract a zip or tar archive (plain, gz, bz2, xz) into a new folder, wholly or not at all.

    Files and folders alone are accepted; permissions and times are not kept. What is extracted
    lies in `.NAME.part` beside `to` until all of it is there.

    Args:
        archive: the file.
        to: the folder to be made, which must not exist.
        limit_bytes: most bytes to write, counted while writing: what an archive says of its
            own size may be false.
        progress: told how many bytes of the archive have been read.

    Raises:
        UserError: no archive or a damaged one, a member that would leave the folder, a link or
            another special file, or more bytes than allowed.
        FileExistsError: `to` exists.
    """
    if to.exists():
        raise FileExistsError(f"{to} exists")
    part = to.with_name(f".{to.name}.part")
    shutil.rmtree(part, ignore_errors=True)  # of an extraction that was killed
    part.mkdir(parents=True)
    try:
        with archive.open("rb") as raw:
            _extract(archive, raw, part, limit_bytes, progress)
        os.replace(part, to)
    except _DAMAGE as error:
        raise _damaged(archive, str(error) or type(error).__name__) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _extract(
    archive: Path, raw: BinaryIO, to: Path, limit: int, progress: "Progress | None"
) -> None:
    size, written = archive.stat().st_size, 0
    for member in _members(archive, raw):
        path = to / _inside(archive, member.name)
        if member.is_folder:
            path.mkdir(parents=True, exist_ok=True)
            continue
        source = member.open() if member.is_file else None
        if source is None:
            raise _refusal(archive, f"'{member.name}' is a link or another special file")
        with source, _create(archive, path, member.name) as target:
            while chunk := source.read(_CHUNK):
                written += len(chunk)
                if written > limit:
                    raise _too_large(archive, limit)
                target.write(chunk)
                if progress:
                    progress(min(raw.tell(), size), size, f"extract {archive.name}, bytes")
    if progress:
        progress(size, size, f"extract {archive.name}, bytes")


def _members(archive: Path, raw: BinaryIO) -> Iterator[_Member]:
    """The entries in the order of the archive; its kind is told by content, not by name."""
    is_zip = zipfile.is_zipfile(raw)
    raw.seek(0)
    if is_zip:
        yield from _zip_members(raw)
        return
    if not tarfile.is_tarfile(raw):
        raise _damaged(archive, "neither zip nor tar can be recognised in it")
    with tarfile.open(fileobj=raw, mode="r:*") as tar:
        for entry in tar:
            read = partial(tar.extractfile, entry)
            yield _Member(entry.name, entry.isfile(), entry.isdir(), read)


def _zip_members(raw: BinaryIO) -> Iterator[_Member]:
    with zipfile.ZipFile(raw) as file:
        for entry in file.infolist():
            if entry.flag_bits & 1:
                raise zipfile.BadZipFile(f"'{entry.filename}' is encrypted")
            # Unix modes lie in the upper half; archives from Windows have none there.
            kind = stat.S_IFMT(entry.external_attr >> 16)
            is_file = kind in (0, stat.S_IFREG) and not entry.is_dir()
            yield _Member(entry.filename, is_file, entry.is_dir(), partial(file.open, entry))


def _inside(archive: Path, name: str) -> PurePosixPath:
    """A member's path if it stays inside the folder; backslashes separate, as on Windows."""
    path = PurePosixPath(name.replace("\\", "/"))
    drive = any(re.match(r"[A-Za-z]:", part) for part in path.parts)
    if path.is_absolute() or ".." in path.parts or drive or "\0" in name:
        raise _refusal(archive, f"'{name}' would leave the folder")
    return path


def _create(archive: Path, path: Path, name: str) -> BinaryIO:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("xb")
    except (FileExistsError, NotADirectoryError, IsADirectoryError):
        raise _refusal(archive, f"'{name}' is in it twice") from None


def _refusal(archive: Path, what: str) -> UserError:
    return UserError(
        f"{archive} is not extracted: {what}",
        "expected: plain files and folders that stay inside the archive's folder",
        "fetch it anew, or extract it yourself, look at it and use --from FOLDER",
    )


def _too_large(archive: Path, limit: int) -> UserError:
    return UserError(
        f"{archive} is not extracted: it unpacks to more than {human(limit)}",
        "expected: images, which unpack to a few times the archive's size, and room for them",
        "make room, or extract it yourself, look at it and use --from FOLDER",
    )


def _damaged(archive: Path, why: str) -> UserError:
    return UserError(
        f"{archive} cannot be extracted: {why}",
        f"expected: a whole, unencrypted archive ({', '.join(SUFFIXES)})",
        "delete it and fetch it anew",
    )
