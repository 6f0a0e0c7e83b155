"""Finding data sets by name."""

import importlib

from xbench.datasets.base import Dataset
from xbench.errors import unknown

#: Name → "module:class", imported on demand.
BUILT_IN = {"phantom": "xbench.datasets.phantom:Phantom"}


def names() -> list[str]:
    """All data sets that can be named."""
    return list(BUILT_IN)


def get(name: str) -> type[Dataset]:
    """The data set class called `name`, or the three-line error."""
    if name not in BUILT_IN:
        raise unknown("dataset", name, BUILT_IN, "see: xbench list datasets")
    module, attribute = BUILT_IN[name].split(":")
    dataset: type[Dataset] = getattr(importlib.import_module(module), attribute)
    return dataset
