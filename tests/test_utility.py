"""Utility: networks for tasks learn from translated images, and are tested on true ones."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats

from xbench import run
from xbench.analysis import utility as scores
from xbench.cli import main
from xbench.datasets.base import Images
from xbench.datasets.labels import Labels
from xbench.records.schema import UtilityRecord
from xbench.records.store import UtilityStore
from xbench.tasks.measures import measure, surface_distance
from xbench.tasks.randomise import grey_curves, randomised
from xbench.tasks.training import learn, predict, samples

from .conftest import Result, Xbench

PAIR = "synthetic_low:real_normal"
ROWS = {"source", "target", "source-augmented", "shuffle", "nearest", "filter", "histogram"}


@pytest.fixture(scope="module")
def tested(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A smoke run of a method without training, and its utility for one pair; never changed."""
    out = tmp_path_factory.mktemp("utility")
    run("histogram", profile="smoke", pairs=PAIR, out=out, quiet=True)
    assert command("utility", "--method", "histogram", *place(out)) == 0
    return out


def command(*arguments: str) -> int:
    """Exit code of the command line."""
    with pytest.raises(SystemExit) as stopped:
        main(list(arguments))
    return int(stopped.value.code or 0)


def place(out: Path) -> list[str]:
    return ["--profile", "smoke", "--pairs", PAIR, "--out", str(out)]


def records(out: Path, data: str = "phantom") -> dict[str, UtilityRecord]:
    """Label → record of the one pair."""
    found = UtilityStore(out / data / "smoke").records()
    return {record.method.label: record for record in found}


def test_every_row_is_tested_on_the_same_true_images(tested: Path) -> None:
    found = records(tested)
    assert found.keys() == ROWS
    for record in found.values():
        assert record.data.ids == found["source"].data.ids
        assert record.data.groups == found["source"].data.groups
        assert len(record.places) == 8
        assert {len(runs) for runs in record.measures.values()} == {2}  # seeds of the task
    assert found["source"].measures != found["target"].measures != found["filter"].measures
    assert found["source"].measures != found["source-augmented"].measures
    assert len({record.key for record in found.values()}) == len(ROWS)


def test_the_same_command_gives_the_same_numbers_in_two_processes(
    tested: Path, xbench: Xbench, tmp_path: Path
) -> None:
    out = tmp_path / "runs"
    result = xbench("utility", "--method", "histogram", *place(out), "--workers", 2)
    assert result.code == 0, result.err
    again = records(out)
    assert again.keys() == ROWS
    for label, record in records(tested).items():
        assert again[label].measures == record.measures
        assert again[label].masks_sha256 == record.masks_sha256


def test_what_is_finished_is_not_done_again(tested: Path, xbench: Xbench, tmp_path: Path) -> None:
    shutil.copytree(tested, tmp_path / "runs")
    store = UtilityStore(tmp_path / "runs" / "phantom" / "smoke")
    gone = store.record_path(records(tmp_path / "runs")["filter"].unit)
    gone.unlink()
    paths = list((store.folder / "records").rglob("*.json"))
    before = {path: path.stat().st_mtime_ns for path in paths}
    arguments = ("utility", "--method", "histogram", *place(tmp_path / "runs"))
    plan = json.loads(xbench(*arguments, "--dry-run", "--json").out)
    assert [unit["name"] for unit in plan["units"] if not unit["done"]] == [
        "filter/seed0/synthetic_low--real_normal"
    ]
    assert xbench(*arguments).code == 0
    assert gone.exists()
    assert {path: path.stat().st_mtime_ns for path in paths} == before


def test_the_table_has_bounds_and_intervals(tested: Path, xbench: Xbench) -> None:
    result = xbench(
        *("leaderboard", "--table", "utility", "--profile", "smoke", "--out", tested, "--json")
    )
    table = {row["method"]: row for row in json.loads(result.out)}
    assert table.keys() == ROWS
    assert (table["source"]["utility"], table["target"]["utility"]) == (0, 1)
    row = table["histogram"]
    parts = [row[f"utility_{task}"] for task in ("segmentation", "landmarks", "pose")]
    # At `smoke` there is nothing to gain in some tasks.
    known = [part for part in parts if part is not None]
    assert row["utility"] == pytest.approx(np.mean(known))
    assert row["utility_ci_low"] < row["utility"] < row["utility_ci_high"]
    assert 0 < row["segmentation"] < 1


def three_lines(result: Result, *texts: str) -> None:
    assert result.code == 2
    lines = result.err.strip().splitlines()[-3:]
    assert lines[0].startswith("error: ")
    for text in texts:
        assert text in result.err


