"""`xbench sweep`: values of a knob, grids of settings, and what they share."""

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from xbench.cli.values import values
from xbench.datasets.base import Images
from xbench.harness import translation
from xbench.methods.base import Method, MethodConfig, setting

Xbench = Callable[..., Any]

PAIR = "synthetic_low:real_normal"
SMALL = ("--profile", "smoke", "--pairs", PAIR, "--set", "budget.images=32")
FOLDER = Path("runs/phantom/smoke")
TAUS = ("0", "0.5", "1")
VALUES = [0, 2, 3, 5]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0:1:0.25", [0, 0.25, 0.5, 0.75, 1]),
        ("0.1:0.3:0.1", [0.1, 0.2, 0.3]),
        ("0:0.7:0.1", [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]),
        ("0:1:0.3", [0, 0.3, 0.6, 0.9]),
        ("1:0:-.5", [1, 0.5, 0]),
        ("1:20:10", [1, 11]),
        ("0:2e-3:1e-3", [0, 0.001, 0.002]),
        ("2, 4,8", [2, 4, 8]),
        ("euler,heun", ["euler", "heun"]),
        ("[16,32],[32,64]", [[16, 32], [32, 64]]),
    ],
)
def test_values_are_exact(text: str, expected: list[Any]) -> None:
    assert values(text) == expected


def planned(result: Any) -> set[str]:
    """The rows of a plan that was shown with --dry-run --json."""
    assert result.code == 0, result.err
    return {unit["name"].partition("/")[0] for unit in json.loads(result.out)["units"]}


def test_the_value_of_the_profile_keeps_the_plain_label(xbench: Xbench) -> None:
    arguments = ("--method", "medshift", "--knob", "0:0.2:0.1", "--profile", "smoke")
    rows = planned(xbench("sweep", *arguments, "--dry-run", "--json"))
    assert rows == {
        "identity",
        "floor",
        "expected",
        "shuffle",
        "nearest",
        "medshift[tau=0~signal=0]",
        "medshift",
        "medshift[tau=0.2~signal=0.0588]",
    }


def test_several_settings_make_all_combinations(xbench: Xbench) -> None:
    arguments = (
        "--method",
        "medshift",
        "--set",
        "evaluations=8,16",
        "--set",
        "medshift.solver=heun,rk4",
    )
    rows = planned(xbench("sweep", *arguments, "--profile", "smoke", "--dry-run", "--json"))
    assert rows - {"identity", "floor", "expected", "shuffle", "nearest"} == {
        *("medshift[evaluations=8,solver=heun]", "medshift[evaluations=8,solver=rk4]"),
        *("medshift[solver=heun]", "medshift[solver=rk4]"),
    }


def test_each_method_has_a_knob_of_its_own(xbench: Xbench) -> None:
    arguments = ("--method", "medshift,ddib", "--knob", "0,0.5", "--set", "ddib.evaluations=7")
    rows = planned(xbench("sweep", *arguments, "--profile", "smoke", "--dry-run", "--json"))
    assert rows - {"identity", "floor", "expected", "shuffle", "nearest"} == {
        *("medshift[tau=0~signal=0]", "medshift[tau=0.5~signal=0.5]"),
        *("ddib[evaluations=7]", "ddib[evaluations=7,signal=0.5~tau=0.5]"),
    }


def test_every_shard_of_a_sweep_has_work(xbench: Xbench) -> None:
    def units(*options: str) -> list[str]:
        arguments = ("--method", "medshift", "--knob", "0:1:0.1", "--profile", "smoke", *options)
        result = xbench("sweep", *arguments, "--dry-run", "--json")
        return [unit["name"] for unit in json.loads(result.out)["units"]]

    shards = [units("--shard", f"{k}/8") for k in range(1, 9)]
    assert sorted(name for shard in shards for name in shard) == sorted(units())
    sizes = [sum(name.startswith("medshift") for name in shard) for shard in shards]
    assert min(sizes) >= 24  # of 220, in blocks of four


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ("--method medshift", "nothing to sweep over"),
        ("--method medshift --set evaluations=4", "nothing to sweep over"),
        ("--method histogram --knob 0,1", "no trade-off knob"),
        ("--method medshift --knob 0:1:0", "towards STOP"),
        ("--method medshift --knob 0:1:-0.1", "towards STOP"),
        ("--method medshift --knob 0:1:1e-9", "towards STOP"),
        ("--method medshift --knob 0:2:1", "less than or equal to 1"),
        ("--method medshift --knob 0,1 --set tau=0.3", "either --knob or --set"),
        ("--method medshift --set evaluations=2,4 --set data.noise=on,off", "on the same data"),
        ("--method medshift --set evaluationz=2,4", "did you mean medshift.evaluations?"),
        ("--method medshift --set medshfit.steps=2,4", "did you mean medshift?"),
        ("--method medshift,ddib --set evaluations=2,4", "SECTION.KEY=VALUE"),
        ("--method medshift --set evaluations=,", "has no value"),
        ("--method medshift --knob 0.5,0.50000001", "first six digits"),
    ],
)
def test_a_mistake_is_found_before_any_work(xbench: Xbench, arguments: str, reason: str) -> None:
    result = xbench("sweep", "--profile", "smoke", *arguments.split())
    assert result.code == 2
    assert len(result.err.strip().splitlines()) == 3
    assert reason in result.err
    assert not Path("runs").exists()


