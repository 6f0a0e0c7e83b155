"""Answers for programs, on stdout."""

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd


def answer(value: Any) -> None:
    """Print a value as JSON."""
    print(json.dumps(value, indent=1, allow_nan=False))


def frame_rows(frame: "pd.DataFrame") -> list[dict[str, Any]]:
    """A frame's rows, absent values as null."""
    rows: list[dict[str, Any]] = json.loads(frame.to_json(orient="records"))
    return rows


def listing(rows: Sequence[Mapping[str, Any]], *, json: bool) -> None:
    """Print dictionaries of one shape to stdout: a table for people, JSON for programs."""
    if json:
        return answer(rows)
    from xbench.analysis import terminal as show
    from xbench.analysis.terminal import make_console

    return show.listing(make_console(), rows)
