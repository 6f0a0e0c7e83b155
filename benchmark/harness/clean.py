"""Files in results and caches that nothing needs: finding and removing them."""

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from xbench.core.errors import UserError, unknown
from xbench.core.files import home, leftover_parts
from xbench.core.locks import held
from xbench.core.profiles import PROFILES
from xbench.datasets import registry as datasets
from xbench.harness import status
from xbench.records.folders import data_key
from xbench.records.store import Records, Store, UtilityStore

Kind = Literal["parts", "corrupt", "orphans", "stale", "failed", "trainings", "caches"]
KINDS: tuple[Kind, ...] = get_args(Kind)
#: Removed by default: the next run recomputes them, or nothing reads them.
USUAL: tuple[Kind, ...] = ("parts", "corrupt", "orphans")
ABOUT: dict[Kind, str] = {
    "parts": "unfinished files of processes that are gone",
    "corrupt": "damaged files that were set aside",
    "orphans": "images, strips and masks without a record",
    "stale": "records of other versions, settings or data, with their images",
    "failed": "tracebacks of failures",
    "trainings": "trainings that no record names",
    "caches": "prepared data that no profile and no record needs",
}


@dataclass(frozen=True)
class Found:
    """Something that can be removed.

    Attributes:
        kind: why.
        path: a file, a folder, or a link (which is removed itself, not what it leads to).
        root: the folder below which it must lie.
        locks: the locks of those who may use it.
        bytes: its size.
    """

    kind: Kind
    path: Path
    root: Path
    locks: Path
    bytes: int


def kinds(names: Sequence[str]) -> tuple[Kind, ...]:
    """The kinds of these names; the usual ones if there are none.

    Raises:
        UserError: there is no such kind.
    """
    if "all" in names:
        return KINDS
    for name in names:
        if name not in KINDS:
            raise unknown("kind of leftovers", name, [*KINDS, "all"], "see: xbench clean --help")
    return tuple(kind for kind in KINDS if kind in names) or USUAL


def find(out: Path, wanted: Sequence[Kind]) -> list[Found]:
    """Leftovers of these kinds; folders in which a process works are left alone.

    Args:
        out: the folder of results, all data sets and profiles below it.
        wanted: kinds of leftovers.

    Raises:
        UserError: `out` is no folder of results.
    """
    if not out.is_dir():
        raise UserError(
            f"there is no folder {out}",
            "expected: a folder that xbench run wrote",
            "try: xbench clean --out FOLDER",
        )
    found: dict[Path, Found] = {}
    for kind, path, root, locks in (*_below(out, wanted), *_in_cache(out, wanted)):
        if _inside(path, root) and not any(above in found for above in (path, *path.parents)):
            found[path] = Found(kind, path, root, locks, _size(path))
    return list(found.values())


def in_use(locks: Path) -> bool:
    """Whether a live process works where these locks are, also while it holds none of them."""
    owners = (*held(locks), *held(locks, ".owner"))
    return any(status.is_alive(owner) for owner in owners)


def summary(found: Sequence[Found]) -> list[dict[str, Any]]:
    """Number, size and place of each kind."""
    rows = []
    for kind in KINDS:
        own = [item for item in found if item.kind == kind]
        if own:
            row: dict[str, Any] = {"kind": kind, "number": len(own)}
            row["MB"] = round(sum(item.bytes for item in own) / 1e6, 3)
            rows.append(row | {"about": f"{ABOUT[kind]}, the first: {own[0].path}"})
    return rows


def remove(found: Sequence[Found]) -> int:
    """Remove leftovers, records before their images; return the bytes that became free.

    What a process has begun to use since they were found stays.
    """
    freed = 0
    used = {locks for locks in {item.locks for item in found} if in_use(locks)}
    for item in found:
        if item.locks in used or not _inside(item.path, item.root):  # or a link has replaced it
            continue
        if item.path.is_dir() and not item.path.is_symlink():
            shutil.rmtree(item.path)
        else:
            item.path.unlink(missing_ok=True)
        freed += item.bytes
    return freed


