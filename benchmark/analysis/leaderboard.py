"""The leaderboard and `pairs.csv` as frames, and which records and rows they hold."""

import math
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import replace

import pandas as pd

from xbench.analysis import ranking, rows
from xbench.analysis.columns import column, columns, spreads
from xbench.analysis.ranking import Ranking
from xbench.analysis.rows import Row
from xbench.analysis.selection import ALL, Selection, crossing
from xbench.core.columns import RANKING, UTILITY, crossed
from xbench.core.pairs import CHEATS, FLOOR, PAIRED, Pair, parse_pairs
from xbench.core.settings import name_of
from xbench.metrics.base import METRICS
from xbench.records.freshness import why_not_in_row, why_not_in_table
from xbench.records.schema import Record

#: So many rows of one method with the plain row's networks are a sweep.
SWEEP = 3


def comparable(records: Sequence[Record]) -> tuple[list[Record], list[str]]:
    """Records that may share a table, and notes on those left out.

    No table mixes two data set keys, splits, profiles or metric identities, and no row mixes two
    versions or configurations of a method. The record that was finished last decides, of those
    with the most metrics by today's definitions.
    """
    if not records:
        return [], []
    in_order = sorted(records, key=lambda record: (_todays(record), record.finished))
    last = in_order[-1]
    newest: dict[str, Record] = {}
    outside: dict[str, list[Record]] = {}
    for record in in_order:
        if part := why_not_in_table(record, last):
            outside.setdefault(part, []).append(record)
        else:
            newest[record.method.label] = record
    left_out = {id(record) for own in outside.values() for record in own}
    same = [record for record in records if id(record) not in left_out]
    kept = [r for r in same if not why_not_in_row(r, newest[r.method.label])]
    notes = []
    if left_out:
        notes.append(
            f"left out {_count(len(left_out))} of another data set key, profile or metric "
            f"definition ({', '.join(outside)}); the table shows {last.data.key}"
        )
    if len(kept) < len(same):
        notes.append(
            f"left out {_count(len(same) - len(kept))} of other versions of the same methods; "
            "run them again to complete their rows"
        )
    return kept, notes


def _todays(record: Record) -> int:
    """How many metrics of a record have today's definition."""
    stored = record.metrics.items()
    return sum(n in METRICS and value.identity in METRICS[n].identities for n, value in stored)


def _count(records: int) -> str:
    return "1 record" if records == 1 else f"{records} records"


def with_published(own: list[Record], published: list[Record]) -> tuple[list[Record], set[str]]:
    """Own records with those of published rows, and the labels of the published rows.

    A row is either own or published, so that no row mixes seeds, networks and machines. Only
    reference rows without a training are completed, since they do the same everywhere. Published
    rows of sweeps are left out, as in every table that ranks.
    """
    newest = {record.method.label: record for record in own}
    units = {record.unit for record in own}
    beside = ranked(rows.make(published)).keys() - newest.keys()
    added = [
        record
        for record in published
        if record.method.label in beside
        or (
            record.method.reference
            and not record.method.weights_sha256
            and record.unit not in units
            and not why_not_in_row(record, newest[record.method.label])
        )
    ]
    return [*own, *added], beside


def sweeps(by_label: Mapping[str, Row]) -> dict[str, list[str]]:
    """Method → labels of its sweep: `SWEEP` or more settings of the plain row's networks.

    They have no rank, because that would choose settings on the test images, where the best of
    many is the best by chance too. The ablation table and the trade-off plot show them.
    """
    return {n: labels for n, labels in variants(by_label).items() if len(labels) >= SWEEP}


def without_sweeps(by_label: Mapping[str, Row]) -> dict[str, Row]:
    """The rows without those of sweeps."""
    left_out = {label for labels in sweeps(by_label).values() for label in labels}
    return {label: row for label, row in by_label.items() if label not in left_out}


def ranked(by_label: Mapping[str, Row]) -> dict[str, Row]:
    """The rows that may have a rank: without those of sweeps and of other budgets."""
    others = other_budgets(by_label)
    return {n: row for n, row in without_sweeps(by_label).items() if n not in others}


def other_budgets(by_label: Mapping[str, Row]) -> list[str]:
    """Labels of the rows of another budget than the table's: one table has one budget.

    It is the usual one, or that of all trained rows if none has the usual one on all pairs.
    """
    trained = [r for r in by_label.values() if r.records[0].method.train_images and not r.reference]
    budgets = {row.label: _budget(row) for row in trained}
    every = parse_pairs((), rows.first(by_label).data.domains) if by_label else ()
    usual = any(not budgets[row.label] and row.has(every) for row in trained)
    if not usual and len(set(budgets.values())) < 2:
        return []
    return [label for label, budget in budgets.items() if budget]


