"""Numbers of a Markdown page and the published results that they come from; see `test_findings`.

`problems(page, results)` says which numbers are not those of their source.
"""

import math
import re
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import pandas as pd

from xbench.analysis.compare import compare
from xbench.core.errors import UserError

COMMENTS = re.compile(r"(?:<!-- (?:from|given) .*?-->\s*)+", re.DOTALL)
COMMENT = re.compile(r"<!-- (from|given) (.*?)\s*-->", re.DOTALL)
#: What has no numbers of results: blocks and spans of code, addresses, and other comments.
SILENT = re.compile(r"```.*?```|`[^`]*`|\]\([^)]*\)|<!--.*?-->", re.DOTALL)
NUMBER = re.compile(
    r"(?<![\w.])([-−+]?)(\d+(?:\.\d+)?|\.\d+)(e[-+]?\d+)?(?![\w.]*\d)\s?(%|M\b|min\b|h\b)?"
)
SCALES = {"%": 0.01, "M": 1e6, "min": 60, "h": 3600, None: 1}


class Wrong(Exception):
    """A source that cannot be read; the text says why."""


@dataclass(frozen=True)
class Number:
    """A number as it is written.

    Attributes:
        text: on the page.
        value: what it says, in the unit of the results.
        rounding: how far the true value may lie from it.
    """

    text: str
    value: float
    rounding: float

    def shows(self, value: float) -> bool:
        return abs(value - self.value) <= self.rounding * (1 + 1e-9)


@dataclass(frozen=True)
class Claim:
    """A paragraph, list item or table, and what its comments say.

    Attributes:
        text: without the comments.
        sources: texts behind `from`.
        given: numbers of the setup, which are no results.
    """

    text: str
    sources: list[str] = field(default_factory=list)
    given: list[Number] = field(default_factory=list)

    @property
    def lines(self) -> list[str]:
        """The lines of a table, of which one has all values of a row; else the whole text."""
        lines = self.text.splitlines()
        return lines if lines and all(line.startswith("|") for line in lines) else [self.text]


def numbers(text: str) -> list[Number]:
    """The numbers of a text, without those in code and addresses."""
    found = []
    for sign, digits, power, unit in NUMBER.findall(SILENT.sub(" ", text)):
        scale = SCALES[unit or None] * float("1" + power if power else 1)
        value = float(digits) * scale * (-1 if sign in ("-", "−") else 1)
        decimals = len(digits.partition(".")[2])
        written = f"{sign}{digits}{power} {unit}".strip()
        found.append(Number(written, value, 0.5 * 10.0**-decimals * scale))
    return found


def claims(text: str) -> Iterator[Claim]:
    """What a page says, block by block; blocks without a comment have no sources."""
    start = 0
    for comments in COMMENTS.finditer(text):
        before = text[start : comments.start()].rstrip()
        rest, _, block = before.rpartition("\n\n")
        yield Claim(rest)
        parts = COMMENT.findall(comments[0])
        given = [n for kind, inner in parts if kind == "given" for n in numbers(inner)]
        yield Claim(block.strip(), [inner for kind, inner in parts if kind == "from"], given)
        start = comments.end()
    yield Claim(text[start:])


def problems(page: str, results: Path, *, everywhere: bool) -> list[str]:
    """What is wrong with the numbers of a page.

    Args:
        page: its text.
        results: the folder of published results.
        everywhere: whether numbers need a source even where a block has no comment.
    """
    found: list[str] = []
    for claim in claims(page):
        if not (claim.sources or claim.given or everywhere):
            continue
        known = [number.value for number in claim.given]
        for source in claim.sources:
            try:
                rows = read(source, results)
            except Wrong as why:
                found.append(f"from {source}: {why}")
                continue
            known += [value for row in rows for value in row.values()]
            found += [f"from {source}: {lack}" for lack in _absent(claim, rows)]
        found += [
            f"{number.text} has no source: {_start(claim.text)}"
            for number in numbers(claim.text)
            if not any(map(number.shows, known))
        ]
    return found


def _absent(claim: Claim, rows: list[dict[str, float]]) -> Iterator[str]:
    """The rows of which no line of the claim has all values."""
    lines = [numbers(line) for line in claim.lines]
    for row in rows:
        lacks = [
            {name: value for name, value in row.items() if not any(n.shows(value) for n in line)}
            for line in lines
        ]
        least = min(lacks, key=len)
        if least:
            values = ", ".join(f"{name} {value:.6g}" for name, value in least.items())
            yield f"{values} is not in: {_start(claim.text)}"


def _start(text: str) -> str:
    return " ".join(text.split())[:80]


def read(source: str, results: Path) -> list[dict[str, float]]:
    """The numbers that a source names: column → value, for each of its rows.

    Raises:
        Wrong: there is no such file, row or column, or no number.
    """
    where, colon, what = source.partition(": ")
    if not colon:
        raise Wrong("expected: FILE.csv: COLUMN=VALUE … COLUMN …")
    place, *words = shlex.split(where)
    wanted = shlex.split(what)
    if words[:1] == ["compare"]:
        return [_compared(results / place, words[1:], wanted)]
    return _of_table(results / place, wanted)


def _of_table(path: Path, wanted: list[str]) -> list[dict[str, float]]:
    table = _table(path)
    conditions: dict[str, list[str]] = {}
    columns = []
    for word in wanted:
        if found := re.match(r"(\w+)=(.*)", word):
            conditions.setdefault(found[1], []).append(found[2])
        else:
            columns.append(word)
    for name in (*conditions, *columns):
        if name not in table:
            raise Wrong(f"{path.name} has no column {name}")
    for name, values in conditions.items():
        for value in values:
            if not (table[name] == value).any():
                raise Wrong(f"{path.name} has no row with {name}={value}")
        table = table[table[name].isin(values)]
    if table.empty or not columns:
        raise Wrong("it names no row, or no column")
    return [{name: _number(row[name], name) for name in columns} for _, row in table.iterrows()]


@cache
def _table(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise Wrong(f"there is no file {path}")
    return pd.read_csv(path, dtype=str, keep_default_na=False)


def _number(text: str, name: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if math.isnan(value):
        raise Wrong(f"{name} is {text or 'empty'}, which is no number")
    return value


def _compared(folder: Path, words: list[str], wanted: list[str]) -> dict[str, float]:
    """Numbers of `xbench compare A B --metric METRIC --group GROUP`."""
    try:
        result = _comparison(folder, *words)
    except UserError as error:
        raise Wrong(str(error)) from error
    found = {}
    for name in wanted:
        if not isinstance(value := getattr(result, name, None), int | float):
            raise Wrong(f"a comparison has no number {name}")
        found[name] = float(value)
    return found


_comparison: Callable[..., object] = cache(compare)
