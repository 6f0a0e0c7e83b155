"""Decoded images in the cache: an array, and a sidecar with its hash, which is written last."""

import json
import warnings
from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from xbench.core.files import set_aside, write_text
from xbench.core.hashing import digest, file_digest

#: Entry of a sidecar: hash of its other entries.
FACTS = "facts_sha256"


def write_sidecar(array: Path, facts: Mapping[str, object]) -> None:
    """Write what is known of an array, with the hashes of both."""
    whole = {**facts, "sha256": file_digest(array)}
    write_text(array.with_suffix(".json"), json.dumps({**whole, FACTS: digest(whole, 64)}) + "\n")


def is_whole(array: Path) -> bool:
    """Whether an array and its sidecar are what was written; what is not is set aside.

    Each array is read for this once in a process, unless it was written since.
    """
    if not array.exists() or not array.with_suffix(".json").exists():
        return False  # unfinished
    damaged = damage(array)
    if damaged is None:
        return True
    with suppress(FileNotFoundError):  # another process was faster
        warnings.warn(
            f"{damaged} is damaged: kept as {set_aside(damaged).name} and recomputed", stacklevel=2
        )
    return False


def damage(array: Path) -> Path | None:
    """The array or its sidecar if it differs from what was written; of old ones less is known."""
    sidecar = array.with_suffix(".json")
    try:
        facts: dict[str, Any] = json.loads(sidecar.read_text(encoding="utf-8"))
        known, expected = facts.pop(FACTS, None), facts["sha256"]
    except (OSError, ValueError, KeyError, AttributeError):
        return sidecar
    if known is not None and known != digest(facts, 64):
        return sidecar
    hashes = {array: expected}
    if "truth_sha256" in facts:  # of phantoms
        hashes[array.with_suffix(".truth.npy")] = facts["truth_sha256"]
    return next((file for file, known in hashes.items() if _hash(file) != known), None)


def _hash(file: Path) -> str:
    """SHA-256 of a file; empty if it cannot be read."""
    try:
        status = file.stat()
        stamp = (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
        return _hash_then(file, stamp)
    except OSError:
        return ""


@lru_cache(maxsize=4096)
def _hash_then(file: Path, stamp: tuple[int, ...]) -> str:
    """SHA-256 of a file as it was at a time."""
    return file_digest(file)
