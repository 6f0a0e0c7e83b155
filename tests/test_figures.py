"""Figures: what they show as numbers, that they are the same each time, and odd names."""

import json
import runpy
import shutil
import xml.etree.ElementTree as ET
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from PIL import Image
from scipy import ndimage

from xbench.analysis import families
from xbench.analysis.figures.labels import label_points
from xbench.analysis.figures.spectra import edge_profile, power_spectrum
from xbench.analysis.latents import probe
from xbench.analysis.rows import make
from xbench.analysis.tradeoffs import Point, pareto_front
from xbench.methods.registry import BUILT_IN, REFERENCES

made = runpy.run_path(str(Path(__file__).with_name("made_records.py")))
record, row, references, write = (made[n] for n in ("record", "row", "references", "write"))

Xbench = Callable[..., Any]

FOLDER = Path("runs/phantom/smoke")
SMOKE = ("--profile", "smoke")
ODD = "$\\frac{_x&<script>|%#"


def plot(xbench: Xbench, *options: object) -> list[Path]:
    """`xbench plot …`, which must go well; the files that it names, which must be there."""
    result = xbench("plot", *options, *SMOKE)
    assert result.code == 0, result.err
    files = [Path(line) for line in result.out.split("\n") if line]
    assert all(file.stat().st_size for file in files)
    return files


def sweep() -> list[Any]:
    """A curve of three rows, a point that it beats, and one that it does not."""
    records = references()
    for tau, ssim, ftd in ((0.1, 0.7, 20.0), (0.5, 0.8, 40.0), (0.9, 0.9, 90.0)):
        label = "shift" if tau == 0.1 else f"shift[tau={tau}]"
        records += row(label, {"ssim": ssim, "ftd": ftd}, config={"tau": tau, "steps": 4})
    records += row("beaten", {"ssim": 0.75, "ftd": 50.0})
    return [*records, *row("ahead", {"ssim": 0.85, "ftd": 45.0})]


def test_the_trade_off_has_curves_and_a_front(xbench: Xbench) -> None:
    write(FOLDER, sweep())
    plot(xbench, "tradeoff")
    table = pd.read_csv(FOLDER / "tradeoff.csv").set_index("method")
    shift = table[table.curve == "shift"]
    assert shift.value.tolist() == [0.1, 0.5, 0.9]
    assert set(shift.knob) == {"tau"}
    assert table.index[table.pareto].tolist() == [
        "ahead",
        "shift",
        "shift[tau=0.5]",
        "shift[tau=0.9]",
    ]


def test_both_planes_are_drawn_where_records_have_their_values(xbench: Xbench) -> None:
    write(FOLDER, sweep())
    assert not any(file.stem == "perception-distortion" for file in plot(xbench, "tradeoff"))
    result = xbench("plot", "tradeoff", "--plane", "perception-distortion", *SMOKE)
    assert result.code == 2
    assert "no psnr_ref in any row" in result.err
    assert len(result.err.strip().splitlines()) == 3
    values = {"ssim": 0.7, "cftd": 20.0, "ftd": 30.0, "psnr_ref": 25.0}
    records = [*row("floor", {**values, "psnr_ref": 35.0}), *row("mine", values)]
    records += row("expected", {**values, "psnr_ref": 38.0}, reference=True)
    shutil.rmtree(FOLDER)
    write(FOLDER, records)
    files = plot(xbench, "tradeoff")
    assert [file.name for file in files] == [
        *(f"tradeoff.{ending}" for ending in ("png", "svg", "csv")),
        *(f"perception-distortion.{ending}" for ending in ("png", "svg", "csv")),
    ]
    assert list(pd.read_csv(files[2]))[4:6] == ["cftd", "ssim"]
    assert list(pd.read_csv(files[5]))[4:6] == ["ftd", "psnr_ref"]
    assert all(file in plot(xbench, "all") for file in files)
    one = plot(xbench, "tradeoff", "--plane", "perception-distortion", "--to", "plane.png")
    assert one == [Path("plane.png")]
    assert "--plane tradeoff" in xbench("plot", "tradeoff", "--plane", "other", *SMOKE).err


def test_a_family_has_one_look_whichever_rows_there_are() -> None:
    labels = ("medshift", "medshift[tau=0.3]", "cut[images=1024]", "identity", "my-own", "yours")
    rows = make([r for label in labels for r in row(label, {"ssim": 0.5})])
    looks = families.looks(rows)
    assert list(looks) == ["cut", "identity", "medshift", "my-own", "yours"]
    assert looks["identity"].colour == families.REFERENCE_COLOUR
    assert len({*looks.values()}) == 5
    alone = families.looks({"medshift": rows["medshift"]})
    assert alone == {"medshift": looks["medshift"]}
    built_in = [name for name in BUILT_IN if name not in REFERENCES]
    everything = families.looks(make([r for name in built_in for r in row(name, {"ssim": 0.5})]))
    assert len({*everything.values()}) == len(built_in)  # colours repeat, with another shape


