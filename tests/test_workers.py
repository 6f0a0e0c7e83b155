"""Any number of processes on one results folder do a plan once, and leave what one leaves."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import psutil
import pytest

from xbench.cli import main
from xbench.core.errors import UserError
from xbench.core.locks import Locks
from xbench.core.processes import cores
from xbench.harness import engines
from xbench.harness import workers as executors
from xbench.harness.engines import Needs, Task
from xbench.harness.workers import Team
from xbench.records.store import Records

Xbench = Callable[..., Any]

PAIRS = "synthetic_low:real_low,synthetic_low:real_normal,real_low:synthetic_low"
SMOKE = ("--profile", "smoke", "--device", "cpu", "--published", "none")

#: A method that notes what it is asked for, and waits where a file says so.
PLUGIN = """
import time
from pathlib import Path
from xbench.methods.base import Method

class Noting(Method):
    about = "notes every call"

    def translate(self, images, source, target, *, generators):
        folder = Path(__file__).parent
        with (folder / "calls").open("a") as file:
            file.write(f"{source}:{target}\\n")
        while (folder / "wait").exists():
            time.sleep(0.05)
        if (folder / "fail").exists():
            raise RuntimeError("on purpose")
        return 1 - images
"""


@pytest.fixture
def noting(tmp_path: Path) -> Path:
    path = tmp_path / "noting.py"
    path.write_text(PLUGIN)
    return path


@pytest.fixture(scope="module")
def forks() -> Any:
    """Processes that have imported everything when they start."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["xbench.harness.session", "xbench.analysis.figures"])
    return context


def begin(forks: Any, *arguments: object) -> BaseProcess:
    """Start `xbench run …` beside this process."""
    texts = ["run", *SMOKE, *(str(argument) for argument in arguments)]
    process: BaseProcess = forks.Process(target=main, args=(texts,))
    process.start()
    return process


def csv(out: Path) -> bytes:
    """The table of a finished run."""
    return (out / "phantom" / "smoke" / "pairs.csv").read_bytes()


def locks(out: Path) -> list[Path]:
    """What is left of locks."""
    return [path for path in out.rglob("locks/**/*") if path.is_file()]


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 120
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} never came"
        time.sleep(0.05)


def test_processes_that_start_in_the_same_instant_find_the_folder_writable(tmp_path: Path) -> None:
    start = threading.Barrier(8)

    def probe(_: int) -> None:
        start.wait()
        for _ in range(200):
            Records(tmp_path / "out").probe()

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(probe, range(8)))
    assert list((tmp_path / "out").iterdir()) == []


def test_two_processes_share_a_plan_and_leave_what_one_leaves(
    xbench: Xbench, forks: Any, noting: Path, tmp_path: Path
) -> None:
    methods = ("--method", f"{noting}:Noting,cyclegan", "--pairs", PAIRS)
    assert xbench("run", *SMOKE, *methods, "--out", tmp_path / "one").code == 0
    (tmp_path / "calls").unlink()
    workers = [begin(forks, *methods, "--out", tmp_path / "two") for _ in range(2)]
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert csv(tmp_path / "two") == csv(tmp_path / "one")
    calls = Counter((tmp_path / "calls").read_text().split())
    assert calls == Counter(PAIRS.split(","))  # each unit once
    assert locks(tmp_path / "two") == []


def test_what_a_killed_process_held_is_taken_over(
    xbench: Xbench, forks: Any, noting: Path, tmp_path: Path
) -> None:
    arguments = ("--method", f"{noting}:Noting", "--pairs", PAIRS, "--out", tmp_path / "out")
    (tmp_path / "wait").touch()
    worker = begin(forks, *arguments)
    wait_for(tmp_path / "calls")
    worker.kill()
    worker.join()
    assert locks(tmp_path / "out")
    (tmp_path / "wait").unlink()
    assert xbench("run", *SMOKE, *arguments).code == 0
    assert set((tmp_path / "calls").read_text().split()) == set(PAIRS.split(","))
    assert locks(tmp_path / "out") == []


