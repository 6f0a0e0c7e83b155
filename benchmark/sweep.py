"""Grids of settings: from texts as `0:1:0.1` to one plan with a row for each combination."""

import re
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from itertools import product

from xbench import plan, settings
from xbench.errors import UserError
from xbench.methods import registry
from xbench.methods.base import Method
from xbench.plan import Entry, Plan, Request, Unit

_NUMBER = r"-?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_RANGE = re.compile(rf"({_NUMBER}):({_NUMBER}):({_NUMBER})")
#: Values of one setting; more are taken for a slip.
MOST_VALUES = 1000


def values(text: str) -> list[str]:
    """The values that a text stands for: `START:STOP:STEP`, or some between commas.

    STOP belongs to them where the steps meet it. Decimal arithmetic: `0:1:0.1` has 0.3, not
    0.30000000000000004. Commas in square brackets separate nothing.

    Raises:
        UserError: steps that never arrive, or too many.
    """
    match = _RANGE.fullmatch(text.strip())
    if not match:
        return [part.strip() for part in re.split(r",(?![^\[]*\])", text) if part.strip()]
    start, stop, step = map(Decimal, match.groups())
    if step == 0 or (stop - start) / step < 0 or (stop - start) / step >= MOST_VALUES:
        raise UserError(
            f"the steps of {text} do not lead from {start} to {stop}",
            f"expected: START:STOP:STEP with less than {MOST_VALUES} steps towards STOP",
            "for example: 0:1:0.1",
        )
    return [f"{(start + k * step).normalize():f}" for k in range(int((stop - start) / step) + 1)]


def make(request: Request, knob: str = "") -> Plan:
    """One plan with a row for each combination of values.

    Args:
        request: as for one row of each method, but its assignments may have several values
            (`medshift.steps=2,4`), and none needs a section where there is one method.
        knob: values of each method's trade-off knob.

    Raises:
        UserError: a mistake in the request, a method without a knob, or nothing to vary.
    """
    classes = {given: registry.get(given) for given in request.methods}
    grids, along = _grids(request, classes), values(knob)
    _check(grids, classes, along)
    plans = []
    for given, method in classes.items():
        own = _of_method(method, grids, along)
        for chosen in product(*own.values()):
            assignments = [f"{name}={value}" for name, value in zip(own, chosen, strict=True)]
            one = replace(request, methods=[given], assignments=assignments, shard=(1, 1))
            plans.append(plan.make(one))
    merged = _merged(plans)
    return replace(merged, units=plan.shard(merged.units, *request.shard))


def _grids(request: Request, classes: dict[str, type[Method]]) -> dict[str, list[str]]:
    """`SECTION.KEY` → values, of all assignments."""
    found = {}
    for assignment in request.assignments:
        name, equals, text = assignment.partition("=")
        if "." not in name and len(classes) == 1:
            name = f"{next(iter(classes.values())).name}.{name}"
        settings.parse([f"{name}{equals}{text}"])  # complains of what has another form
        if not (chosen := values(text)):
            raise UserError(
                f"--set {assignment} has no value",
                "expected: one value at least, START:STOP:STEP, or some between commas",
                "for example: --set medshift.steps=2,4,8",
            )
        found[name] = chosen
    return found


def _check(grids: dict[str, list[str]], classes: dict[str, type[Method]], along: list[str]) -> None:
    """Find mistakes before any plan is made."""
    names = {method.name for method in classes.values()}
    sections: settings.Settings = {grid.partition(".")[0]: {} for grid in grids}
    settings.check_sections(sections, ["data", "budget", *names])
    for name, chosen in grids.items():
        if name.startswith("data.") and len(chosen) > 1:
            raise UserError(
                f"--set {name} has {len(chosen)} values",
                "expected: one, a sweep compares rows on the same data",
                f"try: --set {name}={chosen[0]}, and the others in sweeps of their own",
            )
    if not along and all(len(chosen) == 1 for chosen in grids.values()):
        raise UserError(
            "there is nothing to sweep over",
            "expected: --knob with some values, or --set with several for one setting",
            "for example: xbench sweep --method medshift --knob 0:1:0.1",
        )
    for given, method in classes.items():
        if along and method.knob is None:
            raise UserError(
                f"{given} has no trade-off knob",
                "expected: methods that have one, or --set in place of --knob",
                "see: xbench list methods --json",
            )
        if along and f"{method.name}.{method.knob}" in grids:
            raise UserError(
                f"{method.name}.{method.knob} is the knob, and set as well",
                "expected: either --knob or --set for one setting",
                f"leave --set {method.name}.{method.knob} out",
            )


def _of_method(
    method: type[Method], grids: dict[str, list[str]], along: list[str]
) -> dict[str, list[str]]:
    """What concerns one method: the knob first, then its own settings, data and budget."""
    own = {f"{method.name}.{method.knob}": along} if along else {}
    sections = (method.name, "data", "budget")
    return own | {name: v for name, v in grids.items() if name.partition(".")[0] in sections}


def _merged(plans: Sequence[Plan]) -> Plan:
    """Plans of the same data as one; reference rows, and values given twice, come once.

    Raises:
        UserError: two values are so close that their rows have one label.
    """
    entries: dict[str, Entry] = {}
    units: dict[str, Unit] = {}
    for one in plans:
        for entry in one.entries:
            first = entries.setdefault(entry.label, entry)
            if _content(first) != _content(entry):
                raise UserError(
                    f"two rows would be called '{entry.label}'",
                    "expected: values that differ in their first six digits",
                    "choose others",
                )
        units |= {unit.name: unit for unit in one.units if unit.name not in units}
    return replace(plans[0], entries=tuple(entries.values()), units=tuple(units.values()))


def _content(entry: Entry) -> tuple[object, ...]:
    """What makes a row; a plug-in's class is another object each time that its file is read."""
    return entry.name, entry.version, entry.config.identity(), entry.train_images
