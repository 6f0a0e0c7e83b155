"""Plans: the units of a request, resolved and checked before anything runs."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from xbench.core import settings
from xbench.core.compute import Compute
from xbench.core.errors import UserError, unknown
from xbench.core.hashing import digest
from xbench.core.pairs import CHEATS, EXPECTED, FLOOR, PAIRED, Pair, parse_pairs
from xbench.core.profiles import Profile, get_profile, get_split
from xbench.core.settings import Settings
from xbench.datasets import registry as datasets
from xbench.datasets.base import Dataset, Split, known
from xbench.methods import registry as methods
from xbench.methods.base import Method, MethodConfig
from xbench.records.folders import place_of
from xbench.records.freshness import Setup
from xbench.records.units import UnitId


@dataclass(frozen=True)
class Request:
    """What the user asks for; `settings` as `core.settings.parse` returns them."""

    methods: Sequence[str] = ()
    dataset: str = "phantom"
    profile: str = "quick"
    pairs: Sequence[str] = ()
    split: str = "test"
    seeds: Sequence[int] = (0,)
    settings: Settings = field(default_factory=dict)
    out: Path = Path("runs")
    shard: tuple[int, int] = (1, 1)


#: `--set budget.KEY`: what is expected, and an example.
BUDGETS = {
    "images": ("a whole number of training images per network, at least 1", "10240"),
    "factor": ("a number above 0, times each method's own budget", "2"),
}


@dataclass(frozen=True)
class Budget:
    """Training images of every method: its usual number, a given one, or a multiple."""

    images: int | None = None
    factor: float = 1

    def of(self, usual: int) -> int:
        """Training images per network, for a method that usually gets `usual`; 0 stays 0."""
        if not usual:
            return 0
        return self.images or max(1, round(usual * self.factor))


@dataclass(frozen=True)
class Entry:
    """One row of the leaderboard: a method with its configuration."""

    name: str
    label: str
    method: type[Method]
    config: MethodConfig
    seeds: tuple[int, ...]
    train_images: int
    reference: bool
    given: str = ""
    assignments: tuple[str, ...] = ()

    @property
    def version(self) -> str:
        """The method's hand-bumped version, or the hash of its plug-in file."""
        return self.method.plugin or str(self.method.version)


@dataclass(frozen=True)
class Unit:
    """One method, configuration, data set, profile, seed and pair: the piece that is stored."""

    entry: Entry
    seed: int
    source: str
    target: str
    key: str
    setup: Setup

    @property
    def id(self) -> UnitId:
        """Where it belongs in a results folder."""
        return UnitId(self.entry.label, self.seed, self.source, self.target)

    @property
    def name(self) -> str:
        """For people and programs; not a path."""
        return f"{self.entry.label}/seed{self.seed}/{self.source}--{self.target}"


@dataclass(frozen=True)
class Plan:
    """All units of a request, and where their results go."""

    profile: Profile
    dataset: Dataset
    dataset_name: str
    dataset_label: str
    split: Split
    pairs: tuple[Pair, ...]
    entries: tuple[Entry, ...]
    folder: Path
    trainings: Path
    data_assignments: tuple[str, ...]
    units: tuple[Unit, ...] = field(repr=False)
    compute: Compute = field(default_factory=Compute)


def make(request: Request) -> Plan:
    """Resolve names, settings and pairs; every mistake in a request is found here.

    Raises:
        UserError: an unknown name, key or value, or two methods under one label.
    """
    profile = get_profile(request.profile)
    changes = request.settings
    split: Split = get_split(request.split)
    _check_seeds(request.seeds)
    classes = [methods.get(name) for name in request.methods]
    settings.check_sections(changes, [*settings.SHARED, *(c.name for c in classes)])

    dataset_class = datasets.get(request.dataset)
    default = dataset_class.configure(profile)
    data_config = settings.apply(default, changes.get("data", {}), "data")
    dataset = dataset_class(data_config)
    dataset_label = settings.label(
        dataset.name, data_config.model_dump(mode="json"), default.model_dump(mode="json")
    )

    budget = _budget(changes.get("budget", {}))
    named = dict(zip(request.methods, classes, strict=True))
    _check_images([c.name for c in classes], dataset, split)
    seeds, references = tuple(dict.fromkeys(request.seeds)), _references(dataset, split)
    entries = _entries(named, profile, changes, budget, seeds, references)
    pairs = parse_pairs(request.pairs, dataset.domains)
    scope = (dataset.key, request.split, profile.name)
    place = partial(place_of, request.out, dataset_label, dataset.key, profile.name)
    units = tuple(
        Unit(entry, seed, *pair, _unit_key(entry, setup, pair), setup)
        for entry in entries
        for seed in entry.seeds
        for setup in [_setup(entry, seed, scope)]
        for pair in pairs
    )
    return Plan(
        profile=profile,
        dataset=dataset,
        dataset_name=request.dataset,
        dataset_label=dataset_label,
        split=split,
        pairs=pairs,
        entries=entries,
        folder=place(split),
        # One folder for all splits: settings chosen on `val` need no new training for `test`.
        trainings=place("test") / "trainings",
        data_assignments=settings.differences(
            "data", data_config.model_dump(mode="json"), default.model_dump(mode="json")
        ),
        units=shard(units, *request.shard),
        compute=settings.apply(Compute(), changes.get("compute", {}), "compute"),
    )


