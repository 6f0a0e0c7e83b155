"""Tables: views of the records, made anew each time and never appended to."""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from xbench import footnotes, spread
from xbench.files import write_text
from xbench.hashing import digest
from xbench.methods.base import Pair
from xbench.metrics.base import METRICS
from xbench.plan import FLOOR
from xbench.settings import name_of
from xbench.store import Record, Store

#: Metrics that are extrapolated to endless images.
EXTRAPOLATED = [name for name, metric in METRICS.items() if metric.kind == "frechet"]
#: Columns of `pairs.csv`, those for people first.
PAIR_COLUMNS = (
    *("method", "source", "target", "seed", "n", *METRICS, "polarity"),
    *(f"{name}_inf" for name in EXTRAPOLATED),
    *(f"{name}_{end}" for name in METRICS for end in ("ci_low", "ci_high")),
)
COST_COLUMNS = (
    "params",
    "params_live",
    "params_total",
    "nfe",
    "seconds_per_image",
    "train_images",
    "train_seconds",
)
#: Whole numbers that may be unknown.
COUNTS = ("params", "params_live", "params_total", "nfe", "train_images")
SORT = "ftd_cross"


def comparable(records: Sequence[Record]) -> tuple[list[Record], list[str]]:
    """Records that may share a table, and what was left out.

    No table mixes two data set keys, splits, profiles or metric identities, and no row mixes two
    versions or configurations of a method: what the record finished last has is kept.
    """
    if not records:
        return [], []
    in_order = sorted(records, key=lambda record: record.finished)
    last = in_order[-1]
    rows = {r.method.label: row_identity(r) for r in in_order if share_table(r, last)}
    same = [record for record in records if share_table(record, last)]
    kept = [record for record in same if row_identity(record) == rows[record.method.label]]
    notes = []
    if len(same) < len(records):
        notes.append(
            f"left out {len(records) - len(same)} records of another data set key, profile or "
            f"metric definition; the table shows {in_order[-1].data.key}"
        )
    if len(kept) < len(same):
        notes.append(
            f"left out {len(same) - len(kept)} records of other versions of the same methods; "
            "run them again to complete their rows"
        )
    return kept, notes


def row_identity(record: Record) -> tuple[object, ...]:
    """What two records must agree in to stand in one row."""
    method = record.method
    return method.name, method.version, method.train_images, digest(method.config)


def with_published(own: list[Record], published: list[Record]) -> tuple[list[Record], set[str]]:
    """Own records, completed by published ones, and the labels whose rows rest on the latter.

    A published row is left out where its method or configuration differs from the own one of
    the same label.
    """
    rows = {record.method.label: row_identity(record) for record in own}
    units = {unit_of(record) for record in own}
    added = [
        record
        for record in published
        if unit_of(record) not in units
        and rows.get(record.method.label, row_identity(record)) == row_identity(record)
    ]
    return [*own, *added], {record.method.label for record in added}


def unit_of(record: Record) -> tuple[str, int, str, str]:
    """Label, seed, source and target: the primary key."""
    return record.method.label, record.seed, record.source, record.target


def share_table(one: Record, other: Record) -> bool:
    """Whether data, split, profile and the definitions of all metrics that both have agree."""
    return (one.data.key, one.data.split, one.profile) == (
        *(other.data.key, other.data.split, other.profile),
    ) and all(
        one.metrics[name].identity == other.metrics[name].identity
        for name in one.metrics.keys() & other.metrics.keys()
    )


def pairs_table(records: Iterable[Record]) -> pd.DataFrame:
    """One row per method, seed and ordered pair; absent values are empty."""
    rows = [
        {
            "method": record.method.label,
            "source": record.source,
            "target": record.target,
            "seed": record.seed,
            "n": len(record.data.ids),
            **_cells_of(record),
            "polarity": record.polarity,
            "_order": _order(record),
        }
        for record in records
    ]
    table = pd.DataFrame(rows, columns=[*PAIR_COLUMNS, "_order"])
    return table.sort_values("_order", ignore_index=True).drop(columns="_order")


def _cells_of(record: Record) -> dict[str, float | None]:
    """Values, intervals and extrapolations of a record, by column."""
    cells: dict[str, float | None] = {}
    for name, value in record.metrics.items():
        cells |= {name: value.value, f"{name}_inf": value.inf}
        cells |= {f"{name}_ci_low": value.ci_low, f"{name}_ci_high": value.ci_high}
    return cells


