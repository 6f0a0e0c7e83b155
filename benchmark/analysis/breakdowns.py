"""Further tables of rows: by pair, by direction, ablations of settings, and what methods cost."""

import json
from collections.abc import Mapping

import pandas as pd

from xbench.analysis import tradeoffs
from xbench.analysis.leaderboard import board_of, known
from xbench.analysis.rows import KINDS, Row
from xbench.analysis.selection import COST_COLUMNS, SORT, Selection, directions
from xbench.core.pairs import Pair, parse_pairs

#: Of `board_of`, what is the same in each block or belongs to all pairs.
_OVERALL = [SORT, *COST_COLUMNS, *(f"{SORT}_{kind}" for kind in KINDS)]


def blocks(
    by_label: Mapping[str, Row], named: Mapping[str, tuple[Pair, ...]], sort: str = ""
) -> dict[str, pd.DataFrame]:
    """A leaderboard for each set of pairs, ranked by the mean `ftd` of these or by `sort`."""
    return {
        name: board_of(by_label, Selection(pairs, sort)).drop(columns=_OVERALL)
        for name, pairs in named.items()
    }


def by_pair(
    by_label: Mapping[str, Row], pairs: tuple[Pair, ...] = ()
) -> dict[str, tuple[Pair, ...]]:
    """Each pair by its name, `source → target`; those that no row has are left out."""
    record = next(iter(by_label.values())).records[0]
    chosen = pairs or parse_pairs((), record.data.domains)
    there = {pair for row in by_label.values() for pair in row.pairs}
    return {f"{a} → {b}": ((a, b),) for a, b in chosen if (a, b) in there}


def by_direction(
    by_label: Mapping[str, Row], pairs: tuple[Pair, ...] = ()
) -> dict[str, tuple[Pair, ...]]:
    """The pairs of each direction between groups of domains, and those within a group."""
    record = next(iter(by_label.values())).records[0]
    found = directions(record)
    if not pairs:
        return found
    chosen = {name: tuple(p for p in own if p in pairs) for name, own in found.items()}
    return {name: own for name, own in chosen.items() if own}


def stacked(named: Mapping[str, pd.DataFrame], column: str) -> pd.DataFrame:
    """The frames of `blocks` one below the other, with their names in the first column."""
    frames = [frame.assign(**{column: name}) for name, frame in named.items() if len(frame)]
    if not frames:
        return pd.DataFrame()
    table = pd.concat(frames, ignore_index=True)
    return table[[column, *(name for name in table.columns if name != column)]]


def ablations(by_label: Mapping[str, Row], selection: Selection) -> dict[str, pd.DataFrame]:
    """For each method that ran in several configurations: its varied settings and its means.

    Rows are in the order of the settings, not of ranks. A budget counts as a setting, `images`.
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
    # UNSB has a setting `nfe`, which is a column of every table too.
    taken = {*board.columns, "images"}
    heads = {
        key: f"{name}.{key}" if key in taken else key for key in tradeoffs.varied(rows.values())
    }
    settings = {label: _settings(row, heads) for label, row in rows.items()}
    if len({line["images"] for line in settings.values()}) < 2:
        for line in settings.values():
            del line["images"]
    shown = pd.DataFrame.from_dict(settings, orient="index").rename_axis("method").reset_index()
    table = shown.merge(board, on="method")
    names = [column for column in shown.columns if column != "method"]
    return table.sort_values(names, key=lambda column: column.map(_sortable), ignore_index=True)


def _settings(row: Row, heads: Mapping[str, str]) -> dict[str, object]:
    """The varied settings of a row below their heads, lists as text."""
    facts = row.records[0].method
    values = {head: facts.config.get(key) for key, head in heads.items()}
    plain = {
        key: json.dumps(value) if isinstance(value, list | dict) else value
        for key, value in values.items()
    }
    return {**plain, "images": facts.train_images}


def _sortable(value: object) -> tuple[int, float, str]:
    """Numbers in their order, before everything else."""
    if isinstance(value, int | float) and not pd.isna(value):
        return 0, float(value), ""
    return 1, 0.0, str(value)


def parameters(by_label: Mapping[str, Row]) -> pd.DataFrame:
    """What each method costs: parameters for one pair, for all, of training; budget and times."""
    board = board_of(by_label)
    training = {
        label: known(row.records[0].method.params_training) for label, row in by_label.items()
    }
    table = board[["method", *COST_COLUMNS, "reference"]].copy()
    at = list(table.columns).index("params_total") + 1
    table.insert(at, "params_training", board["method"].map(training).astype("Int64"))
    return table.sort_values(["params", "method"], ignore_index=True)
