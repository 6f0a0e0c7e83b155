"""How long a run will take: from what earlier units took, else from the profile."""

from statistics import fmean

from xbench import trainings
from xbench.plan import Plan, Unit
from xbench.profiles import Profile
from xbench.runner import Survey
from xbench.store import Record, Store, read


def minutes(plan: Plan, survey: Survey) -> float | None:
    """Estimated minutes of what is left; None where nothing is known to estimate from."""
    records = Store(plan.folder).records()
    cache = plan.dataset.cache()
    cached = cache is not None and cache.exists()
    known = [
        0.0 if cached or not survey.translate else plan.profile.data_seconds,
        _trainings(plan, survey),
        *(_unit(records, unit, plan.profile) for unit in survey.translate),
    ]
    numbers = [seconds for seconds in known if seconds is not None]
    return sum(numbers) / 60 if len(numbers) == len(known) else None


def _trainings(plan: Plan, survey: Survey) -> float | None:
    if not survey.trainings:
        return 0.0
    markers = [p for p in plan.trainings.glob("*/training.json") if p.parent.suffix != ".corrupt"]
    logs = [read(marker, trainings.TrainingLog) for marker in markers]
    speeds = [log.images / log.seconds for log in logs if log and log.seconds]
    if not speeds and plan.profile.train_seconds:
        speeds = [plan.profile.train_images / plan.profile.train_seconds]
    images = max(unit.entry.train_images for unit in survey.translate)
    return len(survey.trainings) * images / fmean(speeds) if speeds else None


def _unit(records: list[Record], unit: Unit, profile: Profile) -> float | None:
    seen = [sum(r.seconds.values()) for r in records if r.method.name == unit.entry.name]
    if seen:
        return fmean(seen)
    if unit.entry.train_images == 0:  # a filter or a reference costs its scoring alone
        return profile.score_seconds
    if profile.translate_seconds is None or profile.score_seconds is None:
        return None
    return profile.translate_seconds + profile.score_seconds
