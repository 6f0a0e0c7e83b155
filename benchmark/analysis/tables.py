"""The tables of a results folder, written as CSV, Markdown and LaTeX."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from xbench.analysis import breakdowns, footnotes, leaderboard
from xbench.analysis import reproduce as commands
from xbench.analysis import utility as scores
from xbench.analysis.columns import columns, for_people, known_metric
from xbench.analysis.results import Results
from xbench.analysis.rows import Row, first
from xbench.analysis.selection import ALL, Selection, shared
from xbench.analysis.typeset import (
    Cell,
    Line,
    Table,
    csv,
    dictionaries,
    latex,
    lines,
    markdown,
    marked,
)
from xbench.core.errors import UserError, choice
from xbench.core.files import unwritable, within, write_text
from xbench.core.names import quoted
from xbench.core.pairs import FLOOR, Pair, parse_pairs
from xbench.core.settings import file_name
from xbench.records.schema import Record
from xbench.records.store import UtilityStore
from xbench.tasks.measures import TASKS

#: Names of the tables that `shown` makes.
TABLES = ("leaderboard", "pairs", "groups", "budgets", "ablation", "parameters", "utility")
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
    """What `write` made: the frame of the leaderboard, notes for people, and the files."""

    board: pd.DataFrame
    notes: list[str]
    files: list[Path]


def board(
    by_label: Mapping[str, Row], selection: Selection = ALL, metrics: Sequence[str] = ()
) -> Made:
    """The leaderboard; of all pairs with the mean over those between groups of domains.

    The frame has the rows of sweeps too, without a rank.
    """
    frame = leaderboard.board_of(by_label, selection)
    notes = leaderboard.not_ranked(by_label)
    by_label = leaderboard.ranked(by_label)
    pairs = selection.pairs or parse_pairs((), first(by_label).data.domains)
    ranks = leaderboard.ranking_of(by_label).between
    # Over chosen pairs, LTD cross is the same as LTD, or rests on fewer pairs.
    chosen = for_people(metrics, ranks="" if selection.pairs else ranks)
    text = lines(
        frame[frame["method"].isin(by_label)],
        chosen,
        marked(leaderboard.compared(by_label), chosen, pairs),
    )
    remarks = [f"{note[0].upper()}{note[1:]}" for note in notes]
    if not frame.empty:
        remarks += _remarks([r for row in by_label.values() for r in row.records])
    if times := footnotes.clocks(by_label):
        remarks.append(times)
    if frame["utility"].notna().any():
        remarks.append(f"In tables/utility: {scores.LEGEND}")
    return Made(frame, Table("leaderboard", _caption(by_label, selection), {"": text}, remarks))


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
    chosen = [c for c in for_people(metrics) if not c.all_pairs]
    text = {
        part: lines(frame, chosen, marked(leaderboard.compared(by_label), chosen, named[part]))
        for part, frame in frames.items()
    }
    caption = f"{_caption(by_label, selection)} By {column}."
    return Made(breakdowns.stacked(frames, column), Table(name, caption, text))


def ablations(
    by_label: Mapping[str, Row], selection: Selection = ALL, metrics: Sequence[str] = ()
) -> list[Made]:
    """A table for each method with several configurations, in the order of the settings."""
    made = []
    chosen = [column for column in for_people(metrics) if column.name != "method"]
    for name, frame in breakdowns.ablations(by_label, selection).items():
        settings = list(frame.columns[1 : frame.columns.get_loc("pairs")])
        text = [
            _settings(row, settings) | line
            for row, line in zip(dictionaries(frame), lines(frame, chosen), strict=True)
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


def budgets(
    by_label: Mapping[str, Row], selection: Selection = ALL, metrics: Sequence[str] = ()
) -> Made:
    """Methods that were trained with several budgets: a line per budget, without ranks.

    Where none is selected, of the pairs that all these rows have: other budgets than the usual one
    are often run on some pairs only.
    """
    common = shared(breakdowns.of_budgets(by_label).values())
    every = parse_pairs((), first(by_label).data.domains)
    if not selection.pairs and common != every:
        selection = replace(selection, pairs=common)
    frame = breakdowns.budgets(by_label, selection)
    ranks = leaderboard.ranking_of(by_label).between
    text = lines(frame, for_people(metrics, ranks="" if selection.pairs else ranks))
    caption = f"{_caption(by_label, selection)} By training budget."
    return Made(frame, Table("budgets", caption, {"": text}))


def parameters(by_label: Mapping[str, Row]) -> Made:
    """Parameters for one pair and for all pairs, of training, evaluations, budget and times."""
    frame = breakdowns.parameters(leaderboard.ranked(by_label))
    text = lines(frame.drop(columns="reference"), [c for c in columns("parameters") if c.label])
    caption = f"{_caption(by_label)} Parameters for one pair and for all pairs."
    return Made(frame, Table("parameters", caption, {"": text}))


def wanted_tasks(names: Sequence[str]) -> list[str]:
    """Names of tasks.

    Raises:
        UserError: one is not known.
    """
    for name in names:
        choice("task", name, tuple(task.name for task in TASKS))
    return list(names)


def utility(folder: Path, tasks: Sequence[str] = ()) -> Made:
    """What networks that learned from translated images are worth on true ones.

    Raises:
        UserError: `xbench utility` has not finished anything here.
    """
    by_label = scores.rows(UtilityStore(folder).records())
    if not scores.pairs_of(by_label):
        raise UserError(
            f"there is no utility in {folder}",
            "expected: records of xbench utility, with its rows 'source' and 'target'",
            "for example: xbench utility --method medshift",
        )
    frame = scores.frame(by_label, tasks)
    record = next(iter(by_label.values())).records[0]
    text = scores.lines(frame, record.measures)
    caption = (
        f"Data `{record.data.key}`, profile `{record.profile}`. Networks for tasks "
        f"(`{record.identity}`) learned from {record.train_images} images for each pair. Pairs: "
        f"{', '.join(f'{a} → {b}' for a, b in scores.pairs_of(by_label))}."
    )
    return Made(frame, Table("utility", caption, {"": text}, [scores.LEGEND]))


def write_utility(folder: Path) -> list[Path]:
    """Write the table of utility, where there is one."""
    if not scores.pairs_of(scores.rows(UtilityStore(folder).records())):
        return []
    return _save(utility(folder), within(folder, folder / FOLDER))


def write(results: Results) -> Written:
    """Write all tables of a folder; none where it may only be read, which a note says."""
    folder, by_label = results.folder, results.by_label
    further_folder = within(folder, folder / FOLDER)
    notes = [*results.notes, *footnotes.inverted(results.records)]
    if reason := unwritable(folder):
        notes += [*leaderboard.not_ranked(by_label), f"nothing was written to {reason}"]
        return Written(leaderboard.board_of(by_label), notes, [])
    files = [_csv(folder / "pairs.csv", leaderboard.pairs_table(results.records))]
    if not by_label:
        empty = leaderboard.board_of(by_label)
        files.append(_csv(folder / "leaderboard.csv", empty))
        files.append(_text(folder / "leaderboard.md", "No finished units yet.\n"))
        return Written(empty, notes, files)
    made = board(by_label)
    tail = ["", "Made by:", "", "```sh", *commands.commands(results.records), "```", ""]
    files += [
        _csv(folder / "leaderboard.csv", made.frame),
        _text(folder / "leaderboard.md", markdown(made.text) + "\n".join(tail)),
        _text(further_folder / "leaderboard.tex", latex(made.text)),
    ]
    further = [groups(by_label), parameters(by_label), *ablations(by_label)]
    if leaderboard.other_budgets(by_label):
        further.append(budgets(by_label))
    if len(leaderboard.ranked(by_label)) <= MOST_BY_PAIR:
        further.append(pairs(by_label))
    for table in further:
        files += _save(table, further_folder)
    files += write_utility(folder)
    old = {
        file
        for name in ("by-pair.*", "budgets.*", "ablation-*")
        for file in further_folder.glob(name)
    }
    for stale in old - {*files}:
        stale.unlink(missing_ok=True)  # another process may have removed it
    return Written(made.frame, [*notes, *leaderboard.not_ranked(by_label)], files)


def shown(
    by_label: Mapping[str, Row], table: str, selection: Selection, metrics: Sequence[str]
) -> list[Made]:
    """One of the `TABLES`; there are as many ablations as methods with several configurations.

    Raises:
        UserError: an unknown metric, or no ablation.
    """
    for name in metrics:
        known_metric(name)
    if table == "parameters":
        return [parameters(by_label)]
    if table == "ablation":
        made = ablations(by_label, selection, metrics)
        if not made:
            raise UserError(
                "no method has finished in two configurations",
                "expected: rows that differ in a setting or a budget",
                "for example: xbench sweep --method medshift --knob 0:1:0.1",
            )
        return made
    if table == "budgets" and not leaderboard.other_budgets(by_label):
        raise UserError(
            "no method has finished with two training budgets",
            "expected: rows that differ in the number of training images",
            "for example: xbench run --method medshift --set budget.factor=2",
        )
    make = {"leaderboard": board, "pairs": pairs, "groups": groups, "budgets": budgets}[table]
    return [make(by_label, selection, metrics)]


def write_to(made: Sequence[Made], path: Path) -> None:
    """Write tables into one file, in the format of its suffix.

    Raises:
        UserError: another suffix than .csv, .md and .tex.
    """
    if path.suffix not in (".csv", ".md", ".tex"):
        raise UserError(
            f"--to {path} has no suffix that says what to write",
            "expected: a file name that ends in .csv, .md or .tex",
            f"try: --to {quoted(path.with_suffix('.md'))}",
        )
    if path.suffix == ".csv":
        _csv(path, pd.concat([one.frame for one in made], ignore_index=True))
    else:
        _text(path, "\n".join((markdown if path.suffix == ".md" else latex)(m.text) for m in made))


def _save(made: Made, folder: Path) -> list[Path]:
    """Write a table as CSV, Markdown and LaTeX."""
    name = made.text.name
    return [
        _csv(folder / f"{name}.csv", made.frame),
        _text(folder / f"{name}.md", markdown(made.text)),
        _text(folder / f"{name}.tex", latex(made.text)),
    ]


def _csv(path: Path, frame: pd.DataFrame) -> Path:
    shown = frame.drop(columns="reference", errors="ignore")
    return _text(path, csv(shown))


def _text(path: Path, text: str) -> Path:
    write_text(path, text)
    return path


def _caption(by_label: Mapping[str, Row], selection: Selection = ALL) -> str:
    """Data, profile, split and number of views; and which pairs, unless it is all."""
    record = first(by_label)
    records = [r for row in by_label.values() for r in row.records if r.method.name != FLOOR]
    counts = sorted({len(r.data.ids) for r in records} or {0})
    views = f"{counts[0]} to {counts[-1]}" if len(counts) > 1 else str(counts[0])
    text = (
        f"Data `{record.data.key}`, profile `{record.profile}`, split `{record.data.split}`, "
        f"n = {views} views per pair."
    )
    if not selection.pairs:
        return text
    return f"{text} Pairs: {', '.join(f'{a} → {b}' for a, b in selection.pairs)}."


def _remarks(records: Sequence[Record]) -> list[str]:
    """Why columns are empty, what the floor is, and what looks wrong."""
    remarks = [
        f"Empty: {', '.join(names)}: {reason}"
        for reason, names in footnotes.empty_columns(records).items()
    ]
    if any("[n/2]" in record.method.label for record in records):
        remarks.append(footnotes.HALVES)
    if wrong := footnotes.inverted(records):
        remarks.append("\n".join(f"- {line}" for line in wrong))
    return remarks
