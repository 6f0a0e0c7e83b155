"""What code of others does to the process stays with it."""

import os
import random
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from xbench.core.isolation import changes, snapshot, undisturbed


def meddle(folder: Path) -> None:
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)
    torch.set_default_dtype(torch.float64)
    torch.set_grad_enabled(False)
    torch.set_num_threads(torch.get_num_threads() + 1)
    np.seterr(all="raise")
    os.chdir(folder)
    raise RuntimeError("in the middle")


def test_everything_is_as_it_was_even_after_an_error(tmp_path: Path) -> None:
    before = snapshot()
    noted: list[str] = []
    with undisturbed():
        try:
            meddle(tmp_path)
        except RuntimeError:
            noted = changes(before)
    assert len(noted) == 8
    assert not changes(before)
    with pytest.raises(RuntimeError, match="in the middle"), undisturbed():
        meddle(tmp_path)
    assert not changes(before)


def test_a_seed_makes_careless_code_repeat() -> None:
    def careless() -> list[float]:
        with undisturbed(seed=2**62):
            return [random.random(), float(np.random.rand()), float(torch.rand(1))]

    assert careless() == careless()


def test_stdout_is_kept_for_programs(capfd: pytest.CaptureFixture[str]) -> None:
    print("before")
    with undisturbed():
        print("python")
        os.system("echo child")
    print("after")
    out, err = capfd.readouterr()
    assert out.split() == ["before", "after"]
    assert {"python", "child"} <= set(err.split())


def test_it_is_cheap() -> None:
    times = []
    for _ in range(20):
        began = time.perf_counter()
        with undisturbed():
            pass
        times.append(time.perf_counter() - began)
    assert min(times) < 0.005
