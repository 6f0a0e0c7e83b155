"""Every command on a page fits the command line, and those that take seconds run at `smoke`.

Commands in blocks of code run in the order of their page, in a folder that has a finished run and
what the page speaks of (`path/to/folder`, `RECORD`, …). `NOT_RUN` says which do not, and why.
"""

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from xbench.cli import main
from xbench.cli.app import app

ROOT = Path(__file__).parents[1]
PAGES = (
    *("README.md", "CONTRIBUTING.md", "benchmark/README.md", "benchmark/metrics/README.md"),
    *("benchmark/tasks/README.md", "datasets/README.md", "datasets/phantom/README.md"),
    *("methods/README.md", "methods/official/README.md", "results/README.md"),
)
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TYPED = re.compile(r"\bxbench(\.cli)? [a-z].*")
SPAN = re.compile(r"`(xbench [^`]+)`")
APP: Any = typer.main.get_command(app)
DESCRIPTION = "path/to/folder/dataset.toml"
#: Part of a command → why it is not run.
NOT_RUN = {
    "--method all": "minutes",
    "--knob 0:1:0.1": "eleven rows",
    "--set evaluations=": "six rows",
    "--set budget.factor=": "long trainings",
    "--split val": "what it draws takes minutes",
    "xbench tune": "many rows",
    "data.noise=off": "another phantom",
    "--profile standard": "needs a GPU",
    "xdigiskull": "a download",
    "data ct FOLDER": "needs CT volumes",
    "ct:FOLDER": "needs CT volumes",
    "--translated OUT": "needs folders of another program",
    "xbench utility": "needs minutes",
    "--table utility": "needs utility",
    "xbench plot utility": "needs utility",
    "--size 780": "a large phantom",
    "after asking": "asks on a terminal",
    "--to results/index.html": "needs published results",
}


def commands(page: str) -> tuple[list[str], list[str]]:
    """The commands of a page: those in blocks of code, and those within sentences."""
    text = (ROOT / page).read_text("utf-8")
    blocks = "".join(block for language, block in BLOCK.findall(text) if language != "python")
    return (
        [found[0] for line in blocks.splitlines() if (found := TYPED.search(line))],
        [span.replace("\n", " ") for span in SPAN.findall(BLOCK.sub("", text))],
    )


def words(command: str) -> list[str]:
    """Its arguments, without a comment at the end."""
    return shlex.split(command, comments=True)[1:]


def command_of(arguments: list[str], *, example: bool = False) -> tuple[Any, list[str]]:
    """The command that arguments name, and what is left of them."""
    command, left = APP, list(arguments)
    while hasattr(command, "commands") and left and not (example and left[0] in ("COMMAND", "…")):
        assert left[0] in command.commands, arguments
        command = command.commands[left.pop(0)]
    return command, left


@pytest.mark.parametrize("page", PAGES)
def test_commands_fit_the_command_line(page: str) -> None:
    typed, named = commands(page)
    for text in typed:
        command, left = command_of(words(text))
        command.make_context(command.name, left)
    for text in named:
        command, left = command_of(words(text), example=True)
        if "…" in text or "[--" in text or hasattr(command, "commands"):
            continue  # an abbreviation
        try:
            command.make_context(command.name, left)
        except typer.BadParameter as error:
            if type(error).__name__ != "MissingParameter":  # which a sentence may leave out
                raise


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, finished: Path) -> Iterator[Path]:
    """A folder with a finished run, images of one's own, and the front page's method."""
    folder = tmp_path_factory.mktemp("pages")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        shutil.copytree(finished, "runs/phantom/smoke")
        call("xbench run --method medshift")
        call("xbench data export phantom path/to/folder")
        (folder / DESCRIPTION).unlink()
        shutil.copytree("path/to/folder/test/synthetic_low", "IN")
        Path("sharpen.py").write_text(python("README.md")[0])
        yield folder


def python(page: str) -> list[str]:
    """The blocks of Python on a page."""
    found = BLOCK.findall((ROOT / page).read_text("utf-8"))
    return [block for language, block in found if language == "python"]


def call(text: str) -> None:
    """Run a command of a page at `smoke`, a run for one pair."""
    if text.startswith("xbench data init"):
        Path(DESCRIPTION).unlink(missing_ok=True)
    records = Path("runs/phantom/smoke/records/medshift/seed0").glob("*.json")
    arguments = [str(next(records)) if word == "RECORD" else word for word in words(text)]
    known = {option.name for option in command_of(arguments)[0].params}
    if "profile" in known and "--profile" not in arguments:
        arguments += ["--profile", "smoke"]
    if arguments[0] == "run" and "--pairs" not in arguments:
        arguments += ["--pairs", "synthetic_low:real_normal"]
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert not stopped.value.code, text


@pytest.mark.parametrize("page", PAGES)
def test_commands_that_take_seconds_run(page: str, place: Path) -> None:
    for text in commands(page)[0]:
        if not any(part in text for part in NOT_RUN):
            call(text)


def test_every_reason_not_to_run_a_command_is_needed() -> None:
    typed = [text for page in PAGES for text in commands(page)[0]]
    assert [part for part in NOT_RUN if not any(part in text for text in typed)] == []


def test_python_runs_as_it_stands_on_the_page(place: Path) -> None:
    Path("page.py").write_text("\n".join(python("benchmark/README.md")))
    done = subprocess.run([sys.executable, "page.py"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
