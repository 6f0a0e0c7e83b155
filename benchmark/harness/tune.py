"""Choosing settings on `val`: one setting after the other, and the best value is kept.

One rule for all methods: the values that a method declares (`Method.tuned`), the noise level
first; all pairs between groups of domains; least mean of the metric that ranks; as many network
evaluations per image as the default allows.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from xbench.analysis import leaderboard, tuning
from xbench.analysis.results import read
from xbench.analysis.selection import crossing
from xbench.core import settings
from xbench.core.errors import UserError
from xbench.harness import plan, sweep
from xbench.harness.plan import Plan, Request
from xbench.methods import registry
from xbench.methods.base import Method

#: Does a plan, and returns the names of the units that failed.
Perform = Callable[[Plan], Sequence[str]]


@dataclass(frozen=True)
class Choice:
    """What is to be chosen for one method, as it was named."""

    given: str
    method: type[Method]
    values: Mapping[str, Sequence[Any]]


def choices(request: Request) -> list[Choice]:
    """The methods of a request that have something to choose; what is set is not chosen.

    Raises:
        UserError: a mistake in the request, none has, or the test split was asked for.
    """
    if request.split != "val":
        raise UserError(
            f"settings cannot be chosen on the split {request.split}",
            "expected: val, since no choice may look at the images that methods are ranked on",
            "leave --split out",
        )
    plan.make(request)
    classes = {given: registry.get(given) for given in request.methods}
    found = []
    for given, method in classes.items():
        fixed = request.settings.get(method.name, {})
        values = {name: own for name, own in method.tuned.items() if name not in fixed}
        found += [Choice(given, method, values)] if values else []
    if not found:
        raise UserError(
            f"{', '.join(classes)} has no setting to choose",
            "expected: a method that declares values to try (`tuned`)",
            "for example: xbench tune --method medshift",
        )
    return found


def tune(request: Request, perform: Perform) -> list[tuning.Trial]:
    """Try the values of every setting, and store and return what was found.

    Args:
        request: methods, data, and settings that stay as they are; split `val`.
        perform: called with one plan for each setting.

    Raises:
        UserError: a mistake in the request, or units failed.
    """
    trials = []
    for choice in choices(request):
        own = _tune(choice, request, perform)
        tuning.store(tuning.frame(own), folder_of(request))
        trials += own
    return trials


def folder_of(request: Request) -> Path:
    """Where the choices lie: the folder of the profile, in which the test split has its results."""
    return plan.make(replace(request, split="test")).folder


def _tune(choice: Choice, request: Request, perform: Perform) -> list[tuning.Trial]:
    """One setting after the other, each with the values chosen before."""
    name = choice.method.name
    fixed, trials = dict(request.settings.get(name, {})), []
    asked = replace(request, methods=[choice.given], pairs=_pairs(request, choice.given))
    for setting, values in choice.values.items():
        kept = settings.merged(request.settings, {name: fixed})
        grids = {f"{part}.{key}": [v] for part, own in kept.items() for key, v in own.items()}
        planned = sweep.make(asked, {**grids, f"{name}.{setting}": values})
        if failed := perform(planned):
            raise UserError(
                f"{len(failed)} units failed, so that no value of {name}.{setting} can be chosen",
                f"expected: all to be finished; the first: {failed[0]}",
                "look at the folder 'failed' of the results, and give the same command again",
            )
        found = _trials(planned, name, setting)
        trials += found
        fixed[setting] = next(trial.value for trial in found if trial.chosen)
    return trials


def _pairs(request: Request, given: str) -> Sequence[str]:
    """The pairs of the request; by default those between groups of domains."""
    own = {k: v for k, v in request.settings.items() if k == "data"}
    planned = plan.make(replace(request, methods=[given], settings=own))
    groups = planned.dataset.domain_groups
    cross = [f"{a}:{b}" for a, b in planned.pairs if groups[a] != groups[b]]
    return request.pairs or cross


def _trials(planned: Plan, name: str, setting: str) -> list[tuning.Trial]:
    """The values of one setting by what their rows reached."""
    by_label = read(planned.folder).by_label
    entries = [entry for entry in planned.entries if entry.name == name]
    rows = [by_label[entry.label] for entry in entries]
    metric = leaderboard.ranking_of(by_label).metric
    cross = crossing(rows[0].records[0], planned.pairs)
    means = [row.mean(metric, cross) for row in rows]
    default = entries[0].method.configure(planned.profile).model_dump(mode="json")[setting]
    trials = []
    for place, (entry, row, mean) in enumerate(zip(entries, rows, means, strict=True)):
        low, high = row.interval(metric, cross)
        value = entry.config.model_dump(mode="json")[setting]
        trials.append(
            tuning.Trial(
                *(name, setting, value, metric, mean, low, high, len(cross)),
                nfe=row.records[0].method.nfe or 0,
                train_images=entry.train_images,
                default=value == default,
                chosen=place == means.index(min(means)),
            )
        )
    return trials
