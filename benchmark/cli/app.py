"""The command line: every command, and how errors end it.

Results (tables, pictures' paths, the closing card of a run) go to stdout, or with --json nothing
but JSON; progress, notes and warnings go to stderr. Exit codes: 0 done, 1 a recorded failure, 2 the
user's mistake, 130 interrupted.
"""

import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from xbench.cli.catalogue import list_app
from xbench.cli.compare import compare
from xbench.cli.data import data_app
from xbench.cli.options import Out, at_home, refuse_empty
from xbench.cli.plugins import check, new_app
from xbench.cli.repair import clean, doctor, rerun, status, verify
from xbench.cli.report import report
from xbench.cli.run import run, sweep
from xbench.cli.score import score
from xbench.cli.translate import translate
from xbench.cli.tune import tune
from xbench.cli.utility import utility
from xbench.cli.views import leaderboard, plot_app
from xbench.core.console import show_anything
from xbench.core.errors import Unavailable, UserError, full_disk, no_memory, read_only
from xbench.core.files import FOLLOW, READ_ONLY
from xbench.core.text import visible
from xbench.plugins import loading as plugins

app = typer.Typer(
    help="Compare methods of unpaired X-ray image translation.",
    epilog="Start here: xbench run --method medshift. Every command takes --plugin FILE.py "
    "(methods, data sets and metrics of your own, repeatable), --follow-links (of a folder of "
    "images, out of it) and --debug.",
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
for command in (run, sweep, tune, leaderboard, compare, utility, report, score, translate, check):
    app.command()(command)
for command in (status, verify, rerun, doctor, clean):
    app.command()(command)
app.add_typer(plot_app, name="plot")
app.add_typer(list_app, name="list")
app.add_typer(data_app, name="data")
app.add_typer(new_app, name="new")

#: Raised for arguments that fit no command: click's class, or typer's copy of it.
_Misuse: Any = typer.BadParameter.__bases__[0]


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit; mistakes of the user become three lines and exit code 2."""
    _share_cores()
    arguments = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in arguments
    show_anything()
    with _plain_warnings(debug):
        try:
            ours = ("--debug", "--follow-links")
            given = [at_home(argument) for argument in arguments if argument not in ours]
            with _links("--follow-links" in arguments), plugins.session(given) as rest:
                refuse_empty(rest)
                sys.exit(app(args=rest, prog_name="xbench", standalone_mode=False))
        except typer.Abort:
            print("aborted", file=sys.stderr)
            sys.exit(1)
        except _Misuse as error:
            if type(error).__name__ == "NoArgsIsHelpError":
                error.show()
                sys.exit(error.exit_code)
            _complain(_misused(error))
        except Exception as error:
            text = _explained(error)
            if debug or not text:
                raise
            _complain(text)


def _share_cores() -> None:
    """Let torch's threads sleep soon when they wait for each other.

    Has an effect only before torch is imported. By default GNU OpenMP's threads spin for
    milliseconds, on cores that the thread they wait for may need: where two trainings with two
    threads each shared two cores, a step took up to 25 times as long as alone, and takes 3 times
    as long so. A training that is alone takes 4 % longer.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "10000")


def _explained(error: Exception) -> str:
    """The three lines for an error of the user or the machine; empty for one of ours."""
    if isinstance(error, UserError):
        return str(error)
    if short := no_memory(error):
        return str(short)
    if not isinstance(error, OSError):
        return ""
    # Failures of units are recorded; what gets here is about a path of the user's.
    denied = read_only(error) if error.errno in READ_ONLY else None
    return (
        str(full_disk(error) or denied or "")
        or f"{error.filename or 'a file'}: {error.strerror or error}\n"
        "expected: files and folders that can be read and written\n"
        "look at --out, --to and XBENCH_HOME, or see more with --debug"
    )


def _misused(error: Any) -> str:
    """The three lines for arguments that fit no command."""
    wrong = error.format_message().rstrip(".")
    usage, command = "options and arguments of that command", "xbench"
    if error.ctx is not None:
        usage, command = error.ctx.get_usage().partition(" ")[2], error.ctx.command_path
    return f"{wrong[0].lower()}{wrong[1:]}\nexpected: {usage}\nsee: {command} --help"


def _complain(text: str) -> None:
    """Print the three lines and exit with code 2."""
    print("error: " + visible(text, keep="\n").replace("\n", "\n  "), file=sys.stderr)
    sys.exit(2)


@contextmanager
def _links(follow: bool) -> Iterator[None]:
    """Follow links that lead out of a data set's folder, here and in processes started inside."""
    if not follow:
        yield
        return
    before = os.environ.get(FOLLOW)
    os.environ[FOLLOW] = "1"
    try:
        yield
    finally:
        os.environ.pop(FOLLOW)
        os.environ |= {FOLLOW: before} if before is not None else {}


@contextmanager
def _plain_warnings(debug: bool) -> Iterator[None]:
    """Show our warnings as one line each, and those of libraries only when debugging."""
    with warnings.catch_warnings():
        if not debug:
            warnings.simplefilter("ignore")
            warnings.filterwarnings("always", module=r"xbench(\.|$)")
            warnings.showwarning = lambda message, *_, **__: print(
                visible(f"warning: {message}", keep="\n"), file=sys.stderr
            )
        yield


def _show_version(asked: bool) -> None:
    """Print the version and, of a checkout, the commit."""
    if not asked:
        return
    from xbench import __version__
    from xbench.records.provenance import code_state

    code = code_state()
    commit = f", commit {code['commit'][:12]}" if code["commit"] else ""
    print(f"xbench {__version__}{commit}{', with changes' if code['dirty'] else ''}")
    raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Show the version and commit."
        ),
    ] = False,
) -> None:
    pass


@app.command()
def publish(
    out: Out = Path("runs"),
    to: Annotated[Path, typer.Option(help="Folder to publish in.")] = Path("results"),
) -> None:
    """Copy finished records and small evidence, and make their tables and figures there."""
    from xbench.analysis.publish import publish

    for folder in publish(out, to):
        print(folder)


@app.command()
def fetch(
    name: Annotated[str, typer.Argument(help="inception, clip, clip_l336, lpips or vae")],
) -> None:
    """Fetch the weights of a pretrained network into the cache, and check them."""
    from xbench.core import weights
    from xbench.harness.progress import Display

    try:
        with Display(()) as display:
            print(weights.obtain(name, display.data))
    except Unavailable as reason:
        raise UserError(
            str(reason),
            f"expected: {', '.join(w.file for w in weights.WEIGHTS[name])}, as published",
            f"see: {weights.WEIGHTS[name][0].url}",
        ) from reason