def board_table(records: Sequence[Record]) -> pd.DataFrame:
    """One row per method: means over pairs, seeds averaged first; sorted by rank.

    `pairs` says `k/20`; a method without all pairs has no means and no rank. Reference rows have
    no rank.
    """
    if not records:
        return pd.DataFrame(columns=["rank", "method", "pairs", "seeds", *METRICS])
    cross = cross_group(records[0])
    total = len(records[0].data.domains) * (len(records[0].data.domains) - 1)
    means = pair_means(records)
    rows = []
    for label, by_pair in means.items():
        own = [record for record in records if record.method.label == label]
        row: dict[str, object] = {
            "method": label,
            "pairs": f"{len(by_pair)}/{total}",
            "seeds": len({record.seed for record in own}),
            "reference": own[0].method.reference,
            **_cost(own),
        }
        # A mean over some of the pairs would not compare: all or none.
        if len(by_pair) == total:
            row |= {name: _mean(v[name] for v in by_pair.values()) for name in METRICS}
            row[SORT] = _mean(by_pair[pair]["ftd"] for pair in cross)
            row["gap_closed"] = _gap_closed(by_pair, means, cross)
            row |= spread.of_means(own, cross)
        rows.append(row)
    columns = [*METRICS, SORT, "gap_closed", *COST_COLUMNS, "reference", *spread.COLUMNS]
    board = pd.DataFrame(rows).reindex(columns=["method", "pairs", "seeds", *columns])
    board = board.astype(dict.fromkeys(COUNTS, "Int64"))
    board = board.sort_values([SORT, "method"], na_position="last", ignore_index=True)
    ranked = board[SORT].where(~board["reference"].astype(bool))
    board.insert(0, "rank", ranked.rank(method="min").astype("Int64"))
    return board


def cross_group(record: Record) -> list[Pair]:
    """Pairs between the groups of domains; all pairs where there is one group."""
    domains, groups = record.data.domains, record.data.domain_groups
    pairs = [(a, b) for a in domains for b in domains if a != b]
    crossing = [(a, b) for a, b in pairs if groups[a] != groups[b]]
    return crossing or pairs


def pair_means(records: Iterable[Record]) -> dict[str, dict[Pair, dict[str, float]]]:
    """Label → pair → metric → mean over the seeds (NaN if one of them lacks it)."""
    found: dict[str, dict[Pair, list[Record]]] = {}
    for record in sorted(records, key=_order):
        pairs = found.setdefault(record.method.label, {})
        pairs.setdefault((record.source, record.target), []).append(record)
    return {
        label: {
            pair: {name: _mean(value_of(r, name) for r in same) for name in METRICS}
            for pair, same in pairs.items()
        }
        for label, pairs in found.items()
    }


def value_of(record: Record, name: str) -> float | None:
    """A metric's value; None where it is empty, or unknown to the version that wrote the record."""
    value = record.metrics.get(name)
    return value.value if value else None


def _mean(values: Iterable[float | None]) -> float:
    """Mean, or NaN where a value is absent."""
    numbers = [math.nan if value is None else value for value in values]
    return sum(numbers) / len(numbers)


def _gap_closed(
    own: dict[Pair, dict[str, float]],
    means: dict[str, dict[Pair, dict[str, float]]],
    cross: list[Pair],
) -> float:
    """(Σ identity − Σ method) / (Σ identity − Σ floor) of `ftd`: a ratio of sums."""
    references = {name_of(label): values for label, values in means.items()}
    bounds = [references.get("identity", {}), references.get(FLOOR, {})]
    if not all(pair in bound for bound in bounds for pair in cross):
        return math.nan
    identity, floor, method = (
        sum(values[pair]["ftd"] for pair in cross) for values in (*bounds, own)
    )
    return (identity - method) / (identity - floor) if identity != floor else math.nan


def _cost(records: Sequence[Record]) -> dict[str, object]:
    """Parameters and evaluations of the method; seconds averaged over its units."""
    method = records[0].method
    seconds = [r.seconds.get("translate", math.nan) / max(1, len(r.data.ids)) for r in records]
    # What a network for each pair took is added up; a network for all pairs counts once.
    trained = {
        (r.seed, tuple(sorted(r.method.weights_sha256))): _known(r.method.train_seconds)
        for r in records
    }
    return {
        "params": _known(method.params),
        "params_live": _known(method.params) - method.params_dead,
        "params_total": _known(method.params_total),
        "nfe": _known(method.nfe),
        "seconds_per_image": sum(seconds) / len(seconds),
        "train_images": _known(method.train_images),
        "train_seconds": sum(trained.values()) / len({r.seed for r in records}),
    }


