"""`xbench leaderboard` and `xbench plot …`: tables and figures, made from the records."""

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from xbench.cli.answers import answer, frame_rows
from xbench.cli.options import (
    DatasetName,
    GroupName,
    Json,
    Out,
    Pairs,
    Place,
    ProfileName,
    SplitName,
    To,
    expanded,
    listed,
)
from xbench.core.errors import UserError, choice

if TYPE_CHECKING:
    from xbench.datasets.base import Dataset

plot_app = typer.Typer(help="Draw figures from the records.", no_args_is_help=True)


TableName = Annotated[
    str,
    typer.Option(
        "--table", help="leaderboard, pairs, groups, ablation, budgets, parameters or utility"
    ),
]
SharedPairs = Annotated[
    str, typer.Option("--pairs", help="SRC:TGT[,SRC:TGT]; by default those that the rows share")
]
Metrics = Annotated[str, typer.Option("--metrics", help="NAME[,NAME]; see: xbench list metrics")]
Sort = Annotated[str, typer.Option("--sort", help="Column to rank by, e.g. ftd or params.")]
ToTable = Annotated[
    Path | None, typer.Option("--to", help="File for what is shown: .csv, .md or .tex")
]


@expanded
def leaderboard(
    *,
    place: Place,
    table: TableName = "leaderboard",
    group: GroupName = "",
    pairs: Pairs = "",
    metrics: Metrics = "",
    sort: Sort = "",
    to: ToTable = None,
    json: Json = False,
) -> None:
    """Write all tables of the records (CSV, Markdown, LaTeX), and print one of them.

    --group, --pairs, --metrics and --sort change what is printed and what --to writes, not the
    files in the results folder. Three or more rows of one training at other settings are a
    sweep: they have no rank, and are shown in the ablation table and in leaderboard.csv.
    """
    from xbench.analysis import tables
    from xbench.analysis import terminal as show
    from xbench.analysis.leaderboard import ranked, ranking_of
    from xbench.analysis.selection import Selection, chosen_pairs, sort_column
    from xbench.core.console import make_console

    choice("table", table, tables.TABLES)
    results = place.results()
    made = tables.write(results)
    whole = table == "leaderboard" and not (group or pairs or metrics or sort)
    shown: list[tables.Made] = []
    if results.records and not (whole and to is None):
        chosen = chosen_pairs(results.records[0], group, listed(pairs))
        selection = Selection(chosen, sort_column(sort))
        shown = (
            [tables.utility(results.folder)]
            if table == "utility"
            else tables.shown(results.by_label, table, selection, listed(metrics))
        )
    if to is not None and shown:
        tables.write_to(shown, to)
        print(f"written: {to}", file=sys.stderr)
    if json:
        frames = [made.board] if whole else [one.frame for one in shown]
        answer([row for frame in frames for row in frame_rows(frame.assign(published=False))])
    elif whole:
        compared = ranked(results.by_label)
        rows = made.board[made.board["method"].isin(compared)]
        show.board(make_console(), rows, ranking_of(compared))
    else:
        for one in shown:
            show.table(make_console(), one.text)
    files = "leaderboard.csv,leaderboard.md,pairs.csv,tables/"
    written = [f"written: {results.folder}/{{{files}}}"] if made.files else []
    for note in [*made.notes, *written]:
        print(note, file=sys.stderr)


Set = Annotated[
    list[str] | None, typer.Option("--set", help="SECTION.KEY=VALUE, e.g. data.noise=off")
]


@dataclass(frozen=True, kw_only=True)
class Drawn(Place):
    """Options of a figure that is drawn from the records."""

    row: Annotated[
        list[str] | None, typer.Option("--row", help="Label of a row to draw; may be repeated.")
    ] = None
    to: To = None

    @property
    def rows(self) -> list[str]:
        """The labels of the rows to draw."""
        return self.row or []


@plot_app.command("all")
@expanded
def plot_all(*, place: Place) -> None:
    """All tables and figures that need only records and strips, as `xbench publish` makes them."""
    from xbench.analysis.publish import all_views

    print(*all_views(place.results()), sep="\n")


@plot_app.command("tradeoff")
@expanded
def plot_tradeoff(
    *,
    plane: Annotated[
        str, typer.Option(help="tradeoff or perception-distortion; both by default")
    ] = "",
    drawn: Drawn,
) -> None:
    """Structure against realism (the paper's Figure 3), and distortion against realism."""
    from xbench.analysis import figures as plots
    from xbench.analysis.tradeoffs import PLANES

    if plane:
        choice("plane", plane, tuple(PLANES))
    print(*plots.tradeoff(drawn.results(), drawn.to, drawn.rows, plane), sep="\n")


@plot_app.command("budget")
@expanded
def plot_budget(*, pairs: SharedPairs = "", drawn: Drawn) -> None:
    """Quality against training time: a line for each method through its training budgets.

    xbench sweep --method medshift --set budget.factor=1,2,4 makes the rows.
    """
    from xbench.analysis import figures as plots

    print(*plots.budget(drawn.results(), drawn.to, drawn.rows, listed(pairs)), sep="\n")


@plot_app.command("evaluations")
@expanded
def plot_evaluations(*, pairs: SharedPairs = "", drawn: Drawn) -> None:
    """Quality against network evaluations per image: a line for each method.

    xbench sweep --method medshift --set evaluations=4,8,16 makes the rows.
    """
    from xbench.analysis import figures as plots

    print(*plots.evaluations(drawn.results(), drawn.to, drawn.rows, listed(pairs)), sep="\n")


