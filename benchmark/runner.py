"""Does what a plan says: trains, translates, scores, and stores unit by unit.

Any number of processes may do one plan together: see `xbench.locks`.
"""

import os
import sys
import time
import traceback
from collections.abc import Sequence
from contextlib import ExitStack, suppress

import numpy as np
import torch

from xbench import facts, processes, survey
from xbench.datasets.registry import check_names
from xbench.deadline import deadline
from xbench.display import Display
from xbench.errors import UserError, full_disk
from xbench.files import home, sweep_parts
from xbench.guard import undisturbed
from xbench.locks import POLL, Busy, Locks
from xbench.methods.base import Method
from xbench.metrics.base import METRICS
from xbench.plan import Entry, Plan, Unit
from xbench.provenance import provenance
from xbench.scoring import Scorer
from xbench.settings import file_name
from xbench.store import (
    DataFacts,
    Failure,
    Record,
    Store,
    Value,
    file_name_of,
    from_pixels,
    pixels_digest,
    to_pixels,
)
from xbench.survey import Survey
from xbench.trainings import Trained
from xbench.translation import family, fix_numerics, translate, translate_path


def pick_device(name: str) -> torch.device:
    """`auto`, or a device of torch that is there."""
    # Before CUDA starts: without it cuBLAS may sum in another order from run to run.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    if name == "auto":
        if not torch.cuda.is_available():
            return torch.device("cpu")
        # Each of several processes takes the card that its launcher gave it.
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise UserError(
            f"the device '{name}' is not there",
            f"expected: auto, cpu{', cuda' if torch.cuda.is_available() else ''}",
            "try: --device auto",
        ) from error
    return device


