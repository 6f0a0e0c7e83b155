"""Start-up: the help text against a hello-world of typer, short commands against torch's import.

Wall seconds of whole processes, so leave the benchmark's own clock as it is. The first round finds
compiled modules and caches missing, the fastest one has them:

    pytest tests/benchmarks/bench_startup.py --benchmark-enable --benchmark-json=startup.json
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

#: The example that typer's documentation begins with; `options` go into `Typer()`.
HELLO = '''\
import typer

app = typer.Typer({options})


@app.command()
def hello(name: str) -> None:
    """Say hello."""
    print(f"Hello {{name}}")


app()
'''
HELP, LIST = ("--help",), ("list", "methods")
DRY = ("run", "--method", "medshift", "--dry-run")
#: Arguments → a word that the answer must hold.
ANSWERS = {HELP: "leaderboard", LIST: "medshift", DRY: "10,240"}
#: What the command line may not import before it knows the command.
HEAVY = ("torch", "numpy", "pydantic", "pandas", "matplotlib", "diffusers", "rich")


def measure(benchmark: BenchmarkFixture, folder: Path, *command: str) -> str:
    """Time a command in a folder, the fastest of five counts; what it printed."""

    def call() -> str:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
        return done.stdout + done.stderr

    answer: str = benchmark.pedantic(call, rounds=5)
    return answer


def title(arguments: tuple[str, ...]) -> str:
    return "xbench " + " ".join(arguments)


@pytest.mark.parametrize("arguments", ANSWERS, ids=title)
def test_ours(benchmark: BenchmarkFixture, arguments: tuple[str, ...], tmp_path: Path) -> None:
    script = Path(sys.executable).with_name("xbench" + (".exe" if os.name == "nt" else ""))
    benchmark.group = title(arguments)
    benchmark.extra_info["peer"] = "xbench"
    assert ANSWERS[arguments] in measure(benchmark, tmp_path, str(script), *arguments)


@pytest.mark.parametrize("options", ["", "rich_markup_mode=None"])
def test_hello(benchmark: BenchmarkFixture, options: str, tmp_path: Path) -> None:
    """At most twice the time of typer's own example is asked for.

    Without rich, which ours does not use for help either, the example imports less than by default.
    """
    (tmp_path / "hello.py").write_text(HELLO.format(options=options))
    benchmark.group = title(HELP)
    benchmark.extra_info["peer"] = f"typer's hello-world{options and f', {options}'}"
    if not options:
        benchmark.extra_info["asked"] = 0.5
    assert "Say hello." in measure(benchmark, tmp_path, sys.executable, "hello.py", *HELP)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [(LIST, "from diffusers import UNet2DModel"), (DRY, "import torch")],
    ids=["list", "dry-run"],
)
def test_floor(
    benchmark: BenchmarkFixture, arguments: tuple[str, ...], code: str, tmp_path: Path
) -> None:
    """The import that the command cannot do without: networks are built to be counted."""
    benchmark.group = title(arguments)
    benchmark.extra_info["peer"] = f'python -c "{code}"'
    assert not measure(benchmark, tmp_path, sys.executable, "-c", code)


def test_import_budget(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    """What `--help` imports: no heavy package, and how long which package takes."""
    benchmark.group = 'python -c "import xbench.cli"'
    code = "import xbench.cli"
    told = measure(benchmark, tmp_path, sys.executable, "-X", "importtime", "-c", code)
    own = self_seconds(told)
    packages: dict[str, float] = {}
    for name, seconds in own.items():
        package = name.partition(".")[0]
        packages[package] = packages.get(package, 0.0) + seconds
    assert "xbench" in packages
    assert not [name for name in HEAVY if name in packages]
    shown = {f"seconds in {name}": packages[name] for name in ("xbench", "typer")}
    figures = {"modules": float(len(own)), "seconds in all": sum(own.values()), **shown}
    benchmark.extra_info |= {"peer": "xbench", "figures": figures}


def self_seconds(told: str) -> dict[str, float]:
    """Module → seconds without those that it imports, from `-X importtime`."""
    lines = [line.split("|") for line in told.splitlines() if line.startswith("import time:")]
    rows = [(parts[2].strip(), parts[0].rpartition(":")[2].strip()) for parts in lines]
    return {name: int(spent) / 1e6 for name, spent in rows if spent.isdecimal()}
