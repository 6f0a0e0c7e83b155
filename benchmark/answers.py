"""Answers for programs, on stdout."""

import json
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
