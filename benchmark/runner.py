"""Does what a plan says: trains, translates, scores, and stores unit by unit."""

import os
import time
import traceback
import warnings
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from xbench import facts, processes, trainings
from xbench.display import Display
from xbench.errors import UserError
from xbench.hashing import seed_from
from xbench.methods.base import Method
from xbench.metrics.base import METRICS
from xbench.plan import Entry, Plan, Unit
from xbench.provenance import provenance
from xbench.scoring import Scorer
from xbench.store import (
    DataFacts,
    Failure,
    Record,
    Store,
    Value,
    from_pixels,
    pixels_digest,
    to_pixels,
)
from xbench.trainings import Trained


@dataclass(frozen=True)
class Needed:
    """A training that is left to do."""

    objective: str
    images: int
    pairwise: bool


@dataclass
class Survey:
    """What of a plan is left to do."""

    translate: list[Unit] = field(default_factory=list)
    rescore: list[Unit] = field(default_factory=list)
    done: list[Unit] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)
    trainings: dict[Path, Needed] = field(default_factory=dict)


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
        self.store = Store(plan.folder)
        self.scorer = Scorer(plan.dataset, plan.split, device)
        # More threads than cores wait for each other.
        torch.set_num_threads(min(plan.profile.threads, processes.cores()))
        if device.type == "cuda":
            # Equal results on equal devices; what has no such algorithm only warns.
            torch.use_deterministic_algorithms(True, warn_only=True)
            torch.backends.cudnn.benchmark = False

    def survey(self, force: bool = False, fetch: bool = True) -> Survey:
        """Compare the plan with what is stored.

        Args:
            force: take nothing as done.
            fetch: get weights of metrics and move damaged trainings aside; a dry run does not.
        """
        survey = Survey(missing=self.scorer.missing(fetch))
        for unit in self.plan.units:
            record = None if force else self.store.find(unit)
            if record is None:
                survey.translate.append(unit)
            elif can_be_filled(record, survey.missing):
                survey.rescore.append(unit)
            else:
                survey.done.append(unit)
        for (entry, seed), units in _grouped(survey.translate):
            method = self._make_method(entry)
            if method is not None:
                method.check()
                pairs = [(unit.source, unit.target) for unit in units]
                found = trainings.folders(self.plan, entry, method, pairs, seed)
                if found and not method.needs_training:
                    raise UserError(
                        f"method '{entry.name}' returns trainings but declares none",
                        "expected: `needs_training = True` in its class",
                        "add that line to the class",
                    )
                for training, folder in found:
                    if (
                        folder not in survey.trainings
                        and trainings.read_log(folder, training, repair=fetch) is None
                    ):
                        objective = str(training.recipe.get("objective"))
                        survey.trainings[folder] = Needed(
                            objective, entry.train_images, training.pairs is not None
                        )
        return survey

    def run(self, survey: Survey) -> list[Unit]:
        """Do what is left; return the units that failed."""
        self.display.total = len(survey.translate) + len(survey.rescore)
        failed: list[Unit] = []
        if not (survey.translate or survey.rescore):
            return failed
        with processes.first_before_others(self.device):
            self.plan.dataset.prepare(self.display.data)
        self._check_split()
        together = self._train_together(survey) if processes.number() > 1 else {}
        if not processes.is_first():
            return failed
        damaged = []
        for unit in survey.rescore:
            try:
                if not self._rescore(unit):
                    damaged.append(unit)
            except Exception:
                failed.append(self._fail(unit))
        for (entry, seed), units in _grouped([*survey.translate, *damaged]):
            try:
                trained = together.get((entry.label, seed)) or self._trained(entry, seed)
            except Exception:
                failed += [self._fail(unit) for unit in units]
                continue
            for _, same_source in groupby(units, key=lambda unit: unit.source):
                failed += self._do_source(trained, list(same_source))
        return failed

    def _check_split(self) -> None:
        """Every domain must have images to translate.

        Raises:
            UserError: one has none.
        """
        dataset, split = self.plan.dataset, self.plan.split
        for domain in dataset.domains:
            if not dataset.ids(split, domain):
                raise UserError(
                    f"the data set {dataset.name} has no {split} images of '{domain}'",
                    "expected: one at least in every domain",
                    "try: --split test, or see: xbench data show",
                )

    def _train_together(self, survey: Survey) -> dict[tuple[str, int], Trained]:
        """All trainings before anything else: then the first process can go on alone."""
        found = {}
        for (entry, seed), _ in _grouped(survey.translate):
            if entry.method is not None and entry.method.needs_training:
                with suppress(UserError):  # said again when its units are due
                    trained = found[entry.label, seed] = self._trained(entry, seed)
                    trained.share()
        return found

    def _trained(self, entry: Entry, seed: int) -> Trained:
        return Trained(self.plan, entry, self._make_method(entry), seed, self.display)

    def _make_method(self, entry: Entry) -> Method | None:
        if entry.method is None:
            return None
        dataset = self.plan.dataset
        return entry.method(entry.config, dataset.domains, dataset.config.size, self.device)

    def _do_source(self, trained: Trained, units: list[Unit]) -> list[Unit]:
        """Train what one source needs, translate it to all targets, score and store each unit."""
        failed, ready = [], []
        for unit in units:
            try:
                trained.obtain(unit)
                ready.append(unit)
            except Exception:
                failed.append(self._fail(unit))
        if not ready:
            return failed
        try:
            began = time.perf_counter()
            pixels = self._translate(trained.method, ready)
            share = (time.perf_counter() - began) / len(ready)
        except Exception:
            return [*failed, *(self._fail(unit) for unit in ready)]
        for unit in ready:
            try:
                self._store_unit(trained, unit, pixels[unit.target], share)
            except Exception:
                failed.append(self._fail(unit))
        return failed

    def _translate(self, method: Method | None, units: list[Unit]) -> dict[str, np.ndarray]:
        """Pixels uint16 `[n, H, W]` by target."""
        dataset, split, source = self.plan.dataset, self.plan.split, units[0].source
        if method is None:
            return {unit.target: self._floor(unit.target) for unit in units}
        images, ids = dataset.images(split, source), dataset.ids(split, source)
        parts: dict[str, list[np.ndarray]] = {unit.target: [] for unit in units}
        batch, start = self.plan.profile.batch, 0
        while start < len(images):
            chosen = slice(start, start + batch)
            try:
                results = self._translate_batch(method, units, images[chosen], ids[chosen])
            except (MemoryError, RuntimeError) as error:
                if batch == 1 or not _out_of_memory(error):
                    raise
                torch.cuda.empty_cache()
                batch = max(1, batch // 2)
                warnings.warn(f"out of memory; going on with batches of {batch}", stacklevel=2)
                continue
            for target, result in results.items():
                parts[target].append(to_pixels(result))
            start += batch
        return {target: np.concatenate(part) for target, part in parts.items()}

    def _translate_batch(
        self, method: Method, units: list[Unit], images: Tensor, ids: Sequence[str]
    ) -> dict[str, Tensor]:
        """One batch to all targets; every image draws from a generator of its own."""
        generators = {
            unit.target: [
                torch.Generator(self.device).manual_seed(
                    seed_from(unit.seed, method.name, unit.source, unit.target, name)
                )
                for name in ids
            ]
            for unit in units
        }
        moved = images.to(self.device)
        targets = [unit.target for unit in units]
        results = method.translate_all(moved, units[0].source, targets, generators=generators)
        for target in targets:
            if not isinstance(results[target], Tensor):
                raise TypeError(
                    f"{method.name} returned {type(results[target]).__name__}, not a torch tensor"
                )
            if results[target].shape != moved.shape:
                raise ValueError(
                    f"{method.name} returned {tuple(results[target].shape)} "
                    f"for images {tuple(moved.shape)}"
                )
        return results

    def _floor(self, target: str) -> np.ndarray:
        """The second exposure of the target views, or the first half of them."""
        dataset, split = self.plan.dataset, self.plan.split
        repeats = dataset.repeats(split, target)
        if repeats is None:
            return to_pixels(dataset.images(split, target)[self.scorer.halves(target)[0]])
        return to_pixels(repeats[:])

    def _score(
        self, unit: Unit, pixels: np.ndarray, only: Sequence[str] = tuple(METRICS)
    ) -> dict[str, Value]:
        """Values of metrics of what a unit made."""
        halves = self.scorer.halves(unit.target) if self._is_half(unit) else None
        return self.scorer.score(from_pixels(pixels), unit.source, unit.target, only, halves)

    def _is_half(self, unit: Unit) -> bool:
        """Whether a unit is the floor of data without second exposures."""
        return unit.entry.method is None and not self.plan.dataset.repeated(self.plan.split)

    def _store_unit(self, trained: Trained, unit: Unit, pixels: np.ndarray, seconds: float) -> None:
        """Write images, score what was written, write the record last."""
        data = self._data_facts(unit)
        # An earlier record goes when its images do, not before: a failure loses nothing.
        self.store.forget(unit)
        self.store.write_images(unit, data.ids, pixels)
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
            seconds={"translate": seconds, "score": time.perf_counter() - began},
            provenance=provenance(str(self.device)),
            finished=_now(),
        )
        self.store.write_record(unit, record)
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
        wanted = [name for name in METRICS if not _final(record, name)]
        record.metrics |= self._score(unit, pixels, wanted)
        self.store.write_record(unit, record)
        self.display.unit(unit, record)
        return True

    def _data_facts(self, unit: Unit) -> DataFacts:
        """Which images the unit's are; the floor shows the target's own."""
        shown = unit.target if unit.entry.method is None else unit.source
        rows = self.scorer.halves(unit.target)[0] if self._is_half(unit) else None
        return facts.data_facts(self.plan, shown, rows)

    def _fail(self, unit: Unit) -> Unit:
        """Record the exception being handled and go on."""
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
                finished=_now(),
            ),
        )
        self.display.failed(unit, text)
        return unit


def _grouped(units: list[Unit]) -> list[tuple[tuple[Entry, int], list[Unit]]]:
    """Units of one method and seed together: they share a training."""
    groups: dict[tuple[str, int], list[Unit]] = {}
    for unit in units:
        groups.setdefault((unit.entry.label, unit.seed), []).append(unit)
    return [((found[0].entry, found[0].seed), found) for found in groups.values()]


def _out_of_memory(error: Exception) -> bool:
    """On a GPU torch has an error of its own for it; on a CPU only the text tells."""
    known = isinstance(error, MemoryError | torch.OutOfMemoryError)
    return known or "can't allocate memory" in str(error)


def can_be_filled(record: Record, missing: Collection[str]) -> bool:
    """Whether a metric is new, has another definition, or waited for weights that came."""
    return any(not _final(record, name) for name in METRICS if name not in missing)


def _final(record: Record, name: str) -> bool:
    """Whether a metric needs no scoring: a value by its present definition, or a lasting reason."""
    value = record.metrics.get(name)
    if value is None or value.identity != METRICS[name].identity or value.pending:
        return False
    # Values of earlier versions had no interval, nor told how many images they rest on.
    return value.value is None or value.n is not None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
