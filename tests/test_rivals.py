"""Methods with a network per pair through the harness: trained, shared, resumed, failed by pair."""

import json
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

Xbench = Callable[..., Any]

FOLDER = Path("runs/phantom/smoke")
THERE, BACK = "synthetic_low:real_normal", "real_normal:synthetic_low"
OTHER = "synthetic_high:real_low"

INVERTING = """
from xbench.methods.base import Method

class Inverting(Method):
    stochastic = False

    def translate(self, images, source, target, *, generators):
        return 1 - images
"""

#: CycleGAN whose loss is no number for one pair.
POISONED = """
from xbench.methods.cyclegan import CycleGAN, CycleGANLearner

class Learner(CycleGANLearner):
    def draw(self, generator):
        return {name: value / 0 for name, value in super().draw(generator).items()}

class Poisoned(CycleGAN):
    def make_learner(self, data, pair, seed):
        if pair[0] == "synthetic_high":
            return Learner(self, data, pair, seed)
        return super().make_learner(data, pair, seed)
"""


def run(xbench: Xbench, method: str, pairs: str, *more: str) -> Any:
    return xbench("run", "--method", method, "--profile", "smoke", "--pairs", pairs, *more)


def trainings() -> dict[str, str]:
    """Folder of each finished training → SHA-256 of its weights."""
    return {
        path.parent.name: json.loads(path.read_text())["weights_sha256"]
        for path in FOLDER.glob("trainings/*/training.json")
    }


def test_networks_are_trained_pair_by_pair_and_kept(xbench: Xbench) -> None:
    assert run(xbench, "cyclegan", THERE).code == 0
    first = trainings()
    assert len(first) == 1
    assert run(xbench, "cyclegan", f"{THERE},{BACK}").code == 0
    assert trainings() == first  # one training serves both directions
    assert run(xbench, "cyclegan", f"{THERE},{OTHER}").code == 0
    assert len(trainings()) == 2
    assert first.items() <= trainings().items()


def test_a_pair_trained_alone_equals_the_same_pair_trained_among_others(xbench: Xbench) -> None:
    assert run(xbench, "cut", f"{OTHER},{THERE}").code == 0
    among = trainings()
    shutil.rmtree("runs")
    assert run(xbench, "cut", THERE).code == 0
    assert trainings().items() <= among.items()


def test_a_loss_that_is_no_number_fails_its_pair_and_no_other(xbench: Xbench) -> None:
    Path("poisoned.py").write_text(POISONED)
    result = run(xbench, "poisoned.py:Poisoned", f"{THERE},{OTHER}")
    assert result.code == 1
    done = {path.stem for path in FOLDER.glob("records/poisoned/seed0/*.json")}
    assert done == {"synthetic_low--real_normal"}
    (failure,) = FOLDER.glob("*/poisoned/seed0/synthetic_high--real_low.json")
    assert "FloatingPointError" in json.loads(failure.read_text())["traceback"]


def test_weights_of_another_training_are_refused(xbench: Xbench) -> None:
    assert run(xbench, "fastcut", THERE).code == 0
    assert run(xbench, "fastcut", OTHER).code == 0
    one, other = sorted(FOLDER.glob("trainings/*"))
    shutil.rmtree(one)
    shutil.copytree(other, one)
    result = run(xbench, "fastcut", f"{THERE},{OTHER}", "--force")
    assert result.code == 2
    assert len(result.err.strip().splitlines()) == 3
    assert "holds another training: pair is" in result.err


def test_inverted_greys_are_flagged(xbench: Xbench) -> None:
    Path("inverting.py").write_text(INVERTING)
    assert run(xbench, "inverting.py:Inverting", THERE).code == 0
    pairs = pd.read_csv(FOLDER / "pairs.csv").set_index("method")
    assert pairs.polarity["inverting"] == pytest.approx(-1, abs=1e-3)
    assert pairs.polarity["identity"] == pytest.approx(1, abs=1e-3)
    board = (FOLDER / "leaderboard.md").read_text()
    assert r"inverted polarity: inverting seed 0, synthetic\_low → real\_normal" in board


