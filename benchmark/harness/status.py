"""The states of the units of a plan or of a results folder. No code of a plug-in is run."""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import permutations
from pathlib import Path
from typing import Any, Literal

from xbench.core.errors import UserError
from xbench.core.locks import SILENCE, Held, held
from xbench.core.settings import parse
from xbench.harness import plan
from xbench.harness.plan import Plan, Unit
from xbench.harness.request import request
from xbench.records.freshness import difference, setup_of, why_not_in_row, why_stale
from xbench.records.schema import Failure, Record
from xbench.records.store import Records, Store, UtilityStore, read
from xbench.records.units import UnitId

State = Literal["done", "failed", "missing", "stale", "running"]
STATES: tuple[State, ...] = ("done", "failed", "missing", "stale", "running")


@dataclass(frozen=True)
class UnitState:
    """The state of a unit.

    Attributes:
        unit: label of its row, seed, source and target.
        state: done; failed; missing; stale (made by another version, configuration or data set);
            running (a live process holds its lock).
        reason: why it is stale, or the last line of the traceback.
        traceback: of a failure.
    """

    unit: UnitId
    state: State
    reason: str = ""
    traceback: str = ""


def of_plan(todo: Plan, store: Records[Any] | None = None, kind: str = "") -> list[UnitState]:
    """The state of each unit of a plan.

    Args:
        todo: the plan.
        store: where its records go; by default those of runs.
        kind: see `running`.
    """
    store = store or Store(todo.folder)
    busy = running(todo.folder, kind)
    return [_state(store, unit, busy) for unit in todo.units]


def of_folder(folder: Path, dataset: str = "") -> list[UnitState]:
    """The states of all units in a results folder, missing units of its rows included.

    Records of built-in methods are compared with the units that these would have today, other
    records with the newest of their row.

    Args:
        folder: `<out>/<dataset>/<profile>`.
        dataset: as for `--dataset`; by default the name in the records.
    """
    store = Store(folder)
    records = {record.unit: record for record in store.records()}
    stale = _stale(list(records.values()), folder, dataset)
    busy = running(folder)
    found: dict[UnitId, UnitState] = {}
    for unit in records:
        state: State = "running" if unit.path in busy else "stale" if unit in stale else "done"
        found[unit] = UnitState(unit, state, stale.get(unit, ""))
    for _, failure in store.failures():
        unit = failure.unit
        if unit not in found or found[unit].state == "stale":
            state = "running" if unit.path in busy else "failed"
            found[unit] = UnitState(unit, state, _last_line(failure), failure.traceback)
    return [*found.values(), *_missing(found, records.values())]


def of_utility(folder: Path) -> list[UnitState]:
    """The states of units of `xbench utility` below a results folder, pairs that lack a row too."""
    store, busy = UtilityStore(folder), running(folder, UtilityStore.name)
    found = {record.unit: UnitState(record.unit, "done") for record in store.records()}
    for _, failure in store.failures():
        unit = failure.unit
        found.setdefault(unit, UnitState(unit, "failed", _last_line(failure), failure.traceback))
    # Whoever measures a row measures it for the pairs of the others.
    rows = dict.fromkeys((unit.label, unit.seed) for unit in found)
    pairs = dict.fromkeys(unit.pair for unit in found)
    for unit in (UnitId(*row, *pair) for row in rows for pair in pairs):
        found.setdefault(unit, UnitState(unit, "missing"))
    return as_utility(
        UnitState(unit, "running") if unit.path in busy else state for unit, state in found.items()
    )


def as_utility(found: Iterable[UnitState]) -> list[UnitState]:
    """States of units of utility, whose rows are called `LABEL (utility)`."""
    return [
        replace(state, unit=state.unit._replace(label=f"{state.unit.label} (utility)"))
        for state in found
    ]


def failed_units(store: Store, units: Sequence[Unit]) -> list[Unit]:
    """Units that failed and have not been finished since."""
    return [
        unit for unit in units if _failure(store, unit) and store.find(unit.id, unit.key) is None
    ]


def running(folder: Path, kind: str = "") -> set[str]:
    """Names of the units below a results folder that a live process works on.

    Args:
        folder: `<out>/<dataset>/<profile>`.
        kind: of the units, as their locks are called; by default those of the folder's split.
    """
    # The val split has a folder of its own, and the locks of the other.
    split = kind or ("val" if folder.name.endswith("-val") else "test")
    home = folder.with_name(folder.name.removesuffix("-val"))
    names = [lock.name for lock in held(home / "locks") if is_alive(lock)]
    return {name.removeprefix(f"{split}/") for name in names if name.startswith(f"{split}/")}


def is_alive(lock: Held) -> bool:
    """Whether the owner of a lock still works: by its process, else by its heartbeat."""
    alive = lock.owner.alive if lock.owner else None
    return lock.seconds_since_beat < SILENCE if alive is None else alive


