"""The result of looking at one thing: for `doctor`, `check`, `verify` and `data verify`."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes:
        check: what.
        outcome: a word of the command's own, such as `ok`, `fail`, `same` or `skip`.
        note: what was found, or why nothing was.
        fix: what to do about it; empty where there is nothing to do.
    """

    check: str
    outcome: str
    note: str = ""
    fix: str = ""
