"""Utility: how much of the gap to real labels a translation closes, from records alone.

For each task, utility = sum over pairs of (method - source) / sum over pairs of (target - source):
0 if the translation was no use, 1 if it was as good as labelled images of the target, negative if
it does harm. `source` and `target` are rows whose networks learned from images of the source as
they are, and from true images of the target.
"""

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import stdtrit

from xbench.analysis.rows import Estimate
from xbench.analysis.typeset import ONE_SEED, Cell, Line, dictionaries, trained_once
from xbench.core.columns import Column
from xbench.core.errors import Unavailable
from xbench.core.pairs import Pair
from xbench.metrics.uncertainty import jackknife
from xbench.records.freshness import ROW, difference, setup_of, why_not_in_row
from xbench.records.schema import Finished, Record, UtilityRecord
from xbench.records.utility import SOURCE, TARGET
from xbench.tasks.measures import TASKS, Task, score

Array = NDArray[np.float64]
Rows = NDArray[np.intp]

#: What the numbers mean.
LEGEND = (
    "utility is (row - source) / (target - source), sums over pairs, and the mean of the tasks: 0 "
    "as networks that learned from untranslated images, 1 as networks that learned from labelled "
    "images of the target, below 0 harm; empty for a task in which 'target' is no better than "
    "'source', which counts in no mean. ± is half of the 95 % interval over groups (heads, "
    "acquisitions) and trainings: of the method where it has several, else of the networks that "
    "learned from its images. 'shuffle' has the labels of other images, "
    "'source-augmented' untranslated images under strong random changes of greys, sharpness and "
    "noise (domain randomisation)."
)


class Chosen(NamedTuple):
    """Images that count, by pair; None for all."""

    of: Mapping[Pair, list[int]] | None = None


#: A value computed from some of the images.
Statistic = Callable[[Chosen], float]


@dataclass(frozen=True)
class Tested:
    """The records of one row."""

    label: str
    records: tuple[UtilityRecord, ...]
    _values: dict[tuple[str, Pair], Array] = field(default_factory=dict, init=False)

    @cached_property
    def pairs(self) -> dict[Pair, list[UtilityRecord]]:
        """Pair → its records, one for each seed of the method."""
        found: dict[Pair, list[UtilityRecord]] = {}
        for record in self.records:
            found.setdefault(record.unit.pair, []).append(record)
        return found

    def values(self, task: Task, pair: Pair) -> Array:
        """`[runs, measures, images]`: a run is a seed of the method and one of the task."""
        key = task.name, pair
        if key not in self._values:
            own = [task.values(record.measures) for record in self.pairs[pair]]
            self._values[key] = np.concatenate(own)
        return self._values[key]


def rows(records: Iterable[UtilityRecord]) -> dict[str, Tested]:
    """Label → row, of the records that may share a table with the newest.

    Data, labels, profile and recipe must agree, and within a row what makes its images.
    """
    known = sorted(records, key=lambda record: record.finished)
    if not known:
        return {}

    def scope(record: UtilityRecord) -> tuple[object, ...]:
        made = setup_of(record)
        return made.data, made.profile, record.labels, record.identity

    alike = [record for record in known if scope(record) == scope(known[-1])]
    newest = {record.method.label: record for record in alike}
    alike = [r for r in alike if not why_not_in_row(r, newest[r.method.label])]
    labels = sorted({(not r.method.reference, r.method.label) for r in alike})
    order = [label for _, label in labels]
    first = [label for label in (SOURCE, TARGET) if label in order]
    return {
        label: Tested(label, tuple(r for r in alike if r.method.label == label))
        for label in [*first, *(label for label in order if label not in first)]
    }


def pairs_of(by_label: Mapping[str, Tested]) -> tuple[Pair, ...]:
    """The pairs of which both bounds are known."""
    if not {SOURCE, TARGET} <= by_label.keys():
        return ()
    return tuple(pair for pair in by_label[SOURCE].pairs if pair in by_label[TARGET].pairs)


