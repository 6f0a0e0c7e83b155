"""Few test images: what stays empty is known before any work, and nothing ends in a traceback."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from xbench.core.hashing import seed_from
from xbench.datasets.base import Dataset, DatasetConfig, Split
from xbench.datasets.describe import read_description
from xbench.datasets.folder import Folder
from xbench.scoring.enough import advice, too_few

Xbench = Callable[..., Any]
OPTIONS = ("--method", "histogram", "--profile", "smoke")


def fill(folder: Path, number: int, start: int = 0) -> None:
    """Two domains with images of their own."""
    for domain in ("a", "b"):
        (folder / domain).mkdir(parents=True, exist_ok=True)
        for k in range(start, start + number):
            rng = np.random.default_rng(seed_from(domain, str(k)))
            coarse = Image.fromarray(rng.integers(0, 255, (6, 6), dtype=np.uint8))
            coarse.resize((40, 40)).save(folder / domain / f"{domain}{k:03d}.png")


def opened(folder: Path) -> Dataset:
    kind = Folder.at(folder)
    return kind(kind.configure_size(32))


@pytest.mark.parametrize(
    ("number", "empty", "said"),
    [(75, True, "16 are needed"), (80, False, "32 are needed"), (160, False, "")],
    ids=["15 test images", "16", "32"],
)
def test_thresholds(tmp_path: Path, number: int, empty: bool, said: str) -> None:
    fill(tmp_path, number)
    data = opened(tmp_path)
    assert ("ftd" in too_few(data, "test")) == empty
    lines = advice(data, "test")
    assert len(lines) == bool(said)
    assert said in "".join(lines)


def test_the_advice_is_enough(tmp_path: Path) -> None:
    fill(tmp_path, 75)
    (line,) = advice(opened(tmp_path), "test")
    share = float(line.partition("set test = ")[2].split()[0])
    (tmp_path / "dataset.toml").write_text(f"[split]\ntest = {share}\n")
    assert not too_few(opened(tmp_path), "test")


@pytest.mark.parametrize(("number", "test"), [(40, 0.45), (20, 0.2), (160, 0.2)])
def test_what_init_writes_is_what_it_advises(xbench: Xbench, number: int, test: float) -> None:
    fill(Path("set"), number)
    shown = xbench("data", "init", "set", "--to", "preview.png")
    assert read_description(Path("set")).split.test == test
    assert "set test" not in shown.err
    assert too_few(opened(Path("set")), "test").keys().isdisjoint({"ftd"}) == (number > 20)


def test_a_share_that_someone_chose_is_kept(xbench: Xbench) -> None:
    fill(Path("set"), 40)
    Path("set/dataset.toml").write_text("[split]\ntest = 0.3\n")
    shown = xbench("data", "init", "set", "--force", "--to", "preview.png")
    assert read_description(Path("set")).split.test == 0.3
    assert "set test = 0.45" in shown.err


def test_a_folder_that_could_not_be_read_keeps_no_description(
    xbench: Xbench, tmp_path: Path
) -> None:
    fill(tmp_path / "own", 6)
    for file in (tmp_path / "own" / "a").iterdir():
        Image.new("L", (8, 8)).save(file)
    assert xbench("data", "init", tmp_path / "own").code == 2
    fill(tmp_path / "own", 6)
    assert xbench("data", "init", tmp_path / "own", "--to", tmp_path / "p.png").code == 0


def test_no_share_is_advised_where_folders_decide(tmp_path: Path) -> None:
    fill(tmp_path / "train", 20)
    fill(tmp_path / "test", 12, start=20)
    (line,) = advice(opened(tmp_path), "test")
    assert "set test" not in line
    assert "add 4 test images" in line


class Unequal(Folder):
    """Ids and groups alone: nothing else is asked before a run."""

    def __init__(self, counts: dict[str, int], patients: int = 99) -> None:
        super().__init__(DatasetConfig(size=64))
        self.counts, self.patients = counts, patients

    @property
    def domains(self) -> tuple[str, ...]:
        return tuple(self.counts)

    def aligned(self, split: Split) -> bool:
        return False

    def share(self, split: Split) -> float | None:
        return None

    def repeated(self, split: Split) -> bool:
        return False

    def ids(self, split: Split, domain: str) -> list[str]:
        return [str(k) for k in range(self.counts[domain])]

    def groups(self, split: Split, domain: str) -> list[str]:
        return [str(k % self.patients) for k in range(self.counts[domain])]


def test_a_metric_is_missing_if_all_pairs_lack_it() -> None:
    assert "ftd" not in too_few(Unequal({"a": 20, "b": 15, "c": 20}), "test")
    assert "ftd" in too_few(Unequal({"a": 20, "b": 15}), "test")


def test_one_small_domain_is_named() -> None:
    (line,) = advice(Unequal({"a": 40, "b": 15, "c": 40}), "test")
    assert line.startswith("b has 15 test images")


def test_images_of_one_patient_have_no_rank() -> None:
    (line,) = advice(Unequal({"a": 40, "b": 40}, patients=1), "test")
    assert "1 groups" in line
    assert "match" in too_few(Unequal({"a": 40, "b": 40}, patients=1), "test")


@pytest.mark.parametrize("number", [20, 3], ids=["4 test images", "1"])
def test_few_images_go_through_all_commands(xbench: Xbench, number: int) -> None:
    fill(Path("set"), number)
    assert xbench("data", "init", "set").code == 0
    assert 'alignment = "none"' in Path("set/dataset.toml").read_text()
    plan = json.loads(xbench("run", *OPTIONS, "--dataset", "set", "--dry-run", "--json").out)
    assert "needs 16" in plan["empty"]["ftd"]
    commands: Sequence[tuple[Any, ...]] = [
        ("data", "show", "set", "--to", "sheet.png"),
        ("run", *OPTIONS, "--dataset", "set"),
        ("leaderboard", "--dataset", "set", "--profile", "smoke"),
        ("plot", "domains", "--dataset", "set", "--profile", "smoke"),
        ("plot", "pairs", "--metric", "ssim", "--dataset", "set", "--profile", "smoke"),
        ("report", "--dataset", "set", "--profile", "smoke"),
    ]
    assert [xbench(*command).code for command in commands] == [0] * len(commands)
    board = pd.read_csv("runs/set/smoke/leaderboard.csv")
    assert board["rank"].isna().all()
    assert board.ftd.isna().all()
    text = Path("runs/set/smoke/leaderboard.md").read_text()
    assert "rows stand in the order of their names" in text


def test_two_images_cannot_be_split(xbench: Xbench) -> None:
    fill(Path("set"), 1)
    for command in (("data", "init"), ("data", "show"), ("data", "verify")):
        result = xbench(*command, "set")
        assert result.code == 2
        assert "none of them for test" in result.err


def test_statistics_of_other_anatomy_stand_alone(xbench: Xbench) -> None:
    fill(Path("set"), 20)
    rows = json.loads(xbench("data", "stats", "set", "--profile", "smoke", "--json").out)
    assert [(row["data"], row["domain"]) for row in rows] == [
        ("these data", "a"),
        ("these data", "b"),
    ]
