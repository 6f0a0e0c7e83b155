"""Downloads the files of a Zenodo record: resumable, checked, complete or not at all.

Pooch checks MD5 sums and moves files into place. Its own `DOIDownloader` is not used: it cannot
resume, limit the bytes that a server sends, list a record's sizes, or use another server.
"""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pooch
import requests

from xbench.core.errors import UserError
from xbench.core.weights import offline
from xbench.datasets.importers.archives import check_space, human, is_archive

if TYPE_CHECKING:  # only for the type: base needs torch
    from xbench.datasets.base import Progress

OFFICIAL = "https://zenodo.org"
#: Extracted bytes per byte of an archive: a guess, as records do not say; images are compressed.
EXTRACTION = 1.5
#: Seconds to wait for a connection and for the next bytes.
TIMEOUT = (15, 60)
_CHUNK = 2**16


@dataclass(frozen=True)
class _File:
    """One file of a record, `md5` with its prefix."""

    name: str
    size: int
    md5: str
    url: str


def fetch(record: str, to: Path, progress: "Progress | None" = None) -> list[Path]:
    """Download the files of a record that are not in a folder yet.

    An interrupted download leaves `NAME.part`, from which the next call continues. The
    environment variable `XBENCH_ZENODO` can name another server than zenodo.org.

    Args:
        record: the record's number.
        to: the folder, created if missing.
        progress: called with the bytes of each file.

    Returns:
        The files, in the record's order.

    Raises:
        UserError: no network (or `XBENCH_OFFLINE=1`), too little disk space for the files and
            their extraction, an interrupted download, a wrong checksum, or a malformed record.
    """
    server = os.environ.get("XBENCH_ZENODO", OFFICIAL).rstrip("/")
    page = f"{server}/records/{record}"
    if offline():
        raise UserError(
            f"{page} cannot be downloaded: XBENCH_OFFLINE=1 forbids it",
            "expected: a network connection",
            "unset XBENCH_OFFLINE, or " + _by_hand(page),
        )
    files = _read_record(f"{server}/api/records/{record}", page)
    to.mkdir(parents=True, exist_ok=True)
    archives = sum(file.size for file in files if is_archive(Path(file.name)))
    missing = sum(file.size - _size(to, file) for file in files)
    check_space(to, {"the download": missing, "its extraction": int(EXTRACTION * archives)})
    return [_fetch_file(file, to, page, progress) for file in files]


def _size(folder: Path, file: _File) -> int:
    """Bytes of a file on the disk, complete or not."""
    for path in (folder / file.name, _part(folder, file)):
        if path.exists():
            return min(path.stat().st_size, file.size)
    return 0


def _part(folder: Path, file: _File) -> Path:
    return folder / f"{file.name}.part"


def _read_record(url: str, page: str) -> list[_File]:
    try:
        answer = requests.get(url, headers={"Accept": "application/json"}, timeout=TIMEOUT)
        answer.raise_for_status()
    except requests.RequestException as error:
        raise UserError(
            f"{url} cannot be read: {_reason(error)}",
            "expected: the description of a Zenodo record",
            "try again later, or " + _by_hand(page),
        ) from error
    try:
        files = [_read_entry(entry) for entry in answer.json()["files"]]
    except (ValueError, KeyError, TypeError) as error:
        raise _malformed(url, page, f"is malformed ({error!r})") from error
    names = [file.name.lower() for file in files]
    if not files or len(set(names)) < len(names):
        raise _malformed(url, page, "lists no files, or two files of one name")
    return files


def _read_entry(entry: Any) -> _File:
    """One file of a record's description; a ValueError, KeyError or TypeError if malformed."""
    name, size, md5 = entry["key"], entry["size"], entry["checksum"]
    # No name that an operating system takes for a folder or a drive.
    if not re.fullmatch(r"[^/\\:\0-\x1f]+", name) or name in (".", ".."):
        raise ValueError(f"the file name '{name}' would leave the folder")
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise ValueError(f"'{name}' has the size {size!r}")
    if not re.fullmatch(r"md5:[0-9a-fA-F]{32}", md5):
        raise ValueError(f"'{name}' has no MD5 checksum but {md5!r}")
    return _File(name, size, md5, entry["links"]["self"])


def _fetch_file(file: _File, to: Path, page: str, progress: "Progress | None") -> Path:
    """Download one file; Pooch moves it into place if its checksum is correct."""

    def report(done: int) -> None:
        if progress:
            progress(done, file.size, f"{file.name}, bytes")

    def download(url: str, target: str, _: object) -> None:
        _resume(file, _part(to, file), page, report)
        os.replace(_part(to, file), target)

    pooch.get_logger().setLevel("WARNING")  # `progress` says the rest
    try:
        pooch.retrieve(file.url, file.md5, fname=file.name, path=to, downloader=download)
    except ValueError as error:
        raise UserError(
            f"{to / file.name} was downloaded with a wrong checksum and deleted",
            f"expected: {file.md5} ({human(file.size)})",
            "repeat the command to download it again, or " + _by_hand(page),
        ) from error
    return to / file.name


def _resume(file: _File, part: Path, page: str, report: Callable[[int], None]) -> None:
    """Download the missing bytes of a file into `part`, which stays unless it is useless."""
    part.touch()
    done, reason = part.stat().st_size, "the server sent a file of another size"
    try:
        if done != file.size:
            done = _receive(file, part, done if done < file.size else 0, report)
    except requests.RequestException as error:
        done, reason = part.stat().st_size, _reason(error)
        if error.response is not None and error.response.status_code == 416:
            part.unlink()  # the server has no bytes beyond those of `part`
    if done > file.size:
        part.unlink()
    if done != file.size:
        raise UserError(
            f"{file.name}: the download stopped after {human(done)} ({reason})",
            f"expected: {human(file.size)} from {file.url}",
            "repeat the command to continue; or " + _by_hand(page),
        )
    report(done)


def _receive(file: _File, part: Path, start: int, report: Callable[[int], None]) -> int:
    """Append to `part` from byte `start` on, or replace it; return its size.

    A server that ignores the range sends the whole file. Reading stops as soon as there are more
    bytes than the record says.
    """
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
    with requests.get(file.url, headers=headers, stream=True, timeout=TIMEOUT) as answer:
        answer.raise_for_status()
        appends = answer.headers.get("Content-Range", "").startswith(f"bytes {start}-")
        done = start if appends else 0
        with part.open("ab" if appends else "wb") as target:
            for chunk in answer.iter_content(_CHUNK):
                target.write(chunk)
                done += len(chunk)
                if done > file.size:
                    break
                report(done)
    return done


def _reason(error: requests.RequestException) -> str:
    """A network error in a few words; those of `requests` are long and vary between runs."""
    if error.response is not None:
        return f"the server says {error.response.status_code} {error.response.reason}"
    if isinstance(error, requests.Timeout):
        return "no answer in time"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the connection broke"
    return "no connection" if isinstance(error, requests.ConnectionError) else str(error)


def _by_hand(page: str) -> str:
    return f"download the files of {page} with a browser and add --from FOLDER to the command"


def _malformed(url: str, page: str, what: str) -> UserError:
    return UserError(
        f"{url} {what}",
        "expected: the description of a Zenodo record with its files, sizes and MD5 checksums",
        "check XBENCH_ZENODO, or " + _by_hand(page),
    )
