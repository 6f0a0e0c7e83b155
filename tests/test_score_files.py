"""Files that `xbench score` reads and refuses, and options that it refuses."""

import json
import math
import os
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

world = runpy.run_path(str(Path(__file__).with_name("score_world.py")))
FOLDERS = world["FOLDERS"]
N = world["N"]
folders = world["folders"]
scored = world["scored"]
steps = world["steps"]
views = world["views"]
write = world["write"]
Xbench = Callable[..., Any]
Array = np.ndarray[Any, Any]


def test_a_files_format_changes_nothing(xbench: Xbench, folders: Array) -> None:
    before = scored(xbench)
    for number, path in enumerate(sorted(Path("made").iterdir())):
        pixels = np.asarray(Image.open(path)).astype(np.uint16)
        path.unlink()
        if number % 3 == 0:
            Image.fromarray(pixels).save(path.with_suffix(".tif"))
        elif number % 3 == 1:
            Image.fromarray((pixels / 65535).astype(np.float32)).save(path.with_suffix(".tiff"))
        else:
            np.save(path.with_suffix(".npy"), pixels)
    assert scored(xbench) == before


def test_eight_bits_of_grey_or_colour_are_alike(xbench: Xbench, folders: Array) -> None:
    found = []
    for mode in ("L", "RGB"):
        for path in Path("made").iterdir():
            pixels = np.asarray(Image.open(path)).astype(np.float64) / 257
            Image.fromarray(np.round(pixels).astype(np.uint8)).convert(mode).save(path)
        found.append(scored(xbench))
        Path("made").rename(f"made-{mode}")
        write("made", (0.8 * folders + 0.1).clip(0, 1))
    assert found[0] == found[1]


