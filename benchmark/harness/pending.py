"""Pending work: the units and trainings of a plan that are still to do."""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from xbench.core.errors import UserError
from xbench.harness import trainings
from xbench.harness.plan import Entry, Plan, Unit
from xbench.harness.status import failed_units
from xbench.methods.base import Method
from xbench.records.freshness import lacks_metrics, why_stale
from xbench.records.schema import Record
from xbench.records.store import Records, Store
from xbench.scoring.scorer import Scorer

#: Changes whenever a unit's record, or its failure, is written.
Stamp = tuple[object, object]


@dataclass(frozen=True)
class Needed:
    """A training that is left to do."""

    objective: str
    images: int
    pairwise: bool


@dataclass
class Pending:
    """The state of a plan before a run.

    Attributes:
        translate: units without a record.
        rescore: units whose record has no value of a metric that can be computed now.
        done: all other units.
        missing: metrics that will be empty, with the reason.
        trainings: trainings to do, by folder.
        stamps: a stamp of every unit, by key.
        records: all records of the results folder.
        replaced: label → records of that row that the run replaces, and why they are stale.
    """

    translate: list[Unit] = field(default_factory=list)
    rescore: list[Unit] = field(default_factory=list)
    done: list[Unit] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)
    trainings: dict[Path, Needed] = field(default_factory=dict)
    stamps: dict[str, Stamp] = field(default_factory=dict)
    records: list[Record] = field(default_factory=list)
    replaced: dict[str, list[str]] = field(default_factory=dict)

    @cached_property
    def fillable(self) -> set[str]:
        """Keys of the units to rescore."""
        return {unit.key for unit in self.rescore}


def find(
    plan: Plan,
    scorer: Scorer,
    device: torch.device,
    *,
    force: bool = False,
    fetch: bool = True,
    failed_only: bool = False,
) -> Pending:
    """Compare a plan with what is stored.

    Args:
        plan: what is wanted.
        scorer: says which metrics will be empty.
        device: where methods will work.
        force: count no unit as done.
        fetch: fetch weights of metrics and move damaged trainings aside; a dry run does not.
        failed_only: only units that failed before.

    Raises:
        UserError: the user must provide something that a method needs.
    """
    for entry in plan.entries:  # before weights of metrics are fetched
        if entry.method.unavailable():
            trainings.make_method(plan, entry, device).check()
    store = Store(plan.folder)
    pending = Pending(missing=scorer.missing(fetch))
    wanted = failed_units(store, plan.units) if failed_only else plan.units
    # Before the records are read: one that changes in between is then seen by the runner.
    pending.stamps = {unit.key: stamp(store, unit) for unit in wanted}
    pending.records = store.records()
    stored = {record.unit: record for record in pending.records}
    for unit in wanted:
        record = stored.get(unit.id)
        stale = why_stale(record, unit.key, unit.setup) if record else None
        if stale:
            pending.replaced.setdefault(unit.entry.label, []).append(stale)
        if record is None or stale or force:
            pending.translate.append(unit)
        elif lacks_metrics(record, pending.missing):
            pending.rescore.append(unit)
        else:
            pending.done.append(unit)
    for (entry, seed), units in grouped(pending.translate):
        method = trainings.make_method(plan, entry, device)
        method.check()
        pending.trainings |= _needed(plan, entry, method, seed, units, repair=fetch)
    return pending


def _needed(
    plan: Plan, entry: Entry, method: Method, seed: int, units: list[Unit], *, repair: bool
) -> dict[Path, Needed]:
    """Trainings that units of one method and seed need and that are not done."""
    pairs = [(unit.source, unit.target) for unit in units]
    folders = trainings.folders(plan, entry, method, pairs, seed)
    if folders and not method.needs_training:
        raise UserError(
            f"method '{entry.name}' returns trainings but declares none",
            "expected: `needs_training = True` in its class",
            "add that line to the class",
        )
    return {
        folder: Needed(
            str(training.recipe.get("objective")), entry.train_images, training.pairs is not None
        )
        for training, folder in folders
        if trainings.read_log(folder, training, repair=repair) is None
    }


def grouped(units: list[Unit]) -> list[tuple[tuple[Entry, int], list[Unit]]]:
    """Units of one method and seed together: they share trainings."""
    groups: dict[tuple[str, int], list[Unit]] = {}
    for unit in units:
        groups.setdefault((unit.entry.label, unit.seed), []).append(unit)
    return [((own[0].entry, own[0].seed), own) for own in groups.values()]


def stamp(store: Records[Any], unit: Unit) -> Stamp:
    """Modification times and inode numbers of a unit's record and failure."""
    return _file_stamp(store.record_path(unit.id)), _file_stamp(store.failure_path(unit.id))


def written(store: Records[Any], unit: Unit, pending: Pending) -> bool:
    """Whether the record of a unit was written since `find` looked."""
    record, _ = stamp(store, unit)
    return record != pending.stamps[unit.key][0] and store.find(unit.id, unit.key) is not None


def _file_stamp(path: Path) -> object:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_mtime_ns, status.st_ino
