"""What stands under a leaderboard: why cells are empty, what looks wrong, how to reproduce it."""

from collections.abc import Iterable, Mapping, Sequence

from xbench.analysis.rows import Row, clock, timed
from xbench.metrics.base import METRICS
from xbench.records.schema import Record

#: What the floor is where a data set has no second exposures.
HALVES = (
    "floor[n/2]: one half of the target's own test images against the other half. At half the "
    "number of images a Fréchet distance is biased upward: methods may come out below it."
)


def empty_columns(records: Sequence[Record]) -> dict[str, list[str]]:
    """Reason → labels of the metrics that are empty for it in some record.

    Why weights are missing differs from day to day: only the newest record is asked for that.
    """
    waiting = {
        name: value.reason
        for record in sorted(records, key=lambda record: record.finished)
        for name, value in record.metrics.items()
        if value.pending
    }
    reasons: dict[str, list[str]] = {}
    for record in records:
        for name, value in record.metrics.items():
            if name not in METRICS:  # of a plug-in that is not here
                continue
            reason = waiting[name] if value.pending else value.reason
            if reason and METRICS[name].label not in reasons.setdefault(reason, []):
                reasons[reason].append(METRICS[name].label)
    return reasons


def clocks(by_label: Mapping[str, Row]) -> str | None:
    """Which rows' times compare with each other; None where all do."""
    kinds: dict[str, list[str]] = {}
    for label, row in by_label.items():
        names = dict.fromkeys(map(clock, timed(row.records)))
        kinds.setdefault(" and ".join(names), []).append(label)
    if len(kinds) < 2:
        return None
    *few, most = sorted(kinds, key=lambda kind: len(kinds[kind]))
    told = [f"{kind}: {', '.join(kinds[kind])}" for kind in few]
    return (
        "ms/image and train s compare only where they were measured alike; "
        f"on {'; on '.join(told)}; on {most}: all others"
    )


def inverted(records: Iterable[Record]) -> list[str]:
    """One line per unit whose outputs are, on average, negatively correlated with the inputs.

    Bone rendered bright and air dark is the classic failure of CycleGAN; SSIM hides it at times.
    """
    return [
        f"inverted polarity: {record.method.label} seed {record.seed}, {record.source} → "
        f"{record.target}, correlation with the input {record.polarity:.2f}"
        for record in records
        if record.polarity is not None and record.polarity < 0
    ]