def test_another_training_budget_is_named_by_its_ratio() -> None:
    rows = make(
        [
            *row("cut", {"ssim": 0.5}, train_images=512),
            *row("cut[images=1024]", {"ssim": 0.5}, train_images=1024),
            *row("unsb[images=64]", {"ssim": 0.5}),
        ]
    )
    texts = [families.short(label, rows) for label in rows]
    assert texts == ["cut", "cut ×2", "unsb[images=64]"]


def test_labels_of_points_cover_neither_each_other_nor_points() -> None:
    places = np.random.default_rng(0).uniform(0.2, 0.8, (20, 2))
    figure, axes = plt.subplots(figsize=(3.4, 3.4))
    axes.set(xlim=(0, 1), ylim=(0, 1))
    names = [f"method {k}" for k in range(20)]
    label_points(figure, axes, [tuple(place) for place in places], names)
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in axes.texts if text.get_text()]
    assert len(boxes) == 20
    assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))
    points = axes.transData.transform(places)
    assert not any(box.contains(*point) for box in boxes for point in points)
    frame = axes.get_window_extent()
    assert all(frame.contains(*corner) for box in boxes for corner in box.corners())
    plt.close(figure)


def test_a_curve_joins_all_rows_that_differ_in_one_number(xbench: Xbench) -> None:
    records = sweep()
    for tau, steps in ((0.1, 1), (0.1, 2), (0.5, 1)):
        label = f"shift[steps={steps}]" if tau == 0.1 else f"shift[tau={tau},steps={steps}]"
        # One step leads farther from the target than the source is: out of the picture.
        values = {"ssim": 0.95, "ftd": 60.0} if steps == 2 else {"ssim": 0.1, "ftd": 300.0}
        records += row(label, values, config={"tau": tau, "steps": steps})
    write(FOLDER, records)
    plot(xbench, "tradeoff")
    table = pd.read_csv(FOLDER / "tradeoff.csv", index_col="method")
    own = table[table.curve.str.startswith("shift")].fillna({"knob": ""})
    assert [
        (curve, knob, rows.index.tolist())
        for (curve, knob), rows in own.groupby(["curve", "knob"], sort=False)
    ] == [
        ("shift", "tau", ["shift", "shift[tau=0.5]", "shift[tau=0.9]"]),
        ("shift[steps=1]", "tau", ["shift[steps=1]", "shift[tau=0.5,steps=1]"]),
        ("shift", "steps", ["shift[steps=1]", "shift[steps=2]", "shift"]),
        ("shift[tau=0.5]", "steps", ["shift[tau=0.5,steps=1]", "shift[tau=0.5]"]),
    ]
    assert own.pareto["shift[steps=2]"]
    plot(xbench, "tradeoff", "--row", "shift", "--row", "shift[steps=1]", "--to", "steps.png")


def test_the_front_has_each_place_once() -> None:
    some = [Point("", None, x, y) for x, y in ((50, 0.75), (50, 0.75), (60, 0.7), (200, 0.2))]
    assert pareto_front(some) == [some[0]]


def test_equal_records_draw_equal_files(xbench: Xbench) -> None:
    write(FOLDER, sweep())
    commands = (("tradeoff",), ("pairs", "--metric", "ssim"))
    files = [file for command in commands for file in plot(xbench, *command)]
    assert {file.suffix for file in files} == {".png", ".svg", ".csv"}
    before = {file: file.read_bytes() for file in files}
    for command in commands:
        plot(xbench, *command)
    assert {file: file.read_bytes() for file in files} == before


def test_odd_names_are_drawn_as_text(xbench: Xbench) -> None:
    write(FOLDER, [*references(), *row(ODD, {"ssim": 0.8, "ftd": 9.0}, name="odd")])
    for command in ("tradeoff", "pairs"):
        _, svg, *_ = plot(xbench, command)
        tags = {element.tag.rpartition("}")[2] for element in ET.parse(svg).iter()}
        assert "path" in tags
        assert "script" not in tags
    plot(xbench, "samples")


def test_one_row_on_one_pair_has_a_heat_map_and_no_trade_off(xbench: Xbench) -> None:
    write(FOLDER, [record("one", ("sim", "real_a"), {"ssim": 0.5, "ftd": None})])
    (picture,) = plot(xbench, "pairs", "--metric", "ssim", "--to", "one.png")
    assert Image.open(picture).width > 200
    assert "pairs-ssim" in xbench("plot", "pairs", *SMOKE).out  # FTD, where it has values
    for command, wrong in (
        (("tradeoff",), "no method has all pairs"),
        (("pairs", "--metric", "ftd"), "FTD is empty in every record"),
        (("pairs", "--metric", "ssim", "--row", "two"), "finished row called 'two'"),
        (("pairs", "--metric", "ssim", "--to", "one.gif"), "cannot be written as one.gif"),
        (("training",), "no log of a training"),
        (("spectra",), "no translated images"),
    ):
        result = xbench("plot", *command, *SMOKE)
        assert result.code == 2
        assert wrong in result.err
        assert len(result.err.strip().splitlines()) == 3


