"""What a report's script computes with: rows, units and metrics as finite values for JSON."""

import math
from base64 import b64encode
from collections.abc import Container, Hashable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import pandas as pd

from xbench.analysis import families
from xbench.analysis.columns import column
from xbench.analysis.leaderboard import other_budgets, ranked, ranking_of
from xbench.analysis.results import Results
from xbench.analysis.rows import Row
from xbench.analysis.selection import crossing
from xbench.analysis.tradeoffs import Curve, curves
from xbench.core.errors import UserError
from xbench.core.pairs import Pair
from xbench.core.settings import name_of
from xbench.metrics.base import METRICS
from xbench.records.schema import Record

#: Best and worst images of each method that are shown.
EXTREMES = 6
#: Significant digits of the numbers that the page computes with; more would make it larger.
DIGITS = 5


def finite(value: object, digits: int = DIGITS + 2) -> float | None:
    """A number with so many significant digits; None where it is absent or not finite."""
    if not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(f"{value:.{digits}g}")


def packed(numbers: Sequence[float]) -> str:
    """Numbers as float32 in base64, two thirds of their size as text; the script unpacks them.

    >>> packed([0.5, 1.0])
    'AAAAPwAAgD8='
    """
    return b64encode(np.array(numbers, "<f4").tobytes()).decode()


def per_image(records: Iterable[Record]) -> list[str]:
    """Metrics with values of single images, those that compare with the true target first."""
    stored = {n for record in records for n, value in record.metrics.items() if value.per_image}
    known = [name for name in METRICS if name in stored]
    return sorted(known, key=lambda name: not METRICS[name].paired)


def page_data(board: pd.DataFrame, results: Results) -> dict[str, Any]:
    """Everything that the script needs; rows are named by their place in the leaderboard."""
    labels = [str(label) for label in board["method"]]
    by_label, records = results.by_label, results.records
    stored = {n for r in records for n, v in r.metrics.items() if finite(v.value) is not None}
    names = [name for name in METRICS if name in stored]
    ids: dict[tuple[str, ...], int] = {}
    units = [
        {"method": place, **_unit(by_label[label], pair, names, ids)}
        for place, label in enumerate(labels)
        for pair in by_label[label].pairs
    ]
    translated = [u for u in units if not by_label[labels[u["method"]]].reference] or units
    for name in names:
        _shade(units, translated, name)
    swept = _curves(by_label)
    ranking = ranking_of(ranked(by_label))
    across = [ranking.column] if ranking.grouped else []
    return {
        "domains": records[0].data.domains,
        "metrics": [
            *map(_metric, names),
            *({**_metric(ranking.metric), "name": n, "label": column(n).label} for n in across),
        ],
        "perPair": names,
        "perImage": per_image(records),
        "extremes": EXTREMES,
        "start": _start(labels, by_label),
        "methods": _methods(board, by_label, _knobs(swept), [*names, *across]),
        "curves": [[labels.index(point.label) for point in curve.points] for curve in swept],
        "ids": [list(known) for known in ids],
        "units": units,
        # Without aligned views there is no true target to show.
        "aligned": any(METRICS[name].paired for name in names),
        "bright": records[0].data.bone_bright,
    }


def _metric(name: str) -> dict[str, Any]:
    metric = METRICS[name]
    return {
        "name": name,
        "label": metric.label + (f" ({metric.unit})" if metric.unit else ""),
        "about": metric.text,
        "decimals": metric.decimals,
        "higher": metric.higher_is_better,
    }


def _methods(
    board: pd.DataFrame,
    by_label: Mapping[str, Row],
    knobs: Mapping[str, tuple[str, float]],
    names: Sequence[str],
) -> list[dict[str, Any]]:
    """Label, knob, looks and means of every row; a row without all pairs has no means."""
    takes_part, looks = ranked(by_label), families.looks(by_label)
    budgets = other_budgets(by_label)
    own = [looks[by_label[str(label)].records[0].method.name] for label in board["method"]]
    return [
        {
            "label": str(row["method"]),
            "name": name_of(str(row["method"])),
            "reference": bool(row["reference"]),
            "kind": _kind(row, takes_part, budgets),
            "knob": knobs.get(str(row["method"])),
            "text": families.short(str(row["method"]), by_label),
            "hollow": families.other_budget(str(row["method"])),
            "colour": look.colour,
            "shape": look.shape,
            "means": {
                name: [finite(row[key]) for key in (name, f"{name}_ci_low", f"{name}_ci_high")]
                for name in names
                if finite(row[name]) is not None
            },
        }
        for row, look in zip(board.to_dict("records"), own, strict=True)
    ]


