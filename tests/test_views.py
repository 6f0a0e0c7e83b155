"""Tables and pictures are views of the records: deleted, they come back the same."""

import io
import json
import runpy
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from PIL import Image
from rich.console import Console

from xbench.analysis import figures as plots
from xbench.analysis import leaderboard, terminal
from xbench.analysis.leaderboard import with_published
from xbench.analysis.results import read
from xbench.analysis.rows import make
from xbench.metrics.base import METRICS
from xbench.records.schema import Record
from xbench.records.store import Store

Xbench = Callable[..., Any]

row = runpy.run_path(str(Path(__file__).with_name("made_records.py")))["row"]

REFERENCES = {"identity", "floor", "expected", "shuffle", "nearest"}
VIEWS = (
    *("leaderboard.csv", "leaderboard.md", "pairs.csv"),
    *(f"tables/{name}" for name in ("leaderboard.tex", "by-pair.csv", "by-group.md")),
    *("tradeoff.png", "tradeoff.svg", "tradeoff.csv", "samples.png"),
)


@pytest.fixture
def runs(finished: Path, tmp_path: Path) -> Path:
    """A copy of a finished run below `runs/`."""
    folder = tmp_path / "runs" / "phantom" / "smoke"
    shutil.copytree(finished, folder)
    return folder


@pytest.fixture
def records(finished: Path) -> list[Record]:
    return Store(finished).records()


def remake(xbench: Xbench, out: str) -> None:
    assert xbench("plot", "all", "--profile", "smoke", "--out", out).code == 0


def test_deleted_views_come_back_byte_for_byte(xbench: Xbench, runs: Path) -> None:
    before = {name: (runs / name).read_bytes() for name in VIEWS}
    for name in VIEWS:
        (runs / name).unlink()
    remake(xbench, "runs")
    assert {name: (runs / name).read_bytes() for name in VIEWS} == before


def test_published_records_make_the_same_views(xbench: Xbench, runs: Path) -> None:
    assert xbench("publish").code == 0
    published = Path("results/phantom/smoke")
    assert not (published / "images").exists()
    assert not (published / "trainings").exists()
    pictured = {path.name for path in (published / "strips").iterdir()}
    assert {name.split("[")[0] for name in pictured} == {"identity", "histogram", "medshift"}
    for name in VIEWS:
        assert (published / name).read_bytes() == (runs / name).read_bytes(), name
        (published / name).unlink()
    remake(xbench, "results")
    for name in VIEWS:
        assert (published / name).read_bytes() == (runs / name).read_bytes(), name


def test_published_rows_rank_with_a_new_method(xbench: Xbench, runs: Path) -> None:
    xbench("publish")
    shutil.rmtree("runs")
    result = xbench("run", "--method", "identity", "--profile", "smoke", "--json")
    rows = {row["method"]: row for row in json.loads(result.out)}
    assert set(rows) == {*REFERENCES, "histogram", "medshift[images=64]"}
    own = pd.read_csv("runs/phantom/smoke/leaderboard.csv")
    assert set(own["method"]) == REFERENCES


def test_a_row_is_own_or_published_and_published_sweeps_stay_unranked() -> None:
    """Networks that were trained again have other weights and the same label."""
    plain = {"ssim": 0.5, "ftd": 9.0}
    networks = {"weights_sha256": {"recipe": "published"}}
    swept = [f"mine[tau={tau}]" for tau in (0.1, 0.2, 0.3)]
    published = [
        record
        for label, seed in [("mine", 0), ("mine", 1), ("other", 0), *((name, 0) for name in swept)]
        for record in row(label, plain, seed=seed, **networks)
    ]
    own = row("mine", {"ssim": 0.6, "ftd": 8.0}, weights_sha256={"recipe": "own"})
    reference = row("floor", plain)
    records, marked = with_published([*own, *reference[:1]], [*published, *reference])
    assert marked == {"other"}
    assert [record for record in records if record.method.label == "floor"] == reference
    records = [record for record in records if record.method.label != "floor"]
    assert [record for record in records if record.method.label == "mine"] == own
    assert {record.method.label for record in records} == {"mine", "other"}


def test_the_leaderboard_is_the_mean_of_pairs_csv(finished: Path) -> None:
    pairs = pd.read_csv(finished / "pairs.csv")
    board = pd.read_csv(finished / "leaderboard.csv").set_index("method")
    for method, rows in pairs.groupby("method"):
        for metric in ("ssim", "psnr", "ssim_ref", "psnr_ref", "ftd", "cftd"):
            assert board.loc[method, metric] == pytest.approx(rows[metric].mean(), rel=1e-4)
        across = rows[rows["source"].str[:4] != rows["target"].str[:4]]
        assert len(across) == 12
        assert board.loc[method, "ftd_cross"] == pytest.approx(across["ftd"].mean(), rel=1e-4)


def test_gap_closed_is_zero_for_identity_and_one_for_the_floor(finished: Path) -> None:
    board = pd.read_csv(finished / "leaderboard.csv").set_index("method")
    assert board.loc["identity", "gap_closed"] == pytest.approx(0, abs=1e-9)
    assert board.loc["floor", "gap_closed"] == pytest.approx(1)
    gap = board.loc["identity", "ltd_cross"] - board.loc["floor", "ltd_cross"]
    closed = board.loc["identity", "ltd_cross"] - board.loc["histogram", "ltd_cross"]
    assert board.loc["histogram", "gap_closed"] == pytest.approx(closed / gap, rel=1e-4)


