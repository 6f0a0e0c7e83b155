"""Whether a record is fresh, in one place: for runs, `status`, `verify` and tables.

A record is fresh if its key is the one that its unit would have now. If it is not, or if there is
no plan to compare it with, two setups say in words how they differ.
"""

import json
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from xbench.metrics.base import METRICS
from xbench.records.schema import Finished, Record


class Setup(NamedTuple):
    """What a unit is made with: all that its key is made of, but for the pair."""

    data: str
    split: str
    profile: str
    method: str
    version: str
    train_images: int | None
    seed: int
    settings: Mapping[str, Any]


#: What each part of a setup is called; settings have names of their own.
WORDS = {
    "data": "data",
    "split": "split",
    "profile": "profile",
    "method": "method",
    "version": "version",
    "train_images": "training images",
    "seed": "training seed",
}
#: Parts that two records must share to stand in one table, and in one row of it.
TABLE = ("data", "split", "profile")
ROW = ("method", "version", "train_images")


def setup_of(record: Finished) -> Setup:
    """The setup that a record was made with."""
    method, data = record.method, record.data
    return Setup(
        data.key,
        data.split,
        record.profile,
        method.name,
        method.version,
        method.train_images,
        record.seed,
        method.config,
    )


def difference(
    made: Setup, wanted: Setup, parts: Collection[str] = tuple(WORDS), by: str = "the plan wants"
) -> str | None:
    """The first way in which two setups differ, in words; None if they agree.

    Args:
        made: how it was made.
        wanted: how it should be.
        parts: names in `Setup` to compare besides the settings.
        by: who wants it.
    """
    for part in (name for name in WORDS if name in parts):
        ours, theirs = getattr(made, part), getattr(wanted, part)
        if ours != theirs:
            return f"made with {WORDS[part]} {_short(part, ours)}, {by} {_short(part, theirs)}"
    names = [
        name
        for name in {**made.settings, **wanted.settings}
        if made.settings.get(name) != wanted.settings.get(name)
    ]
    if not names:
        return None
    ours, theirs = (
        ", ".join(f"{name}={json.dumps(setup.settings.get(name))}" for name in names)
        for setup in (made, wanted)
    )
    return f"made with {ours}, {by} {theirs}"


def why_stale(record: Finished, key: str, wanted: Setup) -> str | None:
    """Why a record does not count for a unit of this key and setup; None if it does."""
    if record.key == key:
        return None
    return difference(setup_of(record), wanted) or (
        "made with the same settings but other content behind them (weights that a setting names)"
    )


def why_not_in_row(record: Finished, newest: Finished) -> str | None:
    """Why a record cannot share a row with the newest record of its label; None if it can."""
    by = "the newest of its row has"
    return difference(setup_of(record), setup_of(newest), ROW, by)


def why_not_in_table(record: Record, newest: Record) -> str | None:
    """What keeps a record out of a table with another: the part in which it differs, or None.

    Data, split, profile and the definitions of all known metrics that both have must agree.
    """
    made, wanted = setup_of(record), setup_of(newest)
    for part in TABLE:
        ours = str(getattr(made, part))
        if ours != getattr(wanted, part):
            return ours if part == "data" else f"{part} {ours}"
    return next(
        (
            value.identity
            for name, value in record.metrics.items()
            if name in METRICS
            and name in newest.metrics
            and value.identity != newest.metrics[name].identity
        ),
        None,
    )


def lacks_metrics(record: Record, missing: Collection[str]) -> bool:
    """Whether a metric can be computed now that is new, redefined, or waited for weights.

    Args:
        record: of a finished unit.
        missing: metrics that cannot be computed now.
    """
    return any(not is_final(record, name) for name in METRICS if name not in missing)


def is_final(record: Record, name: str) -> bool:
    """Whether a metric needs no scoring: a value by its present definition, or a lasting reason."""
    value = record.metrics.get(name)
    if value is None or value.identity not in METRICS[name].identities or value.pending:
        return False
    # Values of earlier versions had no interval and no number of images.
    return value.value is None or value.n is not None


def _short(part: str, value: object) -> str:
    """A part of a setup for people: of a hash the first 12 digits, as in a data set's key."""
    text = "unknown" if value is None else str(value)
    return text[:12] if part == "version" else text
