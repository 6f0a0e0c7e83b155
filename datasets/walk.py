"""Finds the files of a folder as people really have them, and says what it passes over."""

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from xbench.core.errors import UserError
from xbench.core.files import FOLLOW, home
from xbench.datasets.describe import FILE

#: Files and folders that operating systems and storage devices leave behind, in lower case.
JUNK = frozenset(
    {
        *("thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "__macosx"),
        *("$recycle.bin", "system volume information", "lost+found"),
        *("@eadir", "@tmp", "@recycle", "#recycle", "#snapshot", "@recently-snapshot"),
        *("@__thumb", "@sharebin"),
    }
)
#: Reason → files and folders that were passed over for it, as paths with `/`.
LeftOut = dict[str, list[str]]

LEFT_BEHIND = "hidden, or left behind by a system"
DEAD = "links that lead nowhere"
ODD = "no plain files"
OUR_RESULTS = "results or caches of xbench"
#: What lies beside the records of a results folder, and in no folder of images.
_BESIDE_RECORDS = frozenset({"locks", "trainings", "failures", "strips", "leaderboard.csv"})
#: What `data export` writes first into its `dataset.toml`.
EXPORTED = "Written by xbench data export"


def walk(root: Path, left_out: LeftOut | None = None) -> Iterator[str]:
    """Files below a folder, as paths with `/`; links are followed, but not in circles.

    Passed over, and added to `left_out`: hidden files and folders, those of operating systems and
    storage devices, links that lead nowhere, what is no plain file, and our own results, caches
    and exported data sets.

    Raises:
        UserError: a link leads out of the folder (see `inside`).
    """
    unused: LeftOut = {} if left_out is None else left_out
    cache = os.path.realpath(home())
    seen = set()
    for folder, folders, files in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        place = Path(folder).relative_to(root)
        if place.parts and (real == cache or _is_ours(Path(folder), {*folders, *files})):
            unused.setdefault(OUR_RESULTS, []).append(place.as_posix())
            folders.clear()
            continue
        for name in [*folders, *files]:
            if is_junk(name):
                unused.setdefault(LEFT_BEHIND, []).append((place / name).as_posix())
        folders[:] = sorted(name for name in folders if not is_junk(name))
        for name in folders:
            inside(root, Path(folder, name))
        for name in files:
            if is_junk(name) or name == FILE:
                continue
            if reason := _unusual(Path(folder, name)):
                unused.setdefault(reason, []).append((place / name).as_posix())
                continue
            yield (place / inside(root, Path(folder, name)).name).as_posix()


def inside(root: Path, path: Path) -> Path:
    """A path below the folder of a data set, which may be anyone's.

    Raises:
        UserError: it is a link that leads out of the folder, and `FOLLOW` is not set.
    """
    if not path.is_symlink() or os.environ.get(FOLLOW):
        return path
    real = Path(os.path.realpath(path))
    if real.is_relative_to(os.path.realpath(root)):
        return path
    raise UserError(
        f"{path} is a link to {real}, outside {root}",
        "expected: a data set whose files all lie in its folder",
        "if the link is yours, repeat the command with --follow-links",
    )


def _unusual(path: Path) -> str:
    """Why a file cannot be an image before it is opened; empty if it can."""
    try:
        return "" if stat.S_ISREG(path.stat().st_mode) else ODD
    except OSError:
        return DEAD


def is_junk(name: str) -> bool:
    """Whether a file or folder is hidden, or left behind by an operating system or a storage.

    >>> is_junk("Thumbs.db"), is_junk(".git"), is_junk("@eaDir"), is_junk("skull.png")
    (True, True, True, False)
    """
    return name.startswith(".") or name.lower() in JUNK


def _is_ours(folder: Path, names: set[str]) -> bool:
    """Whether a folder of these names holds our results, a cache, or an exported data set."""
    if "records" in names and names & _BESIDE_RECORDS:
        return True
    if "folders" in names and any((folder / "folders").glob("hashes-*.json")):
        return True
    if FILE not in names or not (folder / FILE).is_file():
        return False
    with (folder / FILE).open(encoding="utf-8", errors="replace") as opened:
        return bool(re.match(f"# {EXPORTED}", opened.readline()))
