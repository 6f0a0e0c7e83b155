"""What other programs leave in the environment, and terminals and disks as they are."""

import io
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from xbench.core import processes
from xbench.core.console import show_anything
from xbench.methods.team import make_accelerator

Xbench = Callable[..., Any]


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*processes.LAUNCHER, *processes.ACCIDENTS):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(processes, "REACH", 0.2)


@pytest.mark.parametrize(
    ("variables", "noted"),
    [
        ({}, False),
        ({"RANK": "0"}, False),
        ({"RANK": "", "WORLD_SIZE": ""}, False),
        ({"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "localhost"}, False),
        ({"RANK": "1"}, True),
        ({"RANK": "abc"}, True),
        ({"RANK": "-1", "WORLD_SIZE": "2"}, True),
        ({"WORLD_SIZE": "4"}, True),
        ({"RANK": "3", "WORLD_SIZE": "2"}, True),
        ({"RANK": "1", "WORLD_SIZE": "2"}, True),
        ({"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": "9"}, True),
        ({"LOCAL_RANK": "x"}, False),
        ({"LOCAL_RANK": "3"}, False),
        ({"OMPI_COMM_WORLD_SIZE": "4"}, False),
    ],
)
def test_a_process_that_no_launcher_started_works_alone(
    variables: dict[str, str], noted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert (processes.index(), processes.number(), processes.card()) == (0, 1, 0)
    assert processes.is_first()
    assert ("this process works alone" in processes.note()) is noted
    assert make_accelerator(torch.device("cpu")).num_processes == 1
    assert {name: os.environ.get(name) for name in variables} == variables


def test_a_launcher_that_answers_makes_a_team(monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    with socket.create_server(("localhost", 0)) as server:
        port = str(server.getsockname()[1])
        team = {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": port}
        for name, value in team.items():
            monkeypatch.setenv(name, value)
        assert (processes.index(), processes.number()) == (1, 2)


def test_a_run_with_a_rank_of_its_own_is_done_and_reported(
    xbench: Xbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "1")
    pair = ("--pairs", "synthetic_low:real_normal")
    done = xbench("run", "--method", "histogram", "--profile", "smoke", *pair)
    assert done.code == 0
    assert "RANK=1 is set" in done.err
    assert len(list(Path("runs").rglob("records/histogram/*/*.json"))) == 1


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [
        ("ascii", b"a -> b +- \\u982d \\xff"),
        ("cp1252", b"a -> b \xb1 \\u982d \\xff"),
        ("cp932", b"a \x81\xa8 b \x81} \x93\xaa \\xff"),
        ("utf-8", "a → b ± 頭 \\xff".encode()),
    ],
)
def test_what_a_terminal_cannot_show_is_shown_in_another_way(
    encoding: str, shown: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding=encoding))
    show_anything()
    print("a → b ± 頭", os.fsdecode(b"\xff"), end="")
    sys.stdout.flush()
    assert written.getvalue() == shown


@pytest.mark.parametrize(
    "variables", [{"PYTHONIOENCODING": "ascii"}, {"PYTHONIOENCODING": "cp932"}, {"LC_ALL": "C"}]
)
@pytest.mark.parametrize("command", ["list metrics", "run --help", "leaderboard --dataset 頭"])
def test_commands_write_to_any_terminal(variables: dict[str, str], command: str) -> None:
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONUTF8"} | variables
    words = [sys.executable, "-m", "xbench.cli", *command.split()]
    done = subprocess.run(words, capture_output=True, check=False, env=environment)
    assert done.returncode == (2 if "頭" in command else 0), done.stderr
    assert b"Traceback" not in done.stderr
