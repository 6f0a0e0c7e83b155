"""What a report shows, gathered from the records of one folder as texts and plain numbers."""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from xbench.analysis import footnotes, rows
from xbench.analysis.leaderboard import board_of, comparable, ranked
from xbench.analysis.rows import Mark, Row
from xbench.analysis.selection import SORT, crossing
from xbench.core.errors import nothing_finished
from xbench.core.pairs import Pair, parse_pairs
from xbench.metrics.base import METRICS
from xbench.records.schema import Failure, Record
from xbench.records.store import Store
from xbench.report.data import EXTREMES, finite, page_data, per_image


@dataclass(frozen=True)
class Column:
    """One column of the leaderboard; `higher` is None where neither way is better."""

    name: str
    head: str
    about: str
    decimals: int = 0
    higher: bool | None = None
    extra: bool = False
    factor: float = 1

    @property
    def arrow(self) -> str:
        """Which way is better."""
        return {True: " ↑", False: " ↓", None: ""}[self.higher]


@dataclass(frozen=True)
class Cell:
    """A number of the leaderboard: to read, to sort by, how far to trust it, and its mark."""

    text: str
    value: float | None
    interval: str = ""
    about: str = ""
    mark: Mark = ""


@dataclass(frozen=True)
class Content:
    """All that a page shows apart from pictures.

    Attributes:
        records: what may share a table, references first.
        columns: the columns of `lines`.
        lines: the leaderboard by rank: label, `k/n` pairs, whether it is a reference, cells.
        data: what the page computes with, JSON-able and finite.
        failures: units that failed.
        swept: whether there are rows of sweeps.
        notes: what was left out, what is empty and why, what looks wrong.
    """

    records: list[Record]
    columns: list[Column]
    lines: list[tuple[str, str, bool, list[Cell]]]
    data: dict[str, Any]
    failures: list[Failure]
    swept: bool
    notes: list[str]

    @property
    def first(self) -> list[Record]:
        """The records with the lowest seed of each method, whose images are shown."""
        seeds: dict[str, int] = {}
        for record in self.records:
            label = record.method.label
            seeds[label] = min(record.seed, seeds.get(label, record.seed))
        return [record for record in self.records if record.seed == seeds[record.method.label]]


def gather(folder: Path) -> Content:
    """Read the records of a folder and work out what a page shows of them.

    Raises:
        UserError: there are none.
    """
    store = Store(folder)
    found, notes = comparable(store.records())
    if not found:
        raise nothing_finished(folder)
    by_label = rows.make(found)
    board = board_of(by_label)
    records = [record for row in by_label.values() for record in row.records]
    columns = _columns(board)
    compared = ranked(by_label)
    marks = {column.name: _marks(compared, column.name) for column in columns}
    lines = [
        (
            str(row["method"]),
            str(row["pairs"]),
            bool(row["reference"]),
            [_cell(row, column, marks[column.name]) for column in columns],
        )
        for row in board.to_dict("records")
    ]
    for reason, names in footnotes.empty_columns(records).items():
        notes.append(f"empty: {', '.join(names)}: {reason}")
    if times := footnotes.clocks(by_label):
        notes.append(times)
    if any("[n/2]" in label for label in by_label):
        notes.append(footnotes.HALVES)
    notes += footnotes.inverted(records)
    return Content(
        records,
        columns,
        lines,
        page_data(board, by_label),
        [failure for _, failure in store.failures()],
        len(compared) < len(by_label),
        notes,
    )


def extremes(records: Sequence[Record]) -> dict[tuple[str, Pair], set[str]]:
    """Ids of the best and worst images of each method, by the metric that the page starts with."""
    names = per_image(records)
    if not names:
        return {}
    metric, found = METRICS[names[0]], dict[tuple[str, Pair], set[str]]()
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
            found.setdefault((label, pair), set()).add(name)
    return found


def _columns(board: pd.DataFrame) -> list[Column]:
    """The columns that have a value in some row."""
    columns = [
        Column("rank", "#", "place by FTD cross"),
        *(
            Column(m.name, m.label, m.about, m.decimals, m.higher_is_better, not m.in_tables)
            for m in METRICS.values()
        ),
        Column(SORT, "FTD cross", "mean FTD over the pairs between groups of domains", 2, False),
        Column("gap_closed", "gap closed", "share of the FTD gap: 0 identity, 1 floor", 3, True),
        Column(
            "params", "params (M)", "millions of parameters for one pair", 2, False, factor=1e-6
        ),
        Column("params_total", "all pairs (M)", "the same for all pairs", 2, False, True, 1e-6),
        Column("nfe", "NFE", "network evaluations per image", 0, False),
        Column("seconds_per_image", "ms/image", "time of a translation", 1, False, factor=1000),
        Column("train_images", "train images", "training images drawn per training", 0, None),
        Column("train_seconds", "train s", "seconds of all trainings", 0, False),
        Column("seeds", "seeds", "how many were run", 0, None, extra=True),
    ]
    return [column for column in columns if board[column.name].notna().any()]


def _marks(by_label: Mapping[str, Row], column: str) -> dict[str, Mark]:
    """Label → whether it is best or second in a column, as far as that is no chance."""
    if column not in (*METRICS, SORT):
        return {}
    record = next(iter(by_label.values())).records[0]
    pairs = parse_pairs((), record.data.domains)
    if column == SORT:
        return rows.marks(by_label, "ftd", crossing(record, pairs))
    return rows.marks(by_label, column, pairs)


def _cell(row: Mapping[Hashable, Any], column: Column, marks: Mapping[str, Mark]) -> Cell:
    value = finite(row[column.name])
    if value is None:
        return Cell("–", None)
    shown = f"{value * column.factor:,.{column.decimals}f}"
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
        about.append(f"{mark}, and significantly so")
    return Cell(shown, value * column.factor, interval, "; ".join(about), mark)
