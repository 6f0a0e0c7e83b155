"""`xbench new` and `xbench check`: methods of your own."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from xbench.cli.answers import answer, listing
from xbench.cli.options import Json, ProfileName
from xbench.core.errors import choice

new_app = typer.Typer(help="Write a method of your own.", no_args_is_help=True)


@new_app.command("method")
def new_method(
    name: Annotated[str, typer.Argument(help="a-z, 0-9 and _")],
    to: Annotated[Path, typer.Option(help="Folder to write into.")] = Path(),
    kind: Annotated[str, typer.Option(help="filter, or trained")] = "filter",
) -> None:
    """Write NAME.py, which works as it is, and its test; nothing is overwritten."""
    from xbench.plugins.templates import new_method as write

    for file in write(name, to, choice("kind", kind, ("filter", "trained"))):
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

    findings = conformance.check(get(method), get_profile(profile))
    if json:
        answer([asdict(finding) for finding in findings])
    else:
        listing([_row(finding) for finding in findings], json=False)
    if any(finding.outcome == "fail" for finding in findings):
        raise typer.Exit(1)


def _row(finding: Any) -> dict[str, str]:
    """A line of the table."""
    note = f"{finding.reason}; {finding.mend}" if finding.mend else finding.reason
    return {"check": finding.check, "outcome": finding.outcome, "note": note}
