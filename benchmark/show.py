"""Tables for the terminal."""

from collections.abc import Mapping, Sequence

import pandas as pd
from rich.console import Console
from rich.table import Table

from xbench import leaderboard
from xbench.plan import Plan
from xbench.runner import Survey
from xbench.store import Record


def plan(console: Console, todo: Plan, survey: Survey, minutes: float | None) -> None:
    """What will be done, before anything is."""
    console.print(
        f"data {todo.dataset.key}  profile {todo.profile.name}  split {todo.split}  "
        f"→ {todo.folder}",
        markup=False,
        soft_wrap=True,
    )
    table = Table("method", "seeds", "units", "done", "to do", "train images")
    for entry in todo.entries:
        units = [unit for unit in todo.units if unit.entry is entry]
        done = sum(unit.entry is entry for unit in survey.done)
        table.add_row(
            entry.label + (" (reference)" if entry.reference else ""),
            ",".join(map(str, entry.seeds)),
            str(len(units)),
            str(done),
            str(len(units) - done),
            f"{entry.train_images:,}" if entry.train_images else "–",
        )
    console.print(table)
    left = len(survey.translate) + len(survey.rescore)
    text = f"{left} units and {len(survey.trainings)} trainings to do"
    if survey.rescore:
        text += f" ({len(survey.rescore)} only to be scored again)"
    if left:
        text += f", estimated {minutes:.1f} min" if minutes is not None else ", time unknown yet"
    console.print(text)
    for reason, names in _by_reason(survey.missing).items():
        console.print(f"empty columns {', '.join(names)}: {reason}", markup=False, soft_wrap=True)


def board(
    console: Console, rows: pd.DataFrame, published: Sequence[Record] = (), title: str = ""
) -> None:
    """The leaderboard; published rows of other methods are ranked with it and marked."""
    if rows.empty:
        console.print("no finished units yet")
        return
    marked = {record.method.label for record in published}
    cells = leaderboard.cells(rows)
    # Columns in which nothing stands are left out on the narrow terminal; files have them all.
    heads = [head for head in cells[0] if any(row[head] for row in cells)]
    table = Table(title=title or None, title_justify="left")
    for head in heads:
        table.add_column(head, justify="left" if head == "method" else "right")
    for label, reference, row in zip(rows["method"], rows["reference"], cells, strict=True):
        if label in marked:
            row["method"] += " (published)"
        table.add_row(*(row[head] for head in heads), style="dim" if reference else None)
    console.print(table)


def listing(console: Console, rows: Sequence[Mapping[str, object]]) -> None:
    """Dictionaries of one shape as a table."""
    table = Table(*rows[0])
    for row in rows:
        table.add_row(
            *("–" if v is None else f"{v:,}" if type(v) is int else str(v) for v in row.values())
        )
    console.print(table)


def _by_reason(missing: Mapping[str, str]) -> dict[str, list[str]]:
    reasons: dict[str, list[str]] = {}
    for name, reason in missing.items():
        reasons.setdefault(reason, []).append(name)
    return reasons
