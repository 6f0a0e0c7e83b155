"""Tables: views of the records, made anew each time and never appended to."""

import math
from collections.abc import Container, Iterable, Mapping, Sequence

import pandas as pd

from xbench.analysis import rows
from xbench.analysis.rows import Row
from xbench.analysis.selection import ALL, COST_COLUMNS, SORT, Selection, crossing
from xbench.core.pairs import FLOOR, Pair, parse_pairs
from xbench.core.settings import name_of
from xbench.metrics.base import METRICS
from xbench.records.freshness import why_not_in_row, why_not_in_table
from xbench.records.schema import Record

#: So many rows of one method that share the plain row's networks are a sweep.
SWEEP = 3
#: Whole numbers that may be unknown.
COUNTS = ("params", "params_live", "params_total", "nfe", "train_images")


def comparable(records: Sequence[Record]) -> tuple[list[Record], list[str]]:
    """Records that may share a table, and what was left out.

    No table mixes two data set keys, splits, profiles or metric identities, and no row mixes two
    versions or configurations of a method: what the record finished last has is kept.
    """
    if not records:
        return [], []
    in_order = sorted(records, key=lambda record: record.finished)
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


def _count(records: int) -> str:
    return "1 record" if records == 1 else f"{records} records"


def with_published(own: list[Record], published: list[Record]) -> tuple[list[Record], set[str]]:
    """Own records, those of the published rows beside them, and the labels of the latter.

    A row is either own or published: other seeds, networks and machines would be mixed up else.
    Reference rows alone are completed, as what they do is the same everywhere. Published rows of
    sweeps are left out, as they are of every table that ranks.
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
            and record.unit not in units
            and not why_not_in_row(record, newest[record.method.label])
        )
    ]
    return [*own, *added], beside


def sweeps(by_label: Mapping[str, Row]) -> dict[str, list[str]]:
    """Method → labels of its rows that are too many settings of one training to be ranked.

    Ranking them would choose settings on the test images: the best of many is the best by chance
    too. They stand in the ablation table and in the trade-off plot.
    """
    return {n: labels for n, labels in variants(by_label).items() if len(labels) >= SWEEP}


def ranked(by_label: Mapping[str, Row]) -> dict[str, Row]:
    """The rows without those of sweeps."""
    left_out = {label for labels in sweeps(by_label).values() for label in labels}
    return {label: row for label, row in by_label.items() if label not in left_out}


def not_ranked(by_label: Mapping[str, Row]) -> list[str]:
    """Notes that tell of the rows which `ranked` leaves out."""
    return [
        f"not ranked: {len(labels)} rows of {name} at other settings; "
        "see: xbench leaderboard --table ablation"
        for name, labels in sweeps(by_label).items()
    ]


def variants(by_label: Mapping[str, Row]) -> dict[str, list[str]]:
    """Method → labels of its rows that are the plain row's networks at other settings."""
    found: dict[str, list[str]] = {}
    for label, row in by_label.items():
        name = row.records[0].method.name
        plain = by_label.get(name)
        if plain is not None and label != name and _networks(row) <= _networks(plain):
            found.setdefault(name, []).append(label)
    return found


def _networks(row: Row) -> set[object]:
    """What tells the networks of a row, by seed and pair."""
    return {
        (record.seed, record.source, record.target, *sorted(record.method.weights_sha256.items()))
        for record in row.records
    }


def pair_columns() -> list[str]:
    """Columns of `pairs.csv`, those for people first."""
    extrapolated = [name for name, metric in METRICS.items() if metric.extrapolates]
    return [
        *("method", "source", "target", "seed", "n", *METRICS, "polarity"),
        *(f"{name}_inf" for name in extrapolated),
        *(f"{name}_{end}" for name in METRICS for end in ("ci_low", "ci_high")),
    ]


def pairs_table(records: Iterable[Record]) -> pd.DataFrame:
    """One row per method, seed and ordered pair; absent values are empty."""
    lines = [
        {
            "method": record.method.label,
            "source": record.source,
            "target": record.target,
            "seed": record.seed,
            "n": len(record.data.ids),
            **_cells_of(record),
            "polarity": record.polarity,
        }
        for record in sorted(records, key=rows.order)
    ]
    return pd.DataFrame(lines, columns=pair_columns())


def _cells_of(record: Record) -> dict[str, float | None]:
    """Values, intervals and extrapolations of a record, by column."""
    cells: dict[str, float | None] = {}
    for name, value in record.metrics.items():
        cells[name], cells[f"{name}_inf"] = value.value, value.inf
        cells[f"{name}_ci_low"], cells[f"{name}_ci_high"] = value.ci_low, value.ci_high
    return cells