def test_order_and_batch_change_nothing(
    xbench: Xbench, folders: Array, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = scored(xbench)
    order = np.random.default_rng(3).permutation(N)
    for folder in ("given", "made", "true"):
        images = [np.asarray(Image.open(path)) / 65535 for path in sorted(Path(folder).iterdir())]
        write(folder, np.stack(images)[order])
    monkeypatch.setattr("xbench.scoring.measure.BATCH", 3)
    monkeypatch.setattr("xbench.scoring.measure.FEW", 2)
    monkeypatch.setenv("XBENCH_HOME", "another")  # features are recomputed
    after = scored(xbench)
    for name in before["identities"]:
        assert after[name] == (None if before[name] is None else pytest.approx(before[name]))


def test_processes_that_score_at_once_agree(xbench: Xbench, folders: Array) -> None:
    command = (sys.executable, "-m", "xbench.cli", "score", *FOLDERS, "--json")
    environment = os.environ | {"XBENCH_HOME": "cold"}
    running = [
        subprocess.Popen(
            command, stdout=subprocess.PIPE, env=environment | {"OMP_NUM_THREADS": threads}
        )
        for threads in ("1", "2")
    ]
    alone = scored(xbench)
    for process in running:
        out, _ = process.communicate(timeout=300)
        found = json.loads(out)
        for name in found["identities"]:
            assert found[name] == (None if alone[name] is None else pytest.approx(alone[name]))
        assert found["intervals"].keys() == alone["intervals"].keys()


def test_links_are_followed_and_what_systems_leave_is_passed_over(
    xbench: Xbench, folders: Array
) -> None:
    before = scored(xbench)
    Path("made").rename("elsewhere")
    Path("made").mkdir()
    for path in Path("elsewhere").iterdir():
        Path("made", path.name).symlink_to(path.resolve())
    Path("made/.DS_Store").write_text("x")
    Path("made/Thumbs.db").write_text("x")
    Path("made/__MACOSX").mkdir()
    assert scored(xbench) == before


FIRST = Path("made/head0-00.png")


def as_float(value: float) -> None:
    """The first image as a floating-point TIFF with one odd pixel."""
    image = views(count=1)[0].astype(np.float32)
    image[3, 4] = value
    FIRST.unlink()
    Image.fromarray(image).save(FIRST.with_suffix(".tif"))


def in_mode(mode: str, suffix: str = ".png") -> None:
    FIRST.unlink()
    grey = Image.fromarray(np.round(views(count=1)[0] * 255).astype(np.uint8))
    grey.convert(mode).save(FIRST.with_suffix(suffix))


def of_size(path: Path, side: int) -> None:
    Image.fromarray(steps(views(count=1)[0, :side, :side])).save(path)


def link(to: str) -> None:
    FIRST.unlink()
    FIRST.symlink_to(to)


def empty() -> None:
    shutil.rmtree("true")
    Path("true").mkdir()


#: What is wrong → what makes it so, and what the message must name.
DAMAGES: dict[str, tuple[Callable[[], object], str]] = {
    "pipe": (lambda: (FIRST.unlink(), os.mkfifo(FIRST)), "made/head0-00.png is no image"),
    "nan": (lambda: as_float(math.nan), "made/head0-00.tif has values that are not finite"),
    "infinite": (lambda: as_float(math.inf), "made/head0-00.tif has values that are not finite"),
    "above 1": (lambda: as_float(1.5), "made/head0-00.tif has values from"),
    "below 0": (lambda: as_float(-0.5), "made/head0-00.tif has values from -0.5"),
    "1 bit": (lambda: in_mode("1"), "made/head0-00.png has 1 bit"),
    "palette": (lambda: in_mode("P"), "made/head0-00.png has a palette"),
    "CMYK": (lambda: in_mode("CMYK", ".tif"), "made/head0-00.tif has the colours of a printer"),
    "CMYK JPEG": (lambda: in_mode("CMYK", ".jpg"), "made/head0-00.jpg has the colours"),
    "empty file": (lambda: FIRST.write_bytes(b""), str(FIRST)),
    "truncated": (lambda: FIRST.write_bytes(FIRST.read_bytes()[:300]), str(FIRST)),
    "text in a PNG": (lambda: FIRST.write_text("not an image"), str(FIRST)),
    "text file": (lambda: Path("made/notes.txt").write_text("!"), "made/notes.txt is no image"),
    "folder": (lambda: Path("made/more").mkdir(), "made/more is no image"),
    "dangling link": (lambda: link("nowhere.png"), "made/head0-00.png is not there"),
    "link to itself": (lambda: link(FIRST.name), "made/head0-00.png cannot be decoded"),
    "link to a folder": (lambda: link("../given"), "made/head0-00.png is no image"),
    "mixed sizes in a folder": (
        lambda: of_size(FIRST, 24),
        "made/head0-00.png has 24 x 24 pixels, made/head0-01.png 32 x 32",
    ),
    "mixed sizes": (
        lambda: of_size(Path("true/head0-00.png"), 24),
        "made/head0-00.png has 32 x 32 pixels, true/head0-00.png 24 x 24",
    ),
    "mixed sizes of training images": (
        lambda: of_size(Path("pool/head0-00.png"), 24),
        "made/head0-00.png has 32 x 32 pixels, pool/head0-00.png 24 x 24",
    ),
    "tiny": (lambda: of_size(FIRST, 8), "made/head0-00.png has 8 x 8 pixels"),
    "two of one name": (
        lambda: shutil.copy(FIRST, FIRST.with_suffix(".tif")),
        "made/head0-00.png and made/head0-00.tif have one name",
    ),
    "odd name": (
        lambda: FIRST.rename("made/other.png"),
        "given/head0-00.png has no partner called 'head0-00' in made",
    ),
    "missing source": (
        lambda: Path("given/head3-19.png").unlink(),
        "made/head3-19.png has no partner called 'head3-19' in given",
    ),
    "empty folder": (empty, "there are no images in true"),
    "no folder": (lambda: shutil.rmtree("true"), "there is no folder true"),
}


@pytest.mark.parametrize("what", DAMAGES)
def test_a_bad_file_is_named_in_three_lines(xbench: Xbench, folders: Array, what: str) -> None:
    spoil, named = DAMAGES[what]
    write("pool", views(seed=2))
    spoil()
    result = xbench("score", *FOLDERS, "--train", "pool", "--json")
    assert result.code == 2
    assert result.out == ""
    assert len(result.err.strip().splitlines()) == 3
    assert named in result.err
    assert "dataset.toml" not in result.err


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("--source given --metrics ssmi", "did you mean ssim?"),
        ("--source given --metrics ssim,fd", "--extractor"),
        ("--source given --extractor nothing.py:f", "nothing.py"),
        ("--source given --extractor inception", "xbench fetch inception"),
        ("--source given --stats nothing.safetensors", "nothing.safetensors is not there"),
        ("--source given --stats made/head0-00.png", "cannot be read"),
        ("--source given --train nothing", "there is no folder nothing"),
        ("--source given --group head[0-9]", "no bracketed part"),
        ("--source given --group (head", "no regular expression"),
        ("--source given --group (patient)", "finds a group in no name"),
        ("", "nothing to compare"),
        ("--source given --dataset phantom", "--dataset belongs to --as"),
        ("--as rival --target true", "--target is only for folders"),
        ("--as rival --train true", "--train is only for folders"),
        ("--as histogram", "'histogram' is taken"),
        ("--as floor", "'floor' is taken"),
        ("--as a:b", "'a:b' cannot name a row"),
        ("--as mine[2]", "--as my-mine-2"),
        ("--as ../mine", "'../mine' cannot name a row"),
        ("--as rival --profile smok", "did you mean smoke?"),
        ("--as rival --split tset", "did you mean test?"),
        ("--as rival --profile smoke", "made/synthetic_low--synthetic_high/<id>.png"),
    ],
)
def test_a_wrong_option_is_explained_in_three_lines(
    xbench: Xbench, folders: Array, options: str, expected: str
) -> None:
    result = xbench("score", "--translated", "made", *options.split())
    assert result.code == 2
    assert result.out == ""
    assert len(result.err.strip().splitlines()) == 3
    assert expected in result.err
    assert not Path("runs").exists()
