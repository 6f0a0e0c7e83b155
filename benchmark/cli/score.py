"""`xbench score`: metrics of folders of images, and rows for images that other programs made."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xbench.cli.answers import answer
from xbench.cli.options import Device, Json, expanded, listed
from xbench.cli.run import show_outcome
from xbench.core.errors import UserError

if TYPE_CHECKING:
    from xbench.metrics.base import Metric
    from xbench.records.schema import Value
    from xbench.scoring.folders import Scores


@dataclass(frozen=True, kw_only=True)
class Folders:
    """Options for scoring one folder."""

    source: Annotated[
        Path | None, typer.Option(help="Source images, under the names of their translations.")
    ] = None
    target: Annotated[
        Path | None, typer.Option(help="True images: same names mean the same views.")
    ] = None
    metrics: Annotated[
        str | None, typer.Option(help="NAME[,NAME], see: xbench list metrics; all by default")
    ] = None
    extractor: Annotated[
        str | None, typer.Option(help="FILE.py:callable or FILE.pt, for fd, cfd and kd")
    ] = None
    stats: Annotated[
        Path | None, typer.Option(help="Statistics of training images, as a run keeps them.")
    ] = None
    train: Annotated[
        Path | None, typer.Option(help="Training images of the target domain, for copied.")
    ] = None
    group: Annotated[
        str | None, typer.Option(help="Regular expression; its first brackets name the group.")
    ] = None


@dataclass(frozen=True, kw_only=True)
class Row:
    """Options for a row of a leaderboard; None means the default."""

    dataset: Annotated[
        str | None, typer.Option(help="With --as: NAME, or a folder; phantom by default")
    ] = None
    profile: Annotated[str | None, typer.Option(help="With --as: quick by default")] = None
    split: Annotated[str | None, typer.Option(help="With --as: test by default")] = None
    seed: Annotated[int | None, typer.Option(min=0, help="With --as: 0 by default")] = None
    pairs: Annotated[
        str | None, typer.Option(help="With --as: SRC:TGT[,SRC:TGT]; all folders by default")
    ] = None
    out: Annotated[
        Path | None, typer.Option(help="With --as: folder of the results, runs by default")
    ] = None


@expanded
def score(
    translated: Annotated[
        Path, typer.Option(help="Folder of translated images; with --as, of such folders.")
    ],
    *,
    folders: Folders,
    as_: Annotated[
        str | None, typer.Option("--as", help="Make them the row NAME of a leaderboard.")
    ] = None,
    row: Row,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Score a folder of translated images, whoever made them.

    xbench score --translated DIR --source DIR --target DIR: files belong together by name.

    xbench score --as NAME --translated DIR --dataset D --profile P: DIR/SRC--TGT/ID.png
    become a row of the leaderboard.
    """
    if as_ is None:
        _refuse(row, "belongs to --as NAME, which makes a row of a leaderboard")
        _score(translated, folders, device, json=json)
    else:
        _refuse(folders, "is only for folders: with --as the data set has sources and targets")
        _add(as_, translated, row, device, json=json)


def _refuse(options: Folders | Row, reason: str) -> None:
    """Refuse options of the other use of the command."""
    for name, value in vars(options).items():
        if value is not None:
            raise UserError(
                f"--{name} {reason}",
                "expected: either --translated with --source and --target, or with --as NAME",
                "see: xbench score --help",
            )


def _score(translated: Path, folders: Folders, device: str, *, json: bool) -> None:
    """Score a folder and print the values."""
    from xbench.harness.runner import pick_device
    from xbench.scoring.folders import score_folders

    options = vars(folders) | {"metrics": listed(folders.metrics or "") or None}
    scores = score_folders(translated, device=pick_device(device), **options)
    if json:
        answer(_object(scores))
    else:
        _print(scores)


def _add(name: str, translated: Path, row: Row, device: str, *, json: bool) -> None:
    """Make a row and print its leaderboard; exit code 1 if a unit failed."""
    from xbench.core.console import make_console
    from xbench.harness import external
    from xbench.harness.plan import Request
    from xbench.harness.progress import Display
    from xbench.harness.runner import Runner, pick_device
    from xbench.harness.session import Options, execute

    external.check_name(name)
    request = Request(
        dataset=row.dataset or "phantom",
        profile=row.profile or "quick",
        pairs=listed(row.pairs or ""),
        split=row.split or "test",
        seeds=(row.seed or 0,),
        out=row.out or Path("runs"),
    )
    plan = external.make_plan(request, translated)
    runner = Runner(plan, pick_device(device), Display(plan.dataset.domains))
    failed = external.add(runner, name, translated, *request.seeds)
    # What remains is a run of the reference rows: identity and floor.
    references = execute(runner, request.out, Options(results=None if json else make_console()))
    if json:
        show_outcome(references)
    if failed or references.failed:
        raise typer.Exit(1)


def _object(scores: "Scores") -> dict[str, Any]:
    """One object for programs: values by metric, then intervals, reasons and notes."""
    values = scores.values
    return {
        **{name: value.value for name, value in values.items()},
        "n": scores.n,
        "n_target": scores.n_target,
        "intervals": {n: [v.ci_low, v.ci_high] for n, v in values.items() if v.ci_low is not None},
        "inf": {name: value.inf for name, value in values.items() if value.inf is not None},
        "identities": {name: value.identity for name, value in values.items()},
        "reasons": {name: value.reason for name, value in values.items() if value.reason},
        "notes": scores.notes,
    }


def _print(scores: "Scores") -> None:
    """Print a table of the values, then why others are empty, then notes."""
    from rich.box import SIMPLE
    from rich.table import Table

    from xbench.core.console import make_console

    console = make_console()
    table = Table(box=SIMPLE)
    for head in ("metric", "value", "95 % interval", "n", "better"):
        table.add_column(head, justify="left" if head in ("metric", "better") else "right")
    empty: dict[str, list[str]] = {}
    for name, value in scores.values.items():
        if value.value is None:
            empty.setdefault(value.reason or "", []).append(name)
        else:
            table.add_row(*_cells(scores.metrics[name], value, scores))
    if table.row_count:
        console.print(table)
    for reason, names in empty.items():
        console.print(f"empty: {', '.join(names)}: {reason}", soft_wrap=True)
    for note in scores.notes:
        console.print(note, soft_wrap=True)


def _cells(metric: "Metric", value: "Value", scores: "Scores") -> tuple[str, ...]:
    """One line of the table."""
    interval = ""
    if value.ci_low is not None and value.ci_high is not None:
        interval = " to ".join(
            f"{end:.{metric.decimals}f}" for end in (value.ci_low, value.ci_high)
        )
    of_sets = not metric.of_source and scores.n_target != value.n
    return (
        metric.name,
        f"{value.value:.{metric.decimals}f} {metric.unit}".strip(),
        interval,
        f"{value.n}, {scores.n_target}" if of_sets else str(value.n),
        "higher" if metric.higher_is_better else "lower",
    )
