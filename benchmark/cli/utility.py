"""`xbench utility`: networks that learn from translated images, tested on true ones."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from xbench.cli.answers import answer, frame_rows
from xbench.cli.options import expanded, listed
from xbench.cli.run import Effort, Methods
from xbench.core.errors import choice


@expanded
def utility(
    context: typer.Context,
    *,
    method: Methods,
    tasks: Annotated[
        str, typer.Option(help="Tasks that count: segmentation,landmarks,pose; all by default")
    ] = "",
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="SECTION.KEY=VALUE, as for the run")
    ] = None,
    effort: Effort,
) -> None:
    """Train networks on translated images, and test them on true images of the target.

    For each pair from synthetic to real domains, the finished method translates the training
    images of the source. A small network learns their labels (masks, landmarks, view angles) and
    is tested on true images of the target, which it has not seen. utility is the share of the gap
    that this closes: 0 as networks trained on untranslated images, 1 as networks trained on
    labelled images of the target, below 0 harm.

    The method must have been trained: xbench run --method NAME. The phantom and CT volumes have
    labels; a folder of your own has them in its folder labels/ (benchmark/tasks/README.md). By
    default the pairs are those from the first domain to other groups of domains.
    """
    from xbench.analysis import tables
    from xbench.analysis import terminal as show
    from xbench.core.console import make_console
    from xbench.harness.progress import Display
    from xbench.harness.runner import pick_device
    from xbench.harness.session import Options
    from xbench.harness.utility import UtilityRunner, execute, make

    choice("split", effort.split, ("test",))
    wanted = tables.wanted_tasks(listed(tasks))
    request = effort.request(method, set_, effort.shard)
    plan = make(request)
    options = Options(
        force=effort.force,
        retry_failed=effort.retry_failed,
        dry_run=effort.dry_run,
        timeout=effort.timeout,
        worker=effort.worker,
        team=effort.team(context),
        results=None if effort.json else make_console(),
    )
    runner = UtilityRunner(plan, pick_device(effort.device), Display(plan.dataset.domains))
    try:
        outcome = execute(runner, request, options)
    except KeyboardInterrupt:
        print("\ninterrupted: the same command resumes", file=sys.stderr)
        raise typer.Exit(130) from None
    if outcome.preview is not None:
        if effort.json:
            answer(outcome.preview)
    elif not effort.worker:
        made = tables.utility(plan.folder, wanted)
        files = tables.write_utility(plan.folder)
        if effort.json:
            answer(frame_rows(made.frame))
        else:
            show.table(make_console(), made.text)
        for path in files:
            print(f"written: {Path(path)}", file=sys.stderr)
    if outcome.failed:
        raise typer.Exit(1)
