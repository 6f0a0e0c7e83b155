"""`xbench translate`: files of one's own, by a method that a run has trained."""

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
import tifffile
from PIL import Image

Xbench = Callable[..., Any]
SaveDicom = Callable[..., Path]

PAIR = ("--source", "synthetic_low", "--target", "real_normal")
IDENTITY = ("--method", "identity", "--profile", "smoke", *PAIR)

NOISY = """
import torch
from xbench.methods.base import Method

class Noisy(Method):
    stochastic = True
    def translate(self, images, source, target, *, generators):
        print("a method may talk")
        noise = [torch.randn(image.shape, generator=g) for image, g in zip(images, generators)]
        return images + 0.1 * torch.stack(noise)
"""

DARK = """
from xbench.methods.base import Method

class Dark(Method):
    def translate(self, images, source, target, *, generators):
        return images * 0
"""


def medshift(finished: Path) -> tuple[object, ...]:
    """The options of the method that the finished run has trained."""
    where = ("--profile", "smoke", "--out", finished.parent.parent)
    return ("--method", "medshift", "--set", "budget.images=64", *where, *PAIR)


def save(path: Path, kind: type = np.uint16, shape: tuple[int, ...] = (32, 32)) -> np.ndarray:
    """Write a smooth picture over the full range of a type, and return it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width = shape[-2:]
    down, across = np.mgrid[0:height, 0:width]
    grey = (np.sin(down / 5) * np.cos(across / 7) + 1) / 2
    top = 1 if np.issubdtype(kind, np.floating) else np.iinfo(kind).max
    values = (grey * top).astype(kind).reshape(shape)
    if path.suffix == ".npy":
        np.save(path, values)
    else:
        Image.fromarray(values).save(path)
    return values


def load(path: Path) -> np.ndarray:
    return np.load(path) if path.suffix == ".npy" else np.asarray(Image.open(path))


@pytest.mark.parametrize(
    ("name", "kind", "shape"),
    [
        ("grey8.png", np.uint8, (32, 32)),
        ("grey16.png", np.uint16, (32, 32)),
        ("grey16.tiff", np.uint16, (32, 32)),
        ("float.tif", np.float32, (32, 32)),
        ("bytes.npy", np.uint8, (1, 32, 32)),
        ("double.npy", np.float64, (32, 32)),
        ("wide.PNG", np.uint8, (48, 75)),
        ("tall.tif", np.uint16, (90, 40)),
        ("large.npy", np.float32, (1, 1, 70, 70)),
        ("photo.jpg", np.uint8, (40, 41)),
    ],
)
def test_size_depth_and_name_are_kept(
    xbench: Xbench, name: str, kind: type, shape: tuple[int, ...]
) -> None:
    """At the working size identity gives back the very values; elsewhere they are close."""
    given = save(Path("in") / name, kind, shape)
    result = xbench("translate", *IDENTITY, "in", "out")
    assert result.code == 0, result.err
    found = load(Path("out") / name)
    assert (found.dtype, found.shape) == (given.dtype, given.shape)
    top = 1 if np.issubdtype(kind, np.floating) else np.iinfo(kind).max
    difference = np.abs(found.astype(float) - given.astype(float)).max() / top
    assert difference < (1 / 65535 if shape[-2:] == (32, 32) else 0.15)


def test_the_results_are_those_of_the_run(xbench: Xbench, finished: Path) -> None:
    """The run's own sources, as files of the user's, become the run's own translations."""
    sources = finished / "images/identity/seed0/synthetic_low--real_normal"
    made = finished / "images/medshift[images=64]/seed0/synthetic_low--real_normal"
    result = xbench("translate", *medshift(finished), sources, "out")
    assert result.code == 0, result.err
    names = {path.name for path in made.iterdir()}
    assert {path.name for path in Path("out").iterdir()} == names
    for name in names:
        ours, theirs = (load(folder / name).astype(int) for folder in (Path("out"), made))
        assert np.abs(ours - theirs).max() <= 8  # of 65535: sums in batches round otherwise
        assert np.abs(ours - load(sources / name)).max() > 655


def test_a_row_of_a_run_is_enough(xbench: Xbench, finished: Path) -> None:
    save(Path("in/a.png"))
    xbench("translate", *medshift(finished), "in", "one")
    row = ("--run", finished, "--method", "medshift[images=64]")
    assert xbench("translate", *row, *PAIR, "in/a.png", "other.png").code == 0
    np.testing.assert_array_equal(load(Path("one/a.png")), load(Path("other.png")))
    assert xbench("translate", *row, *PAIR, "--profile", "quick", "in", "new").code == 2


