"""Copy finished records and some of their images to the folder that is published."""

import errno
import shutil
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from xbench.analysis import leaderboard, rows, tables, tuning
from xbench.analysis.identifying import identifying
from xbench.analysis.results import Results, read
from xbench.core.errors import UserError, nothing_finished
from xbench.core.files import atomic
from xbench.records.folders import profile_folders
from xbench.records.freshness import why_not_in_table
from xbench.records.schema import Record
from xbench.records.store import Store, UtilityStore
from xbench.records.units import UnitId

#: Size of a published profile, in millions of bytes, from which on there is a warning.
LIMIT_MB = 30


def publish(out: Path, to: Path) -> list[Path]:
    """Copy every data set and profile below `out`, and make the views there.

    Warnings say before what in the records may identify people or machines.

    Returns:
        The folders written, one per data set and profile.

    Raises:
        UserError: nothing is finished, or both folders are the same.
    """
    if out.resolve() == to.resolve():
        raise UserError(
            f"{out} cannot be published into itself",
            "expected: two different folders",
            "try: xbench publish --out runs --to results",
        )
    folders = profile_folders(out)
    if not folders:
        raise nothing_finished(out, "a folder that xbench run wrote")
    stored = {f: (Store(f).records(), UtilityStore(f).records()) for f in folders}
    for line in identifying([record for own in stored.values() for part in own for record in part]):
        warnings.warn(line, stacklevel=2)
    published = []
    for folder, (records, utilities) in stored.items():
        target = to / folder.relative_to(out)
        pictured = _pictured(records)
        # 16-bit images, masks and trainings are not published; their hashes are in the records.
        for record in records:
            with _unless_linked():
                if pictured.get(record.method.label) == record.seed:
                    _copy_strip(Store(folder), Store(target), record.unit)
                Store(target).write_record(record.unit, record)
        for utility in utilities:
            with _unless_linked():
                UtilityStore(target).write_record(utility.unit, utility)
        with _unless_linked():
            if (folder / tuning.FILE).exists():
                tuning.store(tuning.load(folder), target)
        all_views(read(target))
        size = sum(path.stat().st_size for path in target.rglob("*") if path.is_file())
        if size > LIMIT_MB * 1e6:
            warnings.warn(f"{target} has {size / 1e6:.0f} MB, more than {LIMIT_MB}", stacklevel=2)
        published.append(target)
    return published


def _pictured(records: Sequence[Record]) -> dict[str, int]:
    """Label → the seed whose strips are published: the lowest.

    Rows of a sweep have none: their pictures differ little from those of the plain row. Of the
    references only `identity` has some: the images of every domain, for figures.
    """
    by_label = rows.make(records)
    swept = {label for labels in leaderboard.variants(by_label).values() for label in labels}
    shown = {label: row.records[0] for label, row in by_label.items() if label not in swept}
    return {
        label: record.seed
        for label, record in shown.items()
        if not record.method.reference or record.method.name == "identity"
    }


def _copy_strip(source: Store, target: Store, unit: UnitId) -> None:
    """Copy the 8-bit strip of a unit's images, if there is one."""
    if source.strip_path(unit).exists():
        with atomic(target.strip_path(unit)) as part:
            shutil.copyfile(source.strip_path(unit), part)


@contextmanager
def _unless_linked() -> Iterator[None]:
    """Leave out what a link leads to, out of the folder."""
    try:
        yield
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        warnings.warn(f"left out: {error.filename} {error.strerror}", stacklevel=4)


def make_views(results: Results) -> list[Path]:
    """Write tables and pictures of a folder, as far as there are rows for them.

    Returns:
        What was written: files, and the folder of further tables.
    """
    from xbench.analysis import figures as plots

    written, folder = tables.write(results), results.folder
    made = [*(file for file in written.files if file.parent == folder), folder / tables.FOLDER]
    with suppress(UserError):  # no method has all pairs, or too few images for a distance
        made += plots.tradeoff(results)
    for figure in (plots.budget, plots.evaluations):
        with suppress(UserError):  # no method has several budgets, or numbers of steps
            made += figure(results)
    with suppress(UserError):  # fewer than two rows have a utility
        made += plots.utility(results)
    with suppress(UserError):  # nothing was tuned
        made += plots.tuning(folder)
    if results.records:
        made.append(plots.samples(results))
    return made


def all_views(results: Results) -> list[Path]:
    """The same, and a heat map of the metric that ranks, which takes too long for every run."""
    from xbench.analysis import figures as plots

    made = make_views(results)
    with suppress(UserError):  # no metric has a value
        made += plots.pairs(results)
    return made


def matching(root: Path, like: Record) -> list[Record]:
    """Published records that may share a table with this one."""
    return [
        record
        for folder in profile_folders(root)
        for record in Store(folder).records()
        if not why_not_in_table(record, like)
    ]
