"""Utility: networks that learned tasks from translated images, tested on true ones.

For a pair of domains, a finished method translates the training images of the source. Networks
learn the tasks of `xbench.tasks` from them and the source's labels, and are tested on the true
images of the target. Nothing but the images differs from row to row: labels, recipe, seeds and
number of steps are the same.
"""

import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from xbench.core.errors import UserError
from xbench.core.hashing import digest
from xbench.core.isolation import undisturbed
from xbench.core.pairs import FLOOR, Pair
from xbench.core.pixels import Pixels, pixels_digest
from xbench.core.settings import SHARED
from xbench.datasets.base import Dataset, Images
from xbench.datasets.labels import Labels
from xbench.harness import facts, loading, pending, plan, status, trainings
from xbench.harness.blocks import Blocks
from xbench.harness.deadline import deadline
from xbench.harness.pending import Pending
from xbench.harness.plan import Entry, Plan, Request, Unit
from xbench.harness.progress import Display
from xbench.harness.session import (
    Options,
    Outcome,
    check_seconds,
    delegate,
    preview,
    show_plan,
)
from xbench.harness.status import UnitState
from xbench.harness.trainings import Trained
from xbench.harness.translation import translate
from xbench.methods.base import even_places
from xbench.records.provenance import provenance
from xbench.records.schema import Provenance, UtilityRecord
from xbench.records.store import UtilityStore
from xbench.records.utility import AUGMENTED, SOURCE, TARGET
from xbench.tasks import randomise
from xbench.tasks.measures import measure
from xbench.tasks.training import STEPS, VERSION, learn, predict, samples

#: Seeds of the networks, the same for all rows.
TASK_SEEDS = (0, 1)
#: Rows of every table → what makes their images: nothing, true images of the target, nothing but
#: seen randomised, and methods without a network. `shuffle` has the labels of other images and must
#: be of no use.
REFERENCES = {
    SOURCE: "identity",
    TARGET: FLOOR,
    AUGMENTED: "identity",
    "shuffle": "shuffle",
    "nearest": "nearest",
    "filter": "filter",
}


def make(request: Request) -> Plan:
    """The plan of a request, with the rows, pairs and keys of utility.

    Raises:
        UserError: a mistake in the request, data without labels, or a pair within a group.
    """
    methods = [*request.methods, *({"filter"} - set(request.methods))]
    made = plan.make(replace(request, methods=methods, split="test", shard=(1, 1)))
    if type(made.dataset).labels is Dataset.labels:
        raise UserError(
            f"the data set {made.dataset.name} has no labels",
            "expected: masks, landmarks or angles of its images",
            "see: xbench utility --help, or try: --dataset phantom",
        )
    pairs = _pairs(made, request.pairs)
    entries = _entries(made, request.methods)
    scope = ["utility", VERSION, made.dataset.labels_key, len(TASK_SEEDS)]
    units = tuple(
        replace(unit, entry=entry, key=digest([*scope, *_learned_how(entry.label), unit.key]))
        for entry, label in entries
        for unit in made.units
        if unit.entry.label == label and unit.id.pair in pairs
    )
    rows = tuple(entry for entry, _ in entries)
    return replace(made, pairs=pairs, entries=rows, units=plan.shard(units, *request.shard))


def _learned_how(label: str) -> list[object]:
    """What makes the keys of two rows differ whose images are the same."""
    return [label == TARGET] + [randomise.VERSION] * (label == AUGMENTED)


def _pairs(made: Plan, texts: Sequence[str]) -> tuple[Pair, ...]:
    """The pairs that were asked for; by default from the first domain to all of other groups."""
    if not texts:
        first = made.dataset.domains[0]
        return tuple(p for p in made.pairs if p[0] == first and not _alike(made.dataset, p))
    for source, target in made.pairs:
        if _alike(made.dataset, (source, target)):
            group = made.dataset.domain_groups[source]
            raise UserError(
                f"the pair {source}:{target} lies within the group {group}",
                "expected: a pair from one group of domains to another, whose labels are needed",
                "see: xbench utility --help",
            )
    return made.pairs


def _alike(dataset: Dataset, pair: Pair) -> bool:
    """Whether a pair lies within one of several groups of domains."""
    groups = dataset.domain_groups
    return len(set(groups.values())) > 1 and groups[pair[0]] == groups[pair[1]]


def states(made: Plan, request: Request) -> list[UnitState]:
    """The states of units of utility, for the plan of a run; none where its folder has no utility.

    Pairs are those of `xbench utility`: none within a group of domains.
    """
    store = UtilityStore(made.folder)
    pairs = [":".join(pair) for pair in made.pairs if not _alike(made.dataset, pair)]
    if not store.folder.is_dir() or not pairs:
        return []
    own = make(replace(request, pairs=pairs if request.pairs else ()))
    return status.as_utility(status.of_plan(own, store, UtilityStore.name))