def test_what_a_living_process_holds_is_left_to_it(
    xbench: Xbench, noting: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "out" / "phantom" / "smoke" / "locks"
    with Locks(folder) as first, Locks(folder) as second:
        assert first.take("unit")
        assert not second.take("unit")
        first.release("unit")
        assert second.take("unit")


def test_shards_make_the_whole(xbench: Xbench, tmp_path: Path) -> None:
    plan = ("run", *SMOKE, "--method", "histogram", "--pairs", PAIRS)
    planned = []
    for shard in ("1/2", "2/2"):
        answer = xbench(*plan, "--shard", shard, "--out", "parts", "--dry-run", "--json")
        planned += [unit["name"] for unit in json.loads(answer.out)["units"]]
        assert xbench(*plan, "--shard", shard, "--out", "parts").code == 0
    assert len(planned) == len(set(planned)) == 18
    assert xbench(*plan, "--out", "whole").code == 0
    assert csv(tmp_path / "parts") == csv(tmp_path / "whole")


@pytest.mark.parametrize(
    ("engine", "package", "workers"), [("ray", "ray", 2), ("slurm", "submitit", 1)]
)
def test_workers_of_an_engine_leave_what_one_process_leaves(
    engine: str, package: str, workers: int, xbench: Xbench, noting: Path, tmp_path: Path
) -> None:
    pytest.importorskip(package)
    plan = (*SMOKE, "--method", f"{noting}:Noting", "--pairs", PAIRS)
    assert xbench("run", *plan, "--out", "one").code == 0
    (tmp_path / "calls").unlink()
    heard: list[str] = []
    team = Team(engine, ("run", *plan, "--out", "many"), workers)
    logs = tmp_path / "logs"
    codes = executors.start(team, logs=logs, say=heard.append)
    assert codes == [0] * workers, heard
    assert csv(tmp_path / "many") == csv(tmp_path / "one")
    assert Counter((tmp_path / "calls").read_text().split()) == Counter(PAIRS.split(","))
    assert {line[:3] for line in heard} == {f"[{k}]" for k in range(1, workers + 1)}
    assert not list(logs.rglob("*.pkl"))


def test_the_command_starts_workers_and_shows_the_leaderboard(
    xbench: Xbench, noting: Path, tmp_path: Path
) -> None:
    plan = ("run", *SMOKE, "--method", f"{noting}:Noting", "--pairs", PAIRS)
    answer = xbench(*plan, "--workers", 2, "--json")
    assert answer.code == 0, answer.err
    assert {row["method"] for row in json.loads(answer.out)} == {
        "identity",
        "floor",
        "expected",
        "shuffle",
        "nearest",
        "noting",
    }
    assert Counter((tmp_path / "calls").read_text().split()) == Counter(PAIRS.split(","))
    assert xbench(*plan, "--workers", 2, "--executor-option", "partition=gpu").code == 0  # all done
    mistaken = xbench(*plan, "--force", "--workers", 2, "--executor-option", "partition=gpu")
    assert mistaken.code == 2
    assert "partition" in mistaken.err


def test_workers_that_fail_beside_old_records_are_reported(
    xbench: Xbench, noting: Path, tmp_path: Path
) -> None:
    plan = (*SMOKE, "--method", f"{noting}:Noting", "--pairs", PAIRS, "--out", tmp_path / "out")
    assert xbench("run", *plan).code == 0
    before = csv(tmp_path / "out")
    (tmp_path / "fail").touch()
    assert xbench("run", *plan, "--force", "--workers", 2).code == 1
    assert csv(tmp_path / "out") == before
    assert len([*(tmp_path / "out").rglob("failed/noting*/*/*.json")]) == len(PAIRS.split(","))


@pytest.mark.skipif(cores() < 2, reason="one core cannot be shared")
def test_workers_share_the_cores_where_these_are_too_few(tmp_path: Path) -> None:
    count = "import os, time; time.sleep(1); print(sorted(os.sched_getaffinity(0)))"
    lines = {}
    for threads in (1, cores()):
        tasks = [
            Task((sys.executable, "-c", count), tmp_path, {}, tmp_path / f"{threads}-{k}.log")
            for k in range(2)
        ]
        with engines.local(tasks, Needs(threads, gpu=False)) as jobs:
            while None in [job.poll() for job in jobs]:
                time.sleep(0.05)
        lines[threads] = [json.loads(task.log.read_text()) for task in tasks]
    assert [len(own) for own in lines[1]] == [cores(), cores()], "there is a core for every thread"
    first, second = lines[cores()]
    assert sorted(first + second) == lines[1][0], "each core belongs to one of them"


@pytest.mark.parametrize("handler", [signal.default_int_handler, signal.SIG_IGN])
def test_an_interrupt_ends_the_workers(noting: Path, tmp_path: Path, handler: Any) -> None:
    def interrupt() -> None:
        while not (tmp_path / "calls").exists():
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)

    (tmp_path / "wait").touch()
    threading.Thread(target=interrupt, daemon=True).start()
    plan = ("--method", f"histogram,{noting}:Noting", "--pairs", PAIRS)
    team = Team("local", ("run", *SMOKE, *plan, "--out", str(tmp_path / "out")), 1)
    before = signal.signal(signal.SIGINT, handler)  # scripts start what is behind `&` without ears
    try:
        with pytest.raises(KeyboardInterrupt):
            executors.start(team, logs=tmp_path / "logs")
    finally:
        signal.signal(signal.SIGINT, before)
    assert not [child for child in children() if "run" in child]
    assert locks(tmp_path / "out") == []


def children() -> list[Sequence[str]]:
    return [child.cmdline() for child in psutil.Process().children(recursive=True)]


@pytest.mark.parametrize(("engine", "package"), [("ray", "ray"), ("slurm", "submitit")])
def test_an_engine_that_is_not_installed_is_named_with_its_extra(
    engine: str, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=rf'pip install -e "\.\[{engine}\]"'):
        executors.start(Team(engine, (), 1), logs=tmp_path)


@pytest.mark.parametrize("option", ["partition", "=gpu", "par tition=gpu", "partition="])
def test_an_option_that_cannot_be_read_is_a_users_error(option: str) -> None:
    with pytest.raises(UserError, match="KEY=VALUE"):
        executors.parse_options([option])


def test_options_that_an_engine_does_not_know_are_refused(tmp_path: Path) -> None:
    assert executors.parse_options(["mem_gb=8", "partition=gpu"]) == {
        "mem_gb": 8,
        "partition": "gpu",
    }
    with pytest.raises(UserError, match="partition"):
        executors.start(Team("local", (), 1, {"partition": "gpu"}), logs=tmp_path)
    with pytest.raises(UserError, match="did you mean slurm"):
        executors.start(Team("slum", (), 1), logs=tmp_path)


def test_kills_leave_no_trace(tmp_path: Path) -> None:
    script = Path(__file__).parent / "chaos.py"
    options = ("--kills", "3", "--method", "histogram", "--pairs", PAIRS, "--out", tmp_path / "c")
    ended = subprocess.run(
        [sys.executable, str(script), *map(str, options)], capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
