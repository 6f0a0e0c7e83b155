"""`xbench new` and `xbench check`: from nothing to a row of the leaderboard."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

Xbench = Callable[..., Any]


def test_what_is_written_is_short_and_its_tests_pass_as_they_are(xbench: Xbench) -> None:
    made = xbench("new", "method", "sharpen")
    assert made.code == 0
    assert made.out.split() == ["sharpen.py", "test_sharpen.py"]
    for name, kind in (("small_net", "pair"), ("one_net", "conditional")):
        assert xbench("new", "method", name, "--kind", kind, "--to", "nets").code == 0
    for name in ("sharpen.py", "nets/small_net.py", "nets/one_net.py"):
        assert len(Path(name).read_text().splitlines()) <= 60
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        capture_output=True, text=True, env=environment, check=False,
    )  # fmt: skip
    assert "3 passed" in result.stdout, result.stdout


def test_the_earlier_name_of_a_kind_still_works(xbench: Xbench) -> None:
    earlier = xbench("new", "method", "small_net", "--kind", "trained", "--to", "earlier")
    assert earlier.code == 0
    assert len(earlier.err.strip().splitlines()) == 1
    assert "--kind pair" in earlier.err
    assert xbench("new", "method", "small_net", "--kind", "pair", "--to", "now").code == 0
    assert Path("earlier/small_net.py").read_text() == Path("now/small_net.py").read_text()


def test_a_kind_that_does_not_exist_is_explained(xbench: Xbench) -> None:
    result = xbench("new", "method", "small_net", "--kind", "pairs")
    assert result.code == 2
    assert "did you mean pair?" in result.err


def test_two_edits_lead_from_a_new_method_to_a_row(xbench: Xbench) -> None:
    assert xbench("new", "method", "darken").code == 0
    text = Path("darken.py").read_text()
    text = text.replace("setting(0.5,", "setting(0.8,")
    text = text.replace("images + self.config.amount * fine", "images * self.config.amount")
    Path("darken.py").write_text(text)
    assert xbench("check", "darken.py:Darken").code == 0
    options = ("--profile", "smoke", "--pairs", "synthetic_low:real_normal")
    assert xbench("run", "--method", "darken.py:Darken", *options).code == 0
    assert "darken" in pd.read_csv("runs/phantom/smoke/leaderboard.csv").method.tolist()


@pytest.mark.parametrize(
    "name",
    ["../sharpen", "two words", "schärfer", "class", "identity", "Sharpen", "torch", "."],
)
def test_a_name_that_cannot_be_used_is_explained(xbench: Xbench, name: str) -> None:
    result = xbench("new", "method", name)
    assert result.code == 2
    assert len(result.err.strip().splitlines()) == 3
    assert "xbench new method my_" in result.err
    assert not list(Path().rglob("*.py"))


@pytest.mark.parametrize("file", ["sharpen.py", "test_sharpen.py"])
def test_nothing_is_overwritten(xbench: Xbench, file: str) -> None:
    Path(file).write_text("precious")
    assert xbench("new", "method", "sharpen").code == 2
    assert Path(file).read_text() == "precious"
    assert len(list(Path().iterdir())) == 1


def test_check_answers_people_and_programs(xbench: Xbench) -> None:
    assert xbench("new", "method", "sharpen").code == 0
    checks = json.loads(xbench("check", "sharpen.py:Sharpen", "--json").out)
    assert all(set(check) == {"check", "outcome", "note", "fix"} for check in checks)
    assert {check["outcome"] for check in checks} == {"pass", "skip"}
    text = Path("sharpen.py").read_text().replace("return images +", "return 255 *")
    Path("sharpen.py").write_text(text)
    result = xbench("check", "sharpen.py:Sharpen")
    assert result.code == 1
    assert "images are in [0, 1], in and out" in result.out
    assert "broken: range" in result.err


def test_a_check_ends_with_the_next_command(xbench: Xbench) -> None:
    assert xbench("new", "method", "sharpen").code == 0
    command = xbench("check", "sharpen.py:Sharpen").err.partition("next: xbench ")[2].split()
    assert xbench(*command, "--profile", "smoke", "--dry-run").code == 0


def test_a_broken_promise_is_not_buried_among_those_that_rest_on_it(xbench: Xbench) -> None:
    text = "from xbench.methods.base import Method\nclass Small(Method):\n    about = 'smaller'\n"
    text += "    def translate(self, images, source, target, *, generators):\n"
    Path("small.py").write_text(text + "        return images[:, :, ::2]\n")
    checks = json.loads(xbench("check", "small.py:Small", "--json").out)
    waiting = [check["check"] for check in checks if check["note"] == "see 'shape'"]
    result = xbench("check", "small.py:Small")
    assert result.code == 1
    assert f"broken: shape, and {len(waiting)} were not looked at" in result.err
    assert not [name for name in waiting if f"  {name} " in result.out]