def test_the_time_of_a_row_adds_up_its_trainings_once(xbench: Xbench) -> None:
    assert run(xbench, "cyclegan", f"{THERE},{BACK},{OTHER}").code == 0
    logs = [json.loads(path.read_text()) for path in FOLDER.glob("trainings/*/training.json")]
    board = pd.read_csv(FOLDER / "leaderboard.csv").set_index("method")
    assert board.train_seconds["cyclegan"] == pytest.approx(
        sum(log["seconds"] for log in logs), rel=1e-4
    )
    assert board.train_images["cyclegan"] == 64


def test_a_budget_is_multiplied_for_every_method_by_itself(xbench: Xbench) -> None:
    result = run(
        xbench, "cyclegan,medshift", THERE, "--set", "budget.factor=0.5", "--dry-run", "--json"
    )
    names = {unit["name"].split("/")[0] for unit in json.loads(result.out)["units"]}
    assert names - {"identity", "floor", "expected", "shuffle", "nearest"} == {
        "cyclegan[images=32]",
        "medshift[images=128]",
    }


@pytest.mark.parametrize("settings", ["budget.factor=0", "budget.images=1.5", "budget.factor=on"])
def test_a_budget_that_is_no_budget_is_refused(xbench: Xbench, settings: str) -> None:
    result = run(xbench, "cyclegan", THERE, "--set", settings)
    assert result.code == 2
    assert len(result.err.strip().splitlines()) == 3


def test_the_printed_command_makes_the_same_rows(xbench: Xbench) -> None:
    run(xbench, "fda,histogram", THERE, "--set", "fda.beta=0.2", "--set", "data.noise=off")
    folder = Path("runs/phantom[noise=off]/smoke")
    (line,) = [
        line
        for line in (folder / "leaderboard.md").read_text().splitlines()
        if line.startswith("xbench run") and "fda.beta" in line
    ]
    records = {path: json.loads(path.read_text())["key"] for path in folder.rglob("fda*/*/*.json")}
    shutil.rmtree("runs")
    assert xbench(*shlex.split(line)[1:], "--pairs", THERE).code == 0
    assert {
        path: json.loads(path.read_text())["key"] for path in folder.rglob("fda*/*/*.json")
    } == records


def test_what_methods_cost_is_listed(xbench: Xbench) -> None:
    rows = json.loads(xbench("list", "methods", "--profile", "paper", "--json").out)
    found = {row["name"]: row for row in rows}
    assert found["cyclegan"]["params"] == found["cut"]["params"] == 11_365_633
    assert found["cyclegan"]["params_total"] == 227_312_660
    assert found["cyclegan"]["params_training"] == 11_365_633 + 2 * 2_762_689
    assert found["cut"]["params_training"] == 2_762_689 + 559_872
    assert (found["cyclegan"]["trainings"], found["cut"]["trainings"]) == (10, 20)
    assert found["cut"]["shares_training_with"] == []
    assert found["unsb-official"]["params"] == 14_671_873
    assert found["unsb-official"]["params_live"] == 7_502_337
    assert found["unsb"]["params"] == found["unsb"]["params_live"] == 13_487_617
    assert found["unsb-official"]["params_total"] == 293_437_460
    assert found["unsb"]["nfe"] == 5
    assert found["sdedit"]["shares_training_with"] == ["ddib", "cyclediffusion"]
    assert found["ddib"]["params"] == found["ddib"]["params_total"] == 113_668_609 + 5 * 512
    assert found["contourdiff"]["params_total"] == 113_672_321
    assert found["contourdiff"]["shares_training_with"] == []
    assert {name for name, row in found.items() if row["stochastic"]} == {
        "filter", "paired", "shuffle", "unsb", "unsb-official", "dsbm", "sdedit",
        "cyclediffusion", "contourdiff",
    }  # fmt: skip


def test_the_diffusion_methods_share_one_training(xbench: Xbench) -> None:
    assert run(xbench, "sdedit", THERE).code == 0
    first = trainings()
    assert run(xbench, "ddib,cyclediffusion", THERE).code == 0
    assert trainings() == first
    assert len(first) == 1
