"""The loop of a runner: blocks of units that share an encoding, beside other processes.

Any number of processes may share one plan: see `xbench.core.locks`.
"""

import sys
import time
import traceback
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from typing import Any

import torch

from xbench.core import processes
from xbench.core.compute import check, lost_card
from xbench.core.errors import UserError, full_disk
from xbench.core.files import home, sweep_parts
from xbench.core.locks import POLL, Busy, Locks
from xbench.core.outside import in_words
from xbench.core.pairs import PAIRED
from xbench.core.places import without_folders
from xbench.core.settings import file_name
from xbench.datasets.registry import check_names
from xbench.harness import facts, pending
from xbench.harness.pending import Pending
from xbench.harness.plan import Entry, Plan, Unit
from xbench.harness.progress import Display
from xbench.harness.trainings import Trained, make_method
from xbench.harness.translation import family, fix_numerics
from xbench.records.folders import data_key
from xbench.records.schema import Failure
from xbench.records.store import Records
from xbench.records.units import UnitId


class Blocks(ABC):
    """Finishes the units of a plan, block by block; a child says how one is finished."""

    #: Where records go.
    store: Records[Any]
    #: Locks of this kind of units lie in a folder of this name.
    kind: str

    def __init__(self, plan: Plan, device: torch.device, display: Display) -> None:
        self.plan = plan
        self.device = device
        self.display = display
        self.timeout: float | None = None
        #: Trained methods by row, where several processes work together.
        self.together: dict[tuple[str, int], Trained] = {}
        # Of all splits, since these share trainings.
        self.locks = Locks(plan.trainings.parent / "locks")
        check(plan.compute, device)
        fix_numerics(device, plan.profile.threads)

    @abstractmethod
    def finish(self, trained: Trained, units: list[Unit], failed: list[Unit]) -> None:
        """Finish units of one row and source, whose trainings are there; add what fails."""

    @abstractmethod
    def say(self, record: Any) -> None:
        """Show that the unit of a record is done."""

    def filled(self, todo: Pending, unit: Unit, failed: list[Unit]) -> bool:
        """Whether a unit needed no translation, and is done now or has failed."""
        return False

    def run(self, todo: Pending, timeout: float | None = None) -> list[Unit]:
        """Finish the units that are left, beside other processes.

        Args:
            todo: the pending work of this runner's plan.
            timeout: seconds that one translation of a source to one target may take.

        Returns:
            The units that failed, here or in another process.

        Raises:
            UserError: a domain has no images.
        """
        self.timeout = timeout
        self.display.total = len(todo.translate) + len(todo.rescore)
        # Also where nothing is left to do: the process of the last unit may have been killed.
        self.locks.sweep()
        sweep_parts(self.plan.trainings.parent)
        sweep_parts(self.store.folder)
        if not self.display.total:
            return []
        with self.locks, ExitStack() as stack:
            with suppress(OSError):  # a cache that may only be read needs no locks
                stack.enter_context(Locks(home() / "locks"))  # until the end: it is in use
            with processes.first_before_others(self.device):
                self._prepare_data(todo)
            self.check_split()
            if processes.number() == 1:
                return self._work(todo)
            self.together = self._train_together(todo)
            return self.work_together(todo)

    def work_together(self, todo: Pending) -> list[Unit]:
        """Finish the units after all trainings; the first process alone, unless a child does."""
        return self._work(todo) if processes.is_first() else []

    def _prepare_data(self, todo: Pending) -> None:
        """One process prepares the data; others wait, and then find them."""
        with ExitStack() as stack:
            with suppress(OSError):  # a cache that may only be read needs no lock
                locks = stack.enter_context(Locks(home() / "locks"))
                stack.enter_context(locks.hold(file_name(self.plan.dataset.key)))
            self.plan.dataset.prepare(self.display.data)
            if any(unit.entry.name == PAIRED for unit in todo.translate):
                self.plan.dataset.prepare_paired(self.display.data)

    def _work(self, todo: Pending) -> list[Unit]:
        """Block by block; blocks that other processes hold are tried again at the end."""
        failed: list[Unit] = []
        blocks = _blocks([*todo.rescore, *todo.translate], self.plan.dataset.domains)
        # Only the last method that was needed is kept in memory.
        last: dict[tuple[str, int], Trained] = {}
        while blocks:
            left = []
            for units in blocks:
                row = row_of(units[0])
                if row not in self.together and row not in last:
                    last.clear()
                kept = self.together if row in self.together else last
                rest = self._do_block(todo, units, kept, failed)
                if rest:
                    left.append(rest)
            if len(left) == len(blocks):
                self.display.waiting(left[0][0].id)
                time.sleep(POLL)
            blocks = left
        return failed

    def _do_block(
        self,
        todo: Pending,
        units: list[Unit],
        trained: dict[tuple[str, int], Trained],
        failed: list[Unit],
    ) -> list[Unit]:
        """Finish those units of one source that no other process holds; return the others."""
        locks = [f"{self.kind}/{unit.id.path}" for unit in units]
        held = [self.locks.take(lock) for lock in locks]
        busy: list[Unit] = []
        try:
            mine = [unit for unit, taken in zip(units, held, strict=True) if taken]
            mine = [unit for unit in mine if not self._done_elsewhere(todo, unit, failed)]
            mine = [unit for unit in mine if not self.filled(todo, unit, failed)]
            if mine:
                busy = self._do_source(mine, trained, failed)
        finally:
            for lock, taken in zip(locks, held, strict=True):
                if taken:
                    self.locks.release(lock)
        return [u for u, taken in zip(units, held, strict=True) if not taken or u in busy]

    def _done_elsewhere(self, todo: Pending, unit: Unit, failed: list[Unit]) -> bool:
        """Whether another process has finished a unit, or failed in it, since the run began.

        Raises:
            UserError: it was of another data set of the same name, which began at the same time.
        """
        if pending.stamp(self.store, unit) == todo.stamps[unit.key]:
            return False
        record = self.store.find(unit.id, unit.key)
        if record is not None:
            self.say(record)
        elif self.store.failure_path(unit.id).exists():
            failed.append(unit)
        else:
            found = data_key(self.store.record_path(unit.id))
            if found not in (None, self.plan.dataset.key):
                raise UserError(
                    f"another data set called {self.plan.dataset_label} ({found}) has begun in "
                    f"{self.plan.folder} since this run began",
                    f"expected: a folder for each; this one has the key {self.plan.dataset.key}",
                    "try: the same command again, which now takes a folder of its own",
                )
            return False
        return True

    def check_split(self) -> None:
        """Every domain must have images to translate, under names that can be files.

        Raises:
            UserError: one has none, or a name leads out of its folder.
        """
        dataset, split = self.plan.dataset, self.plan.split
        check_names(dataset, split)
        for domain in dataset.domains:
            if not dataset.ids(split, domain):
                raise UserError(
                    f"the data set {dataset.name} has no {split} images of '{domain}'",
                    "expected: one at least in every domain",
                    "try: --split test, or see: xbench data show",
                )

    def _train_together(self, todo: Pending) -> dict[tuple[str, int], Trained]:
        """All trainings before anything else: then the first process can continue alone."""
        found = {}
        for unit in todo.translate:
            row, method = row_of(unit), unit.entry.method
            if row not in found and method.needs_training:
                with suppress(UserError):  # raised again when its units are due
                    found[row] = self._trained(unit.entry, unit.seed)
                    found[row].share()
        return found

    def _trained(self, entry: Entry, seed: int) -> Trained:
        method = make_method(self.plan, entry, self.device)
        return Trained(self.plan, entry, method, seed, self.display, self.locks)

    def _do_source(
        self, units: list[Unit], kept: dict[tuple[str, int], Trained], failed: list[Unit]
    ) -> list[Unit]:
        """Translate one source to all targets and store the units; return those that must wait."""
        row = row_of(units[0])
        busy, ready = [], []
        try:
            if row not in kept:
                kept[row] = self._trained(units[0].entry, units[0].seed)
            trained = kept[row]
        except Exception:
            failed += [self.fail(unit) for unit in units]
            return []
        for unit in units:
            try:
                trained.obtain(unit)
                ready.append(unit)
            except Busy:
                busy.append(unit)
            except Exception:
                failed.append(self.fail(unit))
        if ready:
            self.finish(trained, ready, failed)
        return busy

    def fail(self, unit: Unit) -> Unit:
        """Record the exception being handled; other units go on.

        Raises:
            UserError: the disk is full: so would be all other units.
        """
        store_failure(self.store, self.display, unit.id, unit.key)
        return unit


