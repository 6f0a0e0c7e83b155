"""The examples in docstrings do what they say.

Not pytest's `--doctest-modules`: it would import the files a second time, by names of their folders
instead of `xbench.*`.
"""

import doctest
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest


def modules() -> Iterator[str]:
    """The names of all modules whose source has an example; none is imported."""
    for package in ("xbench", "xbench.methods", "xbench.datasets"):
        spec = find_spec(package)
        assert spec is not None
        assert spec.origin is not None
        folder = Path(spec.origin).parent
        for path in sorted(folder.rglob("*.py")):
            if "    >>> " in path.read_text(encoding="utf-8"):
                parts = path.relative_to(folder).with_suffix("").parts
                yield ".".join([package, *(part for part in parts if part != "__init__")])


@pytest.mark.parametrize("name", modules())
def test_examples_of(name: str) -> None:
    result = doctest.testmod(import_module(name))
    assert result.attempted > 0
    assert result.failed == 0
