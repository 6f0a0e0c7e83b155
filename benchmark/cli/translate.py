"""`xbench translate`: the user's own image files, translated by a method that a run trained."""

import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from xbench.cli.answers import answer
from xbench.cli.options import Device, Json, listed, method_names
from xbench.core.errors import UserError, choice

if TYPE_CHECKING:
    from xbench.harness.plan import Request


def translate(
    given: Annotated[Path, typer.Argument(metavar="IN", help="An image, or a folder of images.")],
    to: Annotated[Path, typer.Argument(metavar="OUT", help="A file or folder to write.")],
    method: Annotated[
        str, typer.Option(help="NAME, path/to/file.py:Class, or with --run a row's label")
    ],
    source: Annotated[str, typer.Option(help="The domain that the images look like.")],
    target: Annotated[str, typer.Option(help="The domain to translate them into.")],
    run: Annotated[
        Path | None,
        typer.Option(help="Folder of the run that trained it, in place of the next three options."),
    ] = None,
    dataset: Annotated[
        str | None, typer.Option(help="What it was trained on: NAME or a folder; else phantom")
    ] = None,
    profile: Annotated[
        str | None, typer.Option(help="Profile of the training; quick by default")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the results; runs by default")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the training.")] = 0,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="SECTION.KEY=VALUE, as for the run")
    ] = None,
    polarity: Annotated[
        str | None, typer.Option(help="bone-dark or bone-bright; else as the data set's are")
    ] = None,
    window: Annotated[
        str, typer.Option(help="LOW,HIGH: values that are black and white; else the full range")
    ] = "",
    device: Device = "auto",
    force: Annotated[bool, typer.Option(help="Overwrite files.")] = False,
    json: Json = False,
) -> None:
    """Translate your own images, keeping size, type of values, polarity and file names.

    xbench translate --method medshift --source synthetic_low --target real_normal IN OUT

    The method must have been trained by xbench run. Images are translated at the working size of
    the run's profile and resized to their own size: finer detail is lost. Colour becomes grey;
    DICOM becomes PNG of 16 bits as it is displayed. Each line says what of a file was not kept.
    """
    from xbench.core.settings import merged, parse
    from xbench.harness.loading import load_method
    from xbench.harness.own_images import find_jobs, preparation, translate_files
    from xbench.harness.progress import Display
    from xbench.harness.runner import pick_device

    limits = _limits(window)
    if polarity is not None:
        choice("polarity", polarity, ("bone-dark", "bone-bright"))
    jobs = find_jobs(given, to)
    wanted = _request(method, run, dataset, profile, out)
    wanted = replace(
        wanted,
        pairs=[f"{source}:{target}"],
        seeds=[seed],
        settings=merged(wanted.settings, parse(set_ or [])),
    )
    with Display(()) as display:
        plan, trained = load_method(wanted, pick_device(device), display.data, run)
    prepared = preparation(plan.dataset, source, limits, polarity)
    outcomes = []
    for outcome in translate_files(jobs, trained, plan.pairs[0], prepared, seed=seed, force=force):
        outcomes.append(outcome)
        note = f" ({outcome.reason})" if outcome.reason else ""
        became = outcome.reason if outcome.state == "failed" else f"-> {outcome.to}{note}"
        print(f"{outcome.state}: {outcome.file} {became}", file=sys.stderr)
    size = f"{prepared.size} x {prepared.size}"
    print(f"translated at {size} pixels: finer detail is lost", file=sys.stderr)
    if json:
        answer([asdict(o) | {"file": str(o.file), "to": str(o.to)} for o in outcomes])
    if any(outcome.state == "failed" for outcome in outcomes):
        raise typer.Exit(1)


def _limits(text: str) -> tuple[float, float] | None:
    """The two ends of a window."""
    if not text:
        return None
    try:
        low, high = map(float, listed(text))
        if low < high:
            return low, high
    except ValueError:
        pass
    raise UserError(
        f"--window {text} cannot be read",
        "expected: two numbers, the lower one first",
        "for example: --window 0,4095",
    )


def _request(
    method: str, run: Path | None, dataset: str | None, profile: str | None, out: Path | None
) -> "Request":
    """The method and where it was trained; without pair, seed and settings."""
    from xbench.harness.plan import Request
    from xbench.harness.request import request_of_run

    if len(method_names(method.partition("[")[0])) > 1 or method == "all":
        raise UserError(
            f"--method {method} names no single method",
            "expected: the one to translate with",
            "see: xbench list methods",
        )
    if run is None:
        return Request([method], dataset or "phantom", profile or "quick", out=out or Path("runs"))
    if profile is not None or out is not None:
        raise UserError(
            "--run already says where the trainings are",
            "expected: either --run, or --profile and --out",
            f"leave {'--out' if profile is None else '--profile'} out",
        )
    return request_of_run(run, method, dataset)
