"""What `xbench run` and `xbench sweep` have in common: options, and doing a plan."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from xbench.cli.answers import answer, frame_rows
from xbench.cli.options import given, listed
from xbench.core.errors import UserError, choice

if TYPE_CHECKING:
    from xbench.harness.plan import Plan, Request
    from xbench.harness.session import Options, Outcome
    from xbench.harness.workers import Team

Methods = Annotated[
    str, typer.Option("--method", help="NAME[,NAME], all, or path/to/file.py:Class")
]
Pairs = Annotated[str, typer.Option(help="SRC:TGT[,SRC:TGT]; all by default")]
Seeds = Annotated[str, typer.Option("--seed", help="0 or 0,1,2")]
Published = Annotated[Path, typer.Option(help="Published records to rank with.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, …")]
Force = Annotated[bool, typer.Option(help="Redo finished units.")]
RetryFailed = Annotated[bool, typer.Option(help="Only units that failed before.")]
Shard = Annotated[str, typer.Option(help="I/N: the I-th of N parts of the plan")]
Timeout = Annotated[float | None, typer.Option(help="Seconds a unit's translation may take.")]
DryRun = Annotated[bool, typer.Option(help="Show the plan and stop.")]

Workers = Annotated[int, typer.Option(min=1, help="Processes that share the plan.")]
Executor = Annotated[str, typer.Option(help="What starts them: local, ray, slurm")]
ExecutorOption = Annotated[
    list[str] | None, typer.Option(help="KEY=VALUE for it, e.g. partition=gpu")
]
#: Set for the processes that `--workers` starts.
Worker = Annotated[bool, typer.Option("--worker", hidden=True)]


def team_of(
    context: typer.Context, workers: int, executor: str, options: list[str] | None
) -> "Team | None":
    """The workers that do a command's plan; None if this process does it alone.

    Raises:
        UserError: an option for the executor cannot be read.
    """
    if workers == 1 and executor == "local":
        return None
    from xbench.harness.workers import Team, parse_options

    own = ("workers", "executor", "executor_option", "json")
    arguments = (str(context.info_name), *given(context, without=own), "--worker")
    return Team(executor, arguments, workers, parse_options(options or []))


def request_of(
    method: str,
    dataset: str,
    profile: str,
    pairs: str,
    split: str,
    seed: str,
    set_: list[str] | None,
    out: Path,
    shard: str,
) -> "Request":
    """What was asked for, from the texts of the options.

    Raises:
        UserError: a text cannot be read.
    """
    from xbench.core.settings import parse
    from xbench.harness.plan import Request

    return Request(
        methods=method_names(method),
        dataset=dataset,
        profile=profile,
        pairs=listed(pairs),
        split=choice("split", split, ("test", "val")),
        seeds=seed_numbers(seed),
        settings=parse(set_ or []),
        out=out,
        shard=_shard(shard),
    )


def perform(
    plan: "Plan", out: Path, device: str, options: "Options", *, json: bool = False
) -> None:
    """Do a plan, and end with the exit code that fits if a unit failed or someone stopped it."""
    from xbench.harness.progress import Display
    from xbench.harness.runner import Runner, pick_device
    from xbench.harness.session import execute

    runner = Runner(plan, pick_device(device), Display(plan.dataset.domains))
    try:
        outcome = execute(runner, out, options)
    except KeyboardInterrupt:
        print("\ninterrupted: the same command goes on where it stopped", file=sys.stderr)
        raise typer.Exit(130) from None
    if json:
        show_outcome(outcome)
    if outcome.failed:
        raise typer.Exit(1)


def show_outcome(outcome: "Outcome") -> None:
    """Print a run's leaderboard, or the plan of a dry run, as JSON."""
    if outcome.preview is not None:
        answer(outcome.preview)
    elif outcome.board is not None:
        answer(frame_rows(outcome.board))


def method_names(text: str) -> list[str]:
    """The methods that `--method` names; `all` are those that are no references."""
    from xbench.methods.registry import REFERENCES, available

    if text != "all":
        return listed(text)
    return [name for name in available() if name not in REFERENCES]


def seed_numbers(text: str) -> list[int]:
    """The seeds that `--seed` names.

    Raises:
        UserError: not whole numbers.
    """
    try:
        return [int(part) for part in listed(text)]
    except ValueError:
        raise UserError(
            f"--seed {text} cannot be read",
            "expected: whole numbers from 0, separated by commas",
            "for example: --seed 0,1,2",
        ) from None


def _shard(text: str) -> tuple[int, int]:
    number, _, count = text.partition("/")
    if not (number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
        raise UserError(
            f"--shard {text} cannot be read",
            "expected: I/N, part I of N, counted from 1",
            "for example: --shard 1/4",
        )
    return int(number), int(count)
