"""`xbench new` and `xbench check`: methods of your own."""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from xbench.cli.answers import answer, listing
from xbench.cli.options import Json, ProfileName
from xbench.core.errors import choice

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

    checks = [asdict(look) for look in conformance.check(get(method), get_profile(profile))]
    if json:
        answer(checks)
    else:  # a terminal wraps only the last column
        notes = ["; ".join(filter(None, (look["note"], look.pop("fix")))) for look in checks]
        listing([look | {"note": n} for look, n in zip(checks, notes, strict=True)], json=False)
    if any(look["outcome"] == "fail" for look in checks):
        raise typer.Exit(1)
