"""The terminal."""

from rich.console import Console


def make_console(*, stderr: bool = False) -> Console:
    """A console without markup, which would remove the brackets of `medshift[tau=0.3]`.

    Lines of a file or pipe are not cut.
    """
    console = Console(stderr=stderr, highlight=False, markup=False)
    if not console.is_terminal:
        console.width = 240
    return console
