"""Keys and seeds, derived by hashing names and values: never counted up, never global."""

import hashlib
import json
from pathlib import Path


def digest(value: object, length: int = 16) -> str:
    """First `length` hex digits of the SHA-256 of a JSON-able value in canonical form.

    >>> digest({"tau": 0.3, "steps": 4}) == digest({"steps": 4, "tau": 0.3})
    True
    >>> digest({"tau": 0.3, "steps": 4}, 8)
    '50cf80f2'

    Raises:
        ValueError: a number is not finite.
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def seed_from(*names: object) -> int:
    """A 63-bit seed that depends on every name and on their order.

    >>> seed_from("medshift", 0, "synthetic_low")
    5973917690299531676
    """
    text = json.dumps([str(name) for name in names])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