def board_table(records: Sequence[Record], selection: Selection = ALL) -> pd.DataFrame:
    """One row per method: means over pairs, seeds averaged first; sorted by rank.

    `pairs` says `k/20`; a method without all pairs has no means and no rank. Reference rows and
    those of sweeps have no rank.
    """
    return board_of(rows.make(records), selection)


def board_of(by_label: Mapping[str, Row], selection: Selection = ALL) -> pd.DataFrame:
    """`board_table` of rows that were made before."""
    if not by_label:
        return pd.DataFrame(columns=["rank", "method", "pairs", "seeds", "reference", *METRICS])
    record = next(iter(by_label.values())).records[0]
    pairs = selection.pairs or parse_pairs((), record.data.domains)
    wanted, cross = set(pairs), crossing(record, pairs)
    bounds = [_reference(by_label, name, cross) for name in ("identity", FLOOR)]
    lines = []
    for label, row in by_label.items():
        own = [r for r in row.records if (r.source, r.target) in wanted]
        line: dict[str, object] = {
            "method": label,
            "pairs": f"{len({(r.source, r.target) for r in own})}/{len(pairs)}",
            "seeds": len({r.seed for r in own}),
            "reference": row.reference,
        }
        if own:
            line |= _cost(own)
        # A mean over some of the pairs would not compare: all or none.
        if row.has(pairs):
            line |= {name: row.mean(name, pairs) for name in METRICS}
            line[SORT] = ftd = row.mean("ftd", cross)
            line["gap_closed"] = _gap_closed(ftd, *bounds)
            for name in METRICS:
                line |= row.spread(name, pairs, name)
            line |= row.spread("ftd", cross, SORT)
        if own:
            lines.append(line)
    names = [*METRICS, SORT]
    board = pd.DataFrame(lines).reindex(
        columns=[
            *("method", "pairs", "seeds", *names, "gap_closed", *COST_COLUMNS, "reference"),
            *(f"{name}_{kind}" for name in names for kind in rows.KINDS),
        ]
    )
    return _sorted(board.astype(dict.fromkeys(COUNTS, "Int64")), selection.column, ranked(by_label))


def _sorted(board: pd.DataFrame, sort: str, labels: Container[str]) -> pd.DataFrame:
    """Sorted by a column, best first, with a rank among some labels in front."""
    rising = not (sort == "gap_closed" or (sort in METRICS and METRICS[sort].higher_is_better))
    board = board.sort_values(
        [sort, "method"], ascending=[rising, True], na_position="last", ignore_index=True
    )
    takes_part = board["method"].map(lambda label: label in labels).astype(bool)
    values = board[sort].where(takes_part & ~board["reference"].astype(bool))
    ranks = values.rank(method="min", ascending=rising).astype("Int64")
    board.insert(0, "rank", ranks)
    return board


def cross_group(record: Record) -> list[Pair]:
    """Pairs between the groups of domains; all pairs where there is one group."""
    return crossing(record, parse_pairs((), record.data.domains))


def pair_means(records: Iterable[Record]) -> dict[str, dict[Pair, dict[str, float]]]:
    """Label → pair → metric → mean over the seeds (NaN if one of them lacks it)."""
    return {
        label: {pair: row.of_pair(pair) for pair in row.pairs}
        for label, row in rows.make(records).items()
    }


def _reference(by_label: Mapping[str, Row], name: str, pairs: Sequence[Pair]) -> float:
    """Mean `ftd` of a reference row; NaN if it lacks a pair."""
    row = {name_of(label): row for label, row in by_label.items()}.get(name)
    return row.mean("ftd", pairs) if row and row.has(pairs) else math.nan


def _gap_closed(method: float, identity: float, floor: float) -> float:
    """(identity − method) / (identity − floor) of the mean `ftd`: a ratio of means."""
    return (identity - method) / (identity - floor) if identity != floor else math.nan


def _cost(records: Sequence[Record]) -> dict[str, object]:
    """Parameters and evaluations of the method; seconds averaged over its units.

    Where these were measured on different machines, seconds of one of them: see `timed`.
    """
    method, timed = records[0].method, rows.timed(records)
    seconds = [r.seconds.get("translate", math.nan) / max(1, len(r.data.ids)) for r in timed]
    # What a network for each pair took is added up; a network for all pairs counts once.
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
        "train_seconds": sum(trained.values()) / len({r.seed for r in timed}),
    }


def known(number: float | None) -> float:
    """A number that someone told, else NaN."""
    return math.nan if number is None else number
