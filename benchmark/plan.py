"""What is to be done: plain lists of trainings and units, worked out before anything runs."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import permutations
from pathlib import Path
from typing import Any, Literal

from xbench import settings
from xbench.datasets import registry as datasets
from xbench.datasets.base import Dataset, Split
from xbench.errors import UserError, unknown
from xbench.hashing import digest
from xbench.methods import registry as methods
from xbench.methods.base import Method, MethodConfig, Pair
from xbench.profiles import Profile, get_profile

#: The target view's second exposure, scored like a translation: the best one can hope for. Where
#: there are none, one half of the target's images against the other, labelled `floor[n/2]`.
FLOOR = "floor"


@dataclass(frozen=True)
class Request:
    """What the user asked for."""

    methods: Sequence[str] = ()
    dataset: str = "phantom"
    profile: str = "quick"
    pairs: Sequence[str] = ()
    split: Literal["val", "test"] = "test"
    seeds: Sequence[int] = (0,)
    assignments: Sequence[str] = ()
    out: Path = Path("runs")
    shard: tuple[int, int] = (1, 1)


#: `--set budget.KEY`: what is expected, and an example.
BUDGETS = {
    "images": ("a whole number of training images per network, at least 1", "10240"),
    "factor": ("a number above 0, times each method's own budget", "2"),
}


@dataclass(frozen=True)
class Budget:
    """How much training every method gets: as usual, a number of images, or a multiple."""

    images: int | None = None
    factor: float = 1

    def of(self, usual: int) -> int:
        """Training images per network, for a method that usually gets `usual`; 0 stays 0."""
        if not usual:
            return 0
        return self.images or max(1, round(usual * self.factor))


@dataclass(frozen=True)
class Entry:
    """One row of the leaderboard: a method with its configuration, or the floor."""

    name: str
    label: str
    method: type[Method] | None
    config: MethodConfig
    seeds: tuple[int, ...]
    train_images: int
    reference: bool
    given: str = ""
    assignments: tuple[str, ...] = ()

    @property
    def version(self) -> str:
        """The method's hand-bumped version, or the hash of its plug-in file."""
        if self.method is None:
            return "1"
        return self.method.plugin or str(self.method.version)


@dataclass(frozen=True)
class Unit:
    """One method, configuration, data set, profile, seed and pair: the piece that is stored."""

    entry: Entry
    seed: int
    source: str
    target: str
    key: str

    @property
    def name(self) -> str:
        """For people and file names."""
        return f"{self.entry.label}/seed{self.seed}/{self.source}--{self.target}"


@dataclass(frozen=True)
class Plan:
    """Everything that a run will do, if nothing is done yet."""

    profile: Profile
    dataset: Dataset
    dataset_label: str
    split: Split
    pairs: tuple[Pair, ...]
    entries: tuple[Entry, ...]
    folder: Path
    trainings: Path
    data_assignments: tuple[str, ...]
    units: tuple[Unit, ...] = field(repr=False)


def make(request: Request) -> Plan:
    """Resolve names, settings and pairs; every mistake of the user is found here.

    Raises:
        UserError: an unknown name, key or value, or two methods under one label.
    """
    profile = get_profile(request.profile)
    changes = settings.parse(request.assignments)
    classes = [methods.get(name) for name in request.methods]
    settings.check_sections(changes, ["data", "budget", *(c.name for c in classes)])

    dataset_class = datasets.get(request.dataset)
    default = dataset_class.configure(profile)
    data_config = settings.apply(default, changes.get("data", {}), "data")
    dataset = dataset_class(data_config)
    dataset_label = settings.label(
        dataset.name, data_config.model_dump(mode="json"), default.model_dump(mode="json")
    )

    budget = _budget(changes.get("budget", {}))
    named = dict(zip(request.methods, classes, strict=True))
    floor = FLOOR if dataset.repeated(request.split) else f"{FLOOR}[n/2]"
    entries = _entries(named, profile, changes, budget, tuple(request.seeds), floor)
    pairs = parse_pairs(request.pairs, dataset.domains)
    scope = {
        "dataset": dataset.key,
        "profile": profile.name,
        "split": request.split,
    }
    units = tuple(
        Unit(entry, seed, source, target, _unit_key(entry, seed, source, target, scope))
        for entry in entries
        for seed in entry.seeds
        for source, target in pairs
    )
    return Plan(
        profile=profile,
        dataset=dataset,
        dataset_label=dataset_label,
        split=request.split,
        pairs=pairs,
        entries=entries,
        folder=folder_of(request.out, dataset_label, profile.name, request.split),
        # One for all splits: what is chosen on `val` need not be trained again for `test`.
        trainings=folder_of(request.out, dataset_label, profile.name) / "trainings",
        data_assignments=settings.differences(
            "data", data_config.model_dump(mode="json"), default.model_dump(mode="json")
        ),
        units=shard(units, *request.shard),
    )


def shard(units: tuple[Unit, ...], number: int, count: int) -> tuple[Unit, ...]:
    """The part `number` (from 1) of `count`; units that share an encoding stay together."""
    blocks = dict.fromkeys((u.entry.label, u.seed, u.source) for u in units)
    mine = set(list(blocks)[number - 1 :: count])
    return tuple(u for u in units if (u.entry.label, u.seed, u.source) in mine)


def folder_of(out: Path, dataset_label: str, profile: str, split: str = "test") -> Path:
    """`<out>/<dataset>/<profile>`; the val split has a folder of its own."""
    name = profile if split == "test" else f"{profile}-{split}"
    return out / settings.file_name(dataset_label) / name


def parse_pairs(texts: Iterable[str], domains: Sequence[str]) -> tuple[Pair, ...]:
    """`SRC:TGT` texts to pairs in table order; none means all ordered pairs."""
    all_pairs = tuple(permutations(domains, 2))
    wanted = set()
    for text in texts:
        source, _, target = text.partition(":")
        for domain in (source, target):
            if domain not in domains:
                raise unknown("domain", domain, domains, "try: --pairs " + ":".join(domains[:2]))
        if source == target:
            raise UserError(
                f"the pair {text} translates a domain into itself",
                "expected: two different domains as SRC:TGT",
                "try: --pairs " + ":".join(all_pairs[0]),
            )
        wanted.add((source, target))
    return tuple(pair for pair in all_pairs if pair in wanted) if wanted else all_pairs


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
                f"for example: --set budget.{key}={example}",
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
    changes: settings.Settings,
    budget: Budget,
    seeds: tuple[int, ...],
    floor: str,
) -> tuple[Entry, ...]:
    """The methods asked for, with the reference rows in front; `floor` is the label of one."""
    entries = [_entry(methods.get("identity"), profile, {}, budget, seeds, reference=True)]
    entries.append(Entry(FLOOR, floor, None, MethodConfig(), (0,), 0, reference=True))
    for given, method in named.items():
        entry = _entry(method, profile, changes.get(method.name, {}), budget, seeds)
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
                "expected: one name for one method, its rows are told apart by it",
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
            method.name, config.shown(), default.shown(), extra, config.labelled()
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


def _unit_key(entry: Entry, seed: int, source: str, target: str, scope: dict[str, str]) -> str:
    return digest(
        {
            "method": entry.name,
            "version": entry.version,
            "config": entry.config.identity(),
            "budget": entry.train_images,
            "seed": seed,
            "pair": [source, target],
            **scope,
        }
    )
