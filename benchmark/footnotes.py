"""What stands under a leaderboard: why cells are empty, what looks wrong, how to reproduce it."""

import shlex
from collections.abc import Iterable, Sequence

from xbench.datasets import registry as datasets
from xbench.metrics.base import METRICS
from xbench.store import Record

#: Version of rows that xbench did not make (`xbench score --as`).
EXTERNAL = "external"
#: What the floor is where a data set has no second exposures.
HALVES = (
    "floor[n/2]: one half of the target's own test images against the other half. At half the "
    "number of images a Fréchet distance is biased upward: methods may come out below it."
)


def empty_columns(records: Iterable[Record]) -> dict[str, list[str]]:
    """Reason → labels of the metrics that are empty for it in some record."""
    reasons: dict[str, list[str]] = {}
    for record in records:
        for name, value in record.metrics.items():
            if name not in METRICS:  # of a plug-in that is not here
                continue
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
    """The command lines that make these records; reference rows come by themselves."""
    rows: dict[tuple[str, tuple[str, ...]], list[Record]] = {}
    others: dict[tuple[str, int], list[Record]] = {}
    for record in records:
        method = record.method
        if method.version == EXTERNAL:
            others.setdefault((method.label, record.seed), []).append(record)
        elif not method.reference:
            name = method.given or method.name
            rows.setdefault((name, tuple(method.assignments)), []).append(record)
    # Rows that differ in the method alone share a line.
    lines: dict[tuple[tuple[str, ...], tuple[int, ...], tuple[str, ...]], list[str]] = {}
    for (name, assignments), own in rows.items():
        seeds = tuple(sorted({record.seed for record in own}))
        lines.setdefault((assignments, seeds, _pairs(own)), []).append(name)
    return [
        *(_command(records[0], names, *line) for line, names in lines.items()),
        *(_scoring(own[0], label, seed, _pairs(own)) for (label, seed), own in others.items()),
    ]


def _pairs(records: Sequence[Record]) -> tuple[str, ...]:
    """The pairs of a row as `--pairs` takes them; none if it has all."""
    number = len(records[0].data.domains)
    pairs = tuple(dict.fromkeys(f"{record.source}:{record.target}" for record in records))
    return () if len(pairs) == number * (number - 1) else pairs


def _command(
    like: Record,
    names: Sequence[str],
    assignments: Sequence[str],
    seeds: Sequence[int],
    pairs: Sequence[str],
) -> str:
    words = ["xbench", "run", "--method", ",".join(names), *_place(like, seeds, pairs)]
    for assignment in (*like.data.assignments, *assignments):
        words += ["--set", assignment]
    return shlex.join(words)


def _scoring(like: Record, label: str, seed: int, pairs: Sequence[str]) -> str:
    """The line that makes a row of images that another program translated."""
    words = ["xbench", "score", "--as", label, "--translated", f"path/to/{label}"]
    return shlex.join([*words, *_place(like, [seed], pairs)])


def _place(like: Record, seeds: Sequence[int], pairs: Sequence[str]) -> list[str]:
    """Options that say where records belong."""
    words = []
    if like.data.name != "phantom":
        known = like.data.name in datasets.names()
        words += ["--dataset", like.data.name if known else f"path/to/{like.data.name}"]
    words += ["--profile", like.profile, "--seed", ",".join(map(str, seeds))]
    if pairs:
        words += ["--pairs", ",".join(pairs)]
    if like.data.split != "test":
        words += ["--split", like.data.split]
    return words