class Table:
    """Scores and utilities of rows over some pairs."""

    def __init__(self, by_label: Mapping[str, Tested], tasks: Sequence[str] = ()) -> None:
        self.pairs = pairs_of(by_label)
        self.rows = {k: row for k, row in by_label.items() if set(self.pairs) <= row.pairs.keys()}
        self.tasks = [task for task in TASKS if self._known(task, tasks)]

    def _known(self, task: Task, wanted: Sequence[str]) -> bool:
        """Whether a task is wanted, and its score is known of all pairs."""
        if not self.pairs or (wanted and task.name not in wanted):
            return False
        source = self.rows[SOURCE]
        return all(source.values(task, pair).size for pair in self.pairs)

    def score(self, label: str, task: Task) -> Estimate:
        """The mean over pairs of a row's score."""

        def value(rows: Chosen) -> float:
            return float(np.mean([self._runs(label, task, p, rows).mean() for p in self.pairs]))

        return self._estimate(value, self._reach(label, task) / len(self.pairs), label)

    def utility(self, label: str, tasks: Sequence[Task]) -> Estimate:
        """The mean over tasks of a row's utility."""

        def value(rows: Chosen) -> float:
            return float(np.mean([self._ratio(label, task, rows)[0] for task in tasks]))

        tasks = [task for task in tasks if self._gain(task) > 0]
        if not tasks or label in (SOURCE, TARGET):
            return Estimate(math.nan if not tasks else float(label == TARGET))
        # The tasks share their networks: errors are taken to go together.
        reaches = []
        for task in tasks:
            ratio, span = self._ratio(label, task, Chosen())
            parts = [(label, 1.0), (SOURCE, 1 - ratio), (TARGET, ratio)]
            reach = math.hypot(*(share * self._reach(row, task) for row, share in parts))
            reaches.append(reach / abs(span))
        return self._estimate(value, float(np.mean(reaches)), label)

    def _gain(self, task: Task) -> float:
        """How much better labelled images of the target are than those of the source."""
        _, span = self._ratio(SOURCE, task, Chosen())
        return span if task.higher_is_better else -span

    def _ratio(self, label: str, task: Task, rows: Chosen) -> tuple[float, float]:
        """Utility of a task, and the sum over pairs of what could be gained."""
        method, source, target = (
            sum(float(self._runs(row, task, pair, rows).mean()) for pair in self.pairs)
            for row in (label, SOURCE, TARGET)
        )
        span = target - source
        return (method - source) / span if span else math.nan, span

    def _runs(self, label: str, task: Task, pair: Pair, rows: Chosen) -> Array:
        """The score of each run of a pair `[runs]`, on some of its images."""
        values = self.rows[label].values(task, pair)
        return score(values if rows.of is None else values[:, :, rows.of[pair]])

    def _reach(self, label: str, task: Task) -> float:
        """Half of the 95 % interval over trainings of the sum over pairs; NaN for one training.

        Seeds of the method are compared by their sums, because one network may serve all pairs.
        With one seed it is about the networks of the tasks, of which each pair has its own.
        """
        by_seed: dict[int, list[float]] = {}
        for record in (r for pair in self.pairs for r in self.rows[label].pairs[pair]):
            mean = float(score(task.values(record.measures)).mean())
            by_seed.setdefault(record.seed, []).append(mean)
        sums = [sum(means) for means in by_seed.values() if len(means) == len(self.pairs)]
        if len(sums) > 1:
            free, variance = len(sums) - 1, np.var(sums, ddof=1) / len(sums)
        else:
            runs = [self._runs(label, task, pair, Chosen()) for pair in self.pairs]
            free = sum(len(own) - 1 for own in runs)
            variance = sum(own.var(ddof=1) / len(own) for own in runs if len(own) > 1)
        return float(stdtrit(free, 0.975) * math.sqrt(variance)) if free else math.nan

    def _estimate(self, value: Statistic, trainings: float, label: str) -> Estimate:
        """A value with its interval: groups and trainings are drawn independently."""
        mean = value(Chosen())
        images = {pair: self.rows[label].pairs[pair][0].data for pair in self.pairs}
        same = len({tuple(data.groups) for data in images.values()}) == 1
        # One list of images for all pairs, or those of the pairs one after the other.
        parts = [(pair, row) for pair, d in images.items() for row in range(len(d.ids))]
        if same:
            parts = parts[: len(parts) // len(images)]
        groups = [images[pair].groups[row] for pair, row in parts]

        def without(chosen: Rows) -> float:
            of: dict[Pair, list[int]] = {pair: [] for pair in self.pairs}
            for place in chosen.tolist():
                pair, row = parts[place]
                for own in self.pairs if same else (pair,):
                    of[own].append(row)
            return value(Chosen(of))

        samples = None if same else [":".join(pair) for pair, _ in parts]
        try:
            low, high = jackknife(without, groups, samples=samples)
        except (Unavailable, ValueError):
            return Estimate(mean)
        reach = math.hypot((high - low) / 2, trainings)
        return Estimate(mean, mean - reach, mean + reach)


def like(records: Iterable[UtilityRecord], others: Sequence[Record]) -> Table:
    """The table of those records that have the data and profile of records of a run."""

    def scope(record: Finished) -> tuple[object, ...]:
        made = setup_of(record)
        return made.data, made.split, made.profile

    scopes = {scope(record) for record in others}
    return Table(rows(record for record in records if scope(record) in scopes))


def by_row(table: Table, others: Sequence[Record]) -> dict[str, Estimate]:
    """Label of a row of a run → its utility, if it was made in the same way."""
    found = {}
    for label, record in {record.method.label: record for record in others}.items():
        own = SOURCE if record.method.name == "identity" else label
        if own in table.rows:
            made = setup_of(table.rows[own].records[0])._replace(seed=record.seed)
            if not difference(made, setup_of(record), ROW):
                found[label] = table.utility(own, table.tasks)
    return found


def frame(by_label: Mapping[str, Tested], tasks: Sequence[str] = ()) -> pd.DataFrame:
    """A line per row: utility and score of each task, with ends of intervals."""
    table = Table(by_label, tasks)
    lines = []
    for label, row in table.rows.items():
        record = row.records[0]
        line: dict[str, object] = {
            "method": label,
            "pairs": len(table.pairs),
            "seeds": len({r.seed for r in row.records}),
            "reference": record.method.reference,
            "train_images": record.method.train_images,
        }
        line |= _cells("utility", table.utility(label, table.tasks))
        for task in table.tasks:
            line |= _cells(f"utility_{task.name}", table.utility(label, [task]))
        for task in table.tasks:
            line |= _cells(task.name, table.score(label, task))
        lines.append(line)
    return pd.DataFrame(lines).astype({"train_images": "Int64"} if lines else {})


def _cells(name: str, estimate: Estimate) -> dict[str, float]:
    return dict(zip((name, f"{name}_ci_low", f"{name}_ci_high"), estimate, strict=True))


def lines(frame: pd.DataFrame, measures: Collection[str]) -> list[Line]:
    """The frame of `frame` as cells for people; `measures` are those of its records."""
    tasks = [task for task in TASKS if task.name in frame]
    heads = {"utility": Column("utility", "utility", decimals=2, higher_is_better=True)}
    heads |= {
        f"utility_{t.name}": Column("", f"of {t.name}", decimals=2, higher_is_better=True)
        for t in tasks
    }
    heads |= {
        t.name: Column(
            *("", f"{t.name}, {t.unit(measures)}"),
            decimals=t.decimals,
            higher_is_better=t.higher_is_better,
        )
        for t in tasks
    }
    found = []
    for row in dictionaries(frame):
        mark = " (reference)" if row["reference"] else f" {ONE_SEED}" * trained_once(row)
        line = {"method": Cell(f"{row['method']}{mark}")}
        for name, column in heads.items():
            low, high = (float(str(row[f"{name}_ci_{end}"])) for end in ("low", "high"))
            half = column.text((high - low) / 2) if high > low else ""
            line[column.head] = Cell(column.text(row[name]), half)
        found.append(line)
    return found
