"""How long a run will take: from the times of earlier units, else from the profile's seconds.

The profile's seconds are those of one machine; a probe says how much slower this one is.
"""

from dataclasses import fields, replace
from statistics import fmean

import torch

from xbench.core.profiles import Profile
from xbench.harness.pending import Pending
from xbench.harness.plan import Plan, Unit
from xbench.harness.probe import slowness
from xbench.records.schema import TrainingLog
from xbench.records.store import read

#: Seconds of work up to which the machine is not probed: the probe takes half of one.
WORTH_A_PROBE = 30


def minutes(plan: Plan, pending: Pending, device: torch.device) -> float | None:
    """Estimated minutes of the pending work; None where no times are known."""
    if not pending.translate:
        return 0.0
    seconds = _seconds(plan, pending, plan.profile)
    if seconds is not None and seconds > WORTH_A_PROBE:
        seconds = _seconds(plan, pending, on_this_machine(plan.profile, device))
    return None if seconds is None else seconds / 60


def _seconds(plan: Plan, pending: Pending, profile: Profile) -> float | None:
    """Seconds by earlier units and trainings, else by the profile; None where neither says."""
    seen: dict[str, list[float]] = {}
    for record in pending.records:
        seen.setdefault(record.method.name, []).append(sum(record.seconds.values()))
    usual = {name: fmean(seconds) for name, seconds in seen.items()}
    cache = plan.dataset.cache()
    cached = cache is not None and cache.exists()
    known = [
        0.0 if cached else profile.data_seconds,
        _trainings(plan, pending, profile),
        *(_unit(usual, unit, profile) for unit in pending.translate),
    ]
    numbers = [seconds for seconds in known if seconds is not None]
    return sum(numbers) if len(numbers) == len(known) else None


def on_this_machine(profile: Profile, device: torch.device) -> Profile:
    """The profile with the seconds that its work takes here."""
    times = {
        field.name: getattr(profile, field.name)
        for field in fields(profile)
        if field.name.endswith("_seconds")
    }
    known = {name: seconds for name, seconds in times.items() if seconds is not None}
    if not known:
        return profile
    slower = slowness(device)
    return replace(profile, **{name: seconds * slower for name, seconds in known.items()})


def _trainings(plan: Plan, pending: Pending, profile: Profile) -> float | None:
    """Seconds of the trainings left, by the speed of finished ones of the same objective."""
    markers = [p for p in plan.trainings.glob("*/training.json") if p.parent.suffix != ".corrupt"]
    seen: dict[str, list[float]] = {}
    for marker in markers:
        log = read(marker, TrainingLog)
        if log and log.seconds:
            seen.setdefault(str(log.recipe.get("objective")), []).append(log.images / log.seconds)
    seconds = 0.0
    for needed in pending.trainings.values():
        speed = fmean(seen[needed.objective]) if needed.objective in seen else None
        speed = speed or _expected_speed(profile, needed.pairwise)
        if speed is None:
            return None
        seconds += needed.images / speed
    return seconds


def _expected_speed(profile: Profile, pairwise: bool) -> float | None:
    """Training images per second on the machine that the profile is for."""
    if pairwise:
        return profile.pair_images / profile.pair_seconds if profile.pair_seconds else None
    return profile.train_images / profile.train_seconds if profile.train_seconds else None


def _unit(usual: dict[str, float], unit: Unit, profile: Profile) -> float | None:
    """Seconds of a unit: the mean of earlier ones of its method, else by the profile."""
    if unit.entry.name in usual:
        return usual[unit.entry.name]
    if unit.entry.train_images == 0:  # a filter or a reference costs its scoring alone
        return profile.score_seconds
    if profile.translate_seconds is None or profile.score_seconds is None:
        return None
    return profile.translate_seconds + profile.score_seconds
