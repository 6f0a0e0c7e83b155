"""The tables of a results folder: made of its records, written as CSV, Markdown and LaTeX."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from xbench.analysis import breakdowns, footnotes, leaderboard, rows
from xbench.analysis import reproduce as commands
from xbench.analysis.rows import Row
from xbench.analysis.selection import ALL, SORT, Selection, crossing
from xbench.analysis.typeset import (
    Cell,
    Line,
    Table,
    costs,
    dictionaries,
    latex,
    lines,
    markdown,
    marked,
    table_metrics,
)
from xbench.core.errors import UserError, unknown
from xbench.core.files import write_text
from xbench.core.pairs import FLOOR, Pair, parse_pairs
from xbench.core.settings import file_name
from xbench.metrics.base import METRICS
from xbench.records.schema import Record
from xbench.records.store import Store, no_collection

#: What `shown` knows.
TABLES = ("leaderboard", "pairs", "groups", "ablation", "parameters")
#: Rows up to which the table by pair is written; a longer one is made when it is asked for.
MOST_BY_PAIR = 50
#: Further tables lie in this folder, beside `leaderboard.*` and `pairs.csv`.
FOLDER = "tables"


@dataclass(frozen=True)
class Made:
    """One table: the frame for programs and the text for people."""

    frame: pd.DataFrame
    text: Table


@dataclass(frozen=True)
class Written:
    """What `write` made: the leaderboard, what to tell people, the files, and label → row."""

    board: pd.DataFrame
    notes: list[str]
    files: list[Path]
    by_label: dict[str, Row] = field(default_factory=dict)


def board(
    by_label: Mapping[str, Row], selection: Selection = ALL, metrics: Sequence[str] = ()
) -> Made:
    """The leaderboard; of all pairs with the mean of those between groups of domains.

    The frame has the rows of sweeps too, without a rank.
    """
    frame = leaderboard.board_of(by_label, selection)
    notes = leaderboard.not_ranked(by_label)
    record, by_label = _first(by_label), leaderboard.ranked(by_label)
    pairs = selection.pairs or parse_pairs((), record.data.domains)
    chosen = table_metrics(metrics)
    marks = dict(marked(by_label, chosen, pairs))
    shown = frame[frame["method"].isin(by_label)].drop(columns="params_total")
    if selection.pairs:  # of other pairs: it is the column of `ftd`, or says less
        shown = shown.drop(columns=SORT)
    else:
        marks[SORT] = rows.marks(by_label, "ftd", crossing(record, pairs))
    told = [] if frame.empty else _notes([r for row in by_label.values() for r in row.records])
    if times := footnotes.clocks(by_label):
        told.append(times)
    text = Table(
        "leaderboard",
        _caption(by_label, selection),
        {"": lines(shown, chosen, marks)},
        [*(f"{note[0].upper()}{note[1:]}" for note in notes), *told],
    )
    return Made(frame, text)


def pairs(
    by_label: Mapping[str, Row], selection: Selection = ALL, metrics: Sequence[str] = ()
) -> Made:
    """A small leaderboard for each pair."""
    return _blocks("by-pair", "pair", breakdowns.by_pair, by_label, selection, metrics)


def groups(
    by_label: Mapping[str, Row], selection: Selection = ALL, metrics: Sequence[str] = ()
) -> Made:
    """A small leaderboard for each direction between groups of domains, and within them."""
    return _blocks("by-group", "group", breakdowns.by_direction, by_label, selection, metrics)


def _blocks(
    name: str,
    column: str,
    parts: Callable[..., dict[str, tuple[Pair, ...]]],
    by_label: Mapping[str, Row],
    selection: Selection,
    metrics: Sequence[str],
) -> Made:
    by_label = leaderboard.ranked(by_label)
    named = parts(by_label, selection.pairs)
    frames = breakdowns.blocks(by_label, named, selection.sort)
    chosen = table_metrics(metrics)
    text = {
        part: lines(frame, chosen, marked(by_label, chosen, named[part]))
        for part, frame in frames.items()
    }
    caption = f"{_caption(by_label, selection)} By {column}."
    return Made(breakdowns.stacked(frames, column), Table(name, caption, text))


def ablations(
    by_label: Mapping[str, Row], selection: Selection = ALL, metrics: Sequence[str] = ()
) -> list[Made]:
    """A table for each method that ran in several configurations, in the order of the settings."""
    made, chosen = [], table_metrics(metrics)
    for name, frame in breakdowns.ablations(by_label, selection).items():
        settings = list(frame.columns[1 : frame.columns.get_loc("pairs")])
        text = [
            _settings(row, settings)
            | {head: cell for head, cell in line.items() if head != "method"}
            for row, line in zip(
                dictionaries(frame),
                lines(frame.drop(columns="params_total"), chosen),
                strict=True,
            )
        ]
        caption = f"{_caption(by_label, selection)} Settings of {name}."
        made.append(Made(frame, Table(f"ablation-{file_name(name)}", caption, {"": text})))
    return made


def _settings(row: Mapping[str, object], names: Sequence[str]) -> Line:
    """The first cells of a line of an ablation."""
    values = {name: row[name] for name in names}
    return {
        name: Cell(f"{value:g}" if isinstance(value, int | float) else str(value))
        for name, value in values.items()
    }


def parameters(by_label: Mapping[str, Row]) -> Made:
    """Parameters for one pair and for all pairs, of training, evaluations, budget and times."""
    frame = breakdowns.parameters(leaderboard.ranked(by_label))
    text = [{"method": Cell(str(row["method"])), **costs(row)} for row in dictionaries(frame)]
    caption = f"{_caption(by_label)} Parameters for one pair and for all pairs."
    return Made(frame, Table("parameters", caption, {"": text}))


@no_collection()  # a third of the time, with ten thousand records in memory
def write(folder: Path) -> Written:
    """Make all tables anew from the records of a folder."""
    records, notes = leaderboard.comparable(Store(folder).records())
    notes += footnotes.inverted(records)
    frame = leaderboard.pairs_table(records)
    files = [_csv(folder / "pairs.csv", frame)]
    if not records:
        empty = leaderboard.board_table(records)
        files.append(_csv(folder / "leaderboard.csv", empty))
        files.append(_text(folder / "leaderboard.md", "No finished units yet.\n"))
        return Written(empty, notes, files)
    by_label = rows.make(records)
    made = board(by_label)
    tail = ["", "Made by:", "", "```sh", *commands.commands(records), "```", ""]
    text = markdown(made.text) + "\n".join(tail)
    files += [
        _csv(folder / "leaderboard.csv", made.frame),
        _text(folder / "leaderboard.md", text),
        _text(folder / FOLDER / "leaderboard.tex", latex(made.text)),
    ]
    further = [groups(by_label), parameters(by_label), *ablations(by_label)]
    if len(leaderboard.ranked(by_label)) <= MOST_BY_PAIR:
        further.append(pairs(by_label))
    for table in further:
        files += save(table, folder / FOLDER)
    known = {file for name in ("by-pair.*", "ablation-*") for file in (folder / FOLDER).glob(name)}
    for stale in known - {*files}:
        stale.unlink()
    notes += leaderboard.not_ranked(by_label)
    return Written(made.frame, notes, files, by_label)


def shown(
    by_label: Mapping[str, Row],
    table: str,
    selection: Selection,
    metrics: Sequence[str],
) -> list[Made]:
    """One of the `TABLES`; there are as many ablations as methods with several configurations.

    Raises:
        UserError: an unknown metric, or no ablation.
    """
    for name in metrics:
        if name not in METRICS:
            raise unknown("metric", name, METRICS, "see: xbench list metrics")
    if table == "parameters":
        return [parameters(by_label)]
    if table == "ablation":
        found = ablations(by_label, selection, metrics)
        if not found:
            raise UserError(
                "no method has finished in two configurations",
                "expected: rows that differ in a setting or a budget",
                "for example: xbench sweep --method medshift --knob 0:1:0.1",
            )
        return found
    make = {"leaderboard": board, "pairs": pairs, "groups": groups}[table]
    return [make(by_label, selection, metrics)]


def write_to(made: Sequence[Made], path: Path) -> None:
    """Write what is shown into one file, in the format of its suffix.

    Raises:
        UserError: another suffix, or several tables for one CSV file.
    """
    if path.suffix not in (".csv", ".md", ".tex"):
        raise UserError(
            f"--to {path} has no suffix that says what to write",
            "expected: a file name that ends in .csv, .md or .tex",
            f"try: --to {path.with_suffix('.md')}",
        )
    if path.suffix == ".csv":
        _csv(path, pd.concat([one.frame for one in made], ignore_index=True))
    else:
        _text(path, "\n".join((markdown if path.suffix == ".md" else latex)(m.text) for m in made))


def save(made: Made, folder: Path) -> list[Path]:
    """Write a table as CSV, Markdown and LaTeX."""
    name = made.text.name
    return [
        _csv(folder / f"{name}.csv", made.frame),
        _text(folder / f"{name}.md", markdown(made.text)),
        _text(folder / f"{name}.tex", latex(made.text)),
    ]


def _csv(path: Path, frame: pd.DataFrame) -> Path:
    shown = frame.drop(columns="reference", errors="ignore")
    return _text(path, shown.to_csv(index=False, float_format="%.6g"))


def _text(path: Path, text: str) -> Path:
    write_text(path, text)
    return path


def _first(by_label: Mapping[str, Row]) -> Record:
    return next(iter(by_label.values())).records[0]


def _caption(by_label: Mapping[str, Row], selection: Selection = ALL) -> str:
    """Data, profile, split and number of views; and which pairs, unless it is all."""
    first = _first(by_label)
    counts = sorted(
        {
            len(r.data.ids)
            for row in by_label.values()
            for r in row.records
            if r.method.name != FLOOR
        }
        or {0}
    )
    views = f"{counts[0]} to {counts[-1]}" if len(counts) > 1 else str(counts[0])
    text = (
        f"Data `{first.data.key}`, profile `{first.profile}`, split `{first.data.split}`, "
        f"n = {views} views per pair."
    )
    if not selection.pairs:
        return text
    return f"{text} Pairs: {', '.join(f'{a} → {b}' for a, b in selection.pairs)}."


def _notes(records: Sequence[Record]) -> list[str]:
    """Why columns are empty, what the floor is, and what looks wrong."""
    notes = [
        f"Empty: {', '.join(names)}: {reason}"
        for reason, names in footnotes.empty_columns(records).items()
    ]
    if any("[n/2]" in record.method.label for record in records):
        notes.append(footnotes.HALVES)
    if wrong := footnotes.inverted(records):
        notes.append("\n".join(f"- {line}" for line in wrong))
    return notes
