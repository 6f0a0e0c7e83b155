"""`xbench tune`: settings chosen on val by one rule, and the defaults that follow from it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from xbench.core.profiles import PROFILES
from xbench.methods import registry

Xbench = Callable[..., Any]

PAIRS = "synthetic_low:real_low,real_low:synthetic_low"
SMALL = ("--profile", "smoke", "--pairs", PAIRS, "--set", "budget.images=32")
FOLDER = Path("runs/phantom/smoke")
#: What was chosen for the built-in phantom, in this repository.
PUBLISHED = Path(__file__).parents[1] / "results/phantom"


def trials() -> pd.DataFrame:
    return pd.read_csv(FOLDER / "tuning.csv")


def test_one_setting_after_the_other_takes_the_least_mean(xbench: Xbench) -> None:
    assert xbench("tune", "--method", "medshift", *SMALL).code == 0
    found = trials()
    assert list(dict.fromkeys(found["setting"])) == ["tau", "solver"]
    for _, own in found.groupby("setting"):
        assert own.loc[own["chosen"], "mean"].tolist() == [own["mean"].min()]
    # The solvers were tried at the chosen tau.
    (tau,) = found[(found["setting"] == "tau") & found["chosen"]]["value"]
    labels = {path.name for path in Path("runs/phantom/smoke-val/records").iterdir()}
    assert sum(f"solver=heun,tau={tau}~" in label for label in labels) == 1
    assert set(found["train_images"]) == {32}
    assert set(found["nfe"]) == {16}

    stamps = {path: path.stat().st_mtime_ns for path in Path("runs").rglob("*.json")}
    again = xbench("tune", "--method", "medshift", *SMALL, "--json")
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps
    assert [line["chosen"] for line in json.loads(again.out)] == found["chosen"].tolist()
    assert xbench("plot", "tuning", "--profile", "smoke").code == 0


def test_methods_keep_their_trials_beside_those_of_others(xbench: Xbench) -> None:
    for name in ("ddib", "sdedit"):
        assert xbench("tune", "--method", name, *SMALL).code == 0
    assert list(dict.fromkeys(trials()["method"])) == ["ddib", "sdedit"]
    # One training serves both, and all of their settings.
    assert len(list((FOLDER / "trainings").iterdir())) == 1


def test_published_trials_of_other_methods_stay(xbench: Xbench) -> None:
    published = Path("public/phantom/smoke/tuning.csv")
    published.parent.mkdir(parents=True)
    published.write_text((PUBLISHED / "quick" / "tuning.csv").read_text())
    assert xbench("run", "--method", "histogram", *SMALL[:4]).code == 0
    assert xbench("tune", "--method", "ddib", *SMALL).code == 0
    assert xbench("publish", "--to", "public").code == 0
    before, after = pd.read_csv(PUBLISHED / "quick" / "tuning.csv"), pd.read_csv(published)
    others = [trials.query("method != 'ddib'").reset_index(drop=True) for trials in (before, after)]
    pd.testing.assert_frame_equal(*others)
    assert set(after.query("method == 'ddib'")["train_images"]) == {32}


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ("--method filter", "no setting to choose"),
        ("--method ddib --split test", "cannot be chosen on the split test"),
        ("--method ddib --set ddib.signal=2", "less than or equal to 1"),
    ],
)
def test_a_mistake_is_found_before_any_work(xbench: Xbench, arguments: str, reason: str) -> None:
    result = xbench("tune", *arguments.split(), "--profile", "smoke")
    assert result.code == 2
    assert len(result.err.strip().splitlines()) == 3
    assert reason in result.err
    assert not Path("runs").exists()


@pytest.mark.parametrize("profile", ["quick", "medium"])
def test_the_defaults_are_what_was_found(profile: str) -> None:
    file = PUBLISHED / profile / "tuning.csv"
    if not file.exists():
        pytest.skip(f"nothing is published for {profile}")
    for trial in pd.read_csv(file).query("chosen").itertuples():
        config = registry.get(str(trial.method)).configure(PROFILES[profile])
        assert getattr(config, str(trial.setting)) == json.loads(str(trial.value)), trial