def test_rows_are_ranked_by_local_texture_and_cheats_stand_below(finished: Path) -> None:
    board = pd.read_csv(finished / "leaderboard.csv").set_index("method")
    cheats = board.loc[["shuffle", "nearest"]]
    assert cheats["match"].max() < 0.8
    ranked = board[board["rank"].notna()]
    assert "histogram" in ranked.index
    assert ranked["rank"].tolist() == list(range(1, len(ranked) + 1))
    assert ranked["ltd_cross"].is_monotonic_increasing
    places = {row: place for place, row in enumerate(board.index)}
    assert max(map(places.get, ranked.index)) < min(map(places.get, cheats.index))
    assert board.loc[list(REFERENCES), "rank"].isna().all()
    assert (
        "shuffle: anatomy not recognised on 20 pairs" in (finished / "leaderboard.md").read_text()
    )


def test_the_terminal_table_keeps_the_settings_in_the_label(xbench: Xbench, runs: Path) -> None:
    shown = xbench("leaderboard", "--profile", "smoke").out
    assert "medshift[images=64]" in shown


def test_a_terminal_of_80_columns_shows_ranks_and_what_ranks(records: list[Record]) -> None:
    by_label = make(records)
    ranks = leaderboard.ranking_of(by_label)
    console = Console(width=80, file=io.StringIO(), record=True)
    terminal.board(console, leaderboard.board_of(by_label), ranks)
    shown = console.export_text()
    heads = next(line for line in shown.splitlines() if "method" in line)
    assert all(head in heads for head in ("#", "match ↑", "LTD cross ↓", "gap closed ↑"))
    assert "…" not in shown
    assert "† one seed" in shown


def test_seeds_are_averaged_before_the_mean_over_pairs(records: list[Record]) -> None:
    """A pair with two seeds weighs no more than a pair with one."""
    own = [record for record in records if record.method.label == "histogram"]
    extra = own[0].model_copy(deep=True, update={"seed": 1})
    ftd = own[0].metrics["ftd"].value
    assert ftd is not None
    extra.metrics["ftd"].value = ftd + 20
    board = leaderboard.board_of(make([*records, extra])).set_index("method")
    plain = leaderboard.board_of(make(records)).set_index("method")
    added = board.loc["histogram", "ftd"] - plain.loc["histogram", "ftd"]
    assert added == pytest.approx(10 / 20)
    assert board.loc["histogram", "seeds"] == 1, "seeds with all pairs"


def test_an_absent_value_empties_the_mean_instead_of_shrinking_it(records: list[Record]) -> None:
    changed = [record.model_copy(deep=True) for record in records]
    next(r for r in changed if r.method.label == "histogram").metrics["ftd"].value = None
    board = leaderboard.board_of(make(changed)).set_index("method")
    assert board.loc["histogram", ["ftd"]].isna().all()
    assert board.loc["histogram", ["ssim"]].notna().all()


@pytest.mark.parametrize("what", ["data set key", "metric identity"])
def test_no_table_mixes_what_cannot_be_compared(records: list[Record], what: str) -> None:
    other = records[0].model_copy(deep=True, update={"finished": "1999-01-01T00:00:00+00:00"})
    if what == "data set key":
        other.data.key = "phantom-v0-old"
    else:
        other.metrics["ftd"].identity = "ftd-v0"
    kept, notes = leaderboard.comparable([*records, other])
    assert kept == records
    assert "left out 1 record " in notes[0]


def test_the_trade_off_plot_uses_one_realism_metric_for_all(
    records: list[Record], runs: Path
) -> None:
    """CFID only if every row has it; a picture is drawn either way."""
    pictures = []
    everything = {record.method.label for record in records}
    for labels in (set(), {"histogram"}, everything):
        for record in records:
            value = 5.0 if record.method.label in labels else None
            record.metrics["cfid"].value = value
            path = runs / "records" / record.method.label / f"seed{record.seed}"
            text = record.model_dump_json(indent=1)
            (path / f"{record.source}--{record.target}.json").write_text(text)
        pictures.append(plots.tradeoff(read(runs))[0].read_bytes())
    assert pictures[0] == pictures[1]
    assert pictures[0] != pictures[2]


def test_heat_maps_and_contact_sheet_are_pictures(
    xbench: Xbench, runs: Path, tmp_path: Path
) -> None:
    assert xbench("plot", "pairs", "--profile", "smoke", "--metric", "ssim_ref").code == 0
    assert Image.open(runs / "pairs-ssim_ref.png").width > 300
    assert xbench("plot", "pairs", "--profile", "smoke", "--metric", "fid").code == 2
    assert xbench("data", "show", "phantom", "--profile", "smoke", "--to", "sheet.png").code == 0
    assert Image.open("sheet.png").height > 300


def test_lists_are_complete_and_machine_readable(xbench: Xbench) -> None:
    methods = json.loads(xbench("list", "methods", "--json").out)
    rows = {row["name"]: row for row in methods}
    assert rows["medshift"]["knob"] == "tau"
    assert rows["medshift"]["params"] == rows["medshift"]["params_total"] > 1e5
    assert rows["medshift"]["needs_training"]
    assert not rows["medshift"]["stochastic"]
    assert rows["identity"]["params"] == rows["identity"]["nfe"] == 0
    metrics = json.loads(xbench("list", "metrics", "--json").out)
    assert [row["name"] for row in metrics] == list(METRICS)
    phantom, first, digiskull = json.loads(xbench("list", "datasets", "--json").out)
    assert (phantom["name"], first["name"]) == ("phantom", "phantom-v1")
    assert phantom["aligned"]
    assert digiskull["key"] is None
    assert "xbench data fetch xdigiskull" in digiskull["about"]