def _entries(made: Plan, methods: Sequence[str]) -> list[tuple[Entry, str]]:
    """Rows, each with the label of the plan's row that it is made of."""
    by_label = {entry.label: entry for entry in made.entries}
    found = []
    for name, method in REFERENCES.items():
        label = next(entry.label for entry in made.entries if entry.name == method)
        asked = method in methods and name != AUGMENTED
        found.append((replace(by_label[label], label=name, reference=not asked), label))
    used = {label for _, label in found}
    # Other references of a run, such as noise-free images, are made of test images.
    wanted = {entry.label for entry in made.entries if entry.given} - used
    return found + [(entry, label) for label, entry in by_label.items() if label in wanted]


def find(
    made: Plan, request: Request, device: torch.device, *, force: bool, failed_only: bool = False
) -> Pending:
    """What of a plan is left to do.

    Raises:
        UserError: a method was not trained: nothing is trained by surprise.
    """
    store, todo = UtilityStore(made.folder), Pending(missing={})
    units = [u for u in made.units if not failed_only or store.failure_path(u.id).exists()]
    todo.stamps = {unit.key: pending.stamp(store, unit) for unit in units}
    for unit in units:
        done = not force and store.find(unit.id, unit.key) is not None
        (todo.done if done else todo.translate).append(unit)
    for (entry, seed), own in pending.grouped(todo.translate):
        method = trainings.make_method(made, entry, device)
        method.check()
        own_settings = {k: v for k, v in request.settings.items() if k in (*SHARED, entry.name)}
        asked = replace(
            request, methods=[entry.given or entry.name], settings=own_settings, split="test"
        )
        loading.finished(made, entry, method, [unit.id.pair for unit in own], seed, asked)
    return todo


class UtilityRunner(Blocks):
    """Runs the plan of `make`."""

    store: UtilityStore
    kind = UtilityStore.name

    def __init__(self, made: Plan, device: torch.device, display: Display) -> None:
        super().__init__(made, device, display)
        self.store = UtilityStore(made.folder)

    def check_split(self) -> None:
        """All pairs must have labels to learn from and to be tested with.

        Raises:
            UserError: a domain has no labels, or not those of the other.
        """
        super().check_split()
        for pair in self.plan.pairs:
            for row in (SOURCE, TARGET):
                known(self.plan.dataset, pair, row)

    def say(self, record: UtilityRecord) -> None:
        """See `Blocks`."""
        self.display.utility(record)

    def finish(self, trained: Trained, units: list[Unit], failed: list[Unit]) -> None:
        """Translate the training images of a source, and learn and test for each target."""
        try:
            began = time.perf_counter()
            with deadline(self.timeout and self.timeout * len(units)), undisturbed():
                images = self._images(trained, units)
            seconds = (time.perf_counter() - began) / len(units)
        except Exception:
            failed += [self.fail(unit) for unit in units]
            return
        for unit in units:
            try:
                self._learn_and_store(trained, unit, images[unit.target], seconds)
            except Exception:
                failed.append(self.fail(unit))

    def _images(self, trained: Trained, units: list[Unit]) -> dict[str, Images]:
        """Images to learn from, by target."""
        dataset, source = self.plan.dataset, units[0].source
        targets = [unit.target for unit in units]
        given = dataset.train(source)
        if trained.entry.label == TARGET:
            return {target: _part(dataset.train(target), len(given)) for target in targets}
        names = [f"train {row}" for row in range(len(given))]
        made = translate(
            trained.method,
            given,
            names,
            source,
            targets,
            seed=units[0].seed,
            batch=self.plan.profile.batch,
        )
        return {target: Images([pixels]) for target, pixels in made.items()}

    def _learn_and_store(
        self, trained: Trained, unit: Unit, images: Images, seconds: float
    ) -> None:
        """Train networks on images, test them on those of the target, and store what they saw."""
        dataset, began = self.plan.dataset, time.perf_counter()
        labels = known(dataset, unit.id.pair, unit.entry.label)
        test, tested = dataset.images("test", unit.target), labels.test
        sides, size = dataset.sides_mm("test", unit.target), dataset.config.size
        mm = None if sides is None else np.array(sides) / size
        found, values = [], []
        steps = STEPS[self.plan.profile.name]
        for seed in TASK_SEEDS:
            name = f"{unit.id} (task seed {seed})"
            with (
                tempfile.TemporaryDirectory() as folder,
                self.display.training(name) as progress,
                undisturbed(),
            ):
                sample = samples(images, labels.train)
                net = learn(
                    *(sample, steps, seed, self.device, Path(folder), progress),
                    settings=self.plan.compute,
                    randomise=unit.entry.label == AUGMENTED,
                )
                found.append(predict(net, test, tested))
            values.append(measure(found[-1], tested, mm))
        masks = bits(found[0], len(test), size)
        record = UtilityRecord(
            key=unit.key,
            method=facts.method_facts(unit.entry, trained.logs(unit), trained.cost(unit.entry)),
            data=facts.data_facts(self.plan, unit.target),
            profile=self.plan.profile.name,
            seed=unit.seed,
            source=unit.source,
            target=unit.target,
            seconds={"translate": seconds, "learn": time.perf_counter() - began},
            provenance=Provenance(
                **provenance(str(self.device)),
                compute=facts.compute_facts(trained.method, trained.logs(unit)),
            ),
            finished=facts.now(),
            identity=VERSION,
            labels=dataset.labels_key or "",
            train_images=len(images),
            measures={name: [_listed(run[name]) for run in values] for name in values[0]},
            structures=list(found[0].masks),
            places={name: places.round(2).tolist() for name, places in found[0].landmarks.items()},
            angles=[] if found[0].angles is None else found[0].angles.round(2).tolist(),
            masks_sha256=pixels_digest(masks),
        )
        self.store.write_unit(unit.id, record, masks)
        self.say(record)


