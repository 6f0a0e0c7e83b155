"""Hashes of the files of a data set, which are read again only where they changed."""

import json
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from xbench.core.errors import UserError
from xbench.core.files import home, write_text
from xbench.core.hashing import digest, file_digest
from xbench.core.names import plain, quoted
from xbench.core.processes import cores


def read_json(path: Path) -> Any:
    """What a JSON file holds."""
    return json.loads(path.read_text(encoding="utf-8"))


def file_hashes(root: Path, files: Sequence[str], kind: str = "hashes") -> dict[str, str]:
    """File → SHA-256; files that did not change since are not read again.

    A file's size and time of modification can survive a change; its inode or the time at which
    the system last changed that (which no program sets) do not. A clock ticks too slowly to
    separate changes within two seconds.

    Raises:
        UserError: a file cannot be read.
    """
    path = home() / "folders" / f"{kind}-{digest(str(root.resolve()))}.json"
    known = _known(path)

    def stamped(file: str) -> tuple[str, list[object]]:
        now = time.time()
        try:
            status = (root / file).stat()
            stamp = [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]
            old = known.get(file)
            if old and old[:-1] == stamp:
                return file, old
            settled = status.st_ctime < now - 2
            return file, [*(stamp if settled else ()), file_digest(root / file)]
        except OSError as error:
            raise UserError(
                f"{root}: {plain(file)} cannot be read: {error.strerror or error}",
                "expected: files that are there, with permission to read them",
                f"see: xbench data verify {quoted(root)}",
            ) from error

    with ThreadPoolExecutor(cores()) as pool:  # hashing releases Python's lock
        entries = dict(pool.map(stamped, files))
    if entries != known:
        write_text(path, json.dumps([entries, digest(entries, 64)]))
    return {file: str(entry[-1]) for file, entry in entries.items()}


def _known(path: Path) -> dict[str, list[Any]]:
    """What was stored by file; nothing if it is not there, or changed since."""
    try:
        entries, expected = read_json(path)
        known: dict[str, list[Any]] = entries if digest(entries, 64) == expected else {}
        return known
    except (OSError, ValueError, TypeError):
        return {}
