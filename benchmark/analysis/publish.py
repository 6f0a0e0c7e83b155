"""Copy finished records and some of their images to the folder that is published."""

import shutil
import warnings
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from xbench.analysis import leaderboard, rows, tables, tuning
from xbench.analysis.identifying import identifying
from xbench.analysis.results import Results, read
from xbench.core.errors import UserError, nothing_finished
from xbench.core.files import atomic, within
from xbench.records.folders import profile_folders
from xbench.records.freshness import why_not_in_table
from xbench.records.schema import Record
from xbench.records.store import Store, UtilityStore

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
    stored = {f: (Store(f).record_files(), UtilityStore(f).record_files()) for f in folders}
    for line in identifying([r for own in stored.values() for files in own for _, r in files]):
        warnings.warn(line, stacklevel=2)
    published = []
    for folder, (files, utility_files) in stored.items():
        target = to / folder.relative_to(out)
        pictured = _pictured([record for _, record in files])
        for path, record in files:
            strip = pictured.get(record.method.label) == record.seed
            _copy_unit(folder, target, path, strip=strip)
        for path, _ in utility_files:
            _copy_unit(folder, target, path, strip=False)
        if (folder / tuning.FILE).exists():
            _add_trials(folder, target)
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


def _copy_unit(folder: Path, target: Path, path: Path, *, strip: bool) -> None:
    """Copy a record, and the 8-bit strip of its images if `strip` is set.

    16-bit images, masks and trainings are not published; their hashes are in the record.
    """
    record = path.relative_to(folder)
    image = Path("strips", *record.parts[1:]).with_suffix(".png")
    # The record comes last, as the sign that the unit is complete.
    for file in [image, record] if strip else [record]:
        if (folder / file).exists():
            _copy(folder, target, file)


def _add_trials(folder: Path, target: Path) -> None:
    """Put what was tried beside the published trials of other methods."""
    try:
        tuning.store(tuning.load(folder), target)
    except OSError as error:  # a link leads out of one of the folders
        warnings.warn(f"left out: {error.filename} {error.strerror}", stacklevel=2)


def _copy(folder: Path, target: Path, file: Path) -> None:
    """Copy a file from folder to folder, unless a link leads out of one of them."""
    try:
        source, to = within(folder, folder / file), within(target, target / file)
    except OSError as error:
        warnings.warn(f"left out: {error.filename} {error.strerror}", stacklevel=2)
        return
    with atomic(to) as part:
        shutil.copyfile(source, part)


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
