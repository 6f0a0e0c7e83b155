"""Finds data sets: by name, by folder, or in a plug-in."""

import os
import re
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from xbench.core.errors import UserError, unknown
from xbench.core.registry import Registry

if TYPE_CHECKING:
    from xbench.datasets.base import Dataset, Split

GROUP = "xbench.datasets"
#: Name → "module:class", or "module:function" that returns the class; imported on demand.
BUILT_IN = {
    "phantom": "xbench.datasets.phantom:Phantom",
    "phantom-v1": "xbench.datasets.phantom.v1:FirstPhantom",
    "xdigiskull": "xbench.datasets.importers.xdigiskull:fetched",
}
#: What stands before a folder of CT volumes.
CT = "ct:"
#: Names that cannot be a part of a path: empty, only dots, with separators or control characters.
UNSAFE = re.compile(r"\.{0,2}|.*[/\\\x00-\x1f\x7f-\x9f].*", re.DOTALL)
#: Bytes in the name of a domain or image: file systems take 255, and pairs join two domains.
LONGEST_DOMAIN, LONGEST_ID = 100, 200

REGISTRY: Registry["Dataset"] = Registry(
    "dataset", "xbench.datasets.base:Dataset", GROUP, BUILT_IN, set()
)
names = REGISTRY.names


def get(name: str) -> "type[Dataset]":
    """The data set called `name`, in the folder `name`, or of `path/to/file.py:ClassName`.

    `ct:FOLDER` renders the CT volumes below a folder.

    Raises:
        UserError: there is none, or the plug-in cannot be loaded.
    """
    if ".py:" in name or name in BUILT_IN or name in names():
        return REGISTRY.get(name)
    if name.startswith(CT):
        from xbench.datasets.ct.dataset import CtHeads

        return CtHeads.at(Path(name.removeprefix(CT)).expanduser())
    path = Path(name).expanduser()
    if os.sep in name or name.startswith(("~", ".")) or path.is_dir():
        from xbench.datasets.describe import FILE
        from xbench.datasets.folder import Folder

        folder = Folder.at(path)
        if folder.name in names():
            raise UserError(
                f"{path} has the name of another data set: '{folder.name}'",
                "expected: a name of its own, which tables and results folders show",
                f'put name = "my-{folder.name}" into {path / FILE}',
            )
        return folder
    folders = [folder.name for folder in Path().iterdir() if folder.is_dir()]
    known = [*names(), *get_close_matches(name, folders, n=1)]
    raise unknown("dataset", name, known, "see: xbench list datasets, or give a path: ./folder")


def check_names(dataset: "Dataset", split: "Split") -> None:
    """Check that domains and ids can be file names: unique, and inside their folder.

    Raises:
        UserError: a name cannot be used, or occurs twice.
    """
    _check(dataset, "domains", dataset.domains, LONGEST_DOMAIN)
    for domain in dataset.domains:
        _check(dataset, f"{split} images of '{domain}'", dataset.ids(split, domain), LONGEST_ID)


def _check(dataset: "Dataset", what: str, entries: Sequence[str], longest: int) -> None:
    for name in entries:
        if UNSAFE.fullmatch(name) or len(name.encode()) > longest:
            raise UserError(
                f"among the {what} of the data set {dataset.name} is {name[:longest]!r}",
                f"expected: names that can be files, of 1 to {longest} bytes and without slashes",
                "rename it in the data set",
            )
    if len(set(entries)) < len(entries):
        twice = next(name for name in entries if entries.count(name) > 1)
        raise UserError(
            f"among the {what} of the data set {dataset.name}, {twice!r} comes twice",
            "expected: every name once",
            "rename one of them in the data set",
        )
