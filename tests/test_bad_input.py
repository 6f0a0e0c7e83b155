"""Mistakes of the user: three lines, exit code 2, nothing lost and nothing started."""

import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

made = runpy.run_path(str(Path(__file__).with_name("made_records.py")))

Xbench = Callable[..., Any]


@pytest.mark.parametrize(
    ("arguments", "nearest"),
    [
        ("run --method medshfit", "did you mean medshift?"),
        ("run --method identity --dataset fantom", "did you mean phantom?"),
        ("run --method identity --profile quik", "did you mean quick?"),
        ("run --method identity --pairs synthetic_low:real_norml", "did you mean real_normal?"),
        ("run --method identity --pairs real_low:real_low", "two different domains"),
        ("run --method identity --pairs real_low", "expected: SRC:TGT"),
        ("run --method sharpen:Sharpen", "--method sharpen.py:Sharpen"),
        ("run --method identity --split tset", "did you mean test?"),
        ("run --method identity --seed one", "whole numbers"),
        ("run --method medshift --set medshift.tua=0.3", "did you mean medshift.tau?"),
        ("run --method medshift --set medshfit.tau=0.3", "did you mean medshift?"),
        ("run --method medshift --set medshift.tau=1.5", "less than or equal to 1"),
        ("run --method medshift --set medshift.tau=-0.1", "greater than or equal to 0"),
        ("run --method medshift --set medshift.tau=high", "valid number"),
        ("run --method medshift --set medshift.solver=midpont", "did you mean midpoint?"),
        ("run --method medshift --set medshift.learning_rate=Infinity", "finite number"),
        ("run --method medshift --set medshift.channels=[16,32]", "one value per level"),
        ("run --method identity --set data.test_heads=0", "greater than or equal to 1"),
        ("run --method medshift --set tau=0.3", "SECTION.KEY=VALUE"),
        ("run --method medshift --set data.nose=off", "did you mean data.noise?"),
        ("run --method medshift --set budget.images=0", "at least 1"),
        ("run --method identity --device cuda:99", "expected: auto, cpu"),
        ("run --method identity --device warp", "expected: auto, cpu"),
        ("leaderboard --profile smoke", "records of an earlier run"),
        ("leaderboard --profile smok", "did you mean smoke?"),
        ("plot tradeoff --profile smoke", "records of an earlier run"),
        ("publish --out nothing", "xbench run"),
        ("list metrics --profile qick", "did you mean quick?"),
        ("list methods --profile qick", "did you mean quick?"),
        ("data show fantom", "did you mean phantom?"),
    ],
)
def test_a_mistake_is_explained_in_three_lines(
    xbench: Xbench, arguments: str, nearest: str
) -> None:
    result = xbench(*arguments.split())
    assert result.code == 2
    assert result.out == ""
    assert len(result.err.strip().splitlines()) == 3
    assert nearest in result.err
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("arguments", "nearest", "listing"),
    [
        ("run --method medshfit", "medshift", "xbench list methods"),
        ("leaderboard --profile smoke --metrics fdt", "ftd", "xbench list metrics"),
        ("leaderboard --profile smoke --sort tdl", "ltd", "leaderboard.csv"),
        ("run --method cut --set cut.bach=1", "cut.batch", "xbench list settings cut"),
        ("run --method fda --set data.nose=off", "data.noise", "xbench list settings"),
    ],
)
def test_of_many_names_the_nearest_are_shown_and_where_all_are(
    xbench: Xbench, arguments: str, nearest: str, listing: str
) -> None:
    made["write"](Path("runs/phantom/smoke"), made["references"]())
    _, known, fix = xbench(*arguments.split()).err.splitlines()
    assert nearest in known.partition("known: ")[2].split(", ")[:3]
    assert " more" in known
    assert len(known) < 200
    assert listing in fix


def test_for_a_misspelt_folder_the_nearest_is_named(xbench: Xbench) -> None:
    Path("images").mkdir()
    Path("image.png").touch()
    run = ("run", "--method", "identity", "--dataset")
    assert "did you mean images?" in xbench(*run, "imges").err
    assert "image.png is a file" in xbench(*run, "./image.png").err


def test_an_output_folder_that_cannot_be_written_is_found_before_any_work(
    xbench: Xbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XBENCH_HOME", "home")
    Path("taken").write_text("a file, not a folder")
    result = xbench("run", "--method", "identity", "--profile", "smoke", "--out", "taken")
    assert result.code == 2
    assert "the output folder" in result.err
    assert not Path("home").exists()


def test_a_cache_folder_that_cannot_be_written_is_explained(
    xbench: Xbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("taken").write_text("a file, not a folder")
    monkeypatch.setenv("XBENCH_HOME", "taken/home")
    result = xbench("run", "--method", "identity", "--profile", "smoke")
    assert result.code == 2
    assert "XBENCH_HOME" in result.err


def test_a_missing_vae_is_found_before_any_work(
    xbench: Xbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    Path("empty").mkdir()
    result = xbench(
        *("run", "--method", "medshift", "--profile", "smoke"),
        *("--set", "medshift.codec=vae", "--set", "medshift.vae=empty"),
    )
    assert result.code == 2
    assert "AutoencoderKL" in result.err


@pytest.mark.parametrize(
    ("arguments", "lines"),
    [
        ("run", ["missing option '--method'", "xbench run [OPTIONS]", "xbench run --help"]),
        ("runn", ["'run'", "xbench [OPTIONS] COMMAND", "xbench --help"]),
        ("run --methods identity", ["--method)", "xbench run [OPTIONS]", "xbench run --help"]),
        ("run --method fda --workers 0", ["'--workers'", "xbench run", "xbench run --help"]),
        ("plot pears", ["'pairs'", "xbench plot [OPTIONS]", "xbench plot --help"]),
        ("leaderboard --sort", ["--sort", "options", "xbench --help"]),
    ],
)
def test_what_is_no_command_of_ours_is_reported_in_three_lines(
    xbench: Xbench, arguments: str, lines: list[str]
) -> None:
    result = xbench(*arguments.split())
    assert result.code == 2
    lines_shown = result.err.splitlines()
    assert len(lines_shown) == 3
    assert all(part in line for part, line in zip(lines, lines_shown, strict=True))
