"""Options that several commands share, each defined once.

Types of single options, such as `Out`, and dataclasses of options that belong together, such as
`Place`: `expanded` turns a parameter that takes a dataclass into one option for each field.
"""

import os
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, fields, is_dataclass
from functools import wraps
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xbench.core.errors import UserError
from xbench.core.profiles import PROFILES

if TYPE_CHECKING:
    from xbench.analysis.results import Results
    from xbench.harness.plan import Request

Out = Annotated[Path, typer.Option(help="Folder of the results.")]
DatasetName = Annotated[str, typer.Option("--dataset", help="NAME, or a folder of your own images")]
ProfileName = Annotated[str, typer.Option("--profile", help=", ".join(PROFILES))]
SplitName = Annotated[str, typer.Option("--split", help="test, or val to choose settings on")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON to stdout.")]
To = Annotated[Path | None, typer.Option(help="File to write.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, …")]
Pairs = Annotated[str, typer.Option(help="SRC:TGT[,SRC:TGT]; all by default")]
Seeds = Annotated[str, typer.Option("--seed", help="0 or 0,1,2")]
GroupName = Annotated[
    str, typer.Option("--group", help="cross, within, or two groups as synthetic:real")
]


@dataclass(frozen=True, kw_only=True)
class Place:
    """Options that name a results folder."""

    dataset: DatasetName = "phantom"
    profile: ProfileName = "quick"
    split: SplitName = "test"
    out: Out = Path("runs")

    def folder(self) -> Path:
        """The results folder.

        Raises:
            UserError: it has no records.
        """
        from xbench.records.folders import results_folder

        return results_folder(self.dataset, self.profile, self.split, self.out)

    def results(self) -> "Results":
        """The records of the results folder.

        Raises:
            UserError: it has none.
        """
        from xbench.analysis.results import read

        return read(self.folder())


@dataclass(frozen=True, kw_only=True)
class Part(Place):
    """Options that name units of a results folder, apart from their method."""

    pairs: Pairs = ""
    seed: Seeds = "0"

    def request(self, method: str, settings: list[str] | None, shard: str = "1/1") -> "Request":
        """What to plan, from the texts of the options.

        Raises:
            UserError: a text cannot be read.
        """
        from xbench.core.settings import parse
        from xbench.harness.plan import Request

        return Request(
            methods=_methods(method) or listed(method),  # which refuses nothing but commas
            dataset=self.dataset,
            profile=self.profile,
            pairs=listed(self.pairs),
            split=self.split,
            seeds=_numbers(self.seed),
            settings=parse(settings or []),
            out=self.out,
            shard=_shard(shard),
        )


def expanded(command: Callable[..., None]) -> Callable[..., None]:
    """The command with an option for each field of the dataclasses that it takes."""
    groups: dict[str, Any] = {}
    options: list[Parameter] = []
    for parameter in signature(command).parameters.values():
        if is_dataclass(parameter.annotation):
            group: Any = parameter.annotation
            groups[parameter.name] = group
            options += signature(group).parameters.values()
        else:
            options.append(parameter.replace(kind=Parameter.KEYWORD_ONLY))

    @wraps(command)
    def call(**values: Any) -> None:
        for name, group in groups.items():
            values[name] = group(**{field.name: values.pop(field.name) for field in fields(group)})
        command(**values)

    # Typer reads the options from here.
    call.__dict__["__signature__"] = Signature(options)
    return call


def given(context: typer.Context, *, without: Collection[str]) -> list[str]:
    """The options that the user gave to a command, as texts, except some parameters."""
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
    """The parts of a text between commas.

    >>> listed("ftd, ssim,")
    ['ftd', 'ssim']

    Raises:
        UserError: there is text, but nothing between its commas.
    """
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if text and not parts:
        raise UserError(
            f"'{text}' names nothing",
            "expected: one or several names, separated by commas",
            "leave the option out, or see: xbench --help",
        )
    return parts


def at_home(argument: str) -> str:
    """An argument with the home folder in place of `~`, which shells leave alone in `--out=~/x`."""
    option, equals, value = argument.partition("=")
    if equals and option.startswith("--") and value.startswith("~"):
        return f"{option}={os.path.expanduser(value)}"
    return os.path.expanduser(argument) if argument.startswith("~") else argument


def refuse_empty(arguments: Sequence[str]) -> None:
    """Make sure that no argument is empty, as those of shell variables without a value are.

    Raises:
        UserError: one is.
    """
    for before, argument in zip(("", *arguments), arguments, strict=False):
        option = before if before.startswith("--") else "an argument"
        if match := re.fullmatch(r"(--[\w-]+)=\s*", argument):
            option = match[1]
        if match or not argument.strip():
            raise UserError(
                f"{option} is empty",
                "expected: a value; a shell variable that is not set gives none",
                "leave it out for the default, or see: xbench --help",
            )


def method_names(text: str) -> list[str]:
    """The names and `FILE.py:Class` between commas; a file's path may have commas itself."""
    names: list[str] = []
    pieces = text.split(",")
    while pieces:
        ends = range(len(pieces), 0, -1)
        joined = ((end, ",".join(pieces[:end]).strip()) for end in ends)
        end, name = next(
            ((end, name) for end, name in joined if end == 1 or _is_file_of_class(name)), (1, "")
        )
        names += [name] if name else []
        pieces = pieces[end:]
    return names


def _is_file_of_class(text: str) -> bool:
    file, colon, name = text.rpartition(":")
    return bool(colon) and name.isidentifier() and Path(file).expanduser().is_file()


def _methods(text: str) -> list[str]:
    """The methods that `--method` names; `all` are those that are no references and can run."""
    from xbench.core.registry import warn
    from xbench.methods.registry import REFERENCES, available

    if text != "all":
        return method_names(text)
    methods = {name: method for name, method in available().items() if name not in REFERENCES}
    absent = {name: why for name, method in methods.items() if (why := method.unavailable())}
    if absent:
        reasons = "; ".join(f"{name} ({why})" for name, why in absent.items())
        warn(f"--method all leaves out what cannot run: {reasons}")
    return [name for name in methods if name not in absent]


def _numbers(text: str) -> list[int]:
    """The seeds that `--seed` names."""
    from xbench.core.settings import parse_value

    numbers = [parse_value(part) for part in listed(text)]
    if not all(isinstance(number, int) and not isinstance(number, bool) for number in numbers):
        raise UserError(
            f"--seed {text} cannot be read",
            "expected: whole numbers from 0, separated by commas",
            "for example: --seed 0,1,2",
        )
    return numbers


def _shard(text: str) -> tuple[int, int]:
    """Number and count of `--shard`."""
    number, _, count = text.partition("/")
    if not (number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
        raise UserError(
            f"--shard {text} cannot be read",
            "expected: I/N, part I of N, counted from 1",
            "for example: --shard 1/4",
        )
    return int(number), int(count)


def own_dataset(dataset: str) -> str:
    """The data set that the user named, unless it is built in."""
    from xbench.core.settings import name_of
    from xbench.datasets.registry import BUILT_IN

    return "" if name_of(dataset) in BUILT_IN else dataset
