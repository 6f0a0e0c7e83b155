"""The README says of every column what the metric declares of itself."""

import runpy
from pathlib import Path

from xbench.metrics.base import METRICS

README = Path(__file__).parents[1] / "README.md"
same = runpy.run_path(str(Path(__file__).with_name("generated.py")))["same"]


def test_the_table_of_metrics_is_made_of_their_declarations() -> None:
    built_in = [metric for metric in METRICS.values() if metric.built_in]
    shown = [m for m in built_in if m.in_tables or m.name in ("copied", "ngf")]
    lines = [f"| `{m.name}` {'↑' if m.higher_is_better else '↓'} | {m.text} |" for m in shown]
    assert same(README, "metrics", "\n".join(["| column | meaning |", "|---|---|", *lines]))
