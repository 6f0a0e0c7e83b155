"""Where files live and how they are written: whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import platformdirs


def home() -> Path:
    """The cache folder: `XBENCH_HOME`, else the platform's user cache."""
    return Path(os.environ.get("XBENCH_HOME") or platformdirs.user_cache_dir("xbench"))


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it is flushed and renamed into place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # The suffix stays last: writers such as numpy and Pillow choose the format by it.
    part = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    try:
        yield part
        with part.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file atomically."""
    with atomic(path) as part:
        part.write_text(text, encoding="utf-8")


def set_aside(path: Path) -> Path:
    """Rename a damaged file to `NAME.corrupt`, so that it can be looked at and made anew."""
    aside = path.with_name(path.name + ".corrupt")
    os.replace(path, aside)
    return aside