def _below(out: Path, wanted: Sequence[Kind]) -> Iterator[tuple[Kind, Path, Path, Path]]:
    """Leftovers of each `<dataset>/<profile>`, the val split with the test split."""
    groups: dict[Path, list[Path]] = {}
    for folder in sorted(path for path in out.glob("*/*") if path.is_dir()):
        if not folder.is_symlink() and not folder.parent.is_symlink():
            groups.setdefault(folder.with_name(folder.name.removesuffix("-val")), []).append(folder)
    for first, folders in groups.items():
        locks = first / "locks"
        if in_use(locks):
            continue
        for folder in folders:
            for kind in wanted:
                yield from ((kind, path, out, locks) for path in _of_kind(kind, folder))
        if "trainings" in wanted:
            unused = _unused_trainings(first, folders)
            yield from (("trainings", path, out, locks) for path in unused)


def _of_kind(kind: Kind, folder: Path) -> Iterator[Path]:
    if kind == "parts":
        yield from leftover_parts(folder)
    elif kind == "corrupt":
        yield from sorted(folder.rglob("*.corrupt"))
    elif kind == "orphans":
        yield from _orphans(folder)
    elif kind == "failed":
        found = (folder / "failed", UtilityStore(folder).folder / "failed")
        yield from (path for path in found if path.is_dir())
    elif kind == "stale":
        yield from _stale(folder)


def _orphans(folder: Path) -> Iterator[Path]:
    """Images, strips and masks of units without any file in the place of their record."""
    utility = UtilityStore(folder).folder
    for records, kind, ending in (
        (folder, "images", ""),
        (folder, "strips", ".webp"),
        (utility, "masks", ".png"),
    ):
        root = records / kind
        for path in sorted(root.glob(f"*/seed*/*--*{ending}")):
            name = path.relative_to(root).as_posix().removesuffix(ending)
            if not (records / "records" / f"{name}.json").exists():
                yield path


def _stale(folder: Path) -> Iterator[Path]:
    """Records of other versions, settings or data, each with its images and its strip."""
    for unit in status.of_folder(folder):
        if unit.state == "stale":
            name = unit.unit.path
            files = (f"records/{name}.json", f"images/{name}", f"strips/{name}.webp")
            yield from (path for file in files if (path := folder / file).exists())


def _unused_trainings(first: Path, folders: Sequence[Path]) -> Iterator[Path]:
    """Trainings that no record of any split names; none if a record cannot be read."""
    used: set[str] = set()
    for folder in folders:
        stores: tuple[Records[Any], ...] = (Store(folder), UtilityStore(folder))
        for store in stores:
            records = store.records()
            used |= {key for record in records for key in record.method.weights_sha256}
            if len(records) < sum(1 for _ in (store.folder / "records").rglob("*.json")):
                return
    yield from (path for path in sorted((first / "trainings").glob("*")) if path.name not in used)


def _in_cache(out: Path, wanted: Sequence[Kind]) -> Iterator[tuple[Kind, Path, Path, Path]]:
    """Leftovers of the cache."""
    root, locks = home(), home() / "locks"
    if not root.is_dir() or in_use(locks):
        return
    if "parts" in wanted:
        yield from (("parts", path, root, locks) for path in leftover_parts(root))
    if "corrupt" in wanted:
        yield from (("corrupt", path, root, locks) for path in sorted(root.rglob("*.corrupt")))
    if "caches" in wanted:
        needed = _needed_keys(out)
        for kind in ("phantom", "folders", "features"):
            folders = sorted(path for path in (root / kind).glob("*-v*") if path.is_dir())
            unused = (path for path in folders if path.name not in needed)
            yield from (("caches", path, root, locks) for path in unused)


def _needed_keys(out: Path) -> set[str]:
    """Keys of the data of all profiles and of all records, those too that cannot be used."""
    keys = set()
    for phantom in map(datasets.get, ("phantom", "phantom-v1")):
        keys |= {phantom(phantom.configure(profile)).key for profile in PROFILES.values()}
    places = ("*/*/records/**/*.json", f"*/*/{UtilityStore.name}/records/**/*.json")
    found = map(data_key, (path for place in places for path in out.glob(place)))
    keys |= {key for key in found if key}
    return keys


def _inside(path: Path, root: Path) -> bool:
    """Whether a path lies below a folder, and no link on the way leads out of it."""
    return path.parent.resolve().is_relative_to(root.resolve())


def _size(path: Path) -> int:
    """Bytes of a file, or of all files of a folder; links are not followed."""
    if path.is_symlink() or not path.is_dir():
        return path.lstat().st_size
    return sum(file.lstat().st_size for file in path.rglob("*") if not file.is_dir())
