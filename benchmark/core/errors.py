"""Errors that a user caused and can put right: three lines, no traceback, exit code 2."""

import errno
import re
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import Any

#: Signs of the longest list of names in an error, and how many names stand for a longer one.
LONGEST_LIST, NEAREST = 200, 6


class UserError(Exception):
    """What is wrong, what was expected, and the command or edit that puts it right.

    >>> print(UserError("no seed", "expected: a number", "for example: --seed 0"))
    no seed
    expected: a number
    for example: --seed 0
    """

    def __init__(self, wrong: str, expected: str, fix: str) -> None:
        super().__init__(f"{wrong}\n{expected}\n{fix}")


def full_disk(error: BaseException | None) -> UserError | None:
    """The error for the user if an exception says that nothing more can be written, else None."""
    if isinstance(error, OSError) and error.errno == errno.EROFS:
        return read_only(error)
    known = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    # safetensors and numpy raise errors of their own, which only their text distinguishes.
    texts = r"No space left on device|Disk quota exceeded|\d+ requested and \d+ written"
    if error is None or not (known or re.search(texts, str(error))):
        return None
    return UserError(
        f"nothing more can be written: {error}",
        "expected: room for results (--out), and for data and weights (XBENCH_HOME)",
        "make room (see: xbench clean), then repeat the command: what is finished is kept",
    )


def no_memory(error: BaseException | None) -> UserError | None:
    """The error for the user if an exception says that memory ran out, else None."""
    # Python has a type for it; torch, threads and libraries that are loaded have but texts.
    texts = r"(allocate|enough|out of) memory|failed to map segment|can't start new thread"
    first, seen = error, set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, MemoryError) or re.search(texts, str(error), re.IGNORECASE):
            return UserError(
                f"memory ran out: {(str(first).splitlines() or ['no more was given'])[0]}",
                "expected: room for the images and networks of the profile (limits: ulimit -a)",
                "try: a smaller --profile, fewer programs at a time, or more memory",
            )
        error = error.__cause__ or error.__context__
    return None


def read_only(error: OSError) -> UserError:
    """The error of a place that the user may only read."""
    place = Path(str(error.filename or "a folder"))
    # What the user knows is the folder: files are written under names of their own first.
    folder = place.parent if ".part" in place.suffixes or place.name[:1] == "." else place
    fix = "try: another --to, --out or XBENCH_HOME"
    if place.name.startswith(".dataset."):
        fix = "copy the images, or give settings in the command, as --set data.polarity=bone-bright"
    return UserError(
        f"{folder} cannot be written: {error.strerror}",
        "expected: a folder in which you may create files",
        fix,
    )


def nothing_finished(
    folder: Path,
    expected: str = "records of an earlier run below it",
    fix: str = "try: xbench run --method medshift",
) -> UserError:
    """The error of a folder without finished units."""
    return UserError(f"there are no finished units in {folder}", f"expected: {expected}", fix)


def unknown(kind: str, name: str, options: Iterable[str], fix: str, listing: str = "") -> UserError:
    """The error for a name that does not exist, with the nearest name that does.

    Args:
        kind: what the name is of.
        name: that does not exist.
        options: names that do; of many, the nearest are shown.
        fix: the command or edit that puts it right.
        listing: command that lists all names, if the fix is another; shown if not all names are.

    >>> print(unknown("profile", "quik", ["smoke", "quick"], "try: --profile quick"))
    there is no profile called 'quik'
    did you mean quick? known: smoke, quick
    try: --profile quick
    """
    names = list(options)
    near = get_close_matches(name, names, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]}? " if near else ""
    known = ", ".join(names) or "none"
    if len(known) > LONGEST_LIST:
        nearest = get_close_matches(name, names, n=NEAREST, cutoff=0)
        known = f"{', '.join(nearest)} and {len(names) - len(nearest)} more"
        fix += f"; all of them: {listing}" if listing else ""
    return UserError(f"there is no {kind} called '{name}'", f"{hint}known: {known}", fix)


class Unavailable(Exception):
    """A metric cannot be computed here; the text is one line, fit for a footnote of a table."""


def choice(kind: str, value: str, options: tuple[str, ...]) -> Any:
    """The value if it is one of the options.

    Raises:
        UserError: it is not; the error names the nearest option.
    """
    if value not in options:
        raise unknown(kind, value, options, f"try: --{kind} {options[0]}")
    return value
