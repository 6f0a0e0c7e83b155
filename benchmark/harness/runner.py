"""The runner of a plan: trains, translates, scores and stores unit by unit."""

import os
import time
from collections.abc import Sequence
from contextlib import suppress

import torch

from xbench.core import processes
from xbench.core.errors import UserError
from xbench.core.isolation import undisturbed
from xbench.core.pixels import Pixels, from_pixels, pixels_digest
from xbench.core.registry import warn
from xbench.harness import facts, teamwork
from xbench.harness.blocks import Blocks, row_of
from xbench.harness.deadline import deadline
from xbench.harness.inputs import Inputs, inputs_of
from xbench.harness.pending import Pending
from xbench.harness.plan import Plan, Unit
from xbench.harness.progress import Display
from xbench.harness.trainings import Trained
from xbench.harness.translation import translate, translate_path
from xbench.metrics.base import METRICS
from xbench.records.freshness import is_final
from xbench.records.schema import Record
from xbench.records.store import Store
from xbench.scoring.scorer import Scorer


def pick_device(name: str) -> torch.device:
    """`auto`, or a device of torch that is there."""
    if processes.note():
        warn(processes.note())
    # Before CUDA starts: without it cuBLAS may sum in another order from run to run.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    if name == "auto":
        if not torch.cuda.is_available():
            return torch.device("cpu")
        # Each of several processes takes the card that its launcher gave it.
        return torch.device("cuda", processes.card())
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise UserError(
            f"the device '{name}' is not there",
            f"expected: auto, cpu{', cuda' if torch.cuda.is_available() else ''}",
            f"try: --device auto{' (xbench doctor says why no GPU is there)' * (name != 'cpu')}",
        ) from error
    return device


