"""Further tables of rows: by pair, by direction, by setting of one method, and costs."""

import json
from collections.abc import Mapping

import pandas as pd

from xbench.analysis import tradeoffs
from xbench.analysis.columns import columns, spreads
from xbench.analysis.leaderboard import board_of, known, other_budgets
from xbench.analysis.rows import Row, first
from xbench.analysis.selection import Selection, directions
from xbench.core.columns import RANKING, UTILITY, crossed
from xbench.core.pairs import Pair, parse_pairs
from xbench.core.settings import name_of


def blocks(
    by_label: Mapping[str, Row], named: Mapping[str, tuple[Pair, ...]], sort: str = ""
) -> dict[str, pd.DataFrame]:
    """A leaderboard for each set of pairs, ranked by its means or by `sort`."""
    overall = [column.name for column in columns() if column.all_pairs]
    overall += [*spreads(*map(crossed, RANKING)), *UTILITY[1:]]
    return {
        name: board_of(by_label, Selection(pairs, sort)).drop(columns=overall)
        for name, pairs in named.items()
    }


def by_pair(
    by_label: Mapping[str, Row], pairs: tuple[Pair, ...] = ()
) -> dict[str, tuple[Pair, ...]]:
    """Each pair by its name, `source → target`, without pairs that no row has."""
    chosen = pairs or parse_pairs((), first(by_label).data.domains)
    there = {pair for row in by_label.values() for pair in row.pairs}
    return {f"{a} → {b}": ((a, b),) for a, b in chosen if (a, b) in there}


def by_direction(
    by_label: Mapping[str, Row], pairs: tuple[Pair, ...] = ()
) -> dict[str, tuple[Pair, ...]]:
    """The pairs of each direction between groups of domains, and those within a group."""
    chosen = {
        name: tuple(pair for pair in own if not pairs or pair in pairs)
        for name, own in directions(first(by_label)).items()
    }
    return {name: own for name, own in chosen.items() if own}


def stacked(named: Mapping[str, pd.DataFrame], column: str) -> pd.DataFrame:
    """The frames of `blocks` one below the other, with their names in the first column."""
    frames = {name: frame for name, frame in named.items() if len(frame)}
    if not frames:
        return pd.DataFrame()
    return pd.concat(frames, names=[column]).reset_index(level=column)


def of_budgets(by_label: Mapping[str, Row]) -> dict[str, Row]:
    """The rows of methods with several budgets that differ from their plain row in nothing else."""
    several = set(map(name_of, other_budgets(by_label)))
    return {
        label: row
        for label, row in by_label.items()
        if name_of(label) in several
        and all(text.startswith("budget.") for text in row.records[0].method.assignments)
    }


def budgets(by_label: Mapping[str, Row], selection: Selection) -> pd.DataFrame:
    """A line for each of `of_budgets`, by method and budget."""
    board = board_of(by_label, selection)
    board = board[board["method"].isin(of_budgets(by_label))].drop(columns="rank")
    names = board["method"].map(name_of)
    return board.assign(name=names).sort_values(["name", "train_images"]).drop(columns="name")


def ablations(by_label: Mapping[str, Row], selection: Selection) -> dict[str, pd.DataFrame]:
    """For each method with several configurations: the settings that vary, and means.

    Lines are in the order of the settings, not of ranks. The budget counts as a setting, `images`.
    """
    methods: dict[str, dict[str, Row]] = {}
    for label, row in by_label.items():
        if not row.reference:
            methods.setdefault(row.records[0].method.name, {})[label] = row
    several = {name: rows for name, rows in methods.items() if len(rows) > 1}
    if not several:
        return {}
    board = board_of(by_label, selection).drop(columns="rank")
    return {name: _ablation(name, rows, board) for name, rows in several.items()}


def _ablation(name: str, rows: Mapping[str, Row], board: pd.DataFrame) -> pd.DataFrame:
    # UNSB has a setting `nfe`, which every table has as a column.
    taken = {*board.columns, "images"}
    heads = {
        key: f"{name}.{key}" if key in taken else key for key in tradeoffs.varied(rows.values())
    }
    settings = pd.DataFrame.from_dict(
        {label: _settings(row, heads) for label, row in rows.items()}, orient="index"
    )
    if settings["images"].nunique(dropna=False) < 2:
        settings = settings.drop(columns="images")
    table = settings.rename_axis("method").reset_index().merge(board, on="method")
    names = list(settings.columns)
    return table.sort_values(names, key=lambda column: column.map(_sortable), ignore_index=True)


def _settings(row: Row, heads: Mapping[str, str]) -> dict[str, object]:
    """The settings of a row that vary, by column head; lists as text."""
    facts = row.records[0].method
    values = {head: facts.config.get(key) for key, head in heads.items()}
    plain = {
        key: json.dumps(value) if isinstance(value, list | dict) else value
        for key, value in values.items()
    }
    return {**plain, "images": facts.train_images}


def _sortable(value: object) -> tuple[int, float, str]:
    """A sort key: numbers in their order, before everything else."""
    if isinstance(value, int | float) and not pd.isna(value):
        return 0, float(value), ""
    return 1, 0.0, str(value)


def parameters(by_label: Mapping[str, Row]) -> pd.DataFrame:
    """What each method costs: parameters for one pair, for all, of training; budget and times."""
    training = {
        label: known(row.records[0].method.params_training) for label, row in by_label.items()
    }
    board = board_of(by_label)
    board["params_training"] = board["method"].map(training).astype("Int64")
    names = [column.name for column in columns("parameters")]
    return board[names].sort_values(["params", "method"], ignore_index=True)
