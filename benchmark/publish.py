"""Copy finished records and small evidence to the folder that is published."""

import shutil
import warnings
from pathlib import Path

from xbench import leaderboard, plots
from xbench.errors import UserError
from xbench.files import atomic
from xbench.profiles import PROFILES
from xbench.store import Record, Store

#: Kept beside the records: 8-bit strips and texture descriptors; never the 16-bit images.
#: The record comes last: without it nothing of a unit counts.
EVIDENCE = (("strips", ".png"), ("descriptors", ".npz"), ("records", ".json"))
#: What a published profile may take.
LIMIT_MB = 10


def profile_folders(root: Path) -> list[Path]:
    """All `<dataset>/<profile>` folders of the test split that hold records."""
    found = sorted(path.parent for path in root.glob("*/*/records") if path.is_dir())
    return [folder for folder in found if folder.name in PROFILES]


def publish(out: Path, to: Path) -> list[Path]:
    """Copy every data set and profile below `out`, and make the views there.

    Raises:
        UserError: nothing is finished.
    """
    if out.resolve() == to.resolve():
        raise UserError(
            f"{out} cannot be published into itself",
            "expected: two different folders",
            "try: xbench publish --out runs --to results",
        )
    folders = profile_folders(out)
    if not folders:
        raise UserError(
            f"there are no finished units in {out}",
            "expected: a folder that xbench run wrote",
            "try: xbench run --method medshift",
        )
    published = []
    for folder in folders:
        target = to / folder.relative_to(out)
        for path, record in Store(folder).record_files():
            _copy_unit(folder, target, path, record)
        make_views(target)
        size = sum(path.stat().st_size for path in target.rglob("*") if path.is_file())
        if size > LIMIT_MB * 1e6:
            warnings.warn(f"{target} has {size / 1e6:.0f} MB, more than {LIMIT_MB}", stacklevel=2)
        published.append(target)
    return published


def _copy_unit(folder: Path, target: Path, path: Path, record: Record) -> None:
    """One record and its evidence; trainings stay, their hashes are in the record."""
    name = path.relative_to(folder / "records").with_suffix("")
    for kind, suffix in EVIDENCE:
        source = folder / kind / f"{name}{suffix}"
        if source.exists():
            with atomic(target / kind / source.relative_to(folder / kind)) as part:
                shutil.copyfile(source, part)


def make_views(folder: Path) -> list[Path]:
    """Tables and pictures of one folder; the trade-off plot once a method has all pairs."""
    board, _ = leaderboard.write_tables(folder)
    made = [folder / name for name in ("leaderboard.csv", "leaderboard.md", "pairs.csv")]
    if "ssim" in board and board["ssim"].notna().any():
        made.append(plots.tradeoff(folder))
    if not board.empty:
        made.append(plots.samples(folder))
    return made


def matching(root: Path, like: Record) -> list[Record]:
    """Published records that may stand in one table with this one."""
    same = leaderboard.identity(like)
    return [
        record
        for folder in profile_folders(root)
        for record in Store(folder).records()
        if leaderboard.identity(record) == same
    ]
