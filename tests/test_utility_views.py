"""What `xbench utility` found, wherever results are shown: tables, figure, report, publication."""

import base64
import json
import re
import shutil
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy.stats import spearmanr

import xbench as package
from xbench.cli import main

Xbench = Callable[..., Any]

SMOKE = ("--profile", "smoke")
SOURCE, TARGET = "synthetic_low", "real_normal"
PAIR = f"{SOURCE}:{TARGET}"
HISTOGRAM = Path(f"utility/records/histogram/seed0/{SOURCE}--{TARGET}.json")


@pytest.fixture(scope="module")
def measured(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with the utility of one pair; tests must not change it."""
    out = tmp_path_factory.mktemp("measured")
    shutil.copytree(finished.parents[1], out, dirs_exist_ok=True)
    arguments = ("--pairs", PAIR, "--set", "budget.images=64", "--out", str(out), *SMOKE)
    with pytest.raises(SystemExit) as stopped:
        main(["utility", "--method", "medshift,histogram", *arguments])
    assert not stopped.value.code
    return out / "phantom" / "smoke"


@pytest.fixture
def runs(measured: Path, tmp_path: Path) -> Path:
    """A copy below `runs/`."""
    folder = tmp_path / "runs" / "phantom" / "smoke"
    shutil.copytree(measured, folder)
    return folder


def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))


def leaderboard(xbench: Xbench) -> pd.DataFrame:
    assert xbench("leaderboard", *SMOKE).code == 0
    return pd.read_csv("runs/phantom/smoke/leaderboard.csv").set_index("method")


def test_the_leaderboard_has_the_utility_of_rows_that_have_one(xbench: Xbench, runs: Path) -> None:
    board = leaderboard(xbench)
    table = pd.read_csv(runs / "tables/utility.csv").set_index("method")
    known = ["histogram", "medshift[images=64]", "nearest", "shuffle"]
    columns = ["utility", "utility_ci_low", "utility_ci_high"]
    pd.testing.assert_frame_equal(board.loc[known, columns], table.loc[known, columns])
    assert board.utility["identity"] == 0
    assert board.utility[["floor", "expected"]].isna().all()
    assert "| utility ↑ |" in (runs / "leaderboard.md").read_text()
    by_pair = pd.read_csv(runs / "tables/by-pair.csv")
    assert not [name for name in by_pair if name.startswith("utility")], "it is of all pairs"


def test_without_utility_tables_for_people_have_no_such_column(xbench: Xbench, runs: Path) -> None:
    shutil.rmtree(runs / "utility")
    assert leaderboard(xbench).utility.isna().all()
    assert "utility" not in (runs / "leaderboard.md").read_text()


@pytest.mark.parametrize(
    "change",
    [
        lambda r: r["method"].update(version="2"),
        lambda r: r["method"].update(train_images=7),
        lambda r: r["method"]["config"].update(bins=3),
    ],
)
def test_a_row_made_in_another_way_has_no_utility(
    xbench: Xbench, runs: Path, change: Callable[[dict[str, Any]], object]
) -> None:
    edit(runs / HISTOGRAM, change)
    assert leaderboard(xbench).utility.notna().sum() == 4
    assert pd.isna(leaderboard(xbench).utility["histogram"])


def test_other_data_have_another_utility(xbench: Xbench, runs: Path) -> None:
    for path in (runs / "utility/records").rglob("*.json"):
        edit(path, lambda record: record["data"].update(key="phantom-v2-other"))
    assert leaderboard(xbench).utility.isna().all()


def test_the_figure_says_which_metric_orders_rows_as_utility_does(
    xbench: Xbench, runs: Path
) -> None:
    result = xbench("plot", "utility", *SMOKE)
    assert result.code == 0
    files = [Path(line) for line in result.out.split()]
    assert [file.name for file in files] == ["utility.png", "utility.svg", "utility-predictors.csv"]
    table = pd.read_csv(files[2]).set_index("metric")
    assert list(table) == ["n", "spearman", "ci_low", "ci_high"]
    rows = ["histogram", "medshift[images=64]", "nearest", "shuffle"]
    pairs = package.pairs(profile="smoke").set_index(["source", "target"]).loc[SOURCE, TARGET]
    metrics = pairs.set_index("method").loc[rows]
    utility = pd.read_csv(runs / "tables/utility.csv").set_index("method").utility[rows]
    for name in ("ltd", "ftd", "ssim", "psnr_ref", "ngf"):
        found = table.loc[name]
        assert found.n == 4
        assert found.spearman == pytest.approx(spearmanr(metrics[name], utility).statistic)
        assert abs(found.spearman) == 1 or found.ci_low <= found.spearman <= found.ci_high
    assert "fid" not in table.index, "it has no values without its weights"
    assert "source-augmented" in files[1].read_text()


def test_rows_of_the_figure_can_be_chosen(xbench: Xbench, runs: Path) -> None:
    two = ("--row", "histogram", "--row", "nearest")
    assert xbench("plot", "utility", *SMOKE, *two, "--to", "two.svg").code == 0
    assert "too few rows (n = 2)" in Path("two.svg").read_text()
    few = xbench("plot", "utility", *SMOKE, *two[:2])
    assert few.code == 2
    assert "fewer than two rows" in few.err


def test_views_have_the_figure_where_rows_have_utility(xbench: Xbench, runs: Path) -> None:
    assert "utility.png" in xbench("plot", "all", *SMOKE).out
    shutil.rmtree(runs / "utility")
    assert "utility.png" not in xbench("plot", "all", *SMOKE).out


def test_the_python_functions_return_the_same(xbench: Xbench, runs: Path) -> None:
    frame = package.utility(
        *(["medshift", "histogram"], "phantom", "smoke"),
        pairs=PAIR,
        settings={"budget.images": 64},
        tasks="pose",
        quiet=True,
    ).set_index("method")
    assert frame.attrs["failed"] == []
    assert frame.loc[["source", "target"], "utility"].tolist() == [0, 1]
    pd.testing.assert_series_equal(frame.utility, frame.utility_pose, check_names=False)
    board = package.leaderboard(profile="smoke").set_index("method")
    written = pd.read_csv(runs / "tables/utility.csv").set_index("method")
    assert board.utility["histogram"] == pytest.approx(written.utility["histogram"], rel=1e-5)


def test_records_are_published_without_masks_and_make_the_same_views(
    xbench: Xbench, runs: Path
) -> None:
    shutil.rmtree(runs / "tables")
    assert xbench("leaderboard", *SMOKE).code == 0
    assert xbench("publish").code == 0
    published = Path("results/phantom/smoke")
    assert (published / HISTOGRAM).read_bytes() == (runs / HISTOGRAM).read_bytes()
    assert {path.name for path in (published / "utility").iterdir()} == {"records"}
    for name in ("leaderboard.csv", "tables/utility.csv"):
        assert (published / name).read_bytes() == (runs / name).read_bytes()


def test_status_counts_failures_and_the_next_start_forgets_them(xbench: Xbench, runs: Path) -> None:
    record = json.loads((runs / HISTOGRAM).read_text())
    failure = {name: record[name] for name in ("key", "seed", "source", "target", "finished")}
    failure |= {"label": "histogram", "traceback": "Traceback\nValueError: no"}
    place = runs / str(HISTOGRAM).replace("records", "failed")
    place.parent.mkdir(parents=True)
    place.write_text(json.dumps(failure))
    (runs / HISTOGRAM).unlink()
    result = xbench("status", *SMOKE, "--json")
    assert result.code == 1
    rows = {row["method"]: row for row in json.loads(result.out)["rows"]}
    assert rows["histogram (utility)"]["failed"] == 1
    assert rows["histogram (utility)"]["note"] == "ValueError: no"
    assert rows["nearest (utility)"]["done"] == 1
    assert rows["histogram"]["failed"] == 0
    assert xbench("clean", "--what", "failed", "--yes").code == 0
    assert xbench("status", *SMOKE).code == 0


def test_status_of_a_plan_has_its_utility(xbench: Xbench, runs: Path) -> None:
    (runs / HISTOGRAM).unlink()
    edit(runs / str(HISTOGRAM).replace("histogram", "nearest"), lambda r: r.update(key="0" * 16))

    def counts(*arguments: str) -> dict[str, dict[str, Any]]:
        result = xbench("status", *SMOKE, *arguments, "--json")
        assert result.code == 0, result.err
        rows = json.loads(result.out)["rows"]
        return {row["method"]: row for row in rows if row["method"].endswith(" (utility)")}

    rows = counts("--method", "histogram", "--pairs", PAIR)
    done = ("source", "target", "source-augmented", "shuffle", "filter")
    assert {name for name, row in rows.items() if row["done"]} == {f"{n} (utility)" for n in done}
    assert rows["histogram (utility)"]["missing"] == 1
    assert rows["nearest (utility)"]["stale"] == 1
    assert counts("--method", "histogram")["source (utility)"]["missing"] == 2, "three pairs"
    assert counts()["source (utility)"]["missing"] == 0, "a pair that no row has is not missed"
    assert counts("--method", "histogram", "--pairs", "real_low:real_normal") == {}
    shutil.rmtree(runs / "utility")
    assert counts("--method", "histogram", "--pairs", PAIR) == {}


def test_clean_removes_masks_without_a_record_and_keeps_trainings_of_utility(
    xbench: Xbench, runs: Path
) -> None:
    shutil.rmtree(runs / "records" / "medshift[images=64]")
    trainings = {path.name for path in (runs / "trainings").iterdir()}
    (runs / HISTOGRAM).unlink()
    assert xbench("clean", "--what", "orphans,trainings", "--yes").code == 0
    masks = {path.relative_to(runs / "utility/masks").parts[0] for path in masks_of(runs)}
    references = {"filter", "nearest", "shuffle", "source", "source-augmented", "target"}
    assert masks == references | {"medshift[images=64]"}
    assert {path.name for path in (runs / "trainings").iterdir()} == trainings


def masks_of(folder: Path) -> list[Path]:
    return list((folder / "utility/masks").rglob("*.png"))


def verified(xbench: Xbench, record: Path) -> dict[str, str]:
    result = xbench("verify", record, "--json")
    found = {check["check"]: check["outcome"] for check in json.loads(result.out)}
    assert result.code == int("differs" in found.values())
    return found


HONEST = {"masks": "same", "key": "same", "measures": "same"}


LABELS = ["source", "target", "source-augmented", "shuffle", "medshift[[]images=64]"]


@pytest.mark.parametrize("label", LABELS)
def test_an_honest_record_is_verified(xbench: Xbench, runs: Path, label: str) -> None:
    (record,) = (runs / "utility/records").glob(f"{label}/seed0/*.json")
    assert verified(xbench, record) == HONEST


def add(record: dict[str, Any], measure: str, value: float) -> None:
    record["measures"][measure][0][3] += value


@pytest.mark.parametrize(
    ("check", "change"),
    [
        ("measures", lambda r: add(r, "dice_dense_bone", 0.01)),
        ("measures", lambda r: add(r, "radial_mm", -1)),
        ("measures", lambda r: r["places"]["sella"].reverse()),
        ("measures", lambda r: r["angles"].reverse()),
        ("masks", lambda r: r.update(masks_sha256="0" * 64)),
        ("key", lambda r: r.update(key="0" * 16)),
    ],
)
def test_what_was_edited_differs(
    xbench: Xbench, runs: Path, check: str, change: Callable[[dict[str, Any]], object]
) -> None:
    edit(runs / HISTOGRAM, change)
    assert verified(xbench, runs / HISTOGRAM) == {**HONEST, check: "differs"}


def test_without_masks_landmarks_and_angles_are_verified(xbench: Xbench, runs: Path) -> None:
    shutil.rmtree(runs / "utility/masks")
    found = verified(xbench, runs / HISTOGRAM)
    assert found == {**HONEST, "masks": "not verified"}
    edit(runs / HISTOGRAM, lambda r: add(r, "radial_px", 1))
    assert verified(xbench, runs / HISTOGRAM)["measures"] == "differs"


def section(xbench: Xbench) -> str:
    """The part of the report that is about utility; empty where it has none."""
    result = xbench("report", *SMOKE)
    assert result.code == 0, result.err
    page = Path(result.out.strip()).read_text("utf-8")
    found = re.search(r'<section id="utility".*?</section>', page, re.DOTALL)
    assert ('href="#utility"' in page) == bool(found)
    return found.group() if found else ""


def test_the_report_shows_the_worst_predictions_of_each_method(xbench: Xbench, runs: Path) -> None:
    text = section(xbench)
    table = pd.read_csv(runs / "tables/utility.csv").set_index("method")
    assert f"<td>{table.utility['histogram']:.2f} <small>±" in text
    record = json.loads((runs / HISTOGRAM).read_text())
    ids, places = record["data"]["ids"], record["places"]
    dice = [record["measures"][f"dice_{name}"][0] for name in record["structures"]]
    means = pd.DataFrame(dice, columns=ids, dtype=float).mean()
    worst = means.sort_values(kind="stable").head(3)
    own = text[text.index("<h3>histogram</h3>") :]
    shown = re.findall(r"<figcaption>Dice ([\d.]+): ([^,]+),", own)[:3]
    assert [name for _, name in shown] == list(worst.index)
    assert [float(value) for value, _ in shown] == pytest.approx(list(worst), abs=6e-4)
    assert text.count("<figcaption>") == 6, "three of each method that may have a rank"
    first = own[: own.index("</svg>")]
    circles = re.findall(r'"found" cx="([\d.-]+)" cy="([\d.-]+)"', first)
    row = ids.index(worst.index[0])
    for x, y in circles:
        assert [float(y) - 0.5, float(x) - 0.5] in [
            pytest.approx(own[row], abs=0.006) for own in places.values()
        ]
    assert circles


def test_pictures_are_the_true_images_with_their_true_masks(xbench: Xbench, runs: Path) -> None:
    figure = re.search(r"<svg.*?</figcaption>", section(xbench), re.DOTALL)
    assert figure
    name = figure.group().rpartition(": ")[2].split(",")[0]
    (coded,) = re.findall(r"base64,([^\"]+)", figure.group())
    shown = np.asarray(Image.open(BytesIO(base64.b64decode(coded))))
    stored = np.asarray(
        Image.open(next(runs.glob(f"images/identity/seed0/{TARGET}--*/{name}.png")))
    )
    np.testing.assert_array_equal(shown, (stored / 257).round())
    (outline,) = re.findall(r'class="true" d="([^"]+)"', figure.group())
    corners = np.array(re.findall(r"([\d.]+) ([\d.]+)", outline), dtype=float)
    inside = shown[tuple(np.clip(corners.mean(axis=0).astype(int)[::-1], 0, 31))]
    assert len(corners) > 8
    assert corners.min() >= 0
    assert corners.max() <= len(shown)
    assert inside < shown.max(), "masks lie on bone, which is dark"


@pytest.mark.parametrize(
    ("remove", "reason"),
    [("utility/masks", "masks are not stored here"), ("utility", "")],
)
def test_what_is_not_there_is_left_out_of_the_report(
    xbench: Xbench, runs: Path, remove: str, reason: str
) -> None:
    shutil.rmtree(runs / remove)
    text = section(xbench)
    assert "<svg" not in text
    assert reason in text
    assert bool(text) == bool(reason)


def test_damaged_masks_do_not_keep_the_report_from_being_written(
    xbench: Xbench, runs: Path
) -> None:
    for path in masks_of(runs):
        path.write_bytes(b"no picture")
    assert "cannot be read" in section(xbench)


def test_without_the_data_set_there_are_no_pictures(
    xbench: Xbench, runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XBENCH_HOME", str(tmp_path / "empty"))
    text = section(xbench)
    assert "<svg" not in text
    assert "not prepared on this machine" in text
    assert not (tmp_path / "empty").exists()
