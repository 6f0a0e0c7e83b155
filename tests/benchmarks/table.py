"""Turns the JSON of pytest-benchmark into a Markdown table: `python table.py FILE.json`.

Seconds are those of the fastest round. A ratio says how many times longer a peer takes than ours,
a difference how far the peer's value lies from ours, relative to ours.
"""

import json
import sys
from pathlib import Path
from typing import Any

OURS = "xbench"
HEAD = ("case", "program", "seconds", "ratio", "value", "difference")


def rows(results: dict[str, Any]) -> list[tuple[str, ...]]:
    """A row for each benchmark that names its `peer`, ours first in each case."""
    cases: dict[str, list[dict[str, Any]]] = {}
    for entry in results["benchmarks"]:
        if "peer" in entry["extra_info"]:
            cases.setdefault(entry["group"], []).append(entry)
    found = []
    for case, entries in cases.items():
        ours = next((e for e in entries if e["extra_info"]["peer"] == OURS), None)
        for entry in sorted(entries, key=lambda e: e is not ours):
            found.append((case, *_cells(entry, ours)))
    return found


def _cells(entry: dict[str, Any], ours: dict[str, Any] | None) -> tuple[str, ...]:
    info, seconds = entry["extra_info"], entry["stats"]["min"]
    value = info.get("value")
    shown = f"{value:.10g}" if value is not None else info.get("failure", "")
    ratio = difference = ""
    if ours is not None and entry is not ours:
        ratio = f"{seconds / ours['stats']['min']:.3g}"
        own = ours["extra_info"].get("value")
        if value is not None and own:
            difference = f"{abs(value - own) / abs(own):.1e}"
    return info["peer"], f"{seconds:.3g}", ratio, shown, difference


def markdown(results: dict[str, Any]) -> str:
    lines = [HEAD, tuple(":--" if name in HEAD[:2] else "--:" for name in HEAD), *rows(results)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    print(markdown(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))))
