"""Trained artefacts: addressed by their recipe, stored once, shared, resumed."""

import json
import shutil
import warnings
from collections.abc import Sequence
from pathlib import Path
from traceback import clear_frames
from types import TracebackType

import torch

from xbench.core import processes
from xbench.core.errors import UserError
from xbench.core.files import set_aside, within, write_text
from xbench.core.hashing import digest, file_digest, seed_from
from xbench.core.isolation import undisturbed
from xbench.core.locks import Busy, Locks
from xbench.core.names import quoted
from xbench.core.pairs import PAIRED, Pair
from xbench.datasets.visible import TrainOnly, WithPaired
from xbench.harness.plan import Entry, Plan, Unit
from xbench.harness.progress import Display
from xbench.methods.base import Cost, Log, Method, Training
from xbench.records.schema import TrainingLog
from xbench.records.store import read


class Trained:
    """A method whose trainings are made or loaded when a unit first needs them."""

    def __init__(
        self,
        plan: Plan,
        entry: Entry,
        method: Method,
        seed: int,
        display: Display,
        locks: Locks,
    ) -> None:
        self.plan, self.entry, self.method, self.seed = plan, entry, method, seed
        self.display, self.locks = display, locks
        self._costs: dict[str, Cost] = {}
        self._logs: dict[Path, TrainingLog] = {}
        self._errors: dict[Path, Exception] = {}
        self._tracebacks: dict[Path, TracebackType | None] = {}
        with undisturbed():
            method.setup(TrainOnly(plan.dataset, whole=not method.any_size))
        self._found = folders(plan, entry, method, plan.pairs, seed)

    def cost(self, entry: Entry) -> Cost:
        """What a row that uses these trainings costs; counting builds networks, so once each."""
        if entry.label not in self._costs:
            own = entry.label == self.entry.label
            method = self.method if own else make_method(self.plan, entry, self.method.device)
            with undisturbed():
                self._costs[entry.label] = method.cost()
        return self._costs[entry.label]

    def obtain(self, unit: Unit) -> None:
        """Train or load what the unit needs.

        Raises:
            Busy: another process makes a training.
            Exception: whatever the training raised, now or for an earlier unit.
        """
        for training, folder in self._needed(unit):
            if folder in self._errors:
                error = self._errors[folder]
                raise error.with_traceback(self._tracebacks[folder])
            if folder not in self._logs:
                try:
                    self._logs[folder] = self._obtain(training, folder)
                except Busy:
                    raise
                except Exception as error:
                    self._keep(folder, error)
                    raise

    def _obtain(self, training: Training, folder: Path) -> TrainingLog:
        """Load or make a training; one process trains, others get `Busy`."""
        lock = f"trainings/{folder.name}"
        # Processes of one launch share the work without locks; loading needs no lock.
        locked = processes.number() == 1 and read_log(folder, training, repair=False) is None
        if locked and not self.locks.take(lock):
            raise Busy(training_name(self.entry, training, self.seed))
        try:
            return self._load_or_train(training, folder)
        finally:
            self.locks.release(lock)

    def _load_or_train(self, training: Training, folder: Path) -> TrainingLog:
        """Load a finished training, or train (or resume) and store it."""
        entry, log = self.entry, read_log(folder, training)
        if log is None:
            folder.mkdir(parents=True, exist_ok=True)
            name, seed = training_name(entry, training, self.seed), stream(training, self.seed)
            dataset, whole = self.plan.dataset, not entry.method.any_size
            paired = entry.name == PAIRED
            data = WithPaired(dataset) if paired else TrainOnly(dataset, whole=whole)
            with self.display.training(name) as progress, undisturbed():
                result = training.fit(data, entry.train_images, seed, folder, progress)
            together = training.pairs is None
            if processes.is_first() or not together:
                _finish(training, folder, entry, result)
            if together:
                processes.wait(self.method.device)
            log = read_log(folder, training)
            assert log is not None, f"{folder} was damaged as it was written"
        # Also after training: translations use the weights of the file.
        training.load(folder)
        return log

    def _keep(self, folder: Path, error: Exception) -> None:
        """Keep an error for the units that need the training, without what its frames hold."""
        clear_frames(error.__traceback__)
        self._errors[folder] = error
        self._tracebacks[folder] = error.__traceback__

    def share(self) -> None:
        """Train with other processes: one network together, networks for pairs by turns.

        Failures that all processes see alike are kept, for the units that need the training;
        any other ends this process, as the others would wait for it in vain.
        """
        for number, (training, folder) in enumerate(self._found):
            mine = training.pairs is None or number % processes.number() == processes.index()
            try:
                if mine and folder not in self._logs:
                    self._logs[folder] = self._obtain(training, folder)
            except (FloatingPointError, UserError) as error:
                self._keep(folder, error)
            except Exception as error:
                if training.pairs is None:
                    raise
                self._keep(folder, error)
        processes.wait(self.method.device)

    def logs(self, unit: Unit) -> dict[str, TrainingLog]:
        """The logs of the unit's trainings by key."""
        return {folder.name: self._logs[folder] for _, folder in self._needed(unit)}

    def _needed(self, unit: Unit) -> list[tuple[Training, Path]]:
        pair = (unit.source, unit.target)
        return [(t, folder) for t, folder in self._found if t.pairs is None or pair in t.pairs]


