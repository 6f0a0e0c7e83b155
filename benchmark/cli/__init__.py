"""The command line: `xbench`, or `python -m xbench.cli`."""

from xbench.cli.app import main

__all__ = ["main"]
