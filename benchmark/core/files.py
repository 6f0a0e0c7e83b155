"""Where cached files live, and writing a file whole or not at all."""

import codecs
import errno
import hashlib
import os
import platform
import re
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from tempfile import TemporaryFile
from uuid import uuid4

import platformdirs

from xbench.core import processes

#: The variable by which links that lead out of a data set's folder are followed.
FOLLOW = "XBENCH_FOLLOW_LINKS"
#: Seconds after which an unfinished file of another machine counts as left behind.
ABANDONED = 24 * 3600
#: Errors of places where the user may only read.
READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)
_PART = re.compile(r"\..+\.(?P<machine>[0-9a-f]{8})-[0-9a-f]{8}\.(?P<pid>\d+)\.part(\.[^.]*)?")


def home() -> Path:
    """The cache folder: `XBENCH_HOME`, else the platform's user cache."""
    given = os.environ.get("XBENCH_HOME") or platformdirs.user_cache_dir("xbench")
    return Path(given).expanduser()


@cache
def machine() -> str:
    """Name of this machine, its restart and its container: within it a pid means one process."""
    parts = [platform.node()]
    with suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip())
    with suppress(OSError):
        parts.append(os.readlink("/proc/self/ns/pid"))
    return " ".join(parts)


def within(root: Path, path: Path) -> Path:
    """A path below a folder that anyone may have made, if it does not lead out of it.

    Raises:
        OSError: the file or a folder between it and `root` is a link, FIFO, device or socket.
    """
    place = root
    for part in path.relative_to(root).parts:
        place = place / part
        try:
            mode = place.lstat().st_mode
        except (FileNotFoundError, NotADirectoryError):
            break
        if part == ".." or not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            kind = "a link" if stat.S_ISLNK(mode) else "no plain file"
            raise OSError(errno.ELOOP, f"is {kind}, and is neither followed nor opened", str(place))
    return path


@contextmanager
def atomic(path: Path, *, flush: bool = True) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it is flushed and renamed to `path`.

    The contents are on the disk before the file gets its name, so a power cut leaves the old file
    or the new one. The folder is not flushed: if the cut undoes the renaming, the unit counts as
    not done and is done again.

    Args:
        path: the file to write; its folder is made.
        flush: False where a lost file costs nothing.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Machine and random part keep writers on a shared folder apart; the suffix stays last, because
    # writers such as numpy and Pillow choose the format by it.
    owner = f"{_machine_tag()}-{uuid4().hex[:8]}.{os.getpid()}"
    part = path.with_name(f".{path.stem}.{owner}.part{path.suffix}")
    try:
        yield part
        if flush:
            with part.open("rb") as file:
                os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def unwritable(folder: Path) -> str:
    """Why no file may be created in a folder that is there; empty if one may."""
    try:
        with TemporaryFile(dir=folder):
            return ""
    except OSError as error:
        if error.errno in READ_ONLY:
            return f"{folder}: {error.strerror}"
        raise


def leftover_parts(folder: Path) -> list[Path]:
    """Unfinished files below a folder that no process writes any more.

    Files of this machine are left behind if their process is gone, files of other machines if they
    have not changed for a day. Folders called `images` are skipped: they are large and hold none.
    """
    left_behind: list[Path] = []
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name != "images"]
        parts = [Path(place, name) for name in names if name[0] == "." and ".part" in name]
        left_behind += filter(_is_left_behind, parts)
    return sorted(left_behind)


def sweep_parts(folder: Path) -> int:
    """Remove the unfinished files that killed processes left; the number of them."""
    left_behind = leftover_parts(folder)
    for path in left_behind:
        path.unlink(missing_ok=True)
    return len(left_behind)


def _is_left_behind(path: Path) -> bool:
    match = _PART.fullmatch(path.name)
    if match and match["machine"] == _machine_tag() and processes.began(int(match["pid"])) is None:
        return True
    if not match and not re.fullmatch(r"\..+\.\d+\.part(\.[^.]*)?", path.name):
        return False
    try:
        return time.time() - path.lstat().st_mtime > ABANDONED
    except FileNotFoundError:
        return False


@cache
def _machine_tag() -> str:
    return hashlib.sha256(machine().encode()).hexdigest()[:8]


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file atomically."""
    with atomic(path) as part:
        part.write_text(text, encoding="utf-8")


def write_private(path: Path, text: str) -> None:
    """Write a UTF-8 text file atomically, which nobody but its owner may read."""
    with atomic(path) as part:
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
            file.write(text)


def read_text(path: Path) -> str:
    """The text of a file that people edit: UTF-8 or UTF-16, with or without a byte order mark.

    Raises:
        UnicodeDecodeError: it is neither.
    """
    stored = path.read_bytes()
    wide = stored.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    text = stored.decode("utf-16" if wide else "utf-8-sig")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def set_aside(path: Path) -> Path:
    """Rename a damaged file to `NAME.corrupt`, so that it can be inspected and recomputed."""
    aside = path.with_name(path.name + ".corrupt")
    os.replace(path, aside)
    return aside