def test_other_files_and_their_order_change_nothing(xbench: Xbench) -> None:
    Path("noisy.py").write_text(NOISY)
    noisy = ("--method", "noisy.py:Noisy", "--profile", "smoke", *PAIR)
    for name in ("a.png", "b.png", "sub/c.png"):
        save(Path("in") / name)
    result = xbench("translate", *noisy, "in", "all", "--json")
    assert [row["state"] for row in json.loads(result.out)] == ["translated"] * 3
    assert xbench("translate", *noisy, "in/b.png", "alone").code == 0
    assert Path("all/b.png").read_bytes() == Path("alone/b.png").read_bytes()
    found = {load(path).tobytes() for path in Path("all").rglob("*.png")}
    assert len(found) == 3  # each name draws its own noise
    assert xbench("translate", *noisy, "in/b.png", "other", "--seed", "1").code == 0
    assert (load(Path("other/b.png")) != load(Path("alone/b.png"))).any()


def test_a_broken_file_stops_no_other(xbench: Xbench) -> None:
    save(Path("in/a.png"))
    save(Path("in/c.png"))
    Path("in/b.png").write_bytes(Path("in/a.png").read_bytes()[:200])
    save(Path("in/tiny.png"), shape=(4, 4))
    Path("in/notes.txt").write_text("no image")
    result = xbench("translate", *IDENTITY, "in", "out", "--json")
    assert result.code == 1
    rows = {Path(row["file"]).name: row for row in json.loads(result.out)}
    assert {name: row["state"] for name, row in rows.items()} == {
        "a.png": "translated",
        "b.png": "failed",
        "c.png": "translated",
        "tiny.png": "failed",
    }
    assert "at least 16" in rows["tiny.png"]["reason"]
    assert {path.name for path in Path("out").iterdir()} == {"a.png", "c.png"}


def test_what_is_there_is_kept_unless_forced(xbench: Xbench) -> None:
    save(Path("in/a.png"))
    Path("out").mkdir()
    Path("out/a.png").write_text("mine")
    assert xbench("translate", *IDENTITY, "in", "out").code == 0
    assert Path("out/a.png").read_text() == "mine"
    assert xbench("translate", *IDENTITY, "in", "out", "--force").code == 0
    assert load(Path("out/a.png")).shape == (32, 32)


def test_a_method_that_was_not_trained_names_the_command_that_trains_it(xbench: Xbench) -> None:
    save(Path("in/a.png"))
    arguments = ("--method", "medshift", "--profile", "smoke", "--set", "budget.images=32", *PAIR)
    result = xbench("translate", *arguments, "in", "out")
    assert result.code == 2
    assert not Path("out").exists()
    assert not Path("runs").exists()
    wrong, expected, fix = result.err.strip().splitlines()
    assert "has not learned to translate synthetic_low into real_normal" in wrong
    assert "training" in expected
    _, _, *command = shlex.split(fix)
    assert xbench(*command).code == 0
    assert xbench("translate", *arguments, "in", "out").code == 0


def test_bright_bone_and_a_window_of_twelve_bits(xbench: Xbench) -> None:
    """An image at the window's ends, inverted for the method and back again."""
    path = Path("in/a.png")
    path.parent.mkdir()
    values = np.tile(np.linspace(100, 4000, 32).astype(np.uint16), (32, 1))
    Image.fromarray(values).save(path)
    Path("dark.py").write_text(DARK)
    dark = ("--method", "dark.py:Dark", "--profile", "smoke", *PAIR, "--window", "100,4000")
    assert xbench("translate", *dark, "in", "out").code == 0
    assert (load(Path("out/a.png")) == 100).all()
    assert xbench("translate", *dark, "in", "bright", "--polarity", "bone-bright").code == 0
    assert (load(Path("bright/a.png")) == 4000).all()
    window = ("--window", "100,4000", "--polarity", "bone-bright")
    assert xbench("translate", *IDENTITY, *window, "in", "same").code == 0
    np.testing.assert_array_equal(load(Path("same/a.png")), values)


def test_the_data_sets_own_polarity_and_window_hold(xbench: Xbench) -> None:
    for domain in ("dark", "bright"):
        for number in range(6):
            save(Path("data") / domain / f"{number}.png")
    Path("data/dataset.toml").write_text(
        '[polarity]\nbright = "bone-bright"\n[window]\nbright = [0, 30000]\n'
    )
    Path("dark.py").write_text(DARK)
    dark = ("--method", "dark.py:Dark", "--profile", "smoke", "--dataset", "data")
    pair = ("--source", "bright", "--target", "dark")
    assert xbench("translate", *dark, *pair, "data/bright", "out").code == 0
    assert (load(Path("out/0.png")) == 30000).all()


def test_dicom_becomes_a_png_of_sixteen_bits(xbench: Xbench, save_dicom: SaveDicom) -> None:
    pixels = np.tile(np.linspace(0, 4095, 32).astype(np.uint16), (32, 1))
    Path("in").mkdir()
    save_dicom(Path("in/scan.dcm"), pixels)
    save_dicom(Path("in/IM0001"), pixels)
    assert xbench("translate", *IDENTITY, "in", "out").code == 0
    for name in ("scan.png", "IM0001.png"):
        found = load(Path("out") / name).astype(float) / 65535
        assert np.abs(found - pixels / 4095).max() < 1e-3
        assert b"Doe" not in (Path("out") / name).read_bytes()


