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
        list[str] | None, typer.Option("--set", help="SECTION.KEY=VALUE that stays as it is")
    ] = None,
    part: ValPart,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Choose each method's settings on the val split, by one rule.

    Values that the method declares are tried for one setting after the other, and the best is
    kept: the noise level first, then what else there is, such as the solver, with as many network
    evaluations per image as usual. The best has the least mean of the ranking metric over the
    pairs between groups of domains. The results are those of xbench run on val, so that a killed
    command resumes. What was tried is written to tuning.csv.
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
