"""What became of the units of a results folder or of a plan. No code of a plug-in is run."""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import permutations
from pathlib import Path
from typing import Any, Literal

from xbench import commands, plan
from xbench.errors import UserError
from xbench.locks import SILENCE, Held, held
from xbench.plan import Plan, Unit
from xbench.store import Failure, Record, Store, file_name_of, name_of_record, read, unit_file
from xbench.views.leaderboard import row_identity

State = Literal["done", "failed", "missing", "stale", "running"]
STATES: tuple[State, ...] = ("done", "failed", "missing", "stale", "running")


@dataclass(frozen=True)
class UnitState:
    """What became of a unit.

    Attributes:
        label: of its row.
        seed: of the unit.
        source: domain that is translated.
        target: domain that is aimed at.
        state: done; failed; missing; stale: there, but made by another version, configuration or
            data set; running: a live process holds its lock.
        reason: why it is stale, or the last line of the traceback.
        traceback: of a failure.
    """

    label: str
    seed: int
    source: str
    target: str
    state: State
    reason: str = ""
    traceback: str = ""


def of_plan(todo: Plan) -> list[UnitState]:
    """The state of each unit of a plan."""
    store = Store(todo.folder)
    busy = running(todo.folder)
    return [_state(store, unit, busy) for unit in todo.units]


def of_folder(folder: Path, dataset: str = "") -> list[UnitState]:
    """The states of what lies in a results folder, and of what its rows lack.

    Records of built-in methods are compared with what these would make today. Of others it is
    known whether the data set and the rest of their row agree.

    Args:
        folder: `<out>/<dataset>/<profile>`.
        dataset: what the user gives to `--dataset`; found by the records' names if left out.
    """
    store = Store(folder)
    records = {name_of_record(record): record for record in store.records()}
    stale = _stale(list(records.values()), folder, dataset)
    busy = running(folder)
    found: dict[str, UnitState] = {}
    for name, record in records.items():
        state: State = "running" if name in busy else "stale" if name in stale else "done"
        place = (record.method.label, record.seed, record.source, record.target)
        found[name] = UnitState(*place, state, stale.get(name, ""))
    for _, failure in store.failures():
        place = (failure.label, failure.seed, failure.source, failure.target)
        name = unit_file(*place)
        if name not in found or found[name].state == "stale":
            state = "running" if name in busy else "failed"
            found[name] = UnitState(*place, state, _last_line(failure), failure.traceback)
    return [*found.values(), *_lacking(found, records.values())]


def failed_units(store: Store, units: Sequence[Unit]) -> list[Unit]:
    """Those of some units that failed, as they are now, and have not been done since."""
    return [unit for unit in units if _failure(store, unit) and store.find(unit) is None]


def running(folder: Path) -> set[str]:
    """Names of the units below a results folder that a live process works on."""
    # The val split has a folder of its own, and the locks of the other.
    split = "val" if folder.name.endswith("-val") else "test"
    home = folder.with_name(folder.name.removesuffix("-val"))
    names = [lock.name for lock in held(home / "locks") if is_alive(lock)]
    return {name.removeprefix(f"{split}/") for name in names if name.startswith(f"{split}/")}


def is_alive(lock: Held) -> bool:
    """Whether the owner of a lock still works, as far as can be told from here."""
    alive = lock.owner.alive if lock.owner else None
    return lock.seconds_since_beat < SILENCE if alive is None else alive


def rows(states: Sequence[UnitState]) -> list[dict[str, Any]]:
    """One line per row of the leaderboard: how many units are in which state, and why."""
    lines = []
    for label in dict.fromkeys(unit.label for unit in states):
        own = [unit for unit in states if unit.label == label]
        counts = Counter(unit.state for unit in own)
        reasons = dict.fromkeys(unit.reason for unit in own if unit.reason)
        line: dict[str, Any] = {"method": label, **{state: counts[state] for state in STATES}}
        lines.append(line | {"note": "; ".join(reasons)})
    return lines


def units(states: Sequence[UnitState]) -> list[dict[str, Any]]:
    """The units, for programs."""
    return [asdict(unit) for unit in states]


