"""Results folders: `<out>/<dataset>/<profile>`."""

import json
import shlex
import warnings
from pathlib import Path

from xbench.core.errors import UserError, nothing_finished
from xbench.core.files import within
from xbench.core.profiles import PROFILES, get_profile, get_split
from xbench.core.registry import warn
from xbench.core.settings import file_name, name_of
from xbench.datasets import registry as datasets

#: Digits of a data set's key in the name of its results, where these have a namesake.
DIGITS = 8


def folder_of(out: Path, dataset_label: str, profile: str, split: str = "test") -> Path:
    """`<out>/<dataset>/<profile>`; the val split has a folder of its own.

    Raises:
        OSError: a link leads out of `out`.
    """
    name = profile if split == "test" else f"{profile}-{split}"
    return within(out, out / file_name(dataset_label) / name)


def place_of(out: Path, label: str, key: str, profile: str, split: str = "test") -> Path:
    """Where the results of a data set go: `folder_of`, unless a namesake's results are there.

    Two folders or plug-ins may have one name, or a folder may get other images: the later one's
    results go to `<label>~<end of the key>`. The name of a built-in data set is its own.
    """
    usual = folder_of(out, label, profile, split)
    if name_of(label) in datasets.BUILT_IN:
        return usual
    own = folder_of(out, f"{label}~{key[-DIGITS:]}", profile, split)
    if _keys_in(own):
        return own
    there = _keys_in(usual)
    return own if there and key not in there else usual


def _keys_in(folder: Path) -> set[str]:
    """Keys of the data set in a place, one of each split."""
    first = folder.with_name(folder.name.removesuffix("-val"))
    keys = set()
    for place in (first, first.with_name(f"{first.name}-val")):
        paths = sorted((place / "records").glob("*/seed*/*.json"))
        keys.add(next((key for path in paths if (key := data_key(path))), ""))
    return keys - {""}


def data_key(record: Path) -> str | None:
    """The key of the data set in a record, also of another version of xbench; None if unknown."""
    try:
        return str(json.loads(within(record.parent, record).read_bytes())["data"]["key"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def find_place(dataset: str, profile: str, split: str, out: Path) -> Path:
    """Where the results of a data set are (its name, folder, or label, as `phantom[noise=off]`).

    Those of a folder that had other images when they were made are found, too, with a warning.
    """
    folder = folder_of(out, dataset, get_profile(profile).name, get_split(split))
    name = name_of(dataset)
    own = name not in datasets.BUILT_IN and Path(name).expanduser().is_dir()
    if folder.is_dir() and not own:
        return folder
    kind = datasets.get(name)
    label = dataset.replace(name, kind.name, 1)
    usual = folder_of(out, label, profile, split)
    if label != kind.name or kind.name in datasets.BUILT_IN:
        return usual
    try:
        place = place_of(out, label, kind(kind.configure(get_profile(profile))).key, profile, split)
    except UserError:  # its images are gone; what they gave is still to be seen
        return usual
    if not (place / "records").is_dir() and (usual / "records").is_dir():
        warn(f"{usual} has results of other images than those that are in {name} now")
        return usual
    return place


def results_folder(dataset: str, profile: str, split: str, out: Path) -> Path:
    """The folder that `find_place` finds.

    Raises:
        UserError: it has no records.
    """
    folder = find_place(dataset, profile, split, out)
    if not (folder / "records").is_dir():
        others = [
            shlex.join(["--dataset", f.parent.name, "--profile", f.name])
            for f in profile_folders(out)
        ]
        words = ["xbench", "run", "--method", "medshift", "--dataset", dataset]
        begin = shlex.join([*words, "--profile", profile, "--out", str(out)])
        fix = f"{out} has results of: {', '.join(others)}" if others else f"try: {begin}"
        raise nothing_finished(folder, fix=fix)
    return folder


def profile_folders(root: Path) -> list[Path]:
    """All `<dataset>/<profile>` folders of the test split that hold records."""
    found = sorted(path.parent for path in root.glob("*/*/records") if path.is_dir())
    found = [folder for folder in found if _leads_inside(root, folder)]
    return [folder for folder in found if folder.name in PROFILES]


def _leads_inside(root: Path, folder: Path) -> bool:
    try:
        return bool(within(root, folder))
    except OSError as error:
        warnings.warn(f"left out: {error.filename} {error.strerror}", stacklevel=3)
        return False