def _kind(row: Mapping[Hashable, Any], takes_part: Container[str], budgets: Container[str]) -> str:
    """The id of the box on the page that shows or hides a row; empty if none does."""
    if row["reference"]:
        return "references"
    if str(row["method"]) in budgets:
        return "budgets"
    return "" if str(row["method"]) in takes_part else "sweeps"


def _curves(by_label: Mapping[str, Row]) -> list[Curve]:
    """Rows that differ in one number (`tradeoffs.curves`); none where no row has all pairs."""
    with suppress(UserError):
        return [curve for curve in curves(by_label)[1] if curve.knob]
    return []


def _knobs(swept: Sequence[Curve]) -> dict[str, tuple[str, float]]:
    """Label → knob and its value, of the first curve that the row is on."""
    return {
        point.label: (curve.knob, point.value)
        for curve in reversed(swept)
        for point in curve.points
        if point.value is not None
    }


def _unit(
    row: Row, pair: Pair, names: Sequence[str], ids: dict[tuple[str, ...], int]
) -> dict[str, Any]:
    """Values of one row and pair over its seeds; values per image of its lowest seed."""
    own = [record for record in row.records if (record.source, record.target) == pair]
    first, means = own[0], row.of_pair(pair)
    values = {
        name: [finite(number, DIGITS) for number in (means[name], *_ends(row, own, name))]
        for name in names
        if finite(means[name]) is not None
    }
    images = {
        name: packed(value.per_image)
        for name, value in first.metrics.items()
        if name in METRICS and value.per_image
    }
    domains = first.data.domains
    return {
        "source": domains.index(pair[0]),
        "target": domains.index(pair[1]),
        "ids": ids.setdefault(tuple(first.data.ids), len(ids)),
        "values": values,
        "images": images,
    }


def _ends(row: Row, own: Sequence[Record], name: str) -> tuple[float | None, float | None]:
    """The 95 % interval of one pair: the stored one, or of several seeds that of their mean."""
    if len(own) > 1:
        low, high = row.interval(name, [(own[0].source, own[0].target)])
        return low, high
    value = own[0].metrics.get(name)
    return (value.ci_low, value.ci_high) if value else (None, None)


def _shade(units: Sequence[dict[str, Any]], ranked: Sequence[dict[str, Any]], name: str) -> None:
    """Append to each value how good it is among the values of ranked units, from 0 to 1."""
    values = [unit["values"][name] for unit in units if name in unit["values"]]
    among = [unit["values"][name][0] for unit in ranked if name in unit["values"]]
    numbers = np.array([value[0] for value in values])
    ends = np.array([min(among), max(among)]) if among else numbers[:1].repeat(2)
    higher = METRICS[name].higher_is_better
    # Distances span decades, similarities do not.
    if not higher and numbers.min() > 0:
        numbers, ends = np.log(numbers), np.log(ends)
    share = ((numbers - ends[0]) / (ends[1] - ends[0] or 1)).clip(0, 1)
    for value, part in zip(values, share if higher else 1 - share, strict=True):
        value.append(round(float(part), 2))


def _start(labels: Sequence[str], by_label: Mapping[str, Row]) -> dict[str, int]:
    """What the page shows first: the best row, on a pair between two groups if it has one."""
    compared = [label for label, row in ranked(by_label).items() if not row.reference]
    place = next((k for k, label in enumerate(labels) if label in compared), 0)
    row = by_label[labels[place]]
    cross = [pair for pair in crossing(row.records[0]) if pair in row.pairs]
    domains = row.records[0].data.domains
    source, target = (cross or row.pairs)[0]
    return {"method": place, "source": domains.index(source), "target": domains.index(target)}
