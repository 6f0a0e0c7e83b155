"""`xbench score --as`: rows of a leaderboard for images that other programs made."""

import json
import os
import runpy
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from xbench.cli import main
from xbench.metrics.base import METRICS

world = runpy.run_path(str(Path(__file__).with_name("score_world.py")))
scored = world["scored"]
names = world["names"]
views = world["views"]
write = world["write"]
Xbench = Callable[..., Any]
Array = np.ndarray[Any, Any]
#: The pairs of a data set of two domains.
PAIRS = ("dim--lit", "lit--dim")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set `heads` of two domains, and `runs` with a filter; tests must not change them."""
    root = tmp_path_factory.mktemp("world")
    others = [f"other{name}" for name in names()]
    for place, gain in enumerate({"dim": 0.5, "lit": 1.0}.values()):
        train = root / "heads" / "train" / ("dim", "lit")[place]
        write(train, gain * views(seed=7 + place), others)
        write(root / "heads" / "test" / ("dim", "lit")[place], gain * views(seed=9))
    (root / "heads" / "dataset.toml").write_text('[split]\ngroup = "^(head[0-9])"\n')
    with pytest.raises(SystemExit) as stopped:
        main(
            [
                *("run", "--method", "histogram", "--profile", "smoke"),
                *("--dataset", str(root / "heads"), "--out", str(root / "runs")),
            ]
        )
    assert not stopped.value.code
    return root


RESULTS = Path("runs/heads/smoke")
#: All but what needs weights, or masks, which a folder has not.
FREE = {
    name
    for name, metric in METRICS.items()
    if metric.space in ("pixels", "texture") and not metric.weights and metric.against != "masks"
}
#: Metrics that the first records did not have.
NEW = {
    *("ltd", "match", "copied", "ngf", "ngf_signed", "edge_shift", "edges_lost", "edges_invented"),
    *("coverage", "density", "coverage_inception", "cmmd", "lpips", "bone_shift", "bone_shift_mm"),
}
#: Where the filter's images lie.
IMAGES = RESULTS / "images/histogram/seed0"


def record(folder: Path, row: str, pair: str = PAIRS[0], seed: int = 0) -> dict[str, Any]:
    path = folder / "records" / row / f"seed{seed}" / f"{pair}.json"
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def test_a_folder_is_scored_as_a_run_does(xbench: Xbench, world: Path) -> None:
    wanted = record(world / RESULTS, "histogram")
    features = Path(os.environ["XBENCH_HOME"], "features", wanted["data"]["key"])
    assert xbench("data", "export", world / "heads", "files", "--profile", "smoke").code == 0
    found = scored(
        xbench,
        *("--translated", world / IMAGES / PAIRS[0], "--source", "files/test/dim"),
        *("--target", "files/test/lit", "--group", "^(head[0-9])"),
        *("--stats", features / "texture-v1.safetensors", "--train", "files/train/lit"),
    )
    compared = set()
    for name, value in wanted["metrics"].items():
        assert found["identities"][name] == value["identity"]
        if value["value"] is not None:
            assert found[name] == pytest.approx(value["value"], rel=1e-9, abs=1e-12), name
            expected = [value["ci_low"], value["ci_high"]]
            assert found["intervals"][name] == pytest.approx(expected, rel=1e-6, abs=1e-9)
            compared.add(name)
    assert compared == FREE
    assert {"ltd", "match", "copied", "ngf", "edge_shift", "coverage"} <= compared


def test_statistics_without_those_of_cells_leave_one_column_empty(
    xbench: Xbench, world: Path
) -> None:
    key = record(world / RESULTS, "histogram")["data"]["key"]
    features = Path(os.environ["XBENCH_HOME"], "features", key)
    stats, cells = features / "texture-v1.safetensors", features / "ltd-v1.safetensors"
    known = cells.read_bytes()
    options = (
        *("--translated", world / IMAGES / PAIRS[0], "--source", world / "heads/test/dim"),
        *("--target", world / "heads/test/lit", "--stats", stats),
    )
    before = scored(xbench, *options)
    for spoil in (
        cells.unlink,
        lambda: cells.write_bytes(b"nothing"),
        lambda: shutil.copy(stats, cells),
    ):
        spoil()
        found = scored(xbench, *options)
        assert found["ltd"] is None
        assert found["ftd"] == before["ftd"]
        assert found["reasons"]["ltd"].startswith(f"…/{cells.name}")
        assert "xbench run --method identity --force" in found["reasons"]["ltd"]
    command = ("run", "--method", "identity", "--force", "--dataset", world / "heads")
    assert xbench(*command, "--profile", "smoke").code == 0
    assert cells.read_bytes() == known
    assert scored(xbench, *options) == before


def test_records_without_a_metric_are_filled_from_stored_images(
    xbench: Xbench, world: Path
) -> None:
    shutil.copytree(world / "runs", "runs")
    paths = sorted(RESULTS.glob("records/**/*.json"))
    complete = {path: json.loads(path.read_text()) for path in paths}
    images = {path: path.stat().st_mtime_ns for path in RESULTS.glob("images/**/*.png")}
    labels = {known["method"]["label"] for known in complete.values()}
    assert {"identity", "floor[n/2]", "histogram"} <= labels
    assert images
    for path, known in complete.items():
        old = {name: value for name, value in known["metrics"].items() if name not in NEW}
        path.write_text(json.dumps(known | {"metrics": old}))
    board = xbench("leaderboard", "--dataset", world / "heads", "--profile", "smoke", "--json")
    assert {row["ltd"] for row in json.loads(board.out)} == {None}  # readable as they are
    run = ("run", "--method", "histogram", "--dataset", world / "heads", "--profile", "smoke")
    assert xbench(*run).code == 0
    for path, known in complete.items():
        filled = json.loads(path.read_text())
        assert filled["metrics"] == known["metrics"]
        assert filled["finished"] == known["finished"]  # scored again, not translated again
        assert filled["seconds"] == known["seconds"]
    assert {path: path.stat().st_mtime_ns for path in images} == images


def test_records_without_images_stay_readable(xbench: Xbench, world: Path) -> None:
    shutil.copytree(world / "runs", "runs")
    shutil.rmtree(RESULTS / "images")
    for path in RESULTS.glob("records/**/*.json"):
        known = json.loads(path.read_text())
        known["metrics"] = {n: v for n, v in known["metrics"].items() if n not in NEW}
        path.write_text(json.dumps(known))
    board = xbench("leaderboard", "--dataset", world / "heads", "--profile", "smoke", "--json")
    assert board.code == 0, board.err
    row = next(row for row in json.loads(board.out) if row["method"] == "histogram")
    assert row["ltd"] is None
    assert row["ssim"] > 0


def add(xbench: Xbench, world: Path, translated: Path, *options: object) -> Any:
    return xbench(
        *("score", "--as", "rival", "--translated", translated),
        *("--dataset", world / "heads", "--profile", "smoke", *options),
    )


def test_images_of_any_program_become_a_row(xbench: Xbench, world: Path) -> None:
    result = add(xbench, world, world / IMAGES, "--json")
    assert result.code == 0, result.err
    for pair in PAIRS:
        ours, known = record(RESULTS, "rival", pair), record(world / RESULTS, "histogram", pair)
        assert ours["metrics"] == known["metrics"]
        assert {
            name for name, value in ours["metrics"].items() if value["value"] is not None
        } == FREE
        assert ours["metrics"]["ltd"]["identity"] == "ltd-v1"  # of the data set's training images
        assert ours["polarity"] == known["polarity"]
        assert ours["images_sha256"] == known["images_sha256"]
        assert ours["method"]["version"] == "external"
        assert ours["method"]["params"] is None
    rows = {row["method"]: row for row in json.loads(result.out)}
    assert {"identity", "floor[n/2]", "shuffle", "nearest", "rival"} == set(rows)
    assert rows["rival"]["pairs"] == "2/2"
    assert rows["rival"]["rank"] == 1
    unknown = ("params", "params_total", "nfe", "train_images", "seconds_per_image")
    assert [rows["rival"][name] for name in unknown] == [None] * 5
    assert "rival" in (RESULTS / "leaderboard.md").read_text()


def test_the_same_images_are_scored_once_and_changed_ones_replace_them(
    xbench: Xbench, world: Path
) -> None:
    theirs = Path(shutil.copytree(world / IMAGES, "theirs"))
    assert add(xbench, world, theirs, "--seed", 3).code == 0
    before = {pair: record(RESULTS, "rival", pair, seed=3) for pair in PAIRS}
    stamps = {path: path.stat().st_mtime_ns for path in RESULTS.glob("records/**/*.json")}
    assert add(xbench, world, theirs, "--seed", 3).code == 0
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps
    changed = next((theirs / PAIRS[0]).iterdir())
    pixels = np.asarray(Image.open(changed)).astype(np.uint16)
    changed.unlink()
    Image.fromarray(pixels // 2).save(changed.with_suffix(".tif"))
    assert add(xbench, world, theirs, "--seed", 3).code == 0
    after = {pair: record(RESULTS, "rival", pair, seed=3) for pair in PAIRS}
    assert after[PAIRS[1]] == before[PAIRS[1]]
    new, old = after[PAIRS[0]], before[PAIRS[0]]
    assert new["key"] != old["key"]
    assert new["metrics"]["psnr"]["value"] != old["metrics"]["psnr"]["value"]


def test_a_row_needs_every_image_of_a_pair_in_the_working_size(xbench: Xbench, world: Path) -> None:
    theirs = Path(shutil.copytree(world / IMAGES, "theirs"))
    path = sorted((theirs / PAIRS[0]).iterdir())[2]
    kept = path.read_bytes()
    path.unlink()
    assert f"{path} is not there" in add(xbench, world, theirs).err
    Image.fromarray(np.zeros((64, 64), np.uint16)).save(path)
    assert f"{path} has 64 x 64 pixels" in add(xbench, world, theirs).err
    path.write_bytes(kept)
    (theirs / PAIRS[1]).rename(theirs / "litt--dim")
    result = add(xbench, world, theirs)
    assert result.code == 2
    assert f"did you mean {PAIRS[1]}?" in result.err
    assert not (RESULTS / "records").exists()
    shutil.rmtree(theirs / "litt--dim")
    shutil.copy(path, path.with_name("more.png"))
    result = add(xbench, world, theirs)
    assert result.code == 0
    assert "1 images are no ids of the test split and left out, the first: more.png" in result.err
    table = pd.read_csv(RESULTS / "pairs.csv")
    assert table[table.method == "rival"].source.tolist() == ["dim"]


def test_a_row_of_a_plugin_is_not_written_over(xbench: Xbench, world: Path) -> None:
    Path("rival.py").write_text(
        "from xbench.methods.base import Method\n\nclass Rival(Method):\n"
        "    def translate(self, images, source, target, *, generators):\n        return images\n"
    )
    run = ("run", "--method", "rival.py:Rival", "--dataset", world / "heads", "--profile", "smoke")
    assert xbench(*run).code == 0
    result = add(xbench, world, world / IMAGES)
    assert result.code == 2
    assert "a row 'rival' that a method of xbench made" in result.err
