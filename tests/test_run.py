"""`xbench run` from the outside: records, pixels, exit codes."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from xbench.core.files import home
from xbench.core.hashing import file_digest
from xbench.core.weights import WEIGHTS, path_of

Xbench = Callable[..., Any]

PAIR = "synthetic_low:real_normal"
FOLDER = Path("runs/phantom/smoke")

NOISY = """
import torch
from xbench.methods.base import Method

class Noisy(Method):
    stochastic = True
    def translate(self, images, source, target, *, generators):
        noise = [torch.randn(image.shape, generator=g) for image, g in zip(images, generators)]
        return images + 0.1 * torch.stack(noise)
"""

FRAGILE = """
from pathlib import Path
from xbench.methods.base import Method

class Fragile(Method):
    def translate(self, images, source, target, *, generators):
        if target == "real_low" and not Path("repaired").exists():
            raise RuntimeError("cannot make real_low")
        return images
"""

HUNGRY = """
import torch
from xbench.methods.base import Method

class Hungry(Method):
    def translate(self, images, source, target, *, generators):
        if len(images) > 5:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return images * 0.5
"""


class StandIn(torch.nn.Module):
    """The part of the Inception file that is used, with another network in it."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.AdaptiveAvgPool2d(26), torch.nn.Flatten(), torch.nn.LazyLinear(2048)
        )


def place_stand_in_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a file of the right interface where the Inception weights belong."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = StandIn()
        network.layers(torch.zeros(1, 3, 299, 299))
    home = Path("home")
    monkeypatch.setenv("XBENCH_HOME", str(home.absolute()))
    path = path_of("inception")
    path.parent.mkdir(parents=True)
    torch.jit.script(network).save(path)
    (weight,) = WEIGHTS["inception"]
    weight = replace(weight, sha256=file_digest(path), bytes=path.stat().st_size)
    monkeypatch.setitem(WEIGHTS, "inception", (weight,))


def records(folder: Path) -> dict[str, Any]:
    """Record path below `records/` → its content."""
    root = folder / "records"
    return {
        str(path.relative_to(root).with_suffix("")): json.loads(path.read_text())
        for path in sorted(root.rglob("*.json"))
    }


def test_a_run_leaves_records_images_tables_and_pictures(finished: Path) -> None:
    found = records(finished)
    assert len(found) == 7 * 20  # medshift, histogram and five references
    record = found["medshift[images=64]/seed0/synthetic_low--real_normal"]
    assert record["method"]["config"]["tau"] == 0.1
    assert record["method"]["train_images"] == 64
    assert len(record["method"]["weights_sha256"]) == 1
    assert record["data"]["key"].startswith("phantom-v")
    assert record["provenance"]["packages"]["torch"]
    assert record["metrics"]["ssim"]["identity"] == "ssim-gauss11-v1"
    per_image = record["metrics"]["ssim_ref"]["per_image"]
    assert len(per_image) == len(record["data"]["ids"]) == 16
    assert np.mean(per_image) == pytest.approx(record["metrics"]["ssim_ref"]["value"], abs=1e-6)
    assert record["metrics"]["fid"]["value"] is None
    assert "inception" in record["metrics"]["fid"]["reason"].lower()
    for name in ("leaderboard.csv", "leaderboard.md", "pairs.csv", "tradeoff.png", "samples.png"):
        assert (finished / name).stat().st_size > 0

    images = finished / "images" / "medshift[images=64]/seed0/synthetic_low--real_normal"
    first = np.asarray(Image.open(images / f"{record['data']['ids'][0]}.png"))
    assert first.shape == (32, 32)
    assert first.max() > 255  # sixteen bits


