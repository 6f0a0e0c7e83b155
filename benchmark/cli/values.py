"""Values of settings as text: `0:1:0.1` or `2,4,8`."""

import re
from decimal import Decimal
from typing import Any

from xbench.core.errors import UserError
from xbench.core.settings import parse_value

_NUMBER = r"-?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_RANGE = re.compile(rf"({_NUMBER}):({_NUMBER}):({_NUMBER})")
#: More values of one setting than this are taken for a mistake.
MOST_VALUES = 1000


def values(text: str) -> list[Any]:
    """The values of `START:STOP:STEP`, or those between commas.

    STOP is one of them if the steps reach it. Decimal arithmetic: 0.3, not 0.30000000000000004.
    Commas in square brackets separate nothing.

    >>> values("0:0.3:0.1"), values("2,4"), values("[8,16],[16,32]")
    ([0, 0.1, 0.2, 0.3], [2, 4], [[8, 16], [16, 32]])

    Raises:
        UserError: the steps lead away from STOP, or are too many.
    """
    match = _RANGE.fullmatch(text.strip())
    if not match:
        parts = [part.strip() for part in re.split(r",(?![^\[]*\])", text)]
        return [parse_value(part) for part in parts if part]
    start, stop, step = map(Decimal, match.groups())
    if step == 0 or (stop - start) / step < 0 or (stop - start) / step >= MOST_VALUES:
        raise UserError(
            f"the steps of {text} do not lead from {start} to {stop}",
            f"expected: START:STOP:STEP with less than {MOST_VALUES} steps towards STOP",
            "for example: 0:1:0.1",
        )
    count = int((stop - start) / step) + 1
    return [parse_value(f"{(start + k * step).normalize():f}") for k in range(count)]


def grids(texts: list[str]) -> dict[str, list[Any]]:
    """Setting → values, from the texts of `--set`.

    >>> grids(["medshift.evaluations=2,4", "tau=0:1:0.5"])
    {'medshift.evaluations': [2, 4], 'tau': [0, 0.5, 1]}

    Raises:
        UserError: a text has no value.
    """
    grid = {}
    for text in texts:
        name, equals, several = text.partition("=")
        if not equals or not (chosen := values(several)):
            raise UserError(
                f"--set {text} has no value",
                "expected: START:STOP:STEP, or at least one value; commas separate values",
                "for example: --set medshift.evaluations=2,4,8",
            )
        grid[name] = chosen
    return grid
