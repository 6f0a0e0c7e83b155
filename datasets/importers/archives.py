"""Extracts archives safely: nothing is written outside the folder or beyond a limit.

`shutil.unpack_archive` has no limit, and only its tar half refuses links and paths outside.
"""

import lzma
import os
import re
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, BinaryIO, NamedTuple

from xbench.core.errors import UserError

if TYPE_CHECKING:  # only for the type: base needs torch
    from xbench.datasets.base import Progress

#: Endings of readable archives, in lower case.
SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
#: Errors that damaged archives cause.
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


class _Member(NamedTuple):
    """An entry of an archive; `open` reads a file, and is None for all else."""

    name: str
    is_folder: bool
    open: Callable[[], IO[bytes] | None] | None


def is_archive(path: Path) -> bool:
    """Whether a file has the ending of an archive that `extract` reads."""
    return path.name.lower().endswith(SUFFIXES)


def stem(archive: Path) -> str:
    """An archive's name without its ending.

    >>> stem(Path("data/skulls.tar.gz"))
    'skulls'
    """
    ending = max((e for e in SUFFIXES if archive.name.lower().endswith(e)), key=len, default="")
    return archive.name[: len(archive.name) - len(ending)]


def human(number: int) -> str:
    """Bytes as text.

    >>> human(1_500_000_000)
    '1.5 GB'
    """
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if number >= size:
            return f"{number / size:.1f} {unit}"
    return f"{number} bytes"


def check_space(folder: Path, needs: Mapping[str, int]) -> None:
    """Check that there is enough disk space.

    Args:
        folder: an existing folder on the disk.
        needs: purpose → bytes.

    Raises:
        UserError: less is free than the sum of the needs.
    """
    free = shutil.disk_usage(folder).free
    if sum(needs.values()) > free:
        parts = " and ".join(f"{human(size)} for {what}" for what, size in needs.items())
        raise UserError(
            f"{folder}: only {human(free)} are free on this disk",
            f"expected: {parts}",
            "free disk space, or set XBENCH_HOME to a folder on a larger disk",
        )


def extract(archive: Path, to: Path, limit_bytes: int, progress: "Progress | None" = None) -> None:
    """Extract a zip or tar archive (plain, gz, bz2, xz) into a new folder, all or nothing.

    Only files and folders are accepted; permissions and times are not kept. Until the end, the
    files lie in `.NAME.part` beside `to`.

    Args:
        archive: the file.
        to: the folder to create; must not exist.
        limit_bytes: the most bytes to write, counted while writing, as an archive may lie about
            its size.
        progress: called with the bytes of the archive that have been read.

    Raises:
        UserError: not an archive, a damaged one, a member outside the folder, a link or another
            special file, or more bytes than allowed.
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
    for name, is_folder, read in _members(archive, raw):
        path = to / _inside(archive, name)
        if is_folder:
            path.mkdir(parents=True, exist_ok=True)
            continue
        source = read() if read else None
        if source is None:
            raise _refused(archive, f"'{name}' is a link or another special file")
        with source, _create(archive, path, name) as target:
            while chunk := source.read(_CHUNK):
                written += len(chunk)
                if written > limit:
                    raise _refused(
                        archive,
                        f"it unpacks to more than {human(limit)}",
                        "images, which unpack to a few times the archive's size, and disk space",
                    )
                target.write(chunk)
                if progress:
                    progress(min(raw.tell(), size), size, f"extract {archive.name}, bytes")
    if progress:
        progress(size, size, f"extract {archive.name}, bytes")


def _members(archive: Path, raw: BinaryIO) -> Iterator[_Member]:
    """The entries in the order of the archive; its content decides its kind, not its name."""
    is_zip = zipfile.is_zipfile(raw)
    raw.seek(0)
    if is_zip:
        yield from _zip_members(raw)
        return
    if not tarfile.is_tarfile(raw):
        raise _damaged(archive, "it is neither zip nor tar")
    with tarfile.open(fileobj=raw, mode="r:*") as tar:
        for entry in tar:
            read = partial(tar.extractfile, entry) if entry.isfile() else None
            yield _Member(entry.name, entry.isdir(), read)


def _zip_members(raw: BinaryIO) -> Iterator[_Member]:
    with zipfile.ZipFile(raw) as file:
        for entry in file.infolist():
            if entry.flag_bits & 1:
                raise zipfile.BadZipFile(f"'{entry.filename}' is encrypted")
            # Unix modes are in the upper half, which archives from Windows leave empty.
            kind = stat.S_IFMT(entry.external_attr >> 16)
            read = partial(file.open, entry) if kind in (0, stat.S_IFREG) else None
            yield _Member(entry.filename, entry.is_dir(), read)


def _inside(archive: Path, name: str) -> PurePosixPath:
    """A member's path, if it is inside the folder; backslashes are separators, as on Windows."""
    path = PurePosixPath(name.replace("\\", "/"))
    drive = any(re.match(r"[A-Za-z]:", part) for part in path.parts)
    if path.is_absolute() or ".." in path.parts or drive or "\0" in name:
        raise _refused(archive, f"'{name}' would leave the folder")
    return path


def _create(archive: Path, path: Path, name: str) -> BinaryIO:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("xb")
    except (FileExistsError, NotADirectoryError, IsADirectoryError):
        raise _refused(archive, f"'{name}' is in it twice") from None


def _refused(
    archive: Path, why: str, expected: str = "files and folders inside the archive's own folder"
) -> UserError:
    return UserError(
        f"{archive} is not extracted: {why}",
        f"expected: {expected}",
        "download it again; or extract it yourself, check the files and use --from FOLDER",
    )


def _damaged(archive: Path, why: str) -> UserError:
    return UserError(
        f"{archive} cannot be extracted: {why}",
        f"expected: an undamaged, unencrypted archive ({', '.join(SUFFIXES)})",
        "delete it and download it again",
    )
