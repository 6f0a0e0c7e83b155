"""Finding data sets by name, or by the folder in which they lie."""

import importlib
import os
from pathlib import Path

from xbench.datasets.base import Dataset
from xbench.errors import UserError, unknown

#: Name → "module:class", imported on demand; or a function that returns the class.
BUILT_IN = {
    "phantom": "xbench.datasets.phantom:Phantom",
    "xdigiskull": "xbench.datasets.xdigiskull:fetched",
}


def names() -> list[str]:
    """All data sets that can be named."""
    return list(BUILT_IN)


def get(name: str) -> type[Dataset]:
    """The data set called `name`, or that in the folder `name`, or the three-line error."""
    if name in BUILT_IN:
        module, attribute = BUILT_IN[name].split(":")
        found = getattr(importlib.import_module(module), attribute)
        dataset: type[Dataset] = found if isinstance(found, type) else found()
        return dataset
    path = Path(name).expanduser()
    if os.sep in name or name.startswith(("~", ".")) or path.is_dir():
        from xbench.datasets.describe import FILE
        from xbench.datasets.folder import Folder

        folder = Folder.at(path)
        if folder.name in BUILT_IN:
            raise UserError(
                f"{path} would be called '{folder.name}', as a built-in data set is",
                "expected: a name of its own, it heads tables and folders of results",
                f'put name = "my-{folder.name}" into {path / FILE}',
            )
        return folder
    raise unknown("dataset", name, BUILT_IN, "see: xbench list datasets, or give a path: ./folder")
