"""Remarks under a leaderboard: why cells are empty, which times compare, what looks wrong."""

from collections.abc import Iterable, Mapping, Sequence

from xbench.analysis.rows import Row, clock, timed
from xbench.core.pairs import FLOOR
from xbench.metrics.base import METRICS
from xbench.records.schema import Record

#: Explains the floor of data sets without second exposures.
HALVES = (
    "floor[n/2]: one half of the target's own test images against the other half. At half the "
    "number of images a Fréchet distance is biased upward: methods may come out below it."
)


def empty_columns(records: Sequence[Record]) -> dict[str, list[str]]:
    """Reason → labels of the metrics that are empty for that reason; each metric once.

    What the floor alone lacks, since it has no source, is said of the floor. Why weights are
    missing differs from day to day, so the newest record gives the reason for all.
    """
    waiting = {
        name: value.reason
        for record in sorted(records, key=lambda record: record.finished)
        for name, value in record.metrics.items()
        if value.pending
    }
    found: dict[str, list[str]] = {}
    of_floor: dict[str, str] = {}
    for record in records:
        for name, value in record.metrics.items():
            reason = waiting[name] if value.pending else value.reason
            if reason and record.method.name == FLOOR:
                of_floor.setdefault(name, f"{reason} (the floor alone)")
            elif reason:
                found.setdefault(name, []).append(reason)
    # The commonest; of equally common ones the first.
    chosen = of_floor | {n: max(own, key=own.count) for n, own in found.items()}
    reasons: dict[str, list[str]] = {}
    for name in (name for name in METRICS if name in chosen):  # others are of absent plug-ins
        reasons.setdefault(chosen[name], []).append(METRICS[name].label)
    return reasons


def clocks(by_label: Mapping[str, Row]) -> str | None:
    """Which rows were timed on which machine; None where all were timed on the same one."""
    labels: dict[str, list[str]] = {}
    for label, row in by_label.items():
        machines = dict.fromkeys(map(clock, timed(row.records)))
        labels.setdefault(" and ".join(machines), []).append(label)
    if len(labels) < 2:
        return None
    *few, most = sorted(labels, key=lambda machine: len(labels[machine]))
    named = [f"{machine}: {', '.join(labels[machine])}" for machine in few]
    return (
        "ms/image and train s compare only where they were measured in the same way; "
        f"on {'; on '.join(named)}; on {most}: all others"
    )


def inverted(records: Iterable[Record]) -> list[str]:
    """One line per unit whose outputs correlate negatively with the inputs, on average.

    Bright bone and dark air are the classic failure of CycleGAN, which SSIM may hide.
    """
    return [
        f"inverted polarity: {record.method.label} seed {record.seed}, {record.source} → "
        f"{record.target}, correlation with the input {record.polarity:.2f}"
        for record in records
        if record.polarity is not None and record.polarity < 0
    ]