def _known(number: float | None) -> float:
    """A number that someone told, else NaN."""
    return math.nan if number is None else number


def _order(record: Record) -> tuple[object, ...]:
    """References first, then methods by label; pairs in the order of the domains."""
    domains = record.data.domains
    return (
        not record.method.reference,
        record.method.label,
        record.seed,
        domains.index(record.source),
        domains.index(record.target),
    )


def write_tables(folder: Path) -> tuple[pd.DataFrame, list[str]]:
    """Make `pairs.csv`, `leaderboard.csv` and `leaderboard.md` from the records of a folder."""
    records, notes = comparable(Store(folder).records())
    notes += footnotes.inverted(records)
    pairs, board = pairs_table(records), board_table(records)
    write_text(folder / "pairs.csv", pairs.to_csv(index=False, float_format="%.6g"))
    shown = board.drop(columns="reference", errors="ignore")
    write_text(folder / "leaderboard.csv", shown.to_csv(index=False, float_format="%.6g"))
    write_text(folder / "leaderboard.md", markdown(board, records))
    return board, notes


def cells(board: pd.DataFrame) -> list[dict[str, str]]:
    """The leaderboard as text, one dictionary per row, for terminal and Markdown."""
    rows = []
    for row in board.to_dict("records"):
        text = {"#": "" if pd.isna(row["rank"]) else str(row["rank"]), "method": str(row["method"])}
        if row["reference"]:
            text["method"] += " (reference)"
        done, total = str(row["pairs"]).split("/")
        if done != total:
            text["method"] += f" (pairs {row['pairs']})"
        for name, metric in METRICS.items():
            if metric.in_tables:
                text[_head(name)] = _number(row[name], metric.decimals)
        text["FTD cross ↓"] = _number(row[SORT], 2)
        if text["FTD cross ↓"] and not pd.isna(row[f"{SORT}_ci_low"]):
            half = (row[f"{SORT}_ci_high"] - row[f"{SORT}_ci_low"]) / 2
            text["FTD cross ↓"] += f" ± {half:.2f}"
        text["gap closed ↑"] = _number(row["gap_closed"], 3)
        text["params"] = _count(row["params"])
        if not pd.isna(row["params"]) and row["params_live"] < row["params"]:
            text["params"] += f" ({_count(row['params_live'])} live)"
        text["nfe"] = _number(row["nfe"], 0)
        text["ms/image"] = _number(row["seconds_per_image"] * 1000, 1)
        text["train images"] = _number(row["train_images"], 0)
        text["train s"] = _number(row["train_seconds"], 0)
        rows.append(text)
    return rows


def markdown(board: pd.DataFrame, records: Sequence[Record]) -> str:
    """The leaderboard as a Markdown table with its data set, and why columns are empty."""
    if board.empty:
        return "No finished units yet.\n"
    first = records[0]
    table = cells(board)
    heads = list(table[0])
    counts = sorted({len(r.data.ids) for r in records if r.method.name != FLOOR} or {0})
    number = f"{counts[0]} to {counts[-1]}" if len(counts) > 1 else str(counts[0])
    lines = [
        f"Data `{first.data.key}`, profile `{first.profile}`, split `{first.data.split}`, "
        f"n = {number} views per pair.",
        "",
        "| " + " | ".join(heads) + " |",
        "|" + "|".join("---" if head == "method" else "---:" for head in heads) + "|",
        *("| " + " | ".join(row[head] for head in heads) + " |" for row in table),
    ]
    for reason, names in footnotes.empty_columns(records).items():
        lines += ["", f"Empty: {', '.join(names)}: {reason}"]
    if any("[n/2]" in record.method.label for record in records):
        lines += ["", footnotes.HALVES]
    if wrong := footnotes.inverted(records):
        lines += ["", *(f"- {line}" for line in wrong)]
    lines += ["", "Made by:", "", "```sh", *footnotes.commands(records), "```"]
    return "\n".join(lines) + "\n"


def _head(name: str) -> str:
    metric = METRICS[name]
    return f"{metric.label} {'↑' if metric.higher_is_better else '↓'}"


def _number(value: object, decimals: int) -> str:
    """A number with thousands marked; nothing where it is absent."""
    if value is None or value is pd.NA or not math.isfinite(float(str(value))):
        return ""
    return f"{float(str(value)):,.{decimals}f}"


def _count(params: object) -> str:
    """Parameters, readable: 1.13 M; empty where they are not known."""
    if not _number(params, 0):
        return ""
    return f"{_number(float(str(params)) / 1e6, 2)} M" if params else "0"
