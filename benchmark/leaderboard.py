"""Tables: views of the records, made anew each time and never appended to."""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from xbench import footnotes
from xbench.files import write_text
from xbench.hashing import digest
from xbench.methods.base import Pair
from xbench.metrics.base import METRICS
from xbench.plan import FLOOR
from xbench.store import Record, Store

#: First columns of `pairs.csv`, fixed.
PAIR_COLUMNS = ("method", "source", "target", "seed", "n", *METRICS, "polarity")
COST_COLUMNS = (
    "params",
    "params_live",
    "params_total",
    "nfe",
    "seconds_per_image",
    "train_images",
    "train_seconds",
)
SORT = "ftd_cross"


def comparable(records: Sequence[Record]) -> tuple[list[Record], list[str]]:
    """Records that may share a table, and what was left out.

    No table mixes two data set keys, splits, profiles or metric identities, and no row mixes two
    versions or configurations of a method: what the record finished last has is kept.
    """
    if not records:
        return [], []
    in_order = sorted(records, key=lambda record: record.finished)
    table = identity(in_order[-1])
    rows = {r.method.label: row_identity(r) for r in in_order if identity(r) == table}
    same = [record for record in records if identity(record) == table]
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


def identity(record: Record) -> tuple[object, ...]:
    """What two records must agree in to stand in one table."""
    metrics = tuple((name, value.identity) for name, value in sorted(record.metrics.items()))
    return record.data.key, record.data.split, record.profile, metrics


def pairs_table(records: Iterable[Record]) -> pd.DataFrame:
    """One row per method, seed and ordered pair; absent values are empty."""
    rows = [
        {
            "method": record.method.label,
            "source": record.source,
            "target": record.target,
            "seed": record.seed,
            "n": len(record.data.ids),
            **{name: value.value for name, value in record.metrics.items()},
            "polarity": record.polarity,
            "_order": _order(record),
        }
        for record in records
    ]
    table = pd.DataFrame(rows, columns=[*PAIR_COLUMNS, "_order"])
    return table.sort_values("_order", ignore_index=True).drop(columns="_order")


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
        rows.append(row)
    columns = [*METRICS, SORT, "gap_closed", *COST_COLUMNS, "reference"]
    board = pd.DataFrame(rows).reindex(columns=["method", "pairs", "seeds", *columns])
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
            pair: {name: _mean(r.metrics[name].value for r in same) for name in METRICS}
            for pair, same in pairs.items()
        }
        for label, pairs in found.items()
    }


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
    bounds = [means.get("identity", {}), means.get(FLOOR, {})]
    if not all(pair in bound for bound in bounds for pair in cross):
        return math.nan
    identity, floor, method = (
        sum(values[pair]["ftd"] for pair in cross) for values in (*bounds, own)
    )
    return (identity - method) / (identity - floor) if identity != floor else math.nan


def _cost(records: Sequence[Record]) -> dict[str, object]:
    """Parameters and evaluations of the method; seconds averaged over its units."""
    method = records[0].method
    seconds = [r.seconds["translate"] / max(1, len(r.data.ids)) for r in records]
    # What a network for each pair took is added up; a network for all pairs counts once.
    trained = {
        (r.seed, tuple(sorted(r.method.weights_sha256))): r.method.train_seconds for r in records
    }
    return {
        "params": method.params,
        "params_live": method.params - method.params_dead,
        "params_total": method.params_total,
        "nfe": method.nfe,
        "seconds_per_image": sum(seconds) / len(seconds),
        "train_images": method.train_images,
        "train_seconds": sum(trained.values()) / len({r.seed for r in records}),
    }


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
            text[_head(name)] = _number(row[name], metric.decimals)
        text["FTD cross ↓"] = _number(row[SORT], 2)
        text["gap closed ↑"] = _number(row["gap_closed"], 3)
        text["params"] = _count(float(row["params"]))
        if row["params_live"] < row["params"]:
            text["params"] += f" ({_count(float(row['params_live']))} live)"
        text["nfe"] = f"{row['nfe']:.0f}"
        text["ms/image"] = _number(row["seconds_per_image"] * 1000, 1)
        text["train images"] = f"{row['train_images']:,.0f}"
        text["train s"] = f"{row['train_seconds']:.0f}"
        rows.append(text)
    return rows


def markdown(board: pd.DataFrame, records: Sequence[Record]) -> str:
    """The leaderboard as a Markdown table with its data set, and why columns are empty."""
    if board.empty:
        return "No finished units yet.\n"
    first = records[0]
    table = cells(board)
    heads = list(table[0])
    lines = [
        f"Data `{first.data.key}`, profile `{first.profile}`, split `{first.data.split}`, "
        f"n = {len(first.data.ids)} views per pair.",
        "",
        "| " + " | ".join(heads) + " |",
        "|" + "|".join("---" if head == "method" else "---:" for head in heads) + "|",
        *("| " + " | ".join(row[head] for head in heads) + " |" for row in table),
    ]
    for reason, names in footnotes.empty_columns(records).items():
        lines += ["", f"Empty: {', '.join(names)}: {reason}"]
    if wrong := footnotes.inverted(records):
        lines += ["", *(f"- {line}" for line in wrong)]
    lines += ["", "Made by:", "", "```sh", *footnotes.commands(records), "```"]
    return "\n".join(lines) + "\n"


def _head(name: str) -> str:
    metric = METRICS[name]
    return f"{metric.label} {'↑' if metric.higher_is_better else '↓'}"


def _number(value: object, decimals: int) -> str:
    return f"{value:.{decimals}f}" if isinstance(value, float) and math.isfinite(value) else ""


def _count(params: float) -> str:
    """Parameters, readable: 1.13 M."""
    return f"{params / 1e6:.2f} M" if params else "0"
