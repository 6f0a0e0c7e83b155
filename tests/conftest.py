"""A world of its own for every test session: no network, an empty cache, smoke-sized runs."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from xbench.cli import main


@dataclass
class Result:
    code: int
    out: str
    err: str


Xbench = Callable[..., Result]


@pytest.fixture(scope="session", autouse=True)
def _world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One cache folder for the session: the smoke phantom is rendered once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XBENCH_HOME", str(tmp_path_factory.mktemp("home")))
        patch.setenv("XBENCH_OFFLINE", "1")
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        yield
        torch.set_num_threads(threads)


@pytest.fixture
def xbench(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Xbench:
    """The command line, run in an empty folder: `xbench("run", "--method", "identity")`."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: object) -> Result:
        capfd.readouterr()
        with pytest.raises(SystemExit) as stopped:
            main([str(argument) for argument in arguments])
        captured = capfd.readouterr()
        return Result(int(stopped.value.code or 0), captured.out, captured.err)

    return call


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished smoke run of two methods; tests must not change it."""
    out = tmp_path_factory.mktemp("finished")
    with pytest.raises(SystemExit) as stopped:
        main(
            [
                *("run", "--method", "medshift,histogram", "--profile", "smoke"),
                *("--set", "budget.images=64", "--out", str(out)),
            ]
        )
    assert not stopped.value.code
    return out / "phantom" / "smoke"
