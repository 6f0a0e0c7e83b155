"""Results folders: `<out>/<dataset>/<profile>`."""

import warnings
from pathlib import Path

from xbench.core.errors import nothing_finished
from xbench.core.files import within
from xbench.core.names import quoted
from xbench.core.profiles import PROFILES, get_profile, get_split
from xbench.core.settings import file_name, name_of
from xbench.datasets import registry as datasets


def folder_of(out: Path, dataset_label: str, profile: str, split: str = "test") -> Path:
    """`<out>/<dataset>/<profile>`; the val split has a folder of its own.

    Raises:
        OSError: a link leads out of `out`.
    """
    name = profile if split == "test" else f"{profile}-{split}"
    return within(out, out / file_name(dataset_label) / name)


def results_folder(dataset: str, profile: str, split: str, out: Path) -> Path:
    """The results of a data set (its name, folder, or label, as `phantom[noise=off]`)."""
    get_profile(profile)
    folder = folder_of(out, dataset, profile, get_split(split))
    if not (folder / "records").is_dir():
        name = name_of(dataset)
        label = dataset.replace(name, datasets.get(name).name, 1)
        folder = folder_of(out, label, profile, split)
    if not (folder / "records").is_dir():
        others = [
            f"--dataset {quoted(f.parent.name)} --profile {f.name}" for f in profile_folders(out)
        ]
        begin = (
            f"xbench run --method medshift --dataset {quoted(dataset)} --profile {profile} "
            f"--out {quoted(out)}"
        )
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
