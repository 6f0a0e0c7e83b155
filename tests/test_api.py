"""The functions of `xbench` in Python: what the commands do, as pandas frames."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import xbench
from xbench.core.errors import UserError
from xbench.methods import registry
from xbench.methods.base import Method
from xbench.methods.histogram import Histogram

PAIR = "synthetic_low:real_normal"


class Halved(Method):
    about = "half of every value"

    def translate(self, images: Any, source: str, target: str, *, generators: Any) -> Any:
        return images * 0.5


class Fragile(Method):
    def translate(self, images: Any, source: str, target: str, *, generators: Any) -> Any:
        raise RuntimeError("cannot")


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty folder to work in."""
    monkeypatch.chdir(tmp_path)


def test_a_run_returns_the_leaderboard_that_it_writes() -> None:
    board = xbench.run("histogram", profile="smoke", pairs=[PAIR], quiet=True)
    written = pd.read_csv("runs/phantom/smoke/leaderboard.csv")
    assert list(board["method"]) == list(written["method"])
    assert set(board["method"]) == {
        "identity",
        "floor",
        "expected",
        "shuffle",
        "nearest",
        "histogram",
    }
    assert board.attrs["failed"] == []
    again = xbench.leaderboard(profile="smoke")
    pd.testing.assert_frame_equal(again, board)
    pairs = xbench.pairs(profile="smoke")
    assert set(pairs["target"]) == {"real_normal"}
    assert pairs.set_index("method").ssim["identity"] == pytest.approx(1)


def test_a_class_of_ones_own_is_ranked_like_any_other() -> None:
    xbench.run([Halved, "histogram"], profile="smoke", pairs=[PAIR], quiet=True)
    polarity = xbench.pairs(profile="smoke").set_index("method").polarity
    assert polarity["halved"] == pytest.approx(1, abs=1e-3)
    board = xbench.run(Histogram, profile="smoke", pairs=[PAIR], quiet=True)
    assert "halved" in set(board["method"])
    assert "halved" not in registry.names()  # a class is known to its own run alone


def test_settings_and_seeds_are_those_of_the_command_line() -> None:
    settings = {"medshift.tau": 0.6, "medshift.channels": [8, 16], "budget.images": 32}
    board = xbench.run(
        "medshift", profile="smoke", pairs=[PAIR], settings=settings, seeds=[0, 1], quiet=True
    )
    rows = board.set_index("method")
    assert rows.seeds["medshift[channels=8x16,tau=0.6~signal=0.692,images=32]"] == 2


def test_a_unit_that_fails_is_told() -> None:
    with pytest.warns(UserWarning, match="1 units failed"):
        board = xbench.run(Fragile, profile="smoke", pairs=PAIR, quiet=True)
    assert board.attrs["failed"] == ["fragile/seed0/synthetic_low--real_normal"]


def test_mistakes_are_those_of_the_command_line() -> None:
    for call in (
        lambda: xbench.run("medshfit", profile="smoke"),
        lambda: xbench.run("histogram", profile="smok"),
        lambda: xbench.run("histogram", split="train"),
        lambda: xbench.run("histogram", profile="smoke", timeout=0),
        lambda: xbench.leaderboard(profile="smoke"),
        lambda: xbench.pairs("fantom"),
        lambda: xbench.score("nothing", source="nothing"),
    ):
        with pytest.raises(UserError):
            call()
    assert not Path("runs").exists()
    assert not hasattr(xbench, "leaderbord")


@pytest.mark.parametrize(
    ("arguments", "wrong", "fix"),
    [
        ({"seeds": -1}, "the seeds [-1]", "(in Python: seeds=[0, 1, 2])"),
        ({"seeds": 0.5}, "the seeds [0.5]", "(in Python: seeds=[0, 1, 2])"),
        ({"split": "tset"}, "'tset'", "(in Python: split='test')"),
        ({"profile": "smok"}, "'smok'", "(in Python: profile='quick')"),
        (
            {"pairs": [("real_low", "real_normal")]},
            "no pair of domains",
            "(in Python: pairs='synthetic_low",
        ),
        ({"settings": {"tau": 0.3}}, "'tau'", "(in Python: settings={'medshift.tau': 0.3})"),
        ({"settings": {"data.size": "big"}}, "data.size=big", "settings={'data.size': 32})"),
        ({"timeout": 0}, "the timeout 0", "(in Python: timeout=600)"),
    ],
)
def test_a_mistake_is_explained_in_words_of_python(
    arguments: dict[str, Any], wrong: str, fix: str
) -> None:
    with pytest.raises(UserError) as mistake:
        xbench.run("histogram", **{"profile": "smoke", **arguments})
    first, _, last = str(mistake.value).splitlines()
    assert wrong in first
    assert fix in last
    assert "--" not in first


def test_folders_are_scored_into_a_frame() -> None:
    random = np.random.default_rng(0)
    for name in ("made", "source"):
        Path(name).mkdir()
    for number in range(4):
        image = random.integers(0, 65536, (32, 32), np.uint16)
        Image.fromarray(image).save(f"source/{number}.png")
        Image.fromarray(image // 2).save(f"made/{number}.png")
    frame = xbench.score("made", source="source", metrics=["psnr", "ssim_ref"])
    assert list(frame.index) == ["psnr", "ssim_ref"]
    expected = np.mean(
        [
            -10 * np.log10(np.mean(((image // 2).astype(float) - image) ** 2) / 65535**2)
            for image in (np.asarray(Image.open(f"source/{n}.png")) for n in range(4))
        ]
    )
    assert frame.value["psnr"] == pytest.approx(expected, rel=1e-4)
    assert frame.n["psnr"] == 4
    assert pd.isna(frame.value["ssim_ref"])
    assert frame.reason["ssim_ref"] == "no target images were given"


def test_importing_xbench_is_quick() -> None:
    script = (
        "import sys, xbench; dir(xbench); "
        "sys.exit(bool({'torch', 'pandas', 'pydantic'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
