"""The result of one check, for `doctor`, `check`, `verify` and `data verify`."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Check:
    """One check and its outcome.

    Attributes:
        check: what was checked.
        outcome: a word of the command's own, such as `ok`, `fail`, `same` or `skip`.
        note: what was found, or why nothing could be checked.
        fix: what the user can do about it; empty where there is nothing to do.
    """

    check: str
    outcome: str
    note: str = ""
    fix: str = ""
