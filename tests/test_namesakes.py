"""Data sets of one name: each keeps its own results, and each is found by its own folder."""

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from xbench.datasets.folder import Folder
from xbench.records.folders import place_of, results_folder

Xbench = Callable[..., Any]
RUN = ("run", "--method", "histogram", "--profile", "smoke", "--pairs", "ap:pa", "--out", "r")


def write(folder: str, seed: int, names: int = 8) -> Path:
    """Blobs in two domains, of another seed each time."""
    for domain in ("ap", "pa"):
        for k in range(names):
            rng = np.random.default_rng([seed, k, domain == "ap"])
            y, x = np.mgrid[:40, :40] / 40 - rng.uniform(0.4, 0.6, (2, 1, 1))
            values = 1 - 0.7 * np.exp(-20 * (x**2 + y**2)) + rng.normal(0, 0.02, (40, 40))
            path = Path(folder, domain, f"i{k}.png")
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray((values.clip(0, 1) * 65535).astype(np.uint16)).save(path)
    return Path(folder)


def stored(root: str = "r") -> dict[Path, str]:
    return {path: path.read_text() for path in Path(root).glob("*/*/records/**/*.json")}


def keys(folder: str) -> set[str]:
    return {
        json.loads(text)["data"]["key"] for path, text in stored().items() if folder in path.parts
    }


def test_data_sets_of_one_name_keep_their_results(xbench: Xbench) -> None:
    write("one/data", 1), write("two/data", 2)
    assert xbench(*RUN, "--dataset", "one/data").code == 0
    first = stored()
    second = xbench(*RUN, "--dataset", "two/data")
    assert second.code == 0
    assert first.items() < stored().items()
    (other,) = {path.parts[1] for path in stored().keys() - first.keys()}
    assert f"these go to r/{other}/smoke" in second.err
    assert not keys("data") & keys(other)
    # What the run says finds what it made.
    advice = next(line for line in second.out.splitlines() if "xbench report" in line)
    words = shlex.split(advice.partition("xbench ")[2], comments=True)
    assert xbench(*words, "--to", "report.html").code == 0
    for name, place in (("one/data", "data"), ("two/data", other), (other, other)):
        found = results_folder(name, "smoke", "test", Path("r"))
        assert found == Path("r", place, "smoke")
    # Each finds what is done already, its val split goes with it, and a third has a third place.
    again = xbench(*RUN, "--dataset", "two/data", "--dry-run", "--json")
    assert all(unit["done"] for unit in json.loads(again.out)["units"])
    val = xbench(*RUN, "--dataset", "two/data", "--split", "val", "--dry-run", "--json")
    assert json.loads(val.out)["folder"] == f"r/{other}/smoke-val"


def test_of_data_sets_of_one_name_that_begin_together_the_slower_one_stops(
    xbench: Xbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("one/data", 1), write("two/data", 2)
    prepare = Folder.prepare

    def slowly(self: Folder, *given: Any) -> None:
        monkeypatch.setattr(Folder, "prepare", prepare)
        assert xbench(*RUN, "--dataset", "two/data").code == 0
        prepare(self, *given)

    monkeypatch.setattr(Folder, "prepare", slowly)
    slower = xbench(*RUN, "--dataset", "one/data")
    assert slower.code == 2
    assert "another data set called data" in slower.err
    quicker = stored()
    assert xbench(*RUN, "--dataset", "one/data").code == 0
    assert quicker.items() < stored().items()


def test_a_folder_that_gets_more_images_keeps_its_earlier_results(xbench: Xbench) -> None:
    write("data", 1)
    assert xbench(*RUN, "--dataset", "data").code == 0
    first = stored()
    write("data", 1, names=9)
    board = xbench("leaderboard", "--dataset", "data", "--profile", "smoke", "--out", "r")
    assert board.code == 0
    assert "results of other images than those that are in data now" in board.err
    assert xbench(*RUN, "--dataset", "data").code == 0
    assert first.items() < stored().items()
    board = xbench("leaderboard", "--dataset", "data", "--profile", "smoke", "--out", "r")
    assert "other images" not in board.err


def test_built_in_data_sets_have_one_place() -> None:
    """Published rows do not move when a generator's version changes."""
    folder = Path("r/phantom/smoke")
    assert place_of(Path("r"), "phantom", "phantom-v9-abcdefabcdef", "smoke") == folder


@pytest.mark.parametrize("text", ["", "{", '{"data": 3}', '{"data": {"key": "mine-v1-aaaa"}}'])
def test_damaged_records_take_no_place(tmp_path: Path, text: str) -> None:
    record = tmp_path / "mine" / "smoke" / "records" / "a" / "seed0" / "b--c.json"
    record.parent.mkdir(parents=True)
    record.write_text(text)
    place = place_of(tmp_path, "mine", "mine-v1-bbbbbbbbbbbb", "smoke", "val")
    assert place.parent.name == ("mine~bbbbbbbb" if "key" in text else "mine")
