"""Images of one's own, from `xbench data …` to the leaderboard."""

import io
import json
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from xbench.metrics.structural import ssim

Xbench = Callable[..., Any]
SaveDicom = Callable[..., Path]
THERE_AND_BACK = "synthetic_low:real_normal,real_normal:synthetic_low"
ALL_PAIRS = ("--method", "histogram", "--profile", "smoke")
#: A run that takes a second.
QUICKLY = (*ALL_PAIRS, "--pairs", THERE_AND_BACK)


def exported(xbench: Xbench, *options: object) -> Path:
    """The smoke phantom as a folder of PNGs."""
    result = xbench("data", "export", "phantom", "heads", "--profile", "smoke", *options)
    assert result.code == 0, result.err
    return Path("heads")


def pairs(folder: str) -> pd.DataFrame:
    """`pairs.csv` without the columns of time."""
    return pd.read_csv(Path("runs") / folder / "pairs.csv")


def test_an_exported_phantom_gives_the_phantoms_numbers(xbench: Xbench) -> None:
    alike = ("--set", "data.variation=off")  # a folder knows nothing of unpredictable pixels
    exported(xbench, *alike)
    some = f"{THERE_AND_BACK},real_low:real_exposure"
    options = ("--method", "identity,histogram,medshift", "--profile", "smoke", "--pairs", some)
    assert xbench("run", "--dataset", "heads", *options).code == 0
    assert xbench("run", *options, *alike).code == 0
    ours, theirs = pairs("phantom-32px/smoke"), pairs("phantom[variation=off]/smoke")
    theirs = theirs[theirs["method"] != "expected"].reset_index(drop=True)
    assert len(ours) == 6 * 3  # with the references
    # Nor of the true bone.
    known = [column for column in ours if not column.startswith("bone_shift")]
    pd.testing.assert_frame_equal(ours[known], theirs[known])


def test_the_results_of_a_folder_are_found_by_its_path_or_name(xbench: Xbench) -> None:
    exported(xbench)
    assert xbench("run", "--dataset", "heads", *QUICKLY).code == 0
    for name in ("heads", "phantom-32px"):
        board = xbench("leaderboard", "--dataset", name, "--profile", "smoke", "--json")
        assert {row["method"] for row in json.loads(board.out)} == {
            "identity",
            "shuffle",
            "nearest",
            "floor",
            "histogram",
        }


def test_init_writes_what_it_guessed_and_shows_a_preview(xbench: Xbench) -> None:
    folder = exported(xbench)
    (folder / "dataset.toml").unlink()
    for path in folder.glob("*/real_low/*.png"):  # as a detector of 12 bits has it, bone bright
        values = np.asarray(Image.open(path)).astype(np.float64) / 65535
        Image.fromarray(np.round((1 - values) * 4095).astype(np.uint16)).save(path)
    result = xbench("data", "init", "heads", "--to", "preview.png")
    assert result.code == 0, result.err
    text = (folder / "dataset.toml").read_text()
    assert 'real_low = "bone-bright"' in text
    assert "real_low = [0.0, 4095.0]" in text
    assert np.asarray(Image.open("preview.png")).std() > 10
    assert xbench("data", "init", "heads").code == 2
    shown = json.loads(xbench("data", "stats", "heads", "--profile", "smoke", "--json").out)
    means = {row["domain"]: row["mean"] for row in shown if row["data"] == "these data"}
    assert means["real_low"] == pytest.approx(means["real_normal"], abs=0.1)


def test_data_without_second_exposures_have_half_a_floor(xbench: Xbench) -> None:
    folder = exported(xbench, "--set", "data.test_heads=12")
    for path in [*folder.glob("*_repeat/*/*.png")]:
        path.unlink()
    assert xbench("run", "--dataset", "heads", *ALL_PAIRS).code == 0
    table = pairs("phantom-32px/smoke")
    floor, identity = (table[table.method == name] for name in ("floor[n/2]", "identity"))
    assert (floor.n == 24).all()
    assert floor.ftd.notna().all()
    assert floor.ssim.isna().all()
    assert floor.ftd.mean() < identity.ftd.mean()
    board = Path("runs/phantom-32px/smoke/leaderboard.md").read_text()
    assert "floor[n/2]" in board
    assert pd.read_csv("runs/phantom-32px/smoke/leaderboard.csv").gap_closed.notna().any()


def test_unaligned_domains_are_compared_by_distances_alone(xbench: Xbench) -> None:
    folder = exported(xbench, "--set", "data.test_heads=6")
    (folder / "dataset.toml").unlink()
    for number, path in enumerate(sorted((folder / "test" / "real_low").iterdir())):
        path.rename(path.with_name(f"{number}.png")) if number > 2 else path.unlink()
    arguments = ("--dataset", "heads", "--method", "histogram", "--profile", "smoke")
    assert (
        xbench("run", *arguments, "--pairs", "real_low:real_normal,real_normal:real_low").code == 0
    )
    table = pairs("heads/smoke").set_index(["method", "source"])
    assert table.loc[("histogram", "real_low"), "n"] == 21
    assert table.loc[("histogram", "real_normal"), "n"] == 24
    assert table.ftd.drop("floor[n/2]").notna().all()
    assert table.ssim_ref.isna().all()
    assert table.cftd.isna().all()
    record = next(Path("runs/heads/smoke/records/histogram").rglob("*.json"))
    assert "not aligned" in json.loads(record.read_text())["metrics"]["ssim_ref"]["reason"]