class Known(NamedTuple):
    """Labels to learn from and labels of test images, of the same kinds."""

    train: Labels
    test: Labels


def known(dataset: Dataset, pair: Pair, row: str) -> Known:
    """What both the training images of a row and the test images of its target have labels of.

    Raises:
        UserError: there is nothing.
    """
    source, target = pair
    domain = target if row == TARGET else source
    train, test = dataset.labels("train", domain), dataset.labels("test", target)
    if train is None or test is None:
        without, split = (domain, "train") if train is None else (target, "test")
        raise UserError(
            f"the data set {dataset.name} has no labels of {split} images of '{without}'",
            f"expected: labels of both domains of the pair {source}:{target}",
            "see: xbench utility --help, or choose others: --pairs SRC:TGT",
        )
    if row == TARGET:
        train = train.rows(even_places(len(dataset.train(target)), len(dataset.train(source))))
    both = Known(train.shared(test), test.shared(train))
    if not both.train:
        raise UserError(
            f"the labels of '{domain}' and '{target}' have nothing in common",
            "expected: the same structures, landmarks or angles",
            "rename the structures or landmarks of one domain",
        )
    return both


def _part(images: Images, number: int) -> Images:
    """At most `number` of some images."""
    return images.only(even_places(len(images), number))


def bits(labels: Labels, n: int, size: int) -> Pixels:
    """Masks as the bits of uint16 `[n, size, size]`."""
    result = np.zeros((n, size, size), np.uint16)
    for number, mask in enumerate(labels.masks.values()):
        result |= mask.astype(np.uint16) << number
    return result


def _listed(values: NDArray[np.float64]) -> list[float | None]:
    """Values for a record, with None for NaN."""
    return [None if np.isnan(value) else round(float(value), 5) for value in values]


def execute(runner: UtilityRunner, request: Request, options: Options) -> Outcome:
    """Show what is to be done, and do it.

    Raises:
        UserError: a mistake of the user, found before any work, or a full disk.
    """
    check_seconds(options.timeout)
    made, console = runner.plan, runner.display.console
    if not options.dry_run:
        runner.store.probe()
    todo = find(made, request, runner.device, force=options.force, failed_only=options.retry_failed)
    if options.worker:
        return Outcome(runner.run(todo, options.timeout))
    minutes = _minutes(runner.store, todo)
    show_plan(options.console(runner.display) if options.dry_run else console, made, todo, minutes)
    if options.dry_run:
        return Outcome(preview=preview(made, todo, minutes))
    if options.team:
        failed = delegate(runner, options.team, todo)
    else:
        with runner.display:
            failed = runner.run(todo, options.timeout)
    for unit in failed[:1]:
        console.print(
            f"{len(failed)} units failed; the first traceback: "
            f"{runner.store.failure_path(unit.id)}",
            style="red",
            soft_wrap=True,
        )
    return Outcome(failed)


def _minutes(store: UtilityStore, todo: Pending) -> float | None:
    """Estimate for what is left to do, from finished units; None where there are none."""
    seconds = [sum(record.seconds.values()) for record in store.records()]
    return len(todo.translate) * sum(seconds) / len(seconds) / 60 if seconds else None
