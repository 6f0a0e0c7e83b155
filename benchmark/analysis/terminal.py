"""Tables and lists printed on a terminal."""

from collections.abc import Mapping, Sequence

import pandas as pd
from rich.console import Console
from rich.table import Table
from rich.text import Text

from xbench.analysis import typeset
from xbench.analysis.columns import DISPENSABLE, column, for_people, of_metric
from xbench.analysis.ranking import Ranking
from xbench.metrics.base import METRICS


def board(console: Console, rows: pd.DataFrame, ranking: Ranking, title: str = "") -> None:
    """The leaderboard; published rows are named as such."""
    if rows.empty:
        console.print("no finished units yet")
        return
    # Intervals only of the column that ranks: there is no room for the others.
    with_interval = column(ranking.column).head
    cells = [
        {head: str(cell) if head == with_interval else cell.text for head, cell in line.items()}
        for line in typeset.lines(rows, for_people(ranks=ranking.between))
    ]
    table = Table(title=title or None, title_justify="left")
    heads = _fitting(cells, console.width)
    for head in heads:
        table.add_column(head, justify="left" if head == "method" else "right", no_wrap=True)
    published = rows["published"] if "published" in rows else [False] * len(rows)
    for mark, reference, row in zip(published, rows["reference"], cells, strict=True):
        if mark:
            row["method"] += " (published)"
        table.add_row(*(row[head] for head in heads), style="dim" if reference else None)
    console.print(table)
    if any(typeset.ONE_SEED in row["method"] for row in cells):
        console.print(typeset.TRAINED_ONCE, soft_wrap=True)


def table(console: Console, text: typeset.Table) -> None:
    """A table with all its blocks and remarks."""
    console.print(text.caption.replace("`", ""), soft_wrap=True)
    for title, lines in text.blocks.items():
        shown = Table(title=title or None, title_justify="left")
        for head in text.heads:
            words = head in typeset.WORDS
            shown.add_column(head, justify="left" if words else "right", no_wrap=True)
        for line in lines:
            shown.add_row(*(_mark(line.get(head, typeset.Cell())) for head in text.heads))
        console.print(shown)
    for remark in text.remarks("Bold", "underlined"):
        console.print(remark, soft_wrap=True)


def _mark(cell: typeset.Cell) -> Text:
    """A cell with its rank as a style."""
    return Text(str(cell), {"": "", "best": "bold", "second": "underline"}[cell.mark])


def pairs(console: Console, rows: pd.DataFrame) -> None:
    """Values pair by pair, for a run of some pairs, which has no means."""
    shown = [of_metric(m) for m in METRICS.values() if m.in_tables and rows[m.name].notna().any()]
    table = Table(title="by pair", title_justify="left")
    for head in ("method", "seed", "source → target"):
        table.add_column(head, no_wrap=True)
    for metric in shown:
        table.add_column(metric.label, justify="right", no_wrap=True)
    for row in typeset.dictionaries(rows):
        values = [metric.text(row[metric.name]) for metric in shown]
        table.add_row(
            str(row["method"]), str(row["seed"]), f"{row['source']} → {row['target']}", *values
        )
    console.print(table)


def _fitting(cells: Sequence[Mapping[str, str]], width: int) -> list[str]:
    """The columns that fit: empty ones are left out first, then those in `DISPENSABLE`."""
    heads = [head for head in cells[0] if any(row[head] for row in cells)]
    dispensable = [head for name in DISPENSABLE if (head := column(name).head) in heads]

    def needed(head: str) -> int:
        return max(len(head), *(len(row[head]) for row in cells)) + 3

    while dispensable and sum(map(needed, heads)) + 1 > width:
        heads.remove(dispensable.pop(0))
    return heads
