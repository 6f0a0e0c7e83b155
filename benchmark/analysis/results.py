"""What views are made of: the records of a results folder, read once, and stored images."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from xbench.analysis import rows, utility
from xbench.analysis.leaderboard import comparable
from xbench.analysis.rows import Estimate, Row
from xbench.core.pixels import Pixels
from xbench.metrics.base import METRICS
from xbench.records.images import read_png
from xbench.records.schema import Record
from xbench.records.store import Store, UtilityStore


@dataclass(frozen=True)
class Results:
    """What the views of a folder are made of.

    Attributes:
        folder: `<out>/<dataset>/<profile>`.
        records: those that may share a table.
        notes: what was left out.
    """

    folder: Path
    records: Sequence[Record]
    notes: Sequence[str]

    @cached_property
    def by_label(self) -> dict[str, Row]:
        """Label → row; rows keep the means that one view has computed for the next view."""
        return rows.make(self.records, self.utilities)

    @cached_property
    def trials(self) -> utility.Table:
        """What `xbench utility` found for the data of these records."""
        return utility.like(UtilityStore(self.folder).records(), self.records)

    @cached_property
    def utilities(self) -> dict[str, Estimate]:
        """Label → utility over all tasks, of the rows that have one."""
        return utility.by_row(self.trials, self.records)

    @property
    def aligned(self) -> bool:
        """Whether targets show the same views as sources: only then paired metrics have values."""
        return any(
            value.value is not None
            for record in self.records
            for name, value in record.metrics.items()
            if name in METRICS and METRICS[name].paired
        )


def read(folder: Path, records: Sequence[Record] | None = None) -> Results:
    """The results of a folder.

    Args:
        folder: where views are written, and records read.
        records: all of the folder's records, if they were read before.
    """
    return Results(folder, *comparable(Store(folder).records() if records is None else records))


def read_image(path: Path) -> Pixels | None:
    """Grey values `[H, W]` of a stored PNG; None if it is missing or damaged."""
    try:
        return read_png(path)
    except OSError:
        return None
