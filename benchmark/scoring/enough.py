"""Whether a data set has enough images for the metrics: known from its ids, before any work."""

from itertools import permutations

from xbench.core.errors import UserError
from xbench.datasets.base import Dataset, Split
from xbench.datasets.folder import Folder
from xbench.metrics.base import METRICS
from xbench.metrics.definitions import FRECHET_MIN_N

#: One of the gates of a rank.
GATE = "match"
#: The largest share of the images that the advice puts into the test split.
MOST_TEST = 0.5


def too_few(dataset: Dataset, split: Split) -> dict[str, str]:
    """Metrics that no pair of domains has enough images or groups for, with the reason."""
    groups = _groups(dataset, split)
    if not groups:
        return {}
    pairs = list(permutations(groups, 2))
    reasons = {}
    for name, metric in METRICS.items():
        most = max(
            len(groups[a]) if metric.of_source else min(len(groups[a]), len(groups[b]))
            for a, b in pairs
        )
        parties = max(len(set(groups[source])) for source, _ in pairs)
        if most < metric.min_n:
            reasons[name] = f"n = {most}, needs {metric.min_n}"
        elif parties < metric.min_groups:
            reasons[name] = f"{parties} groups, needs {metric.min_groups}"
    return reasons


def advice(dataset: Dataset, split: Split) -> list[str]:
    """Sentences on what will stay empty for want of images, and what to do about it.

    The data set need not be prepared.
    """
    share = dataset.share(split) if isinstance(dataset, Folder) else None
    every = _groups(dataset, split)
    if not every:
        return []
    counts = {domain: len(groups) for domain, groups in every.items()}
    groups = {domain: len(set(groups)) for domain, groups in every.items()}
    smallest, fewest = min(counts, key=counts.__getitem__), min(groups, key=groups.__getitem__)
    least, lines = counts[smallest], []
    if least < FRECHET_MIN_N:
        names = [
            metric.label
            for name, metric in METRICS.items()
            if metric.min_n > least and (metric.in_tables or name == GATE)
            if dataset.aligned(split) or not metric.paired
        ]
        lines.append(
            f"{smallest} has {least} {split} images, {FRECHET_MIN_N} are needed: "
            f"{', '.join(names)} stay empty in its pairs, and no row has a rank without "
            f"{METRICS[GATE].label}; {_advice(split, share, least, FRECHET_MIN_N)}"
        )
    elif least < 2 * FRECHET_MIN_N and not dataset.repeated(split):
        lines.append(
            f"{smallest} has {least} {split} images, {2 * FRECHET_MIN_N} are needed: the floor "
            "compares two halves of them, so that its distances between sets (FTD) and the gap "
            f"closed stay empty; {_advice(split, share, least, 2 * FRECHET_MIN_N)}"
        )
    if groups[fewest] < METRICS[GATE].min_groups:
        lines.append(
            f"the {split} images of {fewest} come from {groups[fewest]} groups (patients, heads), "
            f"{METRICS[GATE].min_groups} are needed: intervals and {METRICS[GATE].label} stay "
            "empty, and no row has a rank; add images of others, or say how names show groups: "
            "group under [split] in dataset.toml"
        )
    return lines


def better_share(dataset: Dataset, split: Split) -> float | None:
    """The share of the images that gives a split enough of them; None where none is advised."""
    share = dataset.share(split) if isinstance(dataset, Folder) else None
    least = min((len(groups) for groups in _groups(dataset, split).values()), default=0)
    needed = FRECHET_MIN_N if least < FRECHET_MIN_N else 2 * FRECHET_MIN_N
    return None if least >= needed else _wanted(share, least, needed)


def _groups(dataset: Dataset, split: Split) -> dict[str, list[str]]:
    """Domain → the group of each image; empty where that is not known before the images are."""
    try:
        return {domain: dataset.groups(split, domain) for domain in dataset.domains}
    except UserError:
        return {}


def _advice(split: Split, share: float | None, present: int, needed: int) -> str:
    """How to bring a split to a number of images."""
    more = f"add {needed - present} {split} images"
    wanted = _wanted(share, present, needed)
    return (
        f"set {split} = {wanted:.2g} under [split] in dataset.toml, or {more}" if wanted else more
    )


def _wanted(share: float | None, present: int, needed: int) -> float | None:
    """The share that brings a split to a number of images; None where it would take too many."""
    if not share or not present:
        return None
    # In steps of 0.05; groups differ in size, so a little more than in proportion.
    wanted = -(-share * needed * 1.05 / present // 0.05) * 0.05
    return round(wanted, 2) if wanted <= MOST_TEST else None