def test_padding_counts_in_no_metric(xbench: Xbench) -> None:
    rng = np.random.default_rng(0)
    for split in ("train", "test"):
        for row in range(20):
            wide = rng.uniform(0.2, 0.9, (6, 8)).repeat(4, 0).repeat(4, 1)  # 24 x 32
            for domain, gain in {"dim": 0.5, "lit": 1.0}.items():
                path = Path("wide", split, domain, f"{row:02d}.png")
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(np.round(wide * gain * 65535).astype(np.uint16)).save(path)
    options = ("--method", "identity", "--profile", "smoke")
    assert xbench("run", "--dataset", "wide", *options).code == 0

    def load(domain: str) -> torch.Tensor:
        paths = sorted(Path("wide/test", domain).iterdir())
        pixels = np.stack([np.asarray(Image.open(path)) for path in paths])
        return torch.from_numpy(pixels.astype(np.float32) / 65535)[:, None]

    expected = float(ssim(load("dim"), load("lit")).mean())
    found = pairs("wide/smoke").query("method == 'identity'")
    assert found.ssim_ref.tolist() == pytest.approx([expected, expected], abs=1e-5)


def test_dicom_files_are_translated_and_nothing_of_their_headers_is_kept(
    xbench: Xbench, save_dicom: SaveDicom
) -> None:
    folder = exported(xbench)
    for path in sorted(folder.rglob("*.png")):
        save_dicom(path.with_suffix(".dcm"), np.asarray(Image.open(path)) >> 4)
        path.unlink()
    result = xbench("run", "--dataset", "heads", *QUICKLY)
    assert result.code == 0, result.err
    written = [path for path in Path("runs").rglob("*") if path.is_file()]
    assert any("images" in path.parts for path in written)
    assert not any(b"Jane" in path.read_bytes() for path in written)


def test_verify_ends_with_1_where_there_are_errors(xbench: Xbench) -> None:
    folder = exported(xbench, "--set", "data.variation=off")
    assert xbench("data", "verify", "heads").code == 0
    path = next(folder.glob("test/real_low/*.png"))
    path.write_bytes(path.read_bytes()[:200])
    result = xbench("data", "verify", "heads", "--json")
    assert result.code == 1
    assert [problem["check"] for problem in json.loads(result.out)] == ["corrupt"]


def test_exporting_into_a_folder_with_files_is_refused(xbench: Xbench) -> None:
    Path("heads").mkdir()
    Path("heads/precious.txt").write_text("keep me")
    assert xbench("data", "export", "phantom", "heads", "--profile", "smoke").code == 2
    assert Path("heads/precious.txt").read_text() == "keep me"


def test_x_digiskull_from_the_record_to_the_leaderboard(
    xbench: Xbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = exported(xbench, "--set", "data.test_heads=10")
    monkeypatch.setenv("XBENCH_HOME", "home")
    monkeypatch.delenv("XBENCH_OFFLINE")
    content = io.BytesIO()
    with ZipFile(content, "w") as archive:
        for path in sorted(folder.glob("test/*/*.png")):
            group, dose = path.parent.name.split("_")
            head, view = path.name[:8], path.name[9:]
            archive.write(path, f"X-DigiSkull/{group.title()}/{dose}Dose/{head}/{view}")
    assert xbench("run", "--dataset", "xdigiskull", *QUICKLY).code == 2
    serve = runpy.run_path(str(Path(__file__).with_name("zenodo_server.py")))["serve"]
    with serve({"X-DigiSkull.zip": content.getvalue()}) as zenodo:
        monkeypatch.setenv("XBENCH_ZENODO", zenodo.url)
        zenodo.break_after = 150_000
        assert xbench("data", "fetch", "xdigiskull").code == 2
        result = xbench("data", "fetch", "xdigiskull")
        assert result.code == 0, result.err
        assert "40" in result.out  # images of a domain, in the table of what was recognised
        assert zenodo.asked[-1][1] is not None  # it went on where it had stopped
    assert xbench("run", "--dataset", "xdigiskull", *QUICKLY).code == 0
    table = pairs("xdigiskull/smoke")
    assert len(table) == 5 * 2
    # A tenth of the ten heads for val, two tenths for test, four views each.
    assert set(table.n) == {8, 4}
    assert table[table.method == "histogram"].ssim_ref.notna().all()


def test_the_closing_card_promises_a_true_target_only_where_there_is_one(xbench: Xbench) -> None:
    heads = exported(xbench)
    run = ("run", *QUICKLY, "--dataset", heads)
    assert "samples.png, source, translations and true target" in xbench(*run).out
    description = heads / "dataset.toml"
    description.write_text('alignment = "none"\n' + description.read_text())
    assert "translations and another image of the target" in xbench(*run).out