@pytest.mark.parametrize("zero", ["minisblack", "miniswhite"])
@pytest.mark.parametrize("kind", ["uint8", "uint16", "int16", "uint32", "float16", "float64"])
def test_tiffs_keep_type_and_polarity(xbench: Xbench, kind: str, zero: str) -> None:
    given = save(Path("in/a.npy"), np.float64)
    Path("in/a.npy").unlink()
    limits = np.array([-0.5, 1.5]) if kind.startswith("f") else None
    low, high = (np.iinfo(kind).min, np.iinfo(kind).max) if limits is None else limits
    given = (low + given * (float(high) - low)).astype(kind)
    tifffile.imwrite("in/a.tif", given, photometric=zero)
    window = (f"--window={float(low)},{float(high)}",)
    result = xbench("translate", *IDENTITY, *window, "in", "out", "--json")
    assert result.code == 0, result.err
    assert [row["reason"] for row in json.loads(result.out)] == [""]
    with tifffile.TiffFile("out/a.tif") as file:
        assert file.pages[0].photometric.name.lower() == zero
        found = file.asarray()
    assert found.dtype == given.dtype
    error = np.abs(found.astype(float) - given.astype(float)).max() / (float(high) - low)
    assert error < 1 / 2000  # the type's own steps, of 11 bits in float16


def test_a_graymap_keeps_its_white(xbench: Xbench) -> None:
    values = save(Path("in/a.png")) >> 4
    Path("in/a.png").unlink()
    Path("in/a.pgm").write_bytes(b"P5 32 32 4095\n" + values.astype(">u2").tobytes())
    assert xbench("translate", *IDENTITY, "in", "out").code == 0
    assert Path("out/a.pgm").read_bytes() == b"P5\n32 32\n4095\n" + values.astype(">u2").tobytes()


def test_what_is_not_kept_is_said(xbench: Xbench, save_dicom: SaveDicom) -> None:
    grey = save(Path("in/grey.png"))
    colours = np.stack([grey, grey // 2, grey], -1)
    tifffile.imwrite("in/colour.tif", colours, photometric="rgb")
    Image.fromarray((grey >> 8).astype(np.uint8)).convert("LA").save("in/clear.png")
    save_dicom(Path("in/1.2.840.5"), grey >> 4, PhotometricInterpretation="MONOCHROME1")
    sitk.WriteImage(sitk.GetImageFromArray(grey), "in/slice.nii.gz")
    Path("in/grey.png").rename("in/lie.jpg")  # a PNG, whatever its name
    result = xbench("translate", *IDENTITY, "in", "out", "--json")
    assert result.code == 0, result.err
    rows = json.loads(result.out)
    assert {(Path(row["to"]).name, row["reason"]) for row in rows} == {
        ("colour.tif", "colour became grey"),
        ("clear.png", "transparency is left out"),
        ("1.2.840.5.png", "DICOM became PNG of 16 bits, as displayed"),
        ("slice.png", "NIfTI became PNG of 16 bits, as displayed"),
        ("lie.png", ""),
    }
    assert tifffile.imread("out/colour.tif").dtype == np.uint16
    assert np.array_equal(load(Path("out/lie.png")), grey)
    shown = 1 - (grey >> 4) / 4095  # MONOCHROME1 is displayed inverted
    assert np.abs(load(Path("out/1.2.840.5.png")) / 65535 - shown).max() < 1e-3


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ("in in/out", "whose images are translated"),
        ("in in", "whose images are translated"),
        ("in link/a.png", "link/a.png is a file"),
        ("in/a.png in", "would be overwritten"),
        ("in/a.png in/a.png", "would be overwritten"),
        ("link out", "would be overwritten"),
        ("in/a.png b.tif", "the format is kept"),
        ("twins out", "would both become a.png"),
        ("empty out", "there are no images"),
        ("nothing out", "there is no nothing"),
        ("in out --window 5,1", "the lower one first"),
        ("in out --polarity dark", "did you mean bone-dark?"),
        ("in out --source real_lou", "did you mean real_low?"),
        ("in out --run empty", "no finished units"),
    ],
)
def test_a_mistake_is_found_before_any_file_is_written(
    xbench: Xbench, save_dicom: SaveDicom, arguments: str, reason: str
) -> None:
    save(Path("in/a.png"))
    save(Path("twins/a.png"))
    save_dicom(Path("twins/a.dcm"), np.zeros((32, 32), np.uint16))
    Path("empty").mkdir()
    Path("out").mkdir()
    save(Path("link/a.png"))
    Path("out/a.png").symlink_to(Path("link/a.png").absolute())
    before = Path("in/a.png").read_bytes()
    options = (*PAIR, "--method", "identity")
    options += () if "--run" in arguments else ("--profile", "smoke")
    result = xbench("translate", *options, *arguments.split())
    assert result.code == 2
    assert len(result.err.strip().splitlines()) == 3
    assert reason in result.err
    assert Path("in/a.png").read_bytes() == before
    assert {path.name for path in Path("out").iterdir()} == {"a.png"}
