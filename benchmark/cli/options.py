"""Options and arguments that several commands share."""

from collections.abc import Collection
from pathlib import Path
from typing import Annotated

import typer

Out = Annotated[Path, typer.Option(help="Folder of the results.")]
DatasetName = Annotated[str, typer.Option("--dataset", help="NAME, or a folder of your own images")]
ProfileName = Annotated[str, typer.Option("--profile", help="smoke, quick, standard or paper")]
SplitName = Annotated[str, typer.Option("--split", help="test, or val to choose settings on")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON to stdout.")]
To = Annotated[Path | None, typer.Option(help="File to write.")]


def given(context: typer.Context, *, without: Collection[str]) -> list[str]:
    """The options that a command was given, as texts, but some (by the names of parameters)."""
    texts = []
    for option in context.command.params:
        name = option.name or ""
        source = context.get_parameter_source(name)
        if name in without or source is None or source.name != "COMMANDLINE":
            continue
        value = context.params[name]
        if isinstance(value, bool):
            texts.append(option.opts[0] if value else option.secondary_opts[0])
        else:
            values = value if isinstance(value, list | tuple) else [value]
            texts += [f"{option.opts[0]}={text}" for text in values]
    return texts


def listed(text: str) -> list[str]:
    """The parts of a text between commas."""
    return [part.strip() for part in text.split(",") if part.strip()]
