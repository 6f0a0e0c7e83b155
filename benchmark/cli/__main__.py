"""`python -m xbench.cli`, for launchers that start a module."""

from xbench.cli import main

main()