def test_nothing_is_trained_by_surprise(xbench: Xbench) -> None:
    result = xbench("utility", "--method", "medshift", "--profile", "smoke", "--pairs", PAIR)
    three_lines(result, "has not learned", "xbench run --method medshift --profile smoke")
    assert not list(Path("runs").rglob("training.json"))


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--pairs", "real_low:real_normal"), "within the group real"),
        (("--tasks", "poses"), "pose"),
        (("--split", "val"), "test"),
        (("--method", "nothing"), "nothing"),
    ],
)
def test_mistakes_are_told_before_any_work(
    xbench: Xbench, arguments: tuple[str, ...], text: str
) -> None:
    given = {"--method": "histogram", "--profile": "smoke"} | dict([arguments])
    result = xbench("utility", *(word for pair in given.items() for word in pair))
    three_lines(result, text)
    assert not list(Path("runs").rglob("*.json"))


def test_a_folder_with_labels_gives_the_phantoms_numbers(
    tested: Path, exported: Path, xbench: Xbench, tmp_path: Path
) -> None:
    arguments = ("--dataset", exported, *place(tmp_path / "runs"))
    assert xbench("utility", "--method", "histogram", *arguments).code == 0
    own, theirs = records(tmp_path / "runs", "phantom-32px"), records(tested)
    for label in ("source", "target", "histogram"):
        for name in ("dice_dense_bone", "radial_px", "angle_lao"):
            assert own[label].measures[name] == theirs[label].measures[name]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The phantom as a folder with labels; tests work on copies."""
    folder = tmp_path_factory.mktemp("exported") / "heads"
    assert command("data", "export", "phantom", str(folder), "--profile", "smoke") == 0
    return folder


def other_size(labels: Path) -> None:
    path = next((labels / "train/synthetic_low/dense_bone").iterdir())
    Image.fromarray(np.zeros((16, 16), np.uint8)).save(path)


def other_names(labels: Path) -> None:
    for table in (labels / "train/synthetic_low").glob("*.csv"):
        table.unlink()
    for folder in list((labels / "train/synthetic_low").iterdir()):
        folder.rename(folder.with_name(f"the_{folder.name}"))


def stranger(labels: Path) -> None:
    folder = labels / "test/real_normal/dense_bone"
    next(folder.iterdir()).rename(folder / "stranger.png")


def outside(labels: Path) -> None:
    path = labels / "test/real_normal/landmarks.csv"
    head, first, *rest = path.read_text().splitlines()
    name, landmark, _, y = first.split(",")
    path.write_text("\n".join([head, f"{name},{landmark},32.5,{y}", *rest]))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda r: shutil.rmtree(r / "test/real_normal"), "no labels of test images of 'real_no"),
        (lambda r: shutil.rmtree(r / "train/real_normal"), "no labels of train images of 'real_no"),
        (lambda r: shutil.rmtree(r / "train/synthetic_low"), "no labels of train images of 'synth"),
        (other_size, "has 16 x 16 pixels, its image 32 x 32"),
        (other_names, "the labels of 'synthetic_low' and 'real_normal' have nothing in common"),
        (stranger, "stranger.png belongs to no image"),
        (outside, "lies outside its image"),
    ],
)
def test_labels_that_cannot_be_used_are_told_before_any_work(
    exported: Path, xbench: Xbench, tmp_path: Path, change: Callable[[Path], object], text: str
) -> None:
    folder = tmp_path / "heads"
    shutil.copytree(exported, folder)
    change(folder / "labels")
    arguments = ("--dataset", folder, "--method", "histogram", *place(tmp_path / "runs"))
    three_lines(xbench("utility", *arguments), text)
    assert not list((tmp_path / "runs").rglob("*.json"))


def discs(number: int, seed: int) -> tuple[Images, Labels]:
    """Dark discs anywhere: a mask, its centre, and two angles that say where it is."""
    generator = np.random.default_rng(seed)
    centres = generator.uniform(8, 24, (number, 2))
    steps = np.arange(32)
    gap = np.hypot(steps[:, None] - centres[:, :1, None], steps[None, :] - centres[:, 1:, None])
    greys = np.where(gap < 5, 0.3, 0.8) + generator.normal(0, 0.02, gap.shape)
    images = Images([(greys.clip(0, 1) * 65535).astype(np.uint16)])
    return images, Labels({"disc": gap < 5}, {"centre": centres}, 5 * (centres - 16))


def test_networks_learn_what_labels_show(tmp_path: Path) -> None:
    cpu = torch.device("cpu")
    images, labels = discs(64, seed=1)
    net = learn(samples(images, labels), 200, 0, cpu, tmp_path, lambda *_: None)
    unseen, true = discs(32, seed=2)
    found = measure(predict(net, unseen, true), true, None)
    assert np.mean(found["dice_disc"]) > 0.95
    assert np.mean(found["radial_px"]) < 0.7
    assert np.mean(found["angle_lao"]) < 5


def test_randomised_images_keep_their_shapes_and_nothing_else() -> None:
    images, _ = discs(16, seed=3)
    made = [randomised(images[:], torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)]
    assert torch.equal(made[0], made[1])
    assert not torch.equal(made[0], made[2])
    assert 0 <= float(made[0].min()) < float(made[0].max()) <= 1
    inside = images[:] < 0.55
    greys = [
        (float(i[m].mean()), float(i[~m].mean())) for i, m in zip(made[0], inside, strict=True)
    ]
    assert all(dark < bright for dark, bright in greys), "curves rise"
    assert np.std([bright - dark for dark, bright in greys]) > 0.05
    curves = grey_curves(200, torch.Generator().manual_seed(4))
    assert bool((curves.diff(dim=1) > 0).all())
    assert float(curves.min()) >= 0
    assert float(curves.max()) <= 1


def test_with_randomised_images_networks_know_shapes_in_other_greys(tmp_path: Path) -> None:
    images, labels = discs(64, seed=1)
    unseen, true = discs(32, seed=2)
    flat = 0.15 + 0.15 * unseen[:][:, 0].numpy()
    other = Images([(flat * 65535).astype(np.uint16)])
    found = []
    for randomise in (False, True):
        net = learn(
            *(samples(images, labels), 100, 0, torch.device("cpu"), tmp_path / str(randomise)),
            lambda *_: None,
            randomise=randomise,
        )
        found.append(np.mean(measure(predict(net, other, true), true, None)["dice_disc"]))
    assert found[1] > max(0.5, found[0] + 0.2)


def test_measures_of_known_mistakes() -> None:
    disc = np.zeros((1, 16, 16), bool)
    disc[0, 4:8, 4:8] = True
    none = np.zeros_like(disc)
    true = Labels(
        {"seen": disc, "hidden": none},
        {"one": np.array([[4.0, 4.0]]), "outside": np.array([[np.nan, np.nan]])},
        np.array([[179.0, 10.0]]),
    )
    found = Labels(
        {"seen": np.roll(disc, 2, axis=1), "hidden": disc},
        {"one": np.array([[7.0, 8.0]]), "outside": np.array([[0.0, 0.0]])},
        np.array([[-179.0, 13.0]]),
    )
    values = {name: value[0] for name, value in measure(found, true, np.array([0.5])).items()}
    assert values["dice_seen"] == 0.5
    assert np.isnan(values["dice_hidden"])
    assert values["radial_px"] == 5
    assert values["radial_mm"] == 2.5
    assert [values[f"found_{bound}mm"] for bound in ("2", "2.5", "3", "4")] == [0, 1, 1, 1]
    assert (values["angle_lao"], values["angle_cran"]) == (2, 3)
    assert surface_distance(none[0], disc[0]) == pytest.approx(16 * np.sqrt(2))


def made(like: UtilityRecord, label: str, dice: float, wobble: float) -> UtilityRecord:
    """A record with this Dice on average; heads differ by `wobble`."""
    groups = like.data.groups
    own = {group: (-1) ** k * wobble for k, group in enumerate(dict.fromkeys(groups))}
    values = [dice + own[group] for group in groups]
    method = like.method.model_copy(update={"label": label})
    return like.model_copy(update={"method": method, "measures": {"dice_bone": [values, values]}})


def test_utility_is_a_share_of_the_gap(tested: Path) -> None:
    like = records(tested)["histogram"]
    numbers: dict[str, tuple[float, float]] = {
        "source": (0.6, 0.01),
        "target": (0.9, 0.01),
        "half": (0.75, 0.01),
        "harm": (0.5, 0.01),
        "mixed": (0.75, 0.05),
    }
    rows = scores.rows(made(like, label, *pair) for label, pair in numbers.items())
    frame: Any = scores.frame(rows).set_index("method")
    assert frame.utility.to_dict() == pytest.approx(
        {"source": 0, "target": 1, "half": 0.5, "harm": -1 / 3, "mixed": 0.5}
    )
    # What all rows find equally hard does not blur their shares; what differs does.
    width = frame.utility_ci_high - frame.utility_ci_low
    assert width["half"] == pytest.approx(0, abs=1e-9)
    assert width["mixed"] > 0.05
    assert frame.segmentation_ci_high["half"] > frame.segmentation["half"]


def test_the_interval_over_trainings_counts_each_training_of_the_method_once(tested: Path) -> None:
    like = records(tested)["histogram"]
    rows = [made(like, "source", 0.6, 0.0), made(like, "target", 0.9, 0.0)]
    for seed, level in enumerate((0.70, 0.75, 0.80)):
        rows.append(made(like, "thrice", level, 0.0).model_copy(update={"seed": seed}))
    frame: Any = scores.frame(scores.rows(rows)).set_index("method")
    half = (frame.utility_ci_high - frame.utility_ci_low)["thrice"] / 2
    # Two networks learned from each training's images and found the same: no more is known.
    assert half == pytest.approx(stats.t.ppf(0.975, 2) * 0.05 / np.sqrt(3) / 0.3)


def test_without_anything_to_gain_there_is_no_utility(tested: Path) -> None:
    like = records(tested)["histogram"]
    numbers = {"source": (0.8, 0.01), "target": (0.7, 0.01), "other": (0.6, 0.01)}
    rows = scores.rows(made(like, label, *pair) for label, pair in numbers.items())
    frame: Any = scores.frame(rows).set_index("method")
    assert frame.utility.isna().all()
    assert frame.segmentation["other"] == pytest.approx(0.6, abs=0.01)
