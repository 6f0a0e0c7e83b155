"""Arrays in safetensors files, with a hash by which a flipped bit is found."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save_file

from xbench.core.files import atomic

Arrays = Mapping[str, NDArray[Any]]
#: Name of the hash in a file: 32 bytes, uint8.
HASH = "sha256"


def save_arrays(path: Path, arrays: Arrays) -> None:
    """Write arrays and their hash, whole or not at all."""
    with atomic(path) as part:
        save_file({**arrays, HASH: _hash(arrays)}, part)


def load_arrays(path: Path, *, hashed: bool = True) -> dict[str, NDArray[Any]]:
    """Read what `save_arrays` wrote.

    Args:
        path: of the file.
        hashed: False for files of users, which may have no hash.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged, or has no hash.
    """
    try:
        arrays: dict[str, NDArray[Any]] = load(path.read_bytes())
    except SafetensorError as error:
        raise ValueError(str(error)) from error
    stored = arrays.pop(HASH, None)
    if stored is None and hashed:
        raise ValueError("it has no hash")
    if stored is not None and not np.array_equal(stored, _hash(arrays)):
        raise ValueError("contents changed")
    return arrays


def _hash(arrays: Arrays) -> NDArray[np.uint8]:
    """SHA-256 of the contents, in the order of the names."""
    content = b"".join(arrays[name].tobytes() for name in sorted(arrays))
    return np.frombuffer(hashlib.sha256(content).digest(), np.uint8)
