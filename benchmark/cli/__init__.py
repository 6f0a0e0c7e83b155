"""The command line: `xbench`, or `python -m xbench.cli`.

A command reads text into values, calls `api` or a room below it, and prints. `app` names all
commands, `options` defines the options that several share, `answers` prints tables and JSON; every
other module is a command or a few that belong together.

May import every room; nothing imports this one. Heavy imports stay inside the commands, so that
`xbench --help` imports neither torch nor pydantic.
"""

from xbench.cli.app import main

__all__ = ["main"]