def test_pairs_csv_has_one_row_per_method_seed_and_pair(finished: Path) -> None:
    table = pd.read_csv(finished / "pairs.csv")
    assert (
        ",".join(table.columns[:13])
        == "method,source,target,seed,n,ssim,psnr,ssim_ref,psnr_ref,ftd,cftd,fid,cfid"
    )
    assert not table.duplicated(["method", "source", "target", "seed"]).any()
    assert set(table["method"]) == {
        *("identity", "floor", "expected", "shuffle", "nearest"),
        *("histogram", "medshift[images=64]"),
    }
    identity = table[table["method"] == "identity"]
    assert (identity["ssim"] == 1).all()
    assert identity["psnr"].to_numpy() == pytest.approx(96.33, abs=0.01)
    floor = table[table["method"] == "floor"].set_index(["source", "target"])
    assert (floor["ftd"] < identity.set_index(["source", "target"])["ftd"]).all()


def test_finished_units_are_skipped_and_force_redoes_them(xbench: Xbench) -> None:
    arguments = ("run", "--method", "histogram", "--profile", "smoke", "--pairs", PAIR)
    assert xbench(*arguments).code == 0
    first = records(FOLDER)
    stamps = {p: p.stat().st_mtime_ns for p in FOLDER.glob("records/**/*.json")}
    assert xbench(*arguments).code == 0
    assert {p: p.stat().st_mtime_ns for p in FOLDER.glob("records/**/*.json")} == stamps
    assert xbench(*arguments, "--force").code == 0
    assert all(p.stat().st_mtime_ns > stamp for p, stamp in stamps.items())
    again = records(FOLDER)
    for name, record in first.items():
        assert again[name]["metrics"] == record["metrics"]
        assert again[name]["images_sha256"] == record["images_sha256"]


def test_a_run_can_be_extended_pair_by_pair(xbench: Xbench) -> None:
    common = ("run", "--method", "histogram", "--profile", "smoke", "--pairs")
    xbench(*common, PAIR)
    plan = json.loads(xbench(*common, f"{PAIR},real_low:real_normal", "--dry-run", "--json").out)
    done = {unit["name"]: unit["done"] for unit in plan["units"]}
    assert done["histogram/seed0/synthetic_low--real_normal"]
    assert not done["histogram/seed0/real_low--real_normal"]
    assert len(records(FOLDER)) == 6  # the dry run did nothing
    board = pd.read_csv(FOLDER / "leaderboard.csv").set_index("method")
    assert board.loc["histogram", "pairs"] == "1/20"
    assert board.loc["histogram", ["rank", "ssim", "ftd", "gap_closed"]].isna().all()


def test_a_dry_run_writes_nothing(xbench: Xbench) -> None:
    result = xbench("run", "--method", "medshift", "--profile", "smoke", "--dry-run", "--json")
    plan = json.loads(result.out)
    assert result.code == 0
    assert len(plan["units"]) == 6 * 20
    assert len(plan["trainings"]) == 1
    assert not Path("runs").exists()


def test_results_go_to_stdout_and_progress_to_stderr(xbench: Xbench) -> None:
    run = ("run", "--method", "histogram", "--profile", "smoke", "--pairs", "real_low:real_normal")
    shown = xbench(*run)
    for result in ("histogram", "by pair", "files: runs/phantom/smoke", "next:  xbench report"):
        assert result in shown.out
        assert result not in shown.err or result == "histogram"
    assert "histogram seed 0, real_low → real_normal" in shown.err
    rows = json.loads(xbench(*run, "--json").out)
    assert "histogram" in [row["method"] for row in rows]
    assert "histogram" in xbench(*run, "--dry-run").out


def test_weights_that_are_not_here_take_one_line(xbench: Xbench) -> None:
    shown = xbench("run", "--method", "filter", "--profile", "smoke", "--dry-run").out
    (line,) = [line for line in shown.splitlines() if line.startswith("empty columns")]
    assert all(label in line for label in ("FID", "CLIP-FID", "CMMD", "LPIPS"))
    assert "xbench fetch inception" in line