def rows(states: Sequence[UnitState]) -> list[dict[str, Any]]:
    """One line per row of the leaderboard: numbers of units by state, and the reasons."""
    lines = []
    for label in dict.fromkeys(state.unit.label for state in states):
        own = [state for state in states if state.unit.label == label]
        counts = Counter(state.state for state in own)
        reasons = dict.fromkeys(state.reason for state in own if state.reason)
        line: dict[str, Any] = {"method": label, **{state: counts[state] for state in STATES}}
        lines.append(line | {"note": "; ".join(reasons)})
    return lines


def units(states: Sequence[UnitState]) -> list[dict[str, Any]]:
    """The units, for programs."""
    return [
        {**state.unit._asdict(), "state": state.state, "reason": state.reason}
        | {"traceback": state.traceback}
        for state in states
    ]


def _state(store: Records[Any], unit: Unit, busy: set[str]) -> UnitState:
    """The state of a planned unit."""
    record = read(store.record_path(unit.id), store.kind)
    stale = record and why_stale(record, unit.key, unit.setup)
    if unit.id.path in busy:
        return UnitState(unit.id, "running")
    if record is not None and not stale:
        return UnitState(unit.id, "done")
    failure = _failure(store, unit)
    if failure:
        return UnitState(unit.id, "failed", _last_line(failure), failure.traceback)
    return UnitState(unit.id, "stale", stale) if stale else UnitState(unit.id, "missing")


def _failure(store: Records[Any], unit: Unit) -> Failure | None:
    """The failure of a unit, unless it was that of another version of it."""
    failure = read(store.failure_path(unit.id), Failure)
    return failure if failure and failure.key == unit.key else None


def _last_line(failure: Failure) -> str:
    lines = failure.traceback.strip().splitlines()
    return lines[-1] if lines else ""


def _stale(records: Sequence[Record], folder: Path, dataset: str) -> dict[UnitId, str]:
    """The units whose records are out of date, and why."""
    if not records:
        return {}
    in_order = sorted(records, key=lambda record: record.finished)
    today = _data_key(in_order[-1], dataset)
    newest = {record.method.label: record for record in in_order}
    stale: dict[UnitId, str] = {}
    for record in records:
        wanted = setup_of(record)._replace(data=today or in_order[-1].data.key)
        reason = difference(setup_of(record), wanted) or why_not_in_row(
            record, newest[record.method.label]
        )
        if reason:
            stale[record.unit] = reason
    if today:
        for same in _alike(records):
            stale |= _outdated(same, folder, dataset)
    return stale


def _data_key(record: Record, dataset: str) -> str | None:
    """The key of a record's data set today; None where that is not known."""
    try:
        wanted = request([record], Path(), "identity", dataset)
        return plan.make(replace(wanted, settings=parse(record.data.assignments))).dataset.key
    except UserError:
        return None


def _alike(records: Sequence[Record]) -> list[list[Record]]:
    """Records that differ in seed and pair alone."""
    groups: dict[tuple[object, ...], list[Record]] = {}
    for record in records:
        method, data = record.method, record.data
        # A reference row comes with others, each planned by itself.
        given = (method.name, method.label, method.given, *method.assignments)
        groups.setdefault((given, *data.assignments), []).append(record)
    return list(groups.values())


def _outdated(same: Sequence[Record], folder: Path, dataset: str) -> dict[UnitId, str]:
    """The stale ones among records that differ in seed and pair alone, and why."""
    try:
        wanted = request(same, folder.parents[1], dataset=dataset)
    except UserError:  # a plug-in, or images of another program: nothing to compare with
        return {}
    try:
        todo = plan.make(wanted)
    except UserError as error:
        return {record.unit: str(error).splitlines()[0] for record in same}
    today = {unit.id: unit for unit in todo.units}
    found: dict[UnitId, str] = {}
    for record in same:
        unit = today.get(record.unit)
        if unit is None:
            found[record.unit] = f"its row is called {_label_today(todo, record)} today"
        elif reason := why_stale(record, unit.key, unit.setup):
            found[record.unit] = reason
    return found


def _label_today(todo: Plan, record: Record) -> str:
    labels = [e.label for e in todo.entries if e.name == record.method.name]
    return ", ".join(labels) or "otherwise"


def _missing(found: Collection[UnitId], records: Collection[Record]) -> list[UnitState]:
    """Missing units per row and seed."""
    domains: list[str] = next((record.data.domains for record in records), [])
    rows_and_seeds = dict.fromkeys((unit.label, unit.seed) for unit in found)
    units = [
        UnitId(label, seed, *pair)
        for label, seed in rows_and_seeds
        for pair in permutations(domains, 2)
    ]
    return [UnitState(unit, "missing") for unit in units if unit not in found]
