"""Grids of settings: one plan with a row for each combination of values."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

from xbench.core import settings
from xbench.core.errors import UserError
from xbench.harness import plan
from xbench.harness.plan import Entry, Plan, Request, Unit
from xbench.methods import registry
from xbench.methods.base import Method

#: `SECTION.KEY` → values.
Grids = Mapping[str, Sequence[Any]]


def make(request: Request, grids: Grids, along: Sequence[Any] = ()) -> Plan:
    """One plan with a row for each combination of values.

    Args:
        request: as for one row of each method, without settings.
        grids: settings and their values; a name needs no section where there is one method.
        along: values of each method's trade-off knob.

    Raises:
        UserError: a mistake in the request, a method without a knob, or nothing to vary.
    """
    classes = {given: registry.get(given) for given in request.methods}
    if len(classes) == 1:
        (only,) = classes.values()
        grids = {n if "." in n else f"{only.name}.{n}": chosen for n, chosen in grids.items()}
    _check(grids, classes, along)
    plans = []
    for given, method in classes.items():
        own = _of_method(method, grids, along)
        for chosen in product(*own.values()):
            values = settings.nested(dict(zip(own, chosen, strict=True)))
            plans.append(
                plan.make(replace(request, methods=[given], settings=values, shard=(1, 1)))
            )
    merged = _merged(plans)
    return replace(merged, units=plan.shard(merged.units, *request.shard))


def _check(grids: Grids, classes: dict[str, type[Method]], along: Sequence[Any]) -> None:
    """Find mistakes before any plan is made."""
    names = {method.name for method in classes.values()}
    texts = {name: ",".join(map(str, chosen)) for name, chosen in grids.items()}
    settings.check_sections(settings.nested(texts), [*settings.SHARED, *names])
    for name, chosen in grids.items():
        if name.startswith(("data.", "compute.")) and len(chosen) > 1:
            raise UserError(
                f"--set {name} has {len(chosen)} values",
                "expected: one, a sweep compares rows on the same data, computed in the same way",
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
    method: type[Method], grids: Grids, along: Sequence[Any]
) -> dict[str, Sequence[Any]]:
    """What concerns one method: the knob first, then its own settings, data and budget."""
    own: dict[str, Sequence[Any]] = {f"{method.name}.{method.knob}": along} if along else {}
    sections = (method.name, *settings.SHARED)
    return own | {name: v for name, v in grids.items() if name.partition(".")[0] in sections}


def _merged(plans: Sequence[Plan]) -> Plan:
    """Plans of the same data as one; reference rows, and values given twice, come once."""
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
