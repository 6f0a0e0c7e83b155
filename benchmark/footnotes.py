"""What stands under a leaderboard: why cells are empty, what looks wrong, how to reproduce it."""

import shlex
from collections.abc import Iterable, Sequence

from xbench.metrics.base import METRICS
from xbench.store import Record


def empty_columns(records: Iterable[Record]) -> dict[str, list[str]]:
    """Reason → labels of the metrics that are empty for it in some record."""
    reasons: dict[str, list[str]] = {}
    for record in records:
        for name, value in record.metrics.items():
            if value.reason and METRICS[name].label not in reasons.setdefault(value.reason, []):
                reasons[value.reason].append(METRICS[name].label)
    return reasons


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


def commands(records: Sequence[Record]) -> list[str]:
    """The `xbench run` lines that make these records; reference rows come by themselves."""
    seeds: dict[tuple[str, ...], dict[str, set[int]]] = {}
    for record in records:
        if not record.method.reference:
            wanted = seeds.setdefault(tuple(record.method.assignments), {})
            wanted.setdefault(record.method.name, set()).add(record.seed)
    lines = []
    for assignments, by_name in seeds.items():
        together: dict[tuple[int, ...], list[str]] = {}
        for name, found in by_name.items():
            together.setdefault(tuple(sorted(found)), []).append(name)
        for numbers, names in together.items():
            lines.append(_command(records[0], names, numbers, assignments))
    return lines


def _command(
    like: Record, names: Sequence[str], seeds: Sequence[int], assignments: Sequence[str]
) -> str:
    words = ["xbench", "run", "--method", ",".join(names)]
    if like.data.name != "phantom":
        words += ["--dataset", like.data.name]
    words += ["--profile", like.profile, "--seed", ",".join(map(str, seeds))]
    if like.data.split != "test":
        words += ["--split", like.data.split]
    for assignment in (*like.data.assignments, *assignments):
        words += ["--set", assignment]
    return shlex.join(words)