def _state(store: Store, unit: Unit, busy: set[str]) -> UnitState:
    """The state of a planned unit."""
    place = (unit.entry.label, unit.seed, unit.source, unit.target)
    record = read(store.record_path(unit), Record)
    done = record is not None and record.key == unit.key
    if file_name_of(unit) in busy:
        return UnitState(*place, "running")
    if done:
        return UnitState(*place, "done")
    failure = _failure(store, unit)
    if failure:
        return UnitState(*place, "failed", _last_line(failure), failure.traceback)
    if record is not None:
        return UnitState(*place, "stale", difference(record, unit))
    return UnitState(*place, "missing")


def difference(record: Record, unit: Unit, dataset_key: str = "") -> str:
    """In what a record differs from the unit that it should be of.

    Args:
        record: with another key.
        unit: as it is planned today.
        dataset_key: of the plan; if left out, data are taken to be the same.
    """
    made, entry = record.method, unit.entry
    if dataset_key and record.data.key != dataset_key:
        return f"made with the data {record.data.key}, now {dataset_key}"
    if made.version != entry.version:
        return f"made by version {made.version[:12]}, now {entry.version[:12]}"
    if made.train_images != entry.train_images:
        return f"trained on {made.train_images} images, now {entry.train_images}"
    config = entry.config.shown()
    changed = [n for n in {**made.config, **config} if made.config.get(n) != config.get(n)]
    if changed:
        return f"made with other settings: {', '.join(changed)}"
    return "made with another key (data, seed, or what a setting names)"


def _failure(store: Store, unit: Unit) -> Failure | None:
    """The failure of a unit, unless it was that of another version of it."""
    failure = read(store.failure_path(unit), Failure)
    return failure if failure and failure.key == unit.key else None


def _last_line(failure: Failure) -> str:
    lines = failure.traceback.strip().splitlines()
    return lines[-1] if lines else ""


def _stale(records: Sequence[Record], folder: Path, dataset: str) -> dict[str, str]:
    """Names of the units whose records are out of date, and why."""
    if not records:
        return {}
    in_order = sorted(records, key=lambda record: record.finished)
    today = _data_key(in_order[-1], dataset)
    key = today or in_order[-1].data.key
    newest = {record.method.label: record for record in in_order}
    stale: dict[str, str] = {}
    for record in records:
        name = name_of_record(record)
        if record.data.key != key:
            stale[name] = f"made with the data {record.data.key}, now {key}"
        elif row_identity(record) != row_identity(newest[record.method.label]):
            stale[name] = "made by another version or configuration than the rest of its row"
    if today:
        for same in _alike(records):
            stale |= _outdated(same, folder, dataset)
    return stale


def _data_key(record: Record, dataset: str) -> str | None:
    """The key of a record's data set today; None where that is not known."""
    try:
        request = commands.request([record], Path(), "identity", dataset)
        return plan.make(replace(request, assignments=record.data.assignments)).dataset.key
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


def _outdated(same: Sequence[Record], folder: Path, dataset: str) -> dict[str, str]:
    """Which of alike records a built-in method would make in another way today."""
    try:
        request = commands.request(same, folder.parents[1], dataset=dataset)
    except UserError:  # a plug-in, or images of another program: nothing to compare with
        return {}
    try:
        todo = plan.make(request)
    except UserError as error:
        return {name_of_record(record): str(error).splitlines()[0] for record in same}
    today = {file_name_of(unit): unit for unit in todo.units}
    found = {}
    for record in same:
        name = name_of_record(record)
        unit = today.get(name)
        if unit is None:
            found[name] = f"today its row is called {_label_today(todo, record)}"
        elif unit.key != record.key:
            found[name] = difference(record, unit, todo.dataset.key)
    return found


def _label_today(todo: Plan, record: Record) -> str:
    labels = [e.label for e in todo.entries if e.name == record.method.name]
    return ", ".join(labels) or "otherwise"


def _lacking(found: dict[str, UnitState], records: Collection[Record]) -> list[UnitState]:
    """What rows lack of the seeds that they have."""
    domains: list[str] = next((record.data.domains for record in records), [])
    seeds: dict[tuple[str, int], None] = {(u.label, u.seed): None for u in found.values()}
    return [
        UnitState(label, seed, source, target, "missing")
        for label, seed in seeds
        for source, target in permutations(domains, 2)
        if unit_file(label, seed, source, target) not in found
    ]
