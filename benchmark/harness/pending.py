"""Pending work: the units and trainings of a plan that are still to do."""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import torch

from xbench.core.errors import UserError
from xbench.harness import trainings
from xbench.harness.plan import Entry, Plan, Unit
from xbench.harness.status import failed_units
from xbench.methods.base import Method
from xbench.records.freshness import lacks_metrics
from xbench.records.store import Store
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
class Survey:
    """The state of a plan before a run.

    Attributes:
        translate: units without a record.
        rescore: units whose record has no value of a metric that can be computed now.
        done: all other units.
        missing: metrics that will be empty, with the reason.
        trainings: trainings to do, by folder.
        stamps: a stamp of every unit, by key.
    """

    translate: list[Unit] = field(default_factory=list)
    rescore: list[Unit] = field(default_factory=list)
    done: list[Unit] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)
    trainings: dict[Path, Needed] = field(default_factory=dict)
    stamps: dict[str, Stamp] = field(default_factory=dict)

    @cached_property
    def fillable(self) -> set[str]:
        """Keys of the units to rescore."""
        return {unit.key for unit in self.rescore}


def make(
    plan: Plan,
    scorer: Scorer,
    device: torch.device,
    *,
    force: bool = False,
    fetch: bool = True,
    failed_only: bool = False,
) -> Survey:
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
    store = Store(plan.folder)
    survey = Survey(missing=scorer.missing(fetch))
    for unit in failed_units(store, plan.units) if failed_only else plan.units:
        survey.stamps[unit.key] = stamp(store, unit)
        record = None if force else store.find(unit.id, unit.key)
        if record is None:
            survey.translate.append(unit)
        elif lacks_metrics(record, survey.missing):
            survey.rescore.append(unit)
        else:
            survey.done.append(unit)
    for (entry, seed), units in grouped(survey.translate):
        method = trainings.make_method(plan, entry, device)
        method.check()
        survey.trainings |= _needed(plan, entry, method, seed, units, repair=fetch)
    return survey


def _needed(
    plan: Plan, entry: Entry, method: Method, seed: int, units: list[Unit], *, repair: bool
) -> dict[Path, Needed]:
    """Trainings that units of one method and seed need and that are not done."""
    pairs = [(unit.source, unit.target) for unit in units]
    found = trainings.folders(plan, entry, method, pairs, seed)
    if found and not method.needs_training:
        raise UserError(
            f"method '{entry.name}' returns trainings but declares none",
            "expected: `needs_training = True` in its class",
            "add that line to the class",
        )
    return {
        folder: Needed(
            str(training.recipe.get("objective")), entry.train_images, training.pairs is not None
        )
        for training, folder in found
        if trainings.read_log(folder, training, repair=repair) is None
    }


def grouped(units: list[Unit]) -> list[tuple[tuple[Entry, int], list[Unit]]]:
    """Units of one method and seed together: they share trainings."""
    groups: dict[tuple[str, int], list[Unit]] = {}
    for unit in units:
        groups.setdefault((unit.entry.label, unit.seed), []).append(unit)
    return [((found[0].entry, found[0].seed), found) for found in groups.values()]


def stamp(store: Store, unit: Unit) -> Stamp:
    """Times and file numbers of a unit's record and failure."""
    return _file_stamp(store.record_path(unit.id)), _file_stamp(store.failure_path(unit.id))


def written(store: Store, unit: Unit, survey: Survey) -> bool:
    """Whether a unit has a record, and one that was written since the survey."""
    record, _ = stamp(store, unit)
    return record != survey.stamps[unit.key][0] and store.find(unit.id, unit.key) is not None


def _file_stamp(path: Path) -> object:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_mtime_ns, found.st_ino
