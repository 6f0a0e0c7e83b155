"""The terminal."""

import codecs
import sys
from typing import TYPE_CHECKING

from xbench.core.text import code

if TYPE_CHECKING:
    from rich.console import Console

#: Signs in tables and messages, and what stands for them where they cannot be shown.
PLAIN = {"–": "-", "—": "-", "→": "->", "±": "+-", "×": "x", "…": "...", "≥": ">=", "≤": "<="}


def make_console(*, stderr: bool = False) -> "Console":
    """A console without markup, which would remove the brackets of `medshift[tau=0.3]`.

    Lines of a file or pipe are not cut.
    """
    from rich.console import Console

    console = Console(stderr=stderr, highlight=False, markup=False)
    if not console.is_terminal:
        console.width = 240
    return console


def show_anything() -> None:
    """Let stdout and stderr take every text, whatever their encoding and the names of files."""
    codecs.register_error("xbench", _plain)
    for stream in (sys.stdout, sys.stderr):
        # A notebook's or a test's stream may be of another kind, and needs no help.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="xbench")


def _plain(error: UnicodeError) -> tuple[str, int]:
    """In place of what an encoding lacks: a plain sign, or its number; of a name, its bytes."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return "".join(PLAIN.get(sign) or code(sign) for sign in lacking), error.end