def _check_seeds(seeds: Sequence[int]) -> None:
    if not seeds or not all(isinstance(seed, int) and seed >= 0 for seed in seeds):
        raise UserError(
            f"the seeds {list(seeds)} are not allowed",
            "expected: one or several whole numbers from 0",
            "for example: --seed 0,1,2 (in Python: seeds=[0, 1, 2])",
        )


def _check_images(names: Sequence[str], dataset: Dataset, split: Split) -> None:
    """Refuse reference rows that are made of images which the data set does not have."""
    for name, images, what in (
        (EXPECTED, partial(dataset.expected, split), "noise-free images"),
        (PAIRED, dataset.paired, "aligned training images"),
    ):
        if name in names and not known(images, dataset.domains):
            raise UserError(
                f"the data set {dataset.name} has no {what}",
                f"expected: data that have them, as the reference row '{name}' is made of them",
                f"leave {name} out of --method, or see: xbench list datasets",
            )


def _references(dataset: Dataset, split: Split) -> dict[str, str]:
    """Name → label of the reference rows that every run makes, in the order of tables."""
    floor = FLOOR if dataset.repeated(split) else f"{FLOOR}[n/2]"
    labels = {"identity": "identity", FLOOR: floor}
    if known(partial(dataset.expected, split), dataset.domains):
        labels[EXPECTED] = EXPECTED
    return labels | {name: name for name in CHEATS}


def shard(units: tuple[Unit, ...], number: int, count: int) -> tuple[Unit, ...]:
    """The part `number` (from 1) of `count`; units that share an encoding stay together."""
    blocks = dict.fromkeys((u.entry.label, u.seed, u.source) for u in units)
    mine = set(list(blocks)[number - 1 :: count])
    return tuple(u for u in units if (u.entry.label, u.seed, u.source) in mine)


def _budget(changes: dict[str, Any]) -> Budget:
    for key, value in changes.items():
        if key not in BUDGETS:
            known = [f"budget.{name}" for name in BUDGETS]
            raise unknown("setting", f"budget.{key}", known, "try: --set budget.factor=2")
        expected, example = BUDGETS[key]
        number = isinstance(value, int if key == "images" else int | float)
        if not number or isinstance(value, bool) or not 0 < value < math.inf:
            raise UserError(
                f"budget.{key}={value} is not allowed",
                f"expected: {expected}",
                settings.sweep_instead(f"budget.{key}", value)
                or f"for example: --set budget.{key}={example}"
                f" (in Python: settings={{'budget.{key}': {example}}})",
            )
    if len(changes) > 1:
        raise UserError(
            "budget.images and budget.factor are both set",
            "expected: one of them",
            "leave one --set out",
        )
    return Budget(**changes)


def _entries(
    named: Mapping[str, type[Method]],
    profile: Profile,
    changes: Settings,
    budget: Budget,
    seeds: tuple[int, ...],
    references: Mapping[str, str],
) -> tuple[Entry, ...]:
    """Reference rows by name and label, then the methods of the request."""
    # One seed of a random choice is enough to say what a column is worth.
    entries = [
        replace(_entry(methods.get(n), profile, {}, budget, (0,), reference=True), label=label)
        for n, label in references.items()
    ]
    for given, method in named.items():
        aligned, own = method.name == PAIRED, changes.get(method.name, {})
        entry = _entry(method, profile, own, budget, seeds, reference=aligned)
        entry = replace(entry, given=methods.address(given))
        for name, values in method.references(entry.config).items():
            entries.append(
                _entry(methods.get(name), profile, values, budget, seeds, reference=True)
            )
        entries.append(entry)
    unique: dict[str, Entry] = {}
    for entry in entries:
        first = unique.setdefault(entry.label, entry)
        if first.method is not entry.method:
            raise UserError(
                f"two different methods are called '{entry.label}'",
                "expected: one name for one method, since it names the rows",
                "give the class in the plug-in file another `name`",
            )
    return tuple(unique.values())


def _entry(
    method: type[Method],
    profile: Profile,
    changes: dict[str, object],
    budget: Budget,
    seeds: tuple[int, ...],
    *,
    reference: bool = False,
) -> Entry:
    default = method.configure(profile)
    config = settings.apply(default, changes, method.name)
    usual = method.budget(profile)
    train_images = budget.of(usual)
    extra = {} if train_images == usual else {"images": train_images}
    # Without training and without chance every seed gives the same images: one is enough.
    fixed = not (method.needs_training or method.stochastic)
    return Entry(
        name=method.name,
        label=settings.label(
            *(method.name, config.shown(), default.shown(), extra),
            *(config.always_shown(), config.in_other_words()),
        ),
        method=method,
        config=config,
        seeds=(0,) if fixed else seeds,
        train_images=train_images,
        reference=reference,
        assignments=(
            *settings.differences(method.name, config.shown(), default.shown()),
            *settings.differences("budget", extra, {}),
        ),
    )


def _setup(entry: Entry, seed: int, scope: tuple[str, str, str]) -> Setup:
    """What the units of a row and seed are made with; `scope` is data set key, split, profile."""
    return Setup(*scope, entry.name, entry.version, entry.train_images, seed, entry.config.shown())


def _unit_key(entry: Entry, setup: Setup, pair: Pair) -> str:
    return digest(
        {
            "method": setup.method,
            "version": setup.version,
            "config": entry.config.identity(),
            "budget": setup.train_images,
            "seed": setup.seed,
            "pair": list(pair),
            "dataset": setup.data,
            "profile": setup.profile,
            "split": setup.split,
        }
    )
