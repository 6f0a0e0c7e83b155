"""Verify what a record says besides images and values: its method, its data, its trainings."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from xbench.core.checks import Check
from xbench.harness import trainings
from xbench.harness.facts import data_facts, method_facts
from xbench.harness.inputs import Inputs
from xbench.harness.plan import Plan, Unit
from xbench.methods.base import Method, Training
from xbench.records.schema import Record

#: Fields that other checks compare, or that the plan is made from.
ELSEWHERE = {"train_seconds", "weights_sha256", "given", "assignments"}
#: Seconds of a training may differ from those of its log by rounding.
SECONDS = 0.01


def verify_facts(
    todo: Plan, unit: Unit, record: Record, method: Method, inputs: Inputs
) -> list[Check]:
    """Checks of method, data and trainings, and a word on what no one can check.

    Args:
        todo: the plan of the record's unit, as it would be made today.
        unit: the unit.
        record: what is to be verified.
        method: of the unit, without its weights.
        inputs: what the method of the unit is given.
    """
    own = method_facts(unit.entry, {}, method.cost())
    data = data_facts(todo, inputs.domain, inputs.rows)
    found = trainings.folders(todo, unit.entry, method, [unit.id.pair], unit.seed)
    return [
        _compared("method", record.method, own),
        _compared("data", record.data, data),
        *([_trainings(record, found)] if found or record.method.weights_sha256 else []),
        _times(record),
    ]


def _compared(check: str, stored: BaseModel, today: BaseModel) -> Check:
    """Whether the facts of a record are those that it would have today."""
    then, now = (model.model_dump(mode="json", exclude=ELSEWHERE) for model in (stored, today))
    wrong = [name for name in now if then[name] != now[name]]
    if wrong:
        note = f"{wrong[0]} is {_short(then[wrong[0]])}, found {_short(now[wrong[0]])}"
        more = f", and {len(wrong) - 1} more differ" if len(wrong) > 1 else ""
        return Check(check, "differs", note + more)
    return Check(check, "same", f"{len(now)} facts")


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) < 60 else f"{text[:60]}…"


def _trainings(record: Record, found: Sequence[tuple[Training, Path]]) -> Check:
    """Whether the trainings are whole and those of the record, and took as long as it says."""
    known = record.method.weights_sha256
    if set(known) != {folder.name for _, folder in found}:
        return Check("training", "differs", "the record names other trainings than it needs")
    seconds = 0.0
    for training, folder in found:
        log = trainings.read_log(folder, training, repair=False)
        if log is None:
            if (folder / "training.json").exists():
                return Check("training", "differs", f"the weights in {folder.name} are damaged")
            return Check("training", "not verified", f"the training {folder.name} is not there")
        if known[folder.name] != log.weights_sha256:
            note = f"the training {folder.name} was repeated: it has other weights"
            return Check("training", "not verified", note)
        seconds += log.seconds
    said = record.method.train_seconds or 0.0
    if not math.isclose(said, seconds, abs_tol=SECONDS):
        return Check("training", "differs", f"it took {seconds:.1f} s, not {said:.1f}")
    return Check("training", "same", f"{len(found)} with the weights and seconds of the record")


def _times(record: Record) -> Check:
    """Times and machine are the record's word; only what cannot be is found."""
    trained, images = record.method.train_seconds, record.method.train_images
    impossible = [name for name, value in record.seconds.items() if value == 0]
    if bool(trained) != bool(images):
        impossible.append("train_seconds")
    if impossible:
        return Check("times", "differs", f"cannot be: {', '.join(impossible)}")
    return Check("times", "not verified", "seconds and machine are the record's word")
