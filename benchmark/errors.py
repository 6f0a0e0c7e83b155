"""Errors that a user caused and can mend: three lines, no traceback, exit code 2."""

from collections.abc import Iterable
from difflib import get_close_matches


class UserError(Exception):
    """What is wrong, what was expected, and the command (or edit) that mends it."""

    def __init__(self, wrong: str, expected: str, mend: str) -> None:
        super().__init__(f"{wrong}\n{expected}\n{mend}")


def unknown(kind: str, name: str, options: Iterable[str], mend: str) -> UserError:
    """The error for a name that does not exist, with the nearest name that does."""
    names = list(options)
    near = get_close_matches(name, names, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]}? " if near else ""
    return UserError(
        f"there is no {kind} called '{name}'", f"{hint}known: {', '.join(names) or 'none'}", mend
    )