@pytest.mark.parametrize("setting", ["budget.factor=1,2,4", "medshift.tau=0:1:0.1"])
def test_a_run_with_several_values_names_the_sweep(xbench: Xbench, setting: str) -> None:
    result = xbench("run", "--profile", "smoke", "--method", "medshift", "--set", setting)
    assert result.code == 2
    assert len(result.err.strip().splitlines()) == 3
    assert "xbench sweep --method" in result.err
    assert result.err.strip().endswith(f"--set {setting}")
    assert not Path("runs").exists()


def row(folder: Path, label: str) -> dict[str, Any]:
    """The record of the only pair of a row."""
    source, _, target = PAIR.partition(":")
    record = folder / "records" / label / f"seed0/{source}--{target}.json"
    found: dict[str, Any] = json.loads(record.read_text())
    return found


def rows_named(folder: Path) -> set[str]:
    """The labels of all rows."""
    return {path.name for path in (folder / "records").iterdir()}


def test_a_sweep_makes_what_single_runs_make(xbench: Xbench) -> None:
    assert xbench("sweep", "--method", "medshift", "--knob", "0,0.5,1", *SMALL).code == 0
    rows = {tau: row(FOLDER, f"medshift[tau={tau}~signal={tau},images=32]") for tau in TAUS}
    assert rows["0.5"]["method"]["config"]["tau"] == 0.5
    structure = [rows[tau]["metrics"]["ssim"]["value"] for tau in TAUS]
    assert structure == sorted(structure)
    assert len(list((FOLDER / "trainings").iterdir())) == 1

    line = (FOLDER / "leaderboard.md").read_text().split("```sh\n")[1].split("\n")[0]
    assert line.endswith("--set budget.images=32 --set medshift.tau=0.0,0.5,1.0")
    again = xbench(*shlex.split(line)[1:], "--dry-run", "--json")
    assert planned(again) == {"identity", "floor", *rows_named(FOLDER)}
    assert all(unit["done"] for unit in json.loads(again.out)["units"])

    single = ("run", "--method", "medshift", *SMALL, "--set", "medshift.tau=0.5")
    assert xbench(*single, "--out", "single").code == 0
    alone = row(Path("single/phantom/smoke"), "medshift[tau=0.5~signal=0.5,images=32]")
    assert alone["key"] == rows["0.5"]["key"]
    assert alone["images_sha256"] == rows["0.5"]["images_sha256"]

    stamps = {path: path.stat().st_mtime_ns for path in (FOLDER / "records").rglob("*.json")}
    assert xbench("sweep", "--method", "medshift", "--knob", "0,0.5,1", *SMALL).code == 0
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps


def test_what_is_left_of_a_sweep_is_made_at_its_own_value(xbench: Xbench) -> None:
    """Where of two values one is there already, the other one's images are made alone."""
    pairs = ("synthetic_low:real_normal", "synthetic_high:real_normal")
    small = ("--profile", "smoke", "--method", "medshift", "--set", "budget.images=32")
    earlier = ("--pairs", pairs[1], "--set", "medshift.tau=0.2")
    assert xbench("run", *small, *earlier).code == 0
    assert xbench("sweep", *small, "--pairs", ",".join(pairs), "--knob", "0.2,0.5").code == 0
    alone = ("--pairs", pairs[1], "--set", "medshift.tau=0.5", "--out", "alone")
    assert xbench("run", *small, *alone).code == 0
    path = "records/medshift[tau=0.5~signal=0.5,images=32]/seed0/synthetic_high--real_normal.json"
    found, expected = (
        json.loads((folder / path).read_text()) for folder in (FOLDER, Path("alone/phantom/smoke"))
    )
    assert found["key"] == expected["key"]
    assert found["images_sha256"] == expected["images_sha256"]


class Darken(Method):
    """Darkens `times` times by the target's place; along its knob it goes on where it was."""

    class Config(MethodConfig):
        times: int = setting(1, "infer", "how often", ge=0)

    name, knob, config, calls = "darken", "times", Config(), 0

    def step(self, images: Tensor, target: str) -> Tensor:
        self.calls += 1
        return images * (0.5 + 0.1 * self.domains.index(target))

    def translate(self, images: Tensor, source: str, target: str, *, generators: Any) -> Tensor:
        for _ in range(self.config.times):
            images = self.step(images, target)
        return images

    def translate_path(
        self, images: Tensor, source: str, targets: Any, values: Any, *, generators: Any
    ) -> dict[float, dict[str, Tensor]]:
        path: dict[float, dict[str, Tensor]] = {value: {} for value in values}
        for target in targets:
            x = images
            for times in range(max(values) + 1):
                if times in path:
                    path[times][target] = x
                x = self.step(x, target)
        return path


def darken(times: int) -> Darken:
    return Darken(Darken.Config(times=times), ("a", "b", "c"), 16, torch.device("cpu"))


def test_along_a_knob_pixels_are_those_of_single_translations() -> None:
    pixels = np.random.default_rng(0).integers(0, 65536, (5, 16, 16), np.uint16)
    where = (Images([pixels]), list("vwxyz"), "a", ["b", "c"])
    together, separate = darken(1), 0
    path = translation.translate_path(together, *where, VALUES, seed=0, batch=2)
    for times in VALUES:
        alone = darken(times)
        single = translation.translate(alone, *where, seed=0, batch=2)
        separate += alone.calls
        for target in ("b", "c"):
            np.testing.assert_array_equal(path[times, target], single[target])
    assert len({path[times, "b"].tobytes() for times in VALUES}) == len(VALUES)
    assert together.calls < separate
