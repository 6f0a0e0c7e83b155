"""`xbench tune`: choose a method's settings on the val split."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from xbench.cli.answers import answer, frame_rows
from xbench.cli.options import Device, Json, Part, SplitName, expanded
from xbench.cli.run import Methods

if TYPE_CHECKING:
    from xbench.harness.plan import Plan


@dataclass(frozen=True, kw_only=True)
class ValPart(Part):
    """Options that name units of the val split."""

    split: SplitName = "val"


@expanded
def tune(
    *,
    method: Methods,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="SECTION.KEY=VALUE, not tuned")
    ] = None,
    part: ValPart,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Choose each method's settings on the val split, by one rule.

    The values that the method declares are tried one setting after the other: the noise level
    first, then others such as the solver, with no more network evaluations than the default. Each
    time the value with the least mean of the ranking metric over the pairs between groups of
    domains is kept. Finished rows are skipped, so that a stopped command resumes. tuning.csv has
    all trials.
    """
    from xbench.analysis import terminal as show
    from xbench.analysis import tuning
    from xbench.core.console import make_console
    from xbench.harness import tune as harness
    from xbench.harness.progress import Display
    from xbench.harness.runner import Runner, pick_device
    from xbench.harness.session import Options, execute

    def perform(plan: "Plan") -> Sequence[str]:
        runner = Runner(plan, pick_device(device), Display(plan.dataset.domains))
        with runner.display:
            outcome = execute(runner, part.out, Options(worker=True))
        return [unit.name for unit in outcome.failed]

    request = part.request(method, set_)
    try:
        found = tuning.frame(harness.tune(request, perform))
    except KeyboardInterrupt:
        print("\ninterrupted: the same command resumes", file=sys.stderr)
        raise typer.Exit(130) from None
    if json:
        answer(frame_rows(found))
    else:
        show.table(make_console(), tuning.text(found))
    print(f"written: {harness.folder_of(request) / tuning.FILE}", file=sys.stderr)
