"""`xbench run` and `xbench sweep`: the options that they share, and doing a plan."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from xbench.cli.answers import answer, frame_rows
from xbench.cli.options import Device, Json, Part, expanded, given
from xbench.cli.values import grids, values

if TYPE_CHECKING:
    from xbench.harness.plan import Plan
    from xbench.harness.session import Outcome
    from xbench.harness.workers import Team

Methods = Annotated[
    str, typer.Option("--method", help="NAME[,NAME], all, or path/to/file.py:Class")
]


@dataclass(frozen=True, kw_only=True)
class Effort(Part):
    """Options for doing units."""

    device: Device = "auto"
    force: Annotated[bool, typer.Option(help="Redo finished units.")] = False
    retry_failed: Annotated[bool, typer.Option(help="Only units that failed before.")] = False
    shard: Annotated[str, typer.Option(help="I/N: the I-th of N parts of the plan")] = "1/1"
    timeout: Annotated[
        float | None, typer.Option(help="Seconds a unit's translation may take.")
    ] = None
    workers: Annotated[int, typer.Option(min=1, help="Processes that share the plan.")] = 1
    executor: Annotated[str, typer.Option(help="What starts the workers: local, ray, slurm")] = (
        "local"
    )
    executor_option: Annotated[
        list[str] | None, typer.Option(help="KEY=VALUE for the executor, e.g. partition=gpu")
    ] = None
    #: Set for the processes that `--workers` starts.
    worker: Annotated[bool, typer.Option("--worker", hidden=True)] = False
    dry_run: Annotated[bool, typer.Option(help="Show the plan and stop.")] = False
    json: Json = False

    def team(self, context: typer.Context) -> "Team | None":
        """The workers that do the units; None if this process does them alone."""
        if self.workers == 1 and self.executor == "local":
            return None
        from xbench.harness.workers import Team, parse_options

        own = ("workers", "executor", "executor_option", "json")
        arguments = (str(context.info_name), *given(context, without=own), "--worker")
        options = parse_options(self.executor_option or [])
        return Team(self.executor, arguments, self.workers, options)


@dataclass(frozen=True, kw_only=True)
class Work(Effort):
    """Options for doing a plan."""

    published: Annotated[Path, typer.Option(help="Published records to rank with.")] = Path(
        "results"
    )


@expanded
def run(
    context: typer.Context,
    *,
    method: Methods,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="SECTION.KEY=VALUE, e.g. medshift.tau=0.3")
    ] = None,
    work: Work,
) -> None:
    """Train, translate and score; what is done already is skipped."""
    from xbench.harness.plan import make

    perform(make(work.request(method, set_, work.shard)), work, context)


@expanded
def sweep(
    context: typer.Context,
    *,
    method: Methods,
    knob: Annotated[
        str, typer.Option(help="Values of each method's knob: START:STOP:STEP, or V,V,…")
    ] = "",
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="SECTION.KEY=V,V,… or START:STOP:STEP, e.g. evaluations=4,8"),
    ] = None,
    work: Work,
) -> None:
    """Run methods at several values of their knob, or on a grid of settings.

    xbench sweep --method medshift --knob 0:1:0.1 makes eleven rows; several --set with values
    make all their combinations. SECTION may be left out where there is one method. Trainings are
    shared where the settings allow it, finished rows are skipped, and all other options are those
    of xbench run.
    """
    from xbench.harness.sweep import make

    request = work.request(method, [], work.shard)
    perform(make(request, grids(set_ or []), values(knob)), work, context)


def perform(plan: "Plan", work: Work, context: typer.Context) -> None:
    """Do a plan; exit code 1 if a unit failed, 130 if someone stopped it."""
    from xbench.core.console import make_console
    from xbench.harness.progress import Display
    from xbench.harness.runner import Runner, pick_device
    from xbench.harness.session import Options, execute

    options = Options(
        published=work.published,
        force=work.force,
        retry_failed=work.retry_failed,
        dry_run=work.dry_run,
        timeout=work.timeout,
        worker=work.worker,
        team=work.team(context),
        results=None if work.json else make_console(),
    )
    runner = Runner(plan, pick_device(work.device), Display(plan.dataset.domains))
    try:
        outcome = execute(runner, work.out, options)
    except KeyboardInterrupt:
        print("\ninterrupted: the same command resumes", file=sys.stderr)
        raise typer.Exit(130) from None
    if work.json:
        show_outcome(outcome)
    if outcome.failed:
        raise typer.Exit(1)


def show_outcome(outcome: "Outcome") -> None:
    """Print a run's leaderboard, or the plan of a dry run, as JSON."""
    if outcome.preview is not None:
        answer(outcome.preview)
    elif outcome.board is not None:
        answer(frame_rows(outcome.board))
