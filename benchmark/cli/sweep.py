"""`xbench sweep`: a row for each value of a knob, or for each point of a grid of settings."""

from pathlib import Path
from typing import Annotated

import typer

from xbench.cli.options import DatasetName, Json, Out, ProfileName, SplitName
from xbench.cli.run import (
    Device,
    DryRun,
    Executor,
    ExecutorOption,
    Force,
    Methods,
    Pairs,
    Published,
    RetryFailed,
    Seeds,
    Shard,
    Timeout,
    Worker,
    Workers,
    perform,
    request_of,
    team_of,
)


def sweep_command(
    context: typer.Context,
    method: Methods,
    knob: Annotated[
        str, typer.Option(help="Values of each method's knob: START:STOP:STEP, or V,V,…")
    ] = "",
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="SECTION.KEY=V,V,… or START:STOP:STEP, e.g. steps=2,4,8"),
    ] = None,
    dataset: DatasetName = "phantom",
    profile: ProfileName = "quick",
    pairs: Pairs = "",
    split: SplitName = "test",
    seed: Seeds = "0",
    out: Out = Path("runs"),
    published: Published = Path("results"),
    device: Device = "auto",
    force: Force = False,
    retry_failed: RetryFailed = False,
    shard: Shard = "1/1",
    timeout: Timeout = None,
    workers: Workers = 1,
    executor: Executor = "local",
    executor_option: ExecutorOption = None,
    worker: Worker = False,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Run methods at several values of their knob, or on a grid of settings.

    xbench sweep --method medshift --knob 0:1:0.1 makes eleven rows, medshift[tau=0] to
    medshift[tau=1]; several --set with values make all their combinations. SECTION may be left
    out where there is one method. Trainings are shared where the settings allow it, finished
    rows are skipped, and all else is as for xbench run.
    """
    from xbench import sweep
    from xbench.execute import Options

    request = request_of(method, dataset, profile, pairs, split, seed, set_, out, shard)
    plan = sweep.make(request, knob)
    team = team_of(context, workers, executor, executor_option)
    options = Options(published, force, retry_failed, dry_run, timeout, json, worker, team)
    perform(plan, out, device, options)