class Runner:
    """Runs one plan."""

    def __init__(self, plan: Plan, device: torch.device, display: Display) -> None:
        self.plan = plan
        self.device = device
        self.display = display
        self.timeout: float | None = None
        self.store = Store(plan.folder)
        self.scorer = Scorer(plan.dataset, plan.split, device)
        # Of all splits, since these share trainings.
        self.locks = Locks(plan.trainings.parent / "locks")
        fix_numerics(device, plan.profile.threads)

    def run(self, todo: Survey, timeout: float | None = None) -> list[Unit]:
        """Do what is left, beside other processes.

        Args:
            todo: what is left, of this runner's plan.
            timeout: seconds that one translation of a source to one target may take.

        Returns:
            The units that failed, here or in another process.

        Raises:
            UserError: a domain has no images.
        """
        self.timeout = timeout
        self.display.total = len(todo.translate) + len(todo.rescore)
        # Also where nothing is left to do: who did the last unit may have been killed then.
        self.locks.sweep()
        sweep_parts(self.plan.trainings.parent)
        sweep_parts(self.plan.folder)
        if not self.display.total:
            return []
        with self.locks:
            with processes.first_before_others(self.device):
                self._prepare_data()
            self._check_split()
            together = self._train_together(todo) if processes.number() > 1 else {}
            return self._work(todo, together) if processes.is_first() else []

    def _prepare_data(self) -> None:
        """One process makes the data ready; others wait, and find them."""
        with ExitStack() as stack:
            with suppress(OSError):  # a cache that may only be read needs no lock
                locks = stack.enter_context(Locks(home() / "locks"))
                stack.enter_context(locks.hold(file_name(self.plan.dataset.key)))
            self.plan.dataset.prepare(self.display.data)

    def _work(self, todo: Survey, together: dict[tuple[str, int], Trained]) -> list[Unit]:
        """Block by block; what others hold is looked at again when all else is done."""
        failed: list[Unit] = []
        blocks = _blocks([*todo.rescore, *todo.translate], self.plan.dataset.domains)
        # Only the last method that was needed is kept in memory.
        last: dict[tuple[str, int], Trained] = {}
        while blocks:
            left = []
            for units in blocks:
                row = _row(units[0])
                if row not in together and row not in last:
                    last.clear()
                rest = self._do_block(todo, units, together if row in together else last, failed)
                if rest:
                    left.append(rest)
            if len(left) == len(blocks):
                self.display.waiting(left[0][0])
                time.sleep(POLL)
            blocks = left
        return failed

    def _do_block(
        self,
        todo: Survey,
        units: list[Unit],
        trained: dict[tuple[str, int], Trained],
        failed: list[Unit],
    ) -> list[Unit]:
        """Do those units of one source that nobody else holds; return the others."""
        locks = [f"{self.plan.split}/{file_name_of(unit)}" for unit in units]
        held = [self.locks.take(lock) for lock in locks]
        busy: list[Unit] = []
        try:
            mine = [unit for unit, taken in zip(units, held, strict=True) if taken]
            mine = [unit for unit in mine if not self._done_elsewhere(todo, unit, failed)]
            mine = [unit for unit in mine if not self._filled(todo, unit, failed)]
            if mine:
                busy = self._do_source(mine, trained, failed)
        finally:
            for lock, taken in zip(locks, held, strict=True):
                if taken:
                    self.locks.release(lock)
        return [u for u, taken in zip(units, held, strict=True) if not taken or u in busy]

    def _done_elsewhere(self, todo: Survey, unit: Unit, failed: list[Unit]) -> bool:
        """Whether another process did a unit, or failed in it, since the survey."""
        if survey.stamp(self.store, unit) == todo.stamps[unit.key]:
            return False
        record = self.store.find(unit)
        if record is not None:
            self.display.unit(unit, record)
        elif self.store.failure_path(unit).exists():
            failed.append(unit)
        else:
            return False
        return True

    def _filled(self, todo: Survey, unit: Unit, failed: list[Unit]) -> bool:
        """Fill a unit's empty metrics, if that is all it needs; False if it must be translated."""
        if unit.key not in todo.fillable:
            return False
        try:
            return self._rescore(unit)
        except Exception:
            failed.append(self.fail(unit))
            return True

    def _check_split(self) -> None:
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

    def _train_together(self, todo: Survey) -> dict[tuple[str, int], Trained]:
        """All trainings before anything else: then the first process can go on alone."""
        found = {}
        for unit in todo.translate:
            row, method = _row(unit), unit.entry.method
            if row not in found and method is not None and method.needs_training:
                with suppress(UserError):  # said again when its units are due
                    found[row] = self._trained(unit.entry, unit.seed)
                    found[row].share()
        return found

    def _make_method(self, entry: Entry) -> Method | None:
        return survey.make_method(self.plan, entry, self.device)

    def _trained(self, entry: Entry, seed: int) -> Trained:
        method = self._make_method(entry)
        return Trained(self.plan, entry, method, seed, self.display, self.locks)

    def _do_source(
        self, units: list[Unit], kept: dict[tuple[str, int], Trained], failed: list[Unit]
    ) -> list[Unit]:
        """Train what one source needs, translate it to all targets, score and store each unit.

        Returns:
            Units that wait for a training of another process.
        """
        row = _row(units[0])
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
            self._translate_and_store(trained, ready, failed)
        return busy

    def _translate_and_store(self, trained: Trained, units: list[Unit], failed: list[Unit]) -> None:
        try:
            began = time.perf_counter()
            with deadline(self.timeout and self.timeout * len(units)), undisturbed():
                pixels = self._translate(trained, units)
            seconds = (time.perf_counter() - began) / len(units)
        except Exception:
            failed += [self.fail(unit) for unit in units]
            return
        # What values of a knob took together says of none what it takes alone.
        alone = len({unit.entry.label for unit in units}) == 1
        what = "translate" if alone else "translate_together"
        for unit in units:
            try:
                own = trained.sibling(unit.entry, self._make_method)
                self._store_unit(own, unit, pixels[unit.key], {what: seconds})
            except Exception:
                failed.append(self.fail(unit))

    def _translate(self, trained: Trained, units: list[Unit]) -> dict[str, np.ndarray]:
        """Pixels uint16 `[n, H, W]` of units of one source, by key."""
        method = trained.method
        if method is None:
            return {unit.key: self._floor(unit.target) for unit in units}
        dataset, split, source = self.plan.dataset, self.plan.split, units[0].source
        images, ids = dataset.images(split, source), dataset.ids(split, source)
        targets = list(dict.fromkeys(unit.target for unit in units))
        limits = {"seed": units[0].seed, "batch": self.plan.profile.batch}
        if {unit.entry.label for unit in units} == {trained.entry.label}:
            found = translate(method, images, ids, source, targets, **limits)
            return {unit.key: found[unit.target] for unit in units}
        # Rows that differ in the knob alone share what they can, and the method of one of them.
        values = {unit.key: getattr(unit.entry.config, str(method.knob)) for unit in units}
        wanted = list(dict.fromkeys(values.values()))
        path = translate_path(method, images, ids, source, targets, wanted, **limits)
        return {unit.key: path[values[unit.key], unit.target] for unit in units}

    def _floor(self, target: str) -> np.ndarray:
        """The second exposure of the target views, or the first half of them."""
        dataset, split = self.plan.dataset, self.plan.split
        repeats = dataset.repeats(split, target)
        if repeats is None:
            return to_pixels(dataset.images(split, target)[self.scorer.halves(target)[0]])
        return to_pixels(repeats[:])

    def _score(
        self, unit: Unit, pixels: np.ndarray, only: Sequence[str] | None = None
    ) -> dict[str, Value]:
        """Values of metrics of what a unit made."""
        halves = self.scorer.halves(unit.target) if self._is_half(unit) else None
        return self.scorer.score(from_pixels(pixels), unit.source, unit.target, only, halves)

    def _is_half(self, unit: Unit) -> bool:
        """Whether a unit is the floor of data without second exposures."""
        return unit.entry.method is None and not self.plan.dataset.repeated(self.plan.split)

    def _store_unit(
        self, trained: Trained, unit: Unit, pixels: np.ndarray, seconds: dict[str, float]
    ) -> None:
        """Score a unit's images as they will be stored, and store them."""
        data = self._data_facts(unit)
        began = time.perf_counter()
        values = self._score(unit, pixels)
        record = Record(
            key=unit.key,
            method=facts.method_facts(unit.entry, trained.logs(unit), trained.cost),
            data=data,
            profile=self.plan.profile.name,
            seed=unit.seed,
            source=unit.source,
            target=unit.target,
            metrics=values,
            polarity=self._polarity(unit, pixels),
            images_sha256=pixels_digest(pixels),
            seconds=seconds | {"score": time.perf_counter() - began},
            provenance=provenance(str(self.device)),
            finished=facts.now(),
        )
        self.store.write_unit(unit, record, pixels)
        self.display.unit(unit, record)

    def _polarity(self, unit: Unit, pixels: np.ndarray) -> float | None:
        """Correlation with the source; the floor of data that are not aligned has none."""
        if unit.entry.method is None and (
            self._is_half(unit) or not self.plan.dataset.aligned(self.plan.split)
        ):
            return None
        return self.scorer.polarity(from_pixels(pixels), unit.source)

    def _rescore(self, unit: Unit) -> bool:
        """Fill in metrics whose requirements are met by now; False if the images are damaged."""
        record = self.store.find(unit)
        assert record is not None
        try:
            pixels = self.store.read_images(unit, record.data.ids)
        except (OSError, ValueError):
            return False
        if pixels_digest(pixels) != record.images_sha256:
            return False
        wanted = [name for name in METRICS if not survey.is_final(record, name)]
        record.metrics |= self._score(unit, pixels, wanted)
        self.store.write_record(unit, record)
        self.display.unit(unit, record)
        return True

    def _data_facts(self, unit: Unit) -> DataFacts:
        """Which images the unit's are; the floor shows the target's own."""
        shown = unit.target if unit.entry.method is None else unit.source
        rows = self.scorer.halves(unit.target)[0] if self._is_half(unit) else None
        return facts.data_facts(self.plan, shown, rows)

    def fail(self, unit: Unit) -> Unit:
        """Record the exception being handled and go on.

        Raises:
            UserError: the disk is full: so would be all other units.
        """
        full = full_disk(sys.exc_info()[1])
        if full:
            raise full
        text = traceback.format_exc()
        self.store.write_failure(
            unit,
            Failure(
                key=unit.key,
                label=unit.entry.label,
                seed=unit.seed,
                source=unit.source,
                target=unit.target,
                traceback=text,
                finished=facts.now(),
            ),
        )
        self.display.failed(unit, text)
        return unit


def _row(unit: Unit) -> tuple[str, int]:
    """What units have in common that are translated by one trained method."""
    return family(unit.entry), unit.seed


def _blocks(units: list[Unit], domains: Sequence[str]) -> list[list[Unit]]:
    """Units of one row and source: they share an encoding, and are done together.

    Targets begin behind the source: workers at different sources then come to a target one after
    the other, and find the features of its true images.
    """
    place = {domain: k for k, domain in enumerate(domains)}

    def behind_source(unit: Unit) -> int:
        return (place[unit.target] - place[unit.source]) % len(domains)

    rows: dict[tuple[str, int], dict[str, list[Unit]]] = {}
    for unit in units:
        rows.setdefault(_row(unit), {}).setdefault(unit.source, []).append(unit)
    return [sorted(b, key=behind_source) for sources in rows.values() for b in sources.values()]
