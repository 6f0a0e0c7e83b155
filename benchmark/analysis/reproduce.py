"""The command lines that recompute records.

Nothing is run or imported here: records may come from other people and name their code.
"""

import math
import os
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import NamedTuple

from xbench.core.pairs import FLOOR
from xbench.core.places import address
from xbench.datasets import registry as datasets
from xbench.records.schema import EXTERNAL, Finished, Record


def commands(records: Sequence[Record]) -> list[str]:
    """The command lines that make these records; every run makes the reference rows, too.

    Above one that would run a file of theirs stands a comment line, which says so.
    """
    rows: dict[tuple[str, tuple[str, ...]], list[Record]] = {}
    external: dict[tuple[str, int], list[Record]] = {}
    for record in records:
        method = record.method
        if method.version == EXTERNAL:
            external.setdefault((method.label, record.seed), []).append(record)
        elif not method.reference or method.given:  # every run makes the other references
            name = address(method.given) or method.name
            rows.setdefault((name, tuple(method.assignments)), []).append(record)
    # Rows that differ in the method alone share a line.
    lines: dict[Line, list[str]] = {}
    for (name, assignments), own in rows.items():
        seeds = tuple(sorted({record.seed for record in own}))
        # Budgets first: what a sweep varies comes last.
        in_order = tuple(sorted(assignments, key=lambda text: not text.startswith("budget.")))
        lines.setdefault(Line(in_order, seeds, _pairs(own)), []).append(name)
    return [
        *(text for words in _sweeps(records[0], lines) for text in _warned(words)),
        *(
            shlex.join(_scoring(own[0], label, seed, _pairs(own)))
            for (label, seed), own in external.items()
        ),
    ]


def _warned(words: Sequence[str]) -> Iterator[str]:
    """A command line, below a comment if it would run code that the records name."""
    methods = words[words.index("--method") + 1]
    if files := re.findall(r"[^,]*\.py(?=:)", methods):
        yield f"# runs code of its own: {', '.join(files)}, look at it first"
    yield shlex.join(words)


class Line(NamedTuple):
    """What a command line says besides its methods."""

    assignments: tuple[str, ...]
    seeds: tuple[int, ...]
    pairs: tuple[str, ...]


def _sweeps(like: Record, lines: Mapping[Line, Sequence[str]]) -> Iterator[list[str]]:
    """The lines as words; lines that differ only in their last assignment become one sweep."""
    alike: dict[tuple[object, ...], list[tuple[Line, Sequence[str]]]] = {}
    for line, names in lines.items():
        *rest, last = line.assignments or ("",)
        key = last.partition("=")[0]
        alike.setdefault((*names, *line[1:], *rest, key), []).append((line, names))
    for together in alike.values():
        line, names = together[0]
        if len(together) == 1:
            yield _run(like, names, *line)
            continue
        *rest, last = line.assignments
        values = sorted(
            (other.assignments[-1].partition("=")[2] for other, _ in together), key=_by_number
        )
        joined = f"{last.partition('=')[0]}={','.join(values)}"
        yield _run(like, names, (*rest, joined), line.seeds, line.pairs, verb="sweep")


def _by_number(text: str) -> tuple[float, str]:
    """A sort key: numbers in their order, before other words."""
    try:
        return float(text), text
    except ValueError:
        return math.inf, text


def command(record: Record, method: str = "", dataset: str = "") -> list[str]:
    """The words of the command that recomputes one record.

    Args:
        record: of any row, reference rows too.
        method: for `--method`, instead of what the record says (a plug-in may lie elsewhere here).
        dataset: the same for `--dataset`.
    """
    pair = (f"{record.source}:{record.target}",)
    if record.method.version == EXTERNAL:
        return _scoring(record, record.method.label, record.seed, pair, dataset)
    name = method or method_name(record)
    return _run(record, [name], record.method.assignments, [record.seed], pair, dataset)


def method_name(record: Finished) -> str:
    """What `--method` takes; of the floor `identity`, since every run makes the floor, too."""
    method = record.method
    return "identity" if method.name == FLOOR else method.given or method.name


def absent(method: str) -> str:
    """What to say of a plug-in's file that is not where `--method` looks; empty if it is there.

    Records name such a file relative to the folder that the run was started in, or by its name.
    """
    file, _, attribute = method.rpartition(":")
    if not file.endswith(".py") or os.path.isfile(file):
        return ""
    place = shlex.quote(f"path/to/{PurePath(file).name}:{attribute}")
    return f"{file} is not in this folder: say where it lies, with --method {place}"


def _pairs(records: Sequence[Record]) -> tuple[str, ...]:
    """The pairs of a row as `--pairs` takes them; none if it has all."""
    number = len(records[0].data.domains)
    pairs = tuple(dict.fromkeys(f"{record.source}:{record.target}" for record in records))
    return () if len(pairs) == number * (number - 1) else pairs


def _run(
    like: Record,
    names: Sequence[str],
    assignments: Sequence[str],
    seeds: Sequence[int],
    pairs: Sequence[str],
    dataset: str = "",
    verb: str = "run",
) -> list[str]:
    words = ["xbench", verb, "--method", ",".join(names), *_place(like, seeds, pairs, dataset)]
    for assignment in (*like.data.assignments, *assignments):
        words += ["--set", assignment]
    return words


def _scoring(
    like: Record, label: str, seed: int, pairs: Sequence[str], dataset: str = ""
) -> list[str]:
    """The words that score images of another program again."""
    words = ["xbench", "score", "--as", label, "--translated", f"path/to/{label}"]
    return [*words, *_place(like, [seed], pairs, dataset)]


def _place(
    like: Record, seeds: Sequence[int], pairs: Sequence[str], dataset: str = ""
) -> list[str]:
    """The options that choose data set, profile, seeds, pairs and split."""
    words = []
    if dataset or like.data.name != "phantom":
        known = like.data.name in datasets.names()
        name = like.data.name if known else f"path/to/{like.data.name}"
        words += ["--dataset", dataset or name]
    words += ["--profile", like.profile, "--seed", ",".join(map(str, seeds))]
    if pairs:
        words += ["--pairs", ",".join(pairs)]
    if like.data.split != "test":
        words += ["--split", like.data.split]
    return words