@plot_app.command("pairs")
@expanded
def plot_pairs(
    *,
    metric: Annotated[
        str, typer.Option(help="By default what ranks; or another, see: xbench list metrics")
    ] = "",
    drawn: Drawn,
) -> None:
    """Source × target heat maps of one metric."""
    from xbench.analysis import figures as plots

    print(*plots.pairs(drawn.results(), metric, drawn.to, drawn.rows), sep="\n")


@plot_app.command("samples")
@expanded
def plot_samples(
    *,
    pairs: Pairs = "",
    difference: Annotated[
        bool, typer.Option(help="Add the difference of each image from the true target.")
    ] = False,
    drawn: Drawn,
) -> None:
    """Source, translations of the best six methods (or --row) and true target side by side."""
    from xbench.analysis import figures as plots

    shown = (listed(pairs), drawn.to, drawn.rows)
    print(plots.samples(drawn.results(), *shown, difference=difference))


@plot_app.command("utility")
@expanded
def plot_utility(*, drawn: Drawn) -> None:
    """Which metric predicts utility: a panel each, and rank correlations; see: xbench utility."""
    from xbench.analysis import figures as plots

    print(*plots.utility(drawn.results(), drawn.to, drawn.rows), sep="\n")


@plot_app.command("tuning")
def plot_tuning(
    dataset: DatasetName = "phantom",
    profile: ProfileName = "quick",
    out: Out = Path("runs"),
    to: To = None,
) -> None:
    """What settings reached on the val split, a panel for each; see: xbench tune."""
    from xbench.analysis import figures as plots
    from xbench.records.folders import find_place

    print(*plots.tuning(find_place(dataset, profile, "test", out), to), sep="\n")


@plot_app.command("training")
@expanded
def plot_training(*, drawn: Drawn) -> None:
    """Losses during training, one panel per row; needs the trainings, which are not published."""
    from xbench.analysis import figures as plots

    print(*plots.training(drawn.results(), drawn.to, drawn.rows), sep="\n")


@plot_app.command("spectra")
@expanded
def plot_spectra(*, pairs: Pairs = "", drawn: Drawn) -> None:
    """Power spectra and edge profiles against the true target; needs images/, not published."""
    from xbench.analysis import figures as plots

    print(*plots.spectra(drawn.results(), listed(pairs), drawn.to, drawn.rows), sep="\n")


@plot_app.command("domains")
def plot_domains(
    dataset: DatasetName = "phantom",
    profile: ProfileName = "quick",
    set_: Set = None,
    views: Annotated[int, typer.Option(min=1, help="Images of each domain.")] = 3,
    to: To = None,
) -> None:
    """Views and grey values of every domain of a data set (the paper's Figure 2)."""
    from xbench.analysis import figures as plots
    from xbench.core.settings import parse
    from xbench.harness.plan import Request, make

    data = make(Request(dataset=dataset, profile=profile, settings=parse(set_ or []))).dataset
    _prepare(data)
    print(plots.domains(data, to or Path(f"domains-{data.name}-{profile}.png"), views))


@plot_app.command("latents")
def plot_latents(
    method: Annotated[str, typer.Option(help="A trained method with latents at tau.")] = "medshift",
    dataset: DatasetName = "phantom",
    profile: ProfileName = "quick",
    split: SplitName = "test",
    out: Out = Path("runs"),
    taus: Annotated[str, typer.Option(help="VALUE[,VALUE], each 0 to 1")] = "0,0.1,0.3,0.6,1",
    seed: Annotated[int, typer.Option(min=0, help="Seed of the training.")] = 0,
    set_: Set = None,
    embedding: Annotated[str, typer.Option(help="umap (needs the extra umap) or pca")] = "umap",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, …")] = "auto",
    to: To = None,
) -> None:
    """Latents at several tau, and how well they predict the domain (the paper's Figure 4)."""
    from xbench.analysis import figures as plots
    from xbench.analysis import latents
    from xbench.core.settings import parse
    from xbench.harness.loading import load_method
    from xbench.harness.plan import Request, make
    from xbench.harness.runner import pick_device

    choice("embedding", embedding, ("umap", "pca"))
    values = _taus(taus)
    if embedding == "umap":
        latents.check_umap()
    request = Request(
        methods=[method],
        dataset=dataset,
        profile=profile,
        split=choice("split", split, ("test", "val")),
        seeds=[seed],
        settings=parse(set_ or []),
        out=out,
    )
    request = replace(request, pairs=[":".join(make(request).dataset.domains[:2])])
    plan, trained = load_method(request, pick_device(device))
    if not isinstance(trained, latents.Encoder):
        raise UserError(
            f"{method} has no latents at a time tau",
            "expected: a method with `latents`",
            "try: --method medshift",
        )
    _prepare(plan.dataset)
    encoded = latents.encode(trained, plan.dataset, plan.split, values)
    title = f"{method}, {plan.dataset_label}, {profile}, {split} split"
    how: latents.Embedding = "umap" if embedding == "umap" else "pca"
    print(*plots.latents(encoded, title, plan.folder, how, to), sep="\n")


def _taus(text: str) -> list[float]:
    """Times between 0 and 1, each once."""
    try:
        values = [float(part) for part in listed(text)]
    except ValueError:
        values = []
    if not values or not all(0 <= value <= 1 for value in values):
        raise UserError(
            f"--taus {text} cannot be read",
            "expected: numbers from 0 to 1, separated by commas",
            "for example: --taus 0,0.1,0.5,1",
        )
    return list(dict.fromkeys(values))


def _prepare(dataset: "Dataset") -> None:
    """Make a data set's images, with a display of the progress."""
    from xbench.harness.progress import Display

    with Display(dataset.domains) as display:
        dataset.prepare(display.data)
