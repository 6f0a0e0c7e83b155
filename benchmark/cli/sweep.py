"""`xbench sweep`: a row for each value of a knob, or for each point of a grid of settings."""

import re
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

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
from xbench.core.errors import UserError
from xbench.core.settings import parse_value


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
    from xbench.harness import sweep
    from xbench.harness.session import Options

    request = request_of(method, dataset, profile, pairs, split, seed, [], out, shard)
    plan = sweep.make(request, grids(set_ or []), values(knob))
    team = team_of(context, workers, executor, executor_option)
    options = Options(published, force, retry_failed, dry_run, timeout, worker, team)
    perform(plan, out, device, options, json=json)


_NUMBER = r"-?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_RANGE = re.compile(rf"({_NUMBER}):({_NUMBER}):({_NUMBER})")
#: Values of one setting; more are taken for a slip.
MOST_VALUES = 1000


def values(text: str) -> list[Any]:
    """The values that a text stands for: `START:STOP:STEP`, or some between commas.

    STOP belongs to them where the steps meet it. Decimal arithmetic: `0:1:0.1` has 0.3, not
    0.30000000000000004. Commas in square brackets separate nothing.

    Raises:
        UserError: steps that never arrive, or too many.
    """
    match = _RANGE.fullmatch(text.strip())
    if not match:
        parts = [part.strip() for part in re.split(r",(?![^\[]*\])", text)]
        return [parse_value(part) for part in parts if part]
    start, stop, step = map(Decimal, match.groups())
    if step == 0 or (stop - start) / step < 0 or (stop - start) / step >= MOST_VALUES:
        raise UserError(
            f"the steps of {text} do not lead from {start} to {stop}",
            f"expected: START:STOP:STEP with less than {MOST_VALUES} steps towards STOP",
            "for example: 0:1:0.1",
        )
    count = int((stop - start) / step) + 1
    return [parse_value(f"{(start + k * step).normalize():f}") for k in range(count)]


def grids(texts: list[str]) -> dict[str, list[Any]]:
    """`SECTION.KEY`, or `KEY`, → values, of the texts of `--set`.

    Raises:
        UserError: a text has no value.
    """
    found = {}
    for text in texts:
        name, equals, several = text.partition("=")
        if not equals or not (chosen := values(several)):
            raise UserError(
                f"--set {text} has no value",
                "expected: one value at least, START:STOP:STEP, or some between commas",
                "for example: --set medshift.steps=2,4,8",
            )
        found[name] = chosen
    return found