def test_a_failing_unit_is_recorded_and_the_others_go_on(xbench: Xbench) -> None:
    Path("fragile.py").write_text(FRAGILE)
    arguments = ("run", "--method", "fragile.py:Fragile", "--profile", "smoke")
    pairs = "real_normal:real_low,synthetic_low:real_low,synthetic_low:real_normal"
    result = xbench(*arguments, "--pairs", pairs)
    assert result.code == 1
    assert "fragile/seed0/real_normal--real_low" not in records(FOLDER)
    failure = json.loads((FOLDER / "failed/fragile/seed0/real_normal--real_low.json").read_text())
    assert "RuntimeError: cannot make real_low" in failure["traceback"]
    assert result.err.count("RuntimeError: cannot make real_low") == 1  # of two units
    assert "xbench check fragile.py:Fragile" in result.err
    Path("repaired").touch()
    assert xbench(*arguments, "--pairs", pairs).code == 0
    assert "fragile/seed0/real_normal--real_low" in records(FOLDER)
    assert not list((FOLDER / "failed").rglob("*.json"))


def test_a_failure_loses_no_earlier_record(xbench: Xbench) -> None:
    Path("hungry.py").write_text(HUNGRY)
    arguments = ("run", "--method", "hungry.py:Hungry", "--profile", "smoke", "--pairs", PAIR)
    xbench(*arguments)
    before = records(FOLDER)
    Path("hungry.py").write_text(HUNGRY.replace("return images", "return images.nothing"))
    assert xbench(*arguments).code == 1
    assert records(FOLDER) == before


def test_seeds_give_rows_of_their_own_and_repeat(xbench: Xbench) -> None:
    Path("noisy.py").write_text(NOISY)
    arguments = ("run", "--method", "noisy.py:Noisy", "--profile", "smoke", "--pairs", PAIR)
    assert xbench(*arguments, "--seed", "0,1").code == 0
    found = {name: r["images_sha256"] for name, r in records(FOLDER).items() if "noisy" in name}
    assert len(set(found.values())) == 2
    shutil.rmtree(FOLDER)
    xbench(*arguments, "--seed", "1")
    again = records(FOLDER)["noisy/seed1/synthetic_low--real_normal"]
    assert again["images_sha256"] == found["noisy/seed1/synthetic_low--real_normal"]


def test_a_setting_shows_in_the_label_and_shares_the_training(xbench: Xbench) -> None:
    arguments = ("run", "--method", "medshift", "--profile", "smoke", "--pairs", PAIR)
    arguments = (*arguments, "--set", "budget.images=32")
    assert xbench(*arguments).code == 0
    assert xbench(*arguments, "--set", "medshift.tau=0.6").code == 0
    found = records(FOLDER)
    plain = found["medshift[images=32]/seed0/synthetic_low--real_normal"]
    other = found["medshift[tau=0.6~signal=0.692,images=32]/seed0/synthetic_low--real_normal"]
    assert plain["method"]["weights_sha256"] == other["method"]["weights_sha256"]
    assert plain["images_sha256"] != other["images_sha256"]
    assert other["metrics"]["ssim"]["value"] > plain["metrics"]["ssim"]["value"]
    assert len(list((FOLDER / "trainings").iterdir())) == 1


def test_another_data_setting_has_a_folder_and_key_of_its_own(xbench: Xbench) -> None:
    arguments = ("run", "--method", "histogram", "--profile", "smoke", "--pairs", PAIR)
    assert xbench(*arguments, "--set", "data.noise=off").code == 0
    xbench(*arguments)
    quiet = records(Path("runs/phantom[noise=off]/smoke"))
    loud = records(FOLDER)
    keys = {next(iter(found.values()))["data"]["key"] for found in (quiet, loud)}
    assert len(keys) == 2


def test_a_corrupt_record_is_moved_aside_and_its_unit_redone(xbench: Xbench) -> None:
    arguments = ("run", "--method", "histogram", "--profile", "smoke", "--pairs", PAIR)
    xbench(*arguments)
    path = FOLDER / "records/histogram/seed0/synthetic_low--real_normal.json"
    before = json.loads(path.read_text())
    path.write_text(path.read_text()[:100])
    assert xbench(*arguments).code == 0
    assert json.loads(path.read_text())["images_sha256"] == before["images_sha256"]
    assert path.with_name(path.name + ".corrupt").exists()


