"""Copy finished records and small evidence to the folder that is published."""

import shutil
from pathlib import Path

from xbench import leaderboard, plots
from xbench.errors import UserError
from xbench.store import Record, Store

#: Kept beside the records: 8-bit strips and texture descriptors; never the 16-bit images.
EVIDENCE = ("records", "strips", "descriptors")


def profile_folders(root: Path) -> list[Path]:
    """All `<dataset>/<profile>` folders that hold records."""
    return sorted(path.parent for path in root.glob("*/*/records") if path.is_dir())


def publish(out: Path, to: Path) -> list[Path]:
    """Copy every data set and profile below `out`, and make the views there.

    Raises:
        UserError: nothing is finished.
    """
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
        published.append(target)
    return published


def _copy_unit(folder: Path, target: Path, path: Path, record: Record) -> None:
    """One record and its evidence; trainings stay, their hashes are in the record."""
    name = path.relative_to(folder / "records").with_suffix("")
    for kind, suffix in zip(EVIDENCE, (".json", ".png", ".npz"), strict=True):
        source = folder / kind / f"{name}{suffix}"
        if source.exists():
            copy = target / kind / f"{name}{suffix}"
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, copy)


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
