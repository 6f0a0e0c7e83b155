"""Progress of a run on stderr: a live display on a terminal, plain lines elsewhere."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from rich.console import Group
from rich.live import Live
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from xbench.core import processes
from xbench.core.console import make_console
from xbench.core.text import visible
from xbench.methods import base as methods
from xbench.metrics.base import METRICS
from xbench.records.schema import Record, UtilityRecord
from xbench.records.units import UnitId
from xbench.tasks.measures import TASKS, score

#: Seconds between two plain lines about the same work.
PLAIN_EVERY = 15.0
#: What is shown of a unit: the first of these that has a value in the grid, all in a plain line.
SHOWN = ("ltd", "ftd", "ssim")


class Display:
    """Progress of one run."""

    def __init__(self, domains: tuple[str, ...]) -> None:
        self.console = make_console(stderr=True)
        # Of several processes only the first one speaks.
        self.console.quiet = not processes.is_first()
        self.domains = domains
        self.total = 0
        self.units_done = 0
        self.cells: dict[str, dict[tuple[str, str], str]] = {}
        self.current = ""
        self.reasons: set[tuple[str, str]] = set()
        self.grid_metric = SHOWN[0]
        self.last_line: dict[str, float] = {}
        self.progress = Progress(
            TextColumn("{task.description:<28}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            console=self.console,
        )
        self.tasks: dict[str, TaskID] = {}
        self.live: Live | None = None

    def __enter__(self) -> "Display":
        if self.console.is_terminal:
            self.live = Live(self._render(), console=self.console, refresh_per_second=4)
            self.live.__enter__()
        return self

    def __exit__(self, *details: object) -> None:
        if self.live:
            self.live.update(self._render(), refresh=True)
            self.live.__exit__(None, None, None)
            self.live = None

    def data(self, done: int, total: int, what: str) -> None:
        """Images are being prepared."""
        self._advance(f"data: {what}", done, total, "")

    @contextmanager
    def training(self, what: str) -> Iterator[methods.Progress]:
        """Yield the progress function of one training; its bar goes when it ends."""
        name = f"train {what}"

        def progress(done: int, total: int, losses: Mapping[str, float]) -> None:
            note = "  ".join(f"{key} {value:.4f}" for key, value in losses.items())
            self._advance(name, done, total, note)

        try:
            yield progress
        finally:
            if name in self.tasks:
                self.progress.remove_task(self.tasks.pop(name))

    def unit(self, record: Record) -> None:
        """A unit is done."""
        values = {name: record.metrics[name].value for name in SHOWN}
        known = {name: value for name, value in values.items() if value is not None}
        self.grid_metric = next(iter(known), self.grid_metric)
        self._cell(record.unit, f"{known[self.grid_metric]:.3g}" if known else "–")
        text = "  ".join(f"{name} {v:.{METRICS[name].decimals}f}" for name, v in known.items())
        self._line(f"{record.unit}  {text}")

    def utility(self, record: UtilityRecord) -> None:
        """A unit of `xbench utility` is done."""
        found = [(task, task.values(record.measures)) for task in TASKS]
        text = "  ".join(
            f"{task.name} {score(values).mean():.{task.decimals}f} {task.unit(record.measures)}"
            for task, values in found
            if values.size
        )
        self._cell(record.unit, text)
        self._line(f"{record.unit}  {text}")

    def waiting(self, unit: UnitId) -> None:
        """All units that are left are held by other processes."""
        self._advance("waiting for other processes", 0, 1, str(unit))

    def failed(self, unit: UnitId, traceback: str) -> None:
        """A unit failed; why is said once for each row and reason."""
        self._cell(unit, "failed")
        reason = visible(traceback.strip().splitlines()[-1])
        if (unit.label, reason) in self.reasons:  # twenty equal lines hide what came before
            return
        self.reasons.add((unit.label, reason))
        self.console.print(f"failed: {unit}: {reason}", style="red", soft_wrap=True)

    def _cell(self, unit: UnitId, text: str) -> None:
        self.current = f"{unit.label} seed {unit.seed}"
        self.cells.setdefault(self.current, {})[unit.pair] = text
        self.units_done += 1
        if self.live:
            self._advance("units", self.units_done, self.total, "")

    def _line(self, text: str) -> None:
        if not self.live:
            self.console.print(text, soft_wrap=True)

    def _advance(self, name: str, done: int, total: int, note: str) -> None:
        if self.live:
            if name not in self.tasks:
                self.tasks[name] = self.progress.add_task(name, total=total, note="")
            self.progress.update(self.tasks[name], completed=done, total=total, note=note)
            self.live.update(self._render())
            return
        now = time.monotonic()
        if done == total or now - self.last_line.get(name, 0.0) > PLAIN_EVERY:
            self.last_line[name] = now
            self._line(f"{name}  {done}/{total}  {note}".rstrip())

    def _render(self) -> Group:
        """Bars, and the source × target grid of the method at work."""
        if not self.current:
            return Group(self.progress)
        label = METRICS[self.grid_metric].label
        grid = Table(title=f"{self.current}: {label}, source (rows) → target", title_justify="left")
        grid.add_column("")
        for domain in self.domains:
            grid.add_column(domain, justify="right")
        cells = self.cells[self.current]
        for source in self.domains:
            grid.add_row(
                source,
                *("·" if source == t else cells.get((source, t), "") for t in self.domains),
            )
        return Group(self.progress, grid)