class Runner(Blocks):
    """Runs one plan."""

    store: Store

    def __init__(self, plan: Plan, device: torch.device, display: Display) -> None:
        super().__init__(plan, device, display)
        self.store, self.kind = Store(plan.folder), plan.split
        self.scorer = Scorer(plan.dataset, plan.split, device)

    def say(self, record: Record) -> None:
        """See `Blocks`."""
        self.display.unit(record)

    def filled(self, todo: Pending, unit: Unit, failed: list[Unit]) -> bool:
        """Score a unit again if that is all that it needs; False if it must be translated."""
        if unit.key not in todo.fillable:
            return False
        try:
            return self._rescore(unit)
        except Exception:
            failed.append(self.fail(unit))
            return True

    def finish(self, trained: Trained, units: list[Unit], failed: list[Unit]) -> None:
        """Translate a source to some targets, score and store."""
        try:
            began = time.perf_counter()
            with undisturbed():
                shared = self.together.get(row_of(units[0])) is trained
                if shared and trained.method.given == "source":
                    teamwork.broadcast([unit.name for unit in units])
                    pixels = self._part(trained, units)
                else:
                    pixels = self._translate(trained, units)
            seconds = (time.perf_counter() - began) / len(units)
        except Exception:
            failed += [self.fail(unit) for unit in units]
            return
        # The time of several values of a knob together is the time of none of them alone.
        alone = len({unit.entry.label for unit in units}) == 1
        what = "translate" if alone else "translate_together"
        for unit in units:
            try:
                self._store_unit(trained, unit, pixels[unit.key], {what: seconds})
            except Exception:
                failed.append(self.fail(unit))

    def work_together(self, todo: Pending) -> list[Unit]:
        """The first process finishes the units, the others translate their parts when it says."""
        if processes.is_first():
            try:
                return super().work_together(todo)
            finally:
                teamwork.broadcast()
        by_name = {unit.name: unit for unit in self.plan.units}
        while names := teamwork.broadcast():
            units = [by_name[name] for name in names]
            # A failure is passed to the first process, which stores it.
            with suppress(Exception), undisturbed():
                self._part(self.together[row_of(units[0])], units)
        return []

    def _part(self, trained: Trained, units: list[Unit]) -> dict[str, Pixels]:
        """As `_translate`, together with other processes, each of which comes here."""

        def work() -> dict[str, Pixels]:
            for unit in units:
                trained.obtain(unit)  # of pairs, this process has only trained its own
            rows = teamwork.share(len(self._inputs(units[0]).ids))
            return self._translate(trained, units, rows) if rows else {}

        return teamwork.collected(work)

    def _translate(
        self, trained: Trained, units: list[Unit], rows: Sequence[int] | None = None
    ) -> dict[str, Pixels]:
        """Pixels uint16 `[n, H, W]` of units of one source, or of some of its rows, by key."""
        with deadline(self.timeout and self.timeout * len(units)):
            return self._translated(trained, units, rows)

    def _translated(
        self, trained: Trained, units: list[Unit], rows: Sequence[int] | None
    ) -> dict[str, Pixels]:
        """See `_translate`."""
        method, source = trained.method, units[0].source
        limits = {"seed": units[0].seed, "batch": self.plan.profile.batch}
        if method.given != "source":
            made: dict[str, Pixels] = {}
            for unit in units:
                given, target = self._inputs(unit), unit.target
                one = translate(method, given.images, given.ids, source, [target], **limits)
                made[unit.key] = one[target]
            return made
        inputs = self._inputs(units[0])
        images, ids = inputs.images, inputs.ids
        if rows is not None:
            images, ids = images.only(rows), [ids[row] for row in rows]
        targets = list(dict.fromkeys(unit.target for unit in units))
        if {unit.entry.label for unit in units} == {trained.entry.label}:
            found = translate(method, images, ids, source, targets, **limits)
            return {unit.key: found[unit.target] for unit in units}
        # Rows that differ in the knob alone share what they can, and the method of one of them.
        values = {unit.key: getattr(unit.entry.config, str(method.knob)) for unit in units}
        wanted = list(dict.fromkeys(values.values()))
        path = translate_path(method, images, ids, source, targets, wanted, **limits)
        return {unit.key: path[values[unit.key], unit.target] for unit in units}

    def _inputs(self, unit: Unit) -> Inputs:
        return inputs_of(self.plan, unit, self.scorer)

    def _store_unit(
        self, trained: Trained, unit: Unit, pixels: Pixels, seconds: dict[str, float]
    ) -> None:
        """Score a unit's images as they will be stored, and store them."""
        inputs, began = self._inputs(unit), time.perf_counter()
        pair, images = (unit.source, unit.target), from_pixels(pixels)
        values = self.scorer.score(images, *pair, halves=inputs.halves)
        polarity = self.scorer.polarity(images, unit.source) if inputs.shows_source else None
        record = facts.make_record(
            self.plan,
            unit.id,
            unit.key,
            facts.method_facts(unit.entry, trained.logs(unit), trained.cost(unit.entry)),
            facts.data_facts(self.plan, inputs.domain, inputs.rows),
            pixels,
            values,
            polarity,
            seconds | {"score": time.perf_counter() - began},
            str(self.device),
            facts.compute_facts(trained.method, trained.logs(unit)),
        )
        self.store.write_unit(unit.id, record, pixels)
        self.display.unit(record)

    def _rescore(self, unit: Unit) -> bool:
        """Fill in metrics whose requirements are met by now; False if the images are damaged."""
        record = self.store.find(unit.id, unit.key)
        assert record is not None
        try:
            pixels = self.store.images_of(record)
        except (OSError, ValueError):
            return False
        if pixels_digest(pixels) != record.images_sha256:
            return False
        wanted = [name for name in METRICS if not is_final(record, name)]
        halves, pair = self._inputs(unit).halves, (unit.source, unit.target)
        record.metrics |= self.scorer.score(from_pixels(pixels), *pair, wanted, halves)
        self.store.write_record(unit.id, record)
        self.display.unit(record)
        return True