def make_method(plan: Plan, entry: Entry, device: torch.device) -> Method:
    """The method of a row, untrained."""
    with undisturbed():
        method = entry.method(entry.config, plan.dataset.domains, plan.dataset.config.size, device)
    method.computing = plan.compute
    return method


def folders(
    plan: Plan, entry: Entry, method: Method, pairs: Sequence[Pair], seed: int
) -> list[tuple[Training, Path]]:
    """The trainings that a method needs for some pairs, and where each lies.

    Raises:
        OSError: a link leads out of the folder of the results.
    """
    root = plan.trainings.parent
    return [
        (training, within(root, plan.trainings / training_key(plan, entry, training, seed)))
        for training in method.trainings(pairs)
    ]


def training_key(plan: Plan, entry: Entry, training: Training, seed: int) -> str:
    """Hash of recipe, data, budget and seed: methods with the same recipe share the training."""
    return digest(
        {
            "recipe": training.recipe,
            # A plug-in's file holds its training; built-in recipes name their own version.
            "plugin": entry.method.plugin,
            "dataset": plan.dataset.images_key,
            "images": entry.train_images,
            "seed": stream(training, seed),
        }
    )


def stream(training: Training, seed: int) -> int:
    """The seed of a training's own random numbers: the pairs of a row do not share their luck."""
    recipe = training.recipe
    return seed_from("training", seed, recipe.get("objective", ""), *recipe.get("pair", ()))


def _check_recipe(log: TrainingLog, training: Training, folder: Path) -> None:
    """Refuse a stored training without the recipe that its folder is named after."""
    expected = json.loads(json.dumps(training.recipe))
    names = sorted({*log.recipe, *expected})
    wrong = [name for name in names if log.recipe.get(name) != expected.get(name)]
    if wrong:
        raise UserError(
            f"{folder} holds another training: {wrong[0]} is {log.recipe.get(wrong[0])}",
            f"expected: {wrong[0]} = {expected.get(wrong[0])}"
            + (f", and {len(wrong) - 1} more differ" if len(wrong) > 1 else ""),
            f"move it away (mv {quoted(folder)} elsewhere); the same command trains what is needed",
        )


def _finish(training: Training, folder: Path, entry: Entry, result: Log) -> None:
    """Write weights and log of a training that has ended; its checkpoint goes."""
    training.save(folder)
    log = TrainingLog(
        recipe=training.recipe,
        weights_sha256=weights_digest(folder),
        images=entry.train_images,
        seconds=result.seconds,
        curve=result.curve,
        compute=result.compute,
    )
    write_text(folder / "training.json", log.model_dump_json(indent=1) + "\n")
    for checkpoint in folder.glob("*checkpoint*"):
        checkpoint.unlink()


def training_name(entry: Entry, training: Training, seed: int) -> str:
    """For people: the method, the pair if it is for one, and the seed unless it is 0."""
    pairs = sorted(training.pairs or ())
    arrow = "↔" if len(pairs) > 1 else "→"
    pair = f" {pairs[0][0]} {arrow} {pairs[0][1]}" if pairs else ""
    return f"{entry.label}{pair}" + (f" seed {seed}" if seed else "")


def read_log(folder: Path, training: Training, *, repair: bool = True) -> TrainingLog | None:
    """The log of a finished training whose weights are whole; else None.

    Damaged weights are moved aside with a warning (with `repair`), to be trained again.

    Raises:
        UserError: what lies there is another training.
    """
    marker = folder / "training.json"
    log = read(marker, TrainingLog) if marker.exists() else None
    if log is not None:
        _check_recipe(log, training, folder)
    if log is None or weights_digest(folder) == log.weights_sha256:
        return log
    if not repair:
        return None
    shutil.rmtree(folder.with_name(folder.name + ".corrupt"), ignore_errors=True)
    warnings.warn(
        f"the weights in {folder} are damaged; moved to {set_aside(folder).name}, "
        "they will be trained again",
        stacklevel=2,
    )
    return None


def weights_digest(folder: Path) -> str:
    """One hash over all weight files of a training."""
    files = sorted(folder.glob("*.safetensors"))
    return digest({path.name: file_digest(path) for path in files}, length=64)