def test_training_curves_come_from_the_logs_that_records_name(xbench: Xbench) -> None:
    write(FOLDER, row("one", {"ssim": 0.5}, weights_sha256={"abc": "0", "gone": "0"}))
    log = {
        **{"recipe": {}, "weights_sha256": "0", "images": 640, "seconds": 1.0},
        "curve": {"flow": [1 / (k + 1) for k in range(50)], "none": []},
    }
    path = FOLDER / "trainings" / "abc" / "training.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(log))
    png, _ = plot(xbench, "training")
    assert Image.open(png).width > 300


def test_spectra_compare_translations_with_source_and_target(xbench: Xbench) -> None:
    pair = ("sim", "real_a")
    pairs = (pair, pair[::-1])
    records = [record(name, p, {"ssim": 0.5}) for name in ("identity", "one") for p in pairs]
    write(FOLDER, records)
    noise = np.random.default_rng(0)
    for each in records:
        unit = f"{each.method.label}/seed0/{each.source}--{each.target}"
        folder = FOLDER / "images" / unit
        folder.mkdir(parents=True)
        for name in each.data.ids:
            pixels = noise.integers(0, 2**16, (16, 16), dtype=np.uint16)
            Image.fromarray(pixels).save(folder / f"{name}.png")
    png, _ = plot(xbench, "spectra")
    assert Image.open(png).height > 300
    next((FOLDER / "images/one/seed0/sim--real_a").glob("*.png")).write_bytes(b"damaged")
    plot(xbench, "spectra", "--pairs", "real_a:sim")
    assert xbench("plot", "spectra", *SMOKE, "--pairs", "sim:real_a").code == 2


def test_white_noise_has_its_variance_as_power_at_every_frequency() -> None:
    images = 0.5 + 0.1 * np.random.default_rng(0).standard_normal((64, 48, 64))
    frequency, power = power_spectrum(images)
    assert frequency[0] == pytest.approx(1 / 48)
    assert frequency[-1] == pytest.approx(0.5)
    assert power[2:] == pytest.approx(np.full(len(power) - 2, -20), abs=0.5)


def test_blurred_edges_have_wider_profiles() -> None:
    disc = (np.hypot(*np.mgrid[-32:32, -32:32]) > 20).astype(float)
    widths = []
    for sigma in (0.7, 1.5, 2.5):
        at, profile = edge_profile(ndimage.gaussian_filter(disc, sigma)[None])
        assert profile[[0, -1]] == pytest.approx([0, 1], abs=0.05)
        middle = np.interp([0.25, 0.75], profile, at)
        widths.append(middle[1] - middle[0])
        # Quartiles of a Gaussian lie 1.35 standard deviations apart.
        assert widths[-1] == pytest.approx(1.35 * np.hypot(sigma, 0.4), rel=0.15)


def test_the_probe_predicts_domains_only_from_what_heads_share() -> None:
    noise = np.random.default_rng(0)
    groups = [f"head{k // 4}" for k in range(40)]
    labels = ["a", "b"] * 20
    sign = np.array([1.0, -1.0] * 20)
    apart = noise.standard_normal((40, 60))
    apart[:, 0] += 20 * sign
    assert probe(apart, labels, groups).mean() == 1
    assert 0.2 < probe(noise.standard_normal((40, 60)), labels, groups).mean() < 0.8
    # A direction of its own for every head says nothing about the domains of other heads.
    own = np.zeros((40, 10))
    own[np.arange(40), np.arange(40) // 4] = sign
    assert probe(own, labels, groups).mean() == pytest.approx(0.5)


def test_latents_of_a_trained_method_are_drawn(xbench: Xbench, finished: Path) -> None:
    out = finished.parents[1]
    options = ("--out", out, "--set", "budget.images=64", "--embedding", "pca")
    assert plot(xbench, "latents", *options, "--taus", "1,0.2", "--to", "latents.png")
    for wrong, text in (
        (("--method", "histogram"), "no latents at a time tau"),
        (("--seed", "7"), "xbench run --method medshift"),
        (("--taus", "0,2"), "--taus 0,2 cannot be read"),
    ):
        result = xbench("plot", "latents", *SMOKE, *options, *wrong)
        assert result.code == 2
        assert text in result.err


def test_umap_is_asked_for_before_any_work(xbench: Xbench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    result = xbench("plot", "latents", *SMOKE)
    assert result.code == 2
    assert "pip install 'xbench-xray[umap]', or --embedding pca" in result.err


def test_domains_of_any_data_set_stand_side_by_side(xbench: Xbench) -> None:
    (picture,) = plot(xbench, "domains", "--views", 2, "--to", "domains.png")
    assert Image.open(picture).width > 600
