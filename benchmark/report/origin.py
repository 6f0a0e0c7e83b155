"""Where each row of a report comes from: settings, weights, code, machine and units."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from xbench.core.places import address, without_folders
from xbench.metrics.base import METRICS
from xbench.records.schema import Provenance, Record


class Origin(NamedTuple):
    """One row: its facts by name, and its records."""

    label: str
    facts: dict[str, str]
    records: list[Record]


def origins(records: Sequence[Record]) -> list[Origin]:
    """Every row with what made its numbers, in the order of the records."""
    rows: dict[str, list[Record]] = {}
    for record in records:
        rows.setdefault(record.method.label, []).append(record)
    return [Origin(label, _facts(own), own) for label, own in rows.items()]


def data_facts(record: Record) -> dict[str, str]:
    """The data that all rows share."""
    data = record.data
    domains = ", ".join(f"{name} ({data.domain_groups.get(name, '–')})" for name in data.domains)
    return {
        "data set key": data.key,
        "settings of the data": text(data.config),
        "split": data.split,
        "profile": record.profile,
        "domains": domains,
    }


def definitions(records: Iterable[Record]) -> dict[str, str]:
    """Label of each metric → identity of its definition."""
    identities = {name: value.identity for r in records for name, value in r.metrics.items()}
    return {m.label: identities[name] for name, m in METRICS.items() if name in identities}


def _facts(records: Sequence[Record]) -> dict[str, str]:
    """Facts about the records of one row; where records differ, all values of a fact."""
    facts = {
        "method": _all(records, lambda r: f"{r.method.name}, version {r.method.version}"),
        "given": _all(records, lambda r: address(r.method.given)),
        "settings given": _all(records, lambda r: text(r.method.assignments)),
        "configuration": _all(records, lambda r: text(r.method.config)),
        "seeds": _all(records, lambda r: str(r.seed)),
        "training images": _all(records, lambda r: text(r.method.train_images)),
        "weights (SHA-256)": _weights(records),
        "finished": " to ".join(
            dict.fromkeys(end(r.finished for r in records) for end in (min, max))
        ),
    }
    for key in Provenance.model_fields:
        values = [getattr(record.provenance, key) for record in records]
        facts[key] = "; ".join(dict.fromkeys(filter(None, map(text, values))))
    return {name: without_folders(value) for name, value in facts.items() if value}


def _all(records: Iterable[Record], of: Callable[[Record], str]) -> str:
    """All different values, joined."""
    return "; ".join(dict.fromkeys(filter(None, map(of, records))))


def _weights(records: Iterable[Record]) -> str:
    hashes = {k: v for record in records for k, v in record.method.weights_sha256.items()}
    return ", ".join(f"{key}: {value}" for key, value in hashes.items())


def text(value: Any) -> str:
    """A stored value for people; empty where it is absent.

    >>> text({"tau": 0.1, "widths": [32, 64]})
    'tau 0.1, widths [32, 64]'
    """
    if value is None or value == [] or value == {}:
        return ""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {text(item) or '–'}" for key, item in value.items())
    if isinstance(value, list):
        return "[" + ", ".join(map(text, value)) + "]"
    return value if isinstance(value, str) else json.dumps(value)
