"""What commands print on stdout: tables for people, JSON for programs."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from xbench.core.checks import Check
from xbench.core.text import visible

if TYPE_CHECKING:
    import pandas as pd


def answer(value: Any) -> None:
    """Print a value as JSON."""
    print(json.dumps(value, indent=1, allow_nan=False))


def frame_rows(frame: "pd.DataFrame") -> list[dict[str, Any]]:
    """The rows of a frame, with missing values as None."""
    rows: list[dict[str, Any]] = json.loads(frame.to_json(orient="records"))
    return rows


def listing(rows: Sequence[Mapping[str, Any]], *, json: bool) -> None:
    """Print dictionaries with the same keys, as JSON or as a table whose last column wraps."""
    if json:
        return answer(rows)
    from rich.box import SIMPLE
    from rich.table import Table

    from xbench.core.console import make_console

    table = Table(box=SIMPLE)
    *_, last = rows[0]
    for name in rows[0]:
        numbers = any(type(row[name]) in (int, float) for row in rows)
        table.add_column(
            name.replace("_", "\n"),
            justify="right" if numbers else "left",
            no_wrap=name != last,
        )
    for row in rows:
        table.add_row(*map(_text, row.values()))
    return make_console().print(table)


def show_checks(checks: Sequence[Check], *, json: bool) -> None:
    """Print checks; in the table, notes end with what can be done."""
    if json:
        return answer([asdict(check) for check in checks])
    rows = [
        {"check": c.check, "outcome": c.outcome, "note": "; ".join(filter(None, (c.note, c.fix)))}
        for c in checks
    ]
    return listing(rows, json=False)


def _text(value: object) -> str:
    """A cell of a table."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3f}"
    return f"{value:,}" if isinstance(value, int) else visible(str(value), keep="\n")
