"""`xbench new` and `xbench check`: methods of your own."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from xbench.cli.answers import show_checks
from xbench.cli.options import Json, ProfileName
from xbench.core.errors import choice
from xbench.core.names import quoted

new_app = typer.Typer(help="Write a method of your own.", no_args_is_help=True)


@new_app.command("method")
def new_method(
    name: Annotated[str, typer.Argument(help="a-z, 0-9 and _")],
    to: Annotated[Path, typer.Option(help="Folder to write into.")] = Path(),
    kind: Annotated[
        str, typer.Option(help="filter; pair: a network for each pair; conditional: one for all")
    ] = "filter",
) -> None:
    """Write NAME.py, which works as it is, and its test; nothing is overwritten."""
    from xbench.plugins.templates import new_method as write

    if kind == "trained":
        print("--kind trained is deprecated: use --kind pair", file=sys.stderr)
        kind = "pair"
    for file in write(name, to, choice("kind", kind, ("filter", "pair", "conditional"))):
        print(file)


def check(
    method: Annotated[str, typer.Argument(help="NAME, or path/to/file.py:Class")],
    profile: ProfileName = "smoke",
    json: Json = False,
) -> None:
    """Look at all promises of a method; 1 if it breaks one."""
    from xbench.core.profiles import get_profile
    from xbench.methods.registry import get
    from xbench.plugins import conformance

    checks = conformance.check(get(method), get_profile(profile))
    broken = [look.check for look in checks if look.outcome == "fail"]
    if json:
        show_checks(checks, json=True)
    else:  # what was not looked at for want of an essential promise hides that one
        waiting = [look for look in checks if look.note in [f"see '{name}'" for name in broken]]
        show_checks([look for look in checks if look not in waiting], json=False)
        again = f"xbench check {quoted(method)}"
        left = f", and {len(waiting)} were not looked at" if waiting else ""
        verdict = f"broken: {', '.join(broken)}{left}; fix the class, then: {again}"
        if not broken:
            verdict = f"every promise is kept; next: xbench run --method {quoted(method)}"
        print(verdict, file=sys.stderr)
    if broken:
        raise typer.Exit(1)