def _budget(row: Row) -> tuple[str, ...]:
    """The settings of a row that change its budget."""
    return tuple(t for t in row.records[0].method.assignments if t.startswith("budget."))


def not_ranked(by_label: Mapping[str, Row]) -> list[str]:
    """Notes on the rows that `ranked` leaves out, and on those that fail a gate."""
    notes = [
        f"not ranked: {len(labels)} rows of {name} at other settings; "
        "see: xbench leaderboard --table ablation"
        for name, labels in sweeps(by_label).items()
    ]
    if others := other_budgets(by_label):
        notes.append(
            f"not ranked: {len(others)} rows of other budgets; "
            "see: xbench leaderboard --table budgets"
        )
    if aligned := [label for label in by_label if name_of(label) == PAIRED]:
        notes.append(f"not ranked: {', '.join(aligned)}: trained on aligned pairs")
    return [*notes, *ranking_of(ranked(by_label)).notes]


def ranking_of(by_label: Mapping[str, Row]) -> Ranking:
    """What ranks these rows, and which rows fail a gate."""
    if not by_label:
        return Ranking("ltd")
    record = rows.first(by_label)
    made = ranking.make(by_label, crossing(record))
    return replace(made, grouped=len(set(record.data.domain_groups.values())) > 1)


def compared(by_label: Mapping[str, Row]) -> dict[str, Row]:
    """The rows among which the best is marked: those that may have a rank and pass the gates."""
    refused = ranking_of(by_label).refused
    return {label: row for label, row in ranked(by_label).items() if label not in refused}


def variants(by_label: Mapping[str, Row]) -> dict[str, list[str]]:
    """Method → labels of the rows that use the plain row's networks at other settings."""
    labels: dict[str, list[str]] = {}
    for label, row in by_label.items():
        name = row.records[0].method.name
        plain = by_label.get(name)
        if plain is not None and label != name and _same_networks(row, plain):
            labels.setdefault(name, []).append(label)
    return labels


def _same_networks(row: Row, other: Row) -> bool:
    """Whether two rows have the same trainings in all units that both have, at least one."""
    ours, theirs = (
        {(r.seed, r.source, r.target): r.method.weights_sha256.keys() for r in one.records}
        for one in (row, other)
    )
    shared = ours.keys() & theirs.keys()
    return bool(shared) and all(ours[unit] == theirs[unit] for unit in shared)


def pairs_table(records: Iterable[Record]) -> pd.DataFrame:
    """The frame of `pairs.csv`: one line per method, seed and pair; absent values are empty."""
    lines = [
        {
            "method": record.method.label,
            "source": record.source,
            "target": record.target,
            "seed": record.seed,
            "n": len(record.data.ids),
            **_values(record),
            "polarity": record.polarity,
        }
        for record in sorted(records, key=rows.order)
    ]
    extrapolated = [f"{name}_inf" for name, m in METRICS.items() if m.extrapolates]
    ends = [f"{name}_{end}" for name in METRICS for end in ("ci_low", "ci_high")]
    names = [column.name for column in columns("pairs")]
    return pd.DataFrame(lines, columns=[*names, *extrapolated, *ends])


def _values(record: Record) -> dict[str, float | None]:
    """Values, intervals and extrapolations of a record by column."""
    cells: dict[str, float | None] = {}
    for name, value in record.metrics.items():
        cells[name], cells[f"{name}_inf"] = value.value, value.inf
        cells[f"{name}_ci_low"], cells[f"{name}_ci_high"] = value.ci_low, value.ci_high
    return cells