def test_damaged_weights_are_moved_aside_and_retrained(xbench: Xbench) -> None:
    arguments = ("run", "--method", "medshift", "--profile", "smoke", "--pairs", PAIR)
    arguments = (*arguments, "--set", "budget.images=32")
    xbench(*arguments)
    before = records(FOLDER)["medshift[images=32]/seed0/synthetic_low--real_normal"]
    weights = next(FOLDER.glob("trainings/*/weights.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-4] + b"\0\0\0\1")
    assert xbench(*arguments, "--force").code == 0
    after = records(FOLDER)["medshift[images=32]/seed0/synthetic_low--real_normal"]
    assert after["images_sha256"] == before["images_sha256"]
    key = weights.parent.name
    names = {path.name for path in FOLDER.glob("trainings/*")}
    assert names == {key, f"{key}.corrupt"}
    assert xbench(*arguments, "--set", "medshift.tau=0.5", "--dry-run").code == 0
    assert {path.name for path in FOLDER.glob("trainings/*")} == names


def test_flipped_bits_in_kept_statistics_change_no_value(xbench: Xbench) -> None:
    arguments = ("run", "--method", "histogram", "--profile", "smoke", "--pairs", PAIR)
    assert xbench(*arguments).code == 0
    name = "histogram/seed0/synthetic_low--real_normal"
    before = records(FOLDER)[name]
    kept = list((home() / "features" / before["data"]["key"]).glob("*.safetensors"))
    contents = {file: file.read_bytes() for file in kept}
    assert len(contents) > 1
    for file, content in contents.items():
        file.write_bytes(content[:-3] + bytes([content[-3] ^ 1]) + content[-2:])
    result = xbench(*arguments, "--force")
    assert result.code == 0
    assert {file: file.read_bytes() for file in kept} == contents
    assert records(FOLDER)[name]["metrics"] == before["metrics"]
    for file in kept:
        file.with_name(f"{file.name}.corrupt").unlink()


def test_when_memory_runs_out_smaller_batches_give_the_same_images(xbench: Xbench) -> None:
    Path("hungry.py").write_text(HUNGRY)
    arguments = ("run", "--method", "hungry.py:Hungry", "--profile", "smoke", "--pairs", PAIR)
    name = "hungry/seed0/synthetic_low--real_normal"
    assert xbench(*arguments).code == 0
    small = records(FOLDER)[name]
    Path("hungry.py").write_text(HUNGRY.replace("> 5", "> 500"))
    assert xbench(*arguments).code == 0
    whole = records(FOLDER)[name]
    assert small["key"] != whole["key"]
    assert small["images_sha256"] == whole["images_sha256"]


def test_an_edited_plugin_makes_its_units_stale(xbench: Xbench) -> None:
    Path("hungry.py").write_text(HUNGRY)
    arguments = ("run", "--method", "hungry.py:Hungry", "--profile", "smoke", "--pairs", PAIR)
    xbench(*arguments)
    before = records(FOLDER)["hungry/seed0/synthetic_low--real_normal"]
    Path("hungry.py").write_text(HUNGRY.replace("0.5", "0.25"))
    xbench(*arguments)
    after = records(FOLDER)["hungry/seed0/synthetic_low--real_normal"]
    assert after["key"] != before["key"]
    assert after["images_sha256"] != before["images_sha256"]
    assert len([name for name in records(FOLDER) if "hungry" in name]) == 1


def test_no_row_mixes_two_versions_of_a_method(xbench: Xbench) -> None:
    """Ten pairs by the old file and one by the new make a row of one pair, not of eleven."""
    Path("hungry.py").write_text(HUNGRY)
    arguments = ("run", "--method", "hungry.py:Hungry", "--profile", "smoke", "--pairs")
    xbench(*arguments, f"{PAIR},real_low:real_normal")
    Path("hungry.py").write_text(HUNGRY.replace("0.5", "0.25"))
    xbench(*arguments, PAIR)
    board = pd.read_csv(FOLDER / "leaderboard.csv").set_index("method")
    assert board.loc["hungry", "pairs"] == "1/20"
    assert len(pd.read_csv(FOLDER / "pairs.csv").query("method == 'hungry'")) == 1


def test_what_a_killed_write_left_is_no_second_record(xbench: Xbench) -> None:
    arguments = ("run", "--method", "histogram", "--profile", "smoke", "--pairs", PAIR)
    xbench(*arguments)
    before = (FOLDER / "pairs.csv").read_bytes()
    path = FOLDER / "records/histogram/seed0/synthetic_low--real_normal.json"
    shutil.copy(path, path.with_name(f".{path.stem}.123.part.json"))
    assert xbench("leaderboard", "--profile", "smoke").code == 0
    assert (FOLDER / "pairs.csv").read_bytes() == before


def test_a_record_of_another_version_of_xbench_is_left_alone(xbench: Xbench) -> None:
    arguments = ("run", "--method", "histogram", "--profile", "smoke", "--pairs", PAIR)
    xbench(*arguments)
    path = FOLDER / "records/histogram/seed0/synthetic_low--real_normal.json"
    record = json.loads(path.read_text()) | {"schema_version": 2}
    path.write_text(json.dumps(record))
    assert xbench("leaderboard", "--profile", "smoke").code == 0
    assert json.loads(path.read_text()) == record
    assert "histogram" not in set(pd.read_csv(FOLDER / "pairs.csv")["method"])


def test_settings_chosen_on_val_are_not_trained_again_for_test(xbench: Xbench) -> None:
    arguments = ("run", "--method", "medshift", "--profile", "smoke", "--pairs", PAIR)
    arguments = (*arguments, "--set", "budget.images=32")
    assert xbench(*arguments, "--split", "val").code == 0
    assert xbench(*arguments).code == 0
    assert len(list(Path("runs").rglob("training.json"))) == 1
    name = "medshift[images=32]/seed0/synthetic_low--real_normal"
    val, test = records(Path("runs/phantom/smoke-val"))[name], records(FOLDER)[name]
    assert val["method"]["weights_sha256"] == test["method"]["weights_sha256"]
    assert not set(val["data"]["groups"]) & set(test["data"]["groups"])


def test_weights_that_arrive_later_fill_the_columns_without_translating_again(
    xbench: Xbench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    arguments = ("run", "--method", "histogram", "--profile", "smoke", "--pairs", PAIR)
    xbench(*arguments)
    name = "histogram/seed0/synthetic_low--real_normal"
    before = records(FOLDER)[name]
    images = FOLDER / "images" / name
    stamps = {path.name: path.stat().st_mtime_ns for path in images.iterdir()}
    place_stand_in_weights(monkeypatch)
    assert xbench(*arguments).code == 0
    after = records(FOLDER)[name]
    assert before["metrics"]["fid"]["value"] is None
    assert after["metrics"]["fid"]["value"] > 0
    assert after["metrics"]["cfid"]["value"] > 0
    assert after["metrics"]["ssim"] == before["metrics"]["ssim"]
    assert {path.name: path.stat().st_mtime_ns for path in images.iterdir()} == stamps


def test_when_images_to_score_again_are_damaged_the_unit_is_redone(
    xbench: Xbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ("run", "--method", "histogram", "--profile", "smoke", "--pairs", PAIR)
    xbench(*arguments)
    name = "histogram/seed0/synthetic_low--real_normal"
    before = records(FOLDER)[name]
    next((FOLDER / "images" / name).iterdir()).write_bytes(b"no picture")
    place_stand_in_weights(monkeypatch)
    assert xbench(*arguments).code == 0
    after = records(FOLDER)[name]
    assert after["images_sha256"] == before["images_sha256"]
    assert after["metrics"]["fid"]["value"] > 0
