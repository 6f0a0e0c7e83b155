"""What a report shows, from the records of one folder, as texts and plain numbers."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xbench.analysis import footnotes, tables
from xbench.analysis.columns import columns
from xbench.analysis.leaderboard import (
    board_of,
    compared,
    not_ranked,
    other_budgets,
    ranked,
    ranking_of,
    sweeps,
)
from xbench.analysis.results import read
from xbench.analysis.rows import Mark
from xbench.analysis.typeset import Table, dictionaries, marked, trained_once
from xbench.core.columns import RANKING, Column, crossed
from xbench.core.errors import nothing_finished
from xbench.core.pairs import Pair, parse_pairs
from xbench.core.places import without_folders
from xbench.metrics.base import METRICS
from xbench.records.schema import Failure, Record
from xbench.records.store import Store
from xbench.report.data import EXTREMES, finite, page_data, per_image
from xbench.report.drawings import Drawing, drawings
from xbench.report.predictions import Predictions, predictions


@dataclass(frozen=True)
class Cell:
    """A number of the leaderboard.

    Attributes:
        text: for people.
        value: what the column is sorted by; None where there is none.
        interval: half of the 95 % interval, as `± 0.12`.
        about: interval, deviation over seeds and mark in words.
        mark: whether it is best or second.
    """

    text: str
    value: float | None
    interval: str = ""
    about: str = ""
    mark: Mark = ""


@dataclass(frozen=True)
class Content:
    """All that a page shows besides pictures.

    Attributes:
        records: those that may share a table, references first.
        columns: the columns of `lines`.
        lines: the leaderboard by rank: label, `k/n` pairs, whether it is a reference, whether its
            networks have one seed, cells.
        data: what the page computes with, finite and ready for JSON.
        failures: units that failed.
        swept: whether there are rows of sweeps.
        budgets: whether there are rows of other budgets than the usual one.
        notes: what was left out, what is empty and why, what looks wrong.
        drawings: figures of costs, settings and utility.
        utility: the table of `xbench utility`; None if there is none.
        seen: what its networks saw in test images.
    """

    records: list[Record]
    columns: list[Column]
    lines: list[tuple[str, str, bool, bool, list[Cell]]]
    data: dict[str, Any]
    failures: list[Failure]
    swept: bool
    budgets: bool
    notes: list[str]
    drawings: list[Drawing]
    utility: Table | None
    seen: Predictions

    @property
    def first(self) -> list[Record]:
        """The records of each row's lowest seed, whose images are shown."""
        seeds: dict[str, int] = {}
        for record in self.records:
            label = record.method.label
            seeds[label] = min(record.seed, seeds.get(label, record.seed))
        return [record for record in self.records if record.seed == seeds[record.method.label]]


def gather(folder: Path, dataset: str = "") -> Content:
    """What a page shows of a folder's records; `dataset` as the user names it, if not built in.

    Raises:
        UserError: there are none.
    """
    results = read(folder)
    if not results.records:
        raise nothing_finished(folder)
    by_label, notes = results.by_label, list(results.notes)
    board = board_of(by_label)
    records = [record for row in by_label.values() for record in row.records]
    shown = ranked(by_label)
    hidden = {crossed(name) for name in RANKING if name != ranking_of(shown).between}
    numbers = [
        c
        for c in columns()
        if c.label and c.name not in {"method", *hidden} and board[c.name].notna().any()
    ]
    marks = marked(compared(by_label), numbers, parse_pairs((), records[0].data.domains))
    lines = [
        (
            str(row["method"]),
            str(row["pairs"]),
            bool(row["reference"]),
            trained_once(row),
            [_cell(row, column, marks.get(column.name, {})) for column in numbers],
        )
        for row in dictionaries(board)
    ]
    for reason, names in footnotes.empty_columns(records).items():
        notes.append(f"empty: {', '.join(names)}: {reason}")
    if times := footnotes.clocks(by_label):
        notes.append(times)
    if any("[n/2]" in label for label in by_label):
        notes.append(footnotes.HALVES)
    notes += [*not_ranked(by_label), *footnotes.inverted(records)]
    tested = [record for row in results.trials.rows.values() for record in row.records]
    if commits := {record.provenance.commit or "unknown" for record in tested}:
        notes.append(f"utility was measured by the code of: {', '.join(sorted(commits))}")
    return Content(
        records,
        numbers,
        lines,
        page_data(board, results),
        [_in_short(failure) for _, failure in Store(folder).failures()],
        bool(sweeps(by_label)),
        bool(other_budgets(by_label)),
        list(map(without_folders, notes)),
        drawings(results),
        tables.utility(folder).text if results.trials.pairs else None,
        predictions(folder, results, dataset),
    )


def extremes(records: Sequence[Record]) -> dict[tuple[str, Pair], set[str]]:
    """(label, pair) → ids of each row's best and worst images, by the page's first metric."""
    names = per_image(records)
    if not names:
        return {}
    metric, ids = METRICS[names[0]], dict[tuple[str, Pair], set[str]]()
    labels: dict[str, list[tuple[float, str, Pair]]] = {}
    for record in records:
        value = record.metrics.get(metric.name)
        for name, number in zip(record.data.ids, (value and value.per_image) or [], strict=False):
            if math.isfinite(number):
                entry = (number, name, (record.source, record.target))
                labels.setdefault(record.method.label, []).append(entry)
    for label, entries in labels.items():
        ranked = sorted(entries)
        for _, name, pair in (*ranked[:EXTREMES], *ranked[-EXTREMES:]):
            ids.setdefault((label, pair), set()).add(name)
    return ids


def _in_short(failure: Failure) -> Failure:
    """A failure that shows no paths of people, whichever version wrote it."""
    return failure.model_copy(update={"traceback": without_folders(failure.traceback)})


def _cell(row: Mapping[str, Any], column: Column, marks: Mapping[str, Mark]) -> Cell:
    value = finite(row[column.name])
    if value is None:
        return Cell("–", None)
    low, high = (finite(row.get(f"{column.name}_ci_{end}")) for end in ("low", "high"))
    seeds = finite(row.get(f"{column.name}_sd_seeds"))
    about, interval = [], ""
    if low is not None and high is not None:
        interval = f"± {(high - low) / 2:.{column.decimals}f}"
        about.append(f"95 % interval {low:.{column.decimals}f} to {high:.{column.decimals}f}")
    if seeds is not None:
        about.append(f"standard deviation over seeds {seeds:.{column.decimals + 1}f}")
    mark = marks.get(str(row["method"]), "")
    if mark:
        about.append(f"{mark}: its lead over those behind is more than chance")
    text = column.text(value)
    return Cell(text, value * column.factor, interval, "; ".join(about), mark)
