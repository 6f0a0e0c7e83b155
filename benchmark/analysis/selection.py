"""What of the records a table shows: which pairs, ranked by which column."""

from collections.abc import Sequence
from dataclasses import dataclass

from xbench.core.errors import UserError, unknown
from xbench.core.pairs import Pair, parse_pairs
from xbench.metrics.base import METRICS
from xbench.records.schema import Record

#: The mean of `ftd` over the pairs between groups of domains: what rows are ranked by.
SORT = "ftd_cross"
COST_COLUMNS = (
    "params",
    "params_live",
    "params_total",
    "nfe",
    "seconds_per_image",
    "train_images",
    "train_seconds",
)


@dataclass(frozen=True)
class Selection:
    """What of the records a table is made of.

    Attributes:
        pairs: whose means it shows; none for all.
        sort: the column by which rows are ranked; by default the mean `ftd` of the pairs between
            groups of domains, or of the chosen pairs.
    """

    pairs: tuple[Pair, ...] = ()
    sort: str = ""

    @property
    def column(self) -> str:
        """The column by which rows are ranked."""
        return self.sort or ("ftd" if self.pairs else SORT)


ALL = Selection()


def sort_column(name: str) -> str:
    """A column by which rows can be ranked.

    Raises:
        UserError: there is no such column.
    """
    known = [*METRICS, SORT, "gap_closed", *COST_COLUMNS]
    if name and name not in known:
        raise unknown("column", name, known, "see: xbench list metrics")
    return name


def crossing(record: Record, pairs: Sequence[Pair]) -> list[Pair]:
    """Those of the pairs that lead between groups of domains; all of them where none does."""
    groups = record.data.domain_groups
    return [(a, b) for a, b in pairs if groups[a] != groups[b]] or list(pairs)


def directions(record: Record) -> dict[str, tuple[Pair, ...]]:
    """Pairs by direction: `synthetic → real`, …, and `within` for those inside of a group."""
    groups = record.data.domain_groups
    found: dict[str, list[Pair]] = {}
    within: list[Pair] = []
    for source, target in parse_pairs((), record.data.domains):
        if groups[source] == groups[target]:
            within.append((source, target))
        else:
            found.setdefault(f"{groups[source]} → {groups[target]}", []).append((source, target))
    return {name: tuple(pairs) for name, pairs in {**found, "within": within}.items() if pairs}


def chosen_pairs(record: Record, group: str = "", pairs: Sequence[str] = ()) -> tuple[Pair, ...]:
    """The pairs that `--group` and `--pairs` leave; none if both are empty, for all.

    Args:
        record: any of the table.
        group: `cross`, `within`, or two groups of domains as `synthetic:real`.
        pairs: `SRC:TGT` texts.

    Raises:
        UserError: an unknown group or domain, or no pair is left.
    """
    named = {name.replace(" → ", ":"): found for name, found in directions(record).items()}
    if len(named) > 1:
        named["cross"] = tuple(crossing(record, parse_pairs((), record.data.domains)))
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