def store_failure(store: Records[Any], display: Display, unit: UnitId, key: str) -> None:
    """Record the exception being handled as the failure of a unit.

    Raises:
        UserError: the disk is full: so would be all other units.
    """
    full = full_disk(sys.exc_info()[1])
    if full:
        raise full
    text = without_folders(in_words(traceback.format_exc())) + lost_card(sys.exc_info()[1])
    failure = Failure(key=key, **unit._asdict(), traceback=text, finished=facts.now())
    store.write_failure(unit, failure)
    display.failed(unit, text)


def row_of(unit: Unit) -> tuple[str, int]:
    """Units with the same value are translated by one trained method."""
    return family(unit.entry), unit.seed


def _blocks(units: list[Unit], domains: Sequence[str]) -> list[list[Unit]]:
    """Units by row and source: those of one block share an encoding, and are done together.

    Targets are in cyclic order from the source on, so that workers at different sources come to a
    target one after the other, and find the features of its true images in the cache.
    """
    place = {domain: k for k, domain in enumerate(domains)}

    def behind_source(unit: Unit) -> int:
        return (place[unit.target] - place[unit.source]) % len(domains)

    rows: dict[tuple[str, int], dict[str, list[Unit]]] = {}
    for unit in units:
        rows.setdefault(row_of(unit), {}).setdefault(unit.source, []).append(unit)
    return [sorted(b, key=behind_source) for sources in rows.values() for b in sources.values()]
