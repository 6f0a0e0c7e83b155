"""The command line: parses, calls, prints. Heavy imports stay inside the commands.

People read stderr, programs read stdout; tables that were asked for go to stdout. Exit codes:
0 done, 1 a recorded failure, 2 the user's mistake, 130 interrupted.
"""

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from xbench.answers import answer, frame_rows, listing
from xbench.cli_compare import compare
from xbench.cli_data import data_app
from xbench.cli_options import (
    DatasetName,
    Json,
    Out,
    ProfileName,
    SplitName,
    To,
    choice,
    listed,
    results_folder,
)
from xbench.cli_score import score_command
from xbench.errors import UserError

app = typer.Typer(
    help="Compare methods of unpaired X-ray image translation.",
    epilog="Start here: xbench run --method medshift",
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
plot_app = typer.Typer(help="Draw figures from the records.", no_args_is_help=True)
list_app = typer.Typer(help="List what there is.", no_args_is_help=True)
app.add_typer(plot_app, name="plot")
app.add_typer(list_app, name="list")
app.add_typer(data_app, name="data")


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; mistakes of the user become three lines and exit code 2."""
    arguments = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in arguments
    with _plain_warnings(debug):
        try:
            app(args=[a for a in arguments if a != "--debug"], prog_name="xbench")
        except UserError as error:
            if debug:
                raise
            _complain(str(error))
        except OSError as error:
            # What failed inside a unit is recorded; what gets here is a path of the user's.
            if debug:
                raise
            _complain(
                f"{error.filename or 'a file'}: {error.strerror or error}\n"
                "expected: files and folders that can be read and written\n"
                "look at --out, --to and XBENCH_HOME, or see more with --debug"
            )


def _complain(text: str) -> None:
    """Print the three lines and exit with code 2."""
    print("error: " + text.replace("\n", "\n  "), file=sys.stderr)
    sys.exit(2)


@contextmanager
def _plain_warnings(debug: bool) -> Iterator[None]:
    """Show our warnings as one line each, and those of libraries only when debugging."""
    with warnings.catch_warnings():
        if not debug:
            warnings.simplefilter("ignore")
            warnings.filterwarnings("always", module=r"xbench(\.|$)")
            warnings.showwarning = lambda message, *_, **__: print(
                f"warning: {message}", file=sys.stderr
            )
        yield


@app.command()
def run(
    method: Annotated[str, typer.Option(help="NAME[,NAME], all, or path/to/file.py:Class")],
    dataset: DatasetName = "phantom",
    profile: ProfileName = "quick",
    pairs: Annotated[str, typer.Option(help="SRC:TGT[,SRC:TGT]; all by default")] = "",
    split: SplitName = "test",
    seed: Annotated[str, typer.Option(help="0 or 0,1,2")] = "0",
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="SECTION.KEY=VALUE, e.g. medshift.tau=0.3")
    ] = None,
    out: Out = Path("runs"),
    published: Annotated[Path, typer.Option(help="Published records to rank with.")] = Path(
        "results"
    ),
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, …")] = "auto",
    force: Annotated[bool, typer.Option(help="Redo finished units.")] = False,
    dry_run: Annotated[bool, typer.Option(help="Show the plan and stop.")] = False,
    json: Json = False,
) -> None:
    """Train, translate and score; what is done already is skipped."""
    from xbench.display import Display
    from xbench.execute import execute
    from xbench.plan import Request, make
    from xbench.runner import Runner, pick_device

    request = Request(
        methods=_methods(method),
        dataset=dataset,
        profile=profile,
        pairs=listed(pairs),
        split=choice("split", split, ("test", "val")),
        seeds=_seeds(seed),
        assignments=set_ or [],
        out=out,
    )
    plan = make(request)
    runner = Runner(plan, pick_device(device), Display(plan.dataset.domains))
    try:
        failed = execute(runner, out, published, force=force, dry_run=dry_run, json=json)
    except KeyboardInterrupt:
        print("\ninterrupted: the same command goes on where it stopped", file=sys.stderr)
        raise typer.Exit(130) from None
    if failed:
        raise typer.Exit(1)


@app.command("leaderboard")
def leaderboard_command(
    dataset: DatasetName = "phantom",
    profile: ProfileName = "quick",
    split: SplitName = "test",
    out: Out = Path("runs"),
    json: Json = False,
) -> None:
    """Make CSV and Markdown tables anew from the records, and print the leaderboard."""
    from xbench import show
    from xbench.display import make_console
    from xbench.leaderboard import write_tables

    folder = results_folder(dataset, profile, split, out)
    board, notes = write_tables(folder)
    if json:
        answer(frame_rows(board.assign(published=False)))
    else:
        show.board(make_console(), board)
    for note in [*notes, f"written: {folder}/{{leaderboard.csv,leaderboard.md,pairs.csv}}"]:
        print(note, file=sys.stderr)


@plot_app.command("tradeoff")
def plot_tradeoff(
    dataset: DatasetName = "phantom",
    profile: ProfileName = "quick",
    split: SplitName = "test",
    out: Out = Path("runs"),
    to: To = None,
) -> None:
    """Structure against realism, one point per method (the paper's Figure 3)."""
    from xbench import plots

    print(plots.tradeoff(results_folder(dataset, profile, split, out), to))


@plot_app.command("pairs")
def plot_pairs(
    dataset: DatasetName = "phantom",
    profile: ProfileName = "quick",
    split: SplitName = "test",
    out: Out = Path("runs"),
    metric: Annotated[str, typer.Option(help="see: xbench list metrics")] = "ftd",
    to: To = None,
) -> None:
    """Source × target heat maps of one metric."""
    from xbench import plots

    print(plots.pairs(results_folder(dataset, profile, split, out), metric, to))


@plot_app.command("samples")
def plot_samples(
    dataset: DatasetName = "phantom",
    profile: ProfileName = "quick",
    split: SplitName = "test",
    out: Out = Path("runs"),
    pairs: Annotated[str, typer.Option(help="SRC:TGT[,SRC:TGT]")] = "",
    to: To = None,
) -> None:
    """Source, translations and true target side by side."""
    from xbench import plots

    print(plots.samples(results_folder(dataset, profile, split, out), listed(pairs), to))


@app.command("publish")
def publish_command(
    out: Out = Path("runs"),
    to: Annotated[Path, typer.Option(help="Folder to publish in.")] = Path("results"),
) -> None:
    """Copy finished records and small evidence, and make the views there."""
    from xbench import publish

    for folder in publish.publish(out, to):
        print(folder)


app.command("compare")(compare)
app.command("score")(score_command)


@app.command("fetch")
def fetch_weights(
    name: Annotated[str, typer.Argument(help="inception, clip or vae")],
) -> None:
    """Fetch the weights of a pretrained network into the cache, and check them."""
    from xbench import weights
    from xbench.display import Display
    from xbench.metrics.base import Unavailable

    try:
        with Display(()) as display:
            print(weights.obtain(name, display.data))
    except Unavailable as reason:
        raise UserError(
            str(reason),
            f"expected: {', '.join(w.file for w in weights.WEIGHTS[name])}, as published",
            f"see: {weights.WEIGHTS[name][0].url}",
        ) from reason


@list_app.command("methods")
def list_methods(profile: ProfileName = "quick", json: Json = False) -> None:
    """Methods with their cost on the phantom's domains; --json tells more."""
    from xbench.catalogue import METHOD_COLUMNS, methods

    rows = methods(profile)
    shown = rows if json else [{name: row[name] for name in METHOD_COLUMNS} for row in rows]
    listing(shown, json=json)


@list_app.command("datasets")
def list_datasets(profile: ProfileName = "quick", json: Json = False) -> None:
    """Data sets as a profile makes them."""
    from xbench.catalogue import datasets

    listing(datasets(profile), json=json)


@list_app.command("metrics")
def list_metrics(profile: ProfileName = "quick", json: Json = False) -> None:
    """Metrics with the identity of their definition, the same in every profile."""
    from xbench.catalogue import metrics
    from xbench.profiles import get_profile

    get_profile(profile)

    listing(metrics(), json=json)


def _methods(text: str) -> list[str]:
    from xbench.methods.registry import names

    if text != "all":
        return listed(text)
    return [name for name in names() if name not in ("identity", "vae")]


def _seeds(text: str) -> list[int]:
    try:
        seeds = [int(part) for part in listed(text)]
    except ValueError:
        seeds = []
    if not seeds or min(seeds) < 0:
        raise UserError(
            f"--seed {text} cannot be read",
            "expected: whole numbers from 0, separated by commas",
            "for example: --seed 0,1,2",
        )
    return list(dict.fromkeys(seeds))


if __name__ == "__main__":
    main()
