"""What a table shows of the records: which pairs, ranked by which column."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from xbench.analysis.columns import columns
from xbench.analysis.rows import Row
from xbench.core.errors import UserError, unknown
from xbench.core.pairs import Pair, parse_pairs
from xbench.records.schema import Record


@dataclass(frozen=True)
class Selection:
    """What a table is made of.

    Attributes:
        pairs: the pairs over which means are taken; none for all.
        sort: the column by which rows are ranked; by default that of `ranking`.
    """

    pairs: tuple[Pair, ...] = ()
    sort: str = ""


ALL = Selection()


def sort_column(name: str) -> str:
    """The name of a column by which rows can be ranked, or the empty name, which is for the usual.

    Raises:
        UserError: there is no such column.
    """
    known = [c.name for c in columns() if c.cost or c.higher_is_better is not None]
    if name and name not in known:
        fix = "see: xbench list metrics, or the first line of leaderboard.csv"
        raise unknown("column", name, known, fix)
    return name


def crossing(record: Record, pairs: Sequence[Pair] = ()) -> list[Pair]:
    """The pairs between two groups of domains; all pairs where none is.

    Args:
        record: any of the table.
        pairs: to choose from; none for all.
    """
    groups, pairs = record.data.domain_groups, pairs or parse_pairs((), record.data.domains)
    return [(a, b) for a, b in pairs if groups[a] != groups[b]] or list(pairs)


def shared(rows: Iterable[Row]) -> tuple[Pair, ...]:
    """The pairs that all of these rows have, in the order of tables; none if there are none."""
    rows = list(rows)
    return tuple(pair for pair in rows[0].pairs if all(r.has([pair]) for r in rows)) if rows else ()


def directions(record: Record) -> dict[str, tuple[Pair, ...]]:
    """Pairs by direction: `synthetic → real`, …, and `within` for those within a group."""
    groups = record.data.domain_groups
    across: dict[str, list[Pair]] = {}
    within: list[Pair] = []
    for source, target in parse_pairs((), record.data.domains):
        if groups[source] == groups[target]:
            within.append((source, target))
        else:
            across.setdefault(f"{groups[source]} → {groups[target]}", []).append((source, target))
    return {name: tuple(pairs) for name, pairs in {**across, "within": within}.items() if pairs}


def chosen_pairs(record: Record, group: str = "", pairs: Sequence[str] = ()) -> tuple[Pair, ...]:
    """The pairs that `--group` and `--pairs` leave; none, which is for all, if both are empty.

    Args:
        record: any of the table.
        group: `cross`, `within`, or two groups of domains as `synthetic:real`.
        pairs: `SRC:TGT` texts.

    Raises:
        UserError: an unknown group or domain, or no pair is left.
    """
    named = {name.replace(" → ", ":"): own for name, own in directions(record).items()}
    if len(named) > 1:
        named["cross"] = tuple(crossing(record))
    if group and group not in named:
        raise unknown("group", group, named, f"try: --group {next(iter(named))}")
    chosen = parse_pairs(pairs, record.data.domains) if pairs else ()
    if not group:
        return chosen
    both = tuple(pair for pair in named[group] if not chosen or pair in chosen)
    if not both:
        raise UserError(
            f"none of these pairs belongs to the group {group}",
            "expected: pairs of " + " ".join(f"{a}:{b}" for a, b in named[group]),
            "leave out --group or --pairs",
        )
    return both