def board_of(by_label: Mapping[str, Row], selection: Selection = ALL) -> pd.DataFrame:
    """The frame of the leaderboard: a line per row, means over pairs, sorted by rank.

    `pairs` says `k/20`; a row without all pairs has no means and no rank. Reference rows, those of
    sweeps and other budgets, and those that fail a gate (`ranking`) have no rank.
    """
    averaged = [(n, n, False) for n in METRICS] + [(crossed(n), n, True) for n in RANKING]
    heads = [column.name for column in columns()]
    heads += [*spreads(*(name for name, *_ in averaged)), *UTILITY[1:]]
    if not by_label:
        return pd.DataFrame(columns=heads)
    record = rows.first(by_label)
    pairs = selection.pairs or parse_pairs((), record.data.domains)
    wanted, cross = set(pairs), crossing(record, pairs)
    order = ranking_of(by_label)
    bounds = [_reference(by_label, name, order.metric, cross) for name in ("identity", FLOOR)]
    lines = []
    for label, row in by_label.items():
        own = [r for r in row.records if (r.source, r.target) in wanted]
        if not own:
            continue
        line: dict[str, object] = {
            "method": label,
            "pairs": f"{len({(r.source, r.target) for r in own})}/{len(pairs)}",
            "seeds": len({r.seed for r in rows.whole_seeds(own)}),
            "reference": row.reference,
            **dict(zip(UTILITY, row.utility, strict=True)),
            **cost(own),
        }
        # A mean over some of the pairs would not compare: all or none.
        if row.has(pairs):
            for name, metric, is_cross in averaged:
                if is_cross and not order.grouped:
                    continue  # it would be the mean over all pairs under another name
                over = cross if is_cross else pairs
                line[name] = row.mean(metric, over)
                line |= zip(spreads(name), row.spread(metric, over), strict=True)
            if order.grouped:
                line["gap_closed"] = _gap_closed(row.mean(order.metric, cross), *bounds)
        lines.append(line)
    counts = [c.name for c in columns() if c.cost and c.count]
    board = pd.DataFrame(lines).reindex(columns=heads)
    for name in counts:
        board[name] = board[name].astype("Int64")
    sort = selection.sort or (order.metric if selection.pairs else order.column)
    whole = [label for label, row in ranked(by_label).items() if row.has(pairs)]
    return _sorted(board, sort, order, whole)


def _sorted(board: pd.DataFrame, sort: str, order: Ranking, labels: Container[str]) -> pd.DataFrame:
    """Sorted by a column, the best first; cheats and rows that fail a gate below all others.

    Rows have a rank if they pass the gates, have one of the labels and are no reference.
    """
    rising = not column(sort).higher_is_better
    refused = board["method"].isin([*order.refused, *CHEATS])
    board = board.assign(refused=refused).sort_values(
        ["refused", sort, "method"],
        ascending=[True, rising, True],
        na_position="last",
        ignore_index=True,
    )
    takes_part = board["method"].map(lambda label: label in labels).astype(bool)
    takes_part &= ~board["reference"].astype(bool) & ~board["refused"] & (not order.reason)
    places = board[sort].where(takes_part).rank(method="min", ascending=rising)
    board["rank"] = places.astype("Int64")
    return board.drop(columns="refused")


def _reference(by_label: Mapping[str, Row], name: str, metric: str, pairs: Sequence[Pair]) -> float:
    """Mean of a reference row; NaN if a pair is missing.

    The halves of a target's images show different views: without second exposures the floor of
    `ltd` is 0.
    """
    row = {name_of(label): row for label, row in by_label.items()}.get(name)
    if row is None or not row.has(pairs):
        return math.nan
    return 0.0 if metric == "ltd" and name == FLOOR != row.label else row.mean(metric, pairs)


def _gap_closed(method: float, identity: float, floor: float) -> float:
    """(identity − method) / (identity − floor) of means: a ratio of means, not a mean of ratios."""
    return (identity - method) / (identity - floor) if identity != floor else math.nan


def cost(records: Sequence[Record]) -> dict[str, object]:
    """Parameters and evaluations of a row's method; seconds of the records that `timed` chooses.

    Seeds that are only begun do not count: their trainings would be taken for those of all pairs.
    """
    records = rows.whole_seeds(records)
    method, timed = records[0].method, rows.timed(records)
    # Two networks of one seed may serve one pair, and one network may serve all pairs.
    networks = {(r.seed, name) for r in records for name in r.method.weights_sha256}
    drawn = known(method.train_images) * len(networks) / len({r.seed for r in records})
    seconds = [r.seconds.get("translate", math.nan) / max(1, len(r.data.ids)) for r in timed]
    # The networks of all pairs are added up; a network for all pairs counts once.
    trained = {
        (r.seed, tuple(sorted(r.method.weights_sha256))): known(r.method.train_seconds)
        for r in timed
    }
    return {
        "params": known(method.params),
        "params_live": known(method.params) - method.params_dead,
        "params_total": known(method.params_total),
        "nfe": known(method.nfe),
        "seconds_per_image": sum(seconds) / len(seconds),
        "train_images": known(method.train_images),
        "train_images_total": drawn if math.isnan(drawn) else round(drawn),
        "train_seconds": sum(trained.values()) / len({r.seed for r in timed}),
    }


def known(number: float | None) -> float:
    """A stored number, NaN where there is none."""
    return math.nan if number is None else number
