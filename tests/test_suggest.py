"""`data init` guesses what images say, and nothing that they do not say."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from xbench.core.hashing import seed_from
from xbench.datasets.suggest import suggest

from .shadows import bone

SIZE = 64


def head(view: str, contrast: float = 1.4) -> np.ndarray:
    """A head-like shadow in bright air, float `[SIZE, SIZE]` in [0, 1]."""
    return np.clip(np.exp(-contrast * bone(view, SIZE)), 0, 1)


def no_anatomy(view: str) -> np.ndarray:
    return np.random.default_rng(seed_from(view)).random((SIZE, SIZE))


def fill(
    folder: Path,
    image: Callable[[str], np.ndarray],
    number: int = 20,
    name: str = "view",
    most: int = 255,
) -> None:
    folder.mkdir(parents=True)
    kind = np.uint8 if most < 256 else np.uint16
    for k in range(number):
        pixels = np.round(image(f"{name}{k}") * most).astype(kind)
        Image.fromarray(pixels).save(folder / f"{name}{k}.png")


def negative(view: str) -> np.ndarray:
    return 1 - head(view, 0.8)


def test_files_that_cannot_be_used_are_counted_and_one_is_named(
    tmp_path: Path, save_dicom: Callable[..., Path]
) -> None:
    fill(tmp_path / "film", head, name="f")
    fill(tmp_path / "screen", head, number=17, name="s")
    for number in range(3):
        save_dicom(tmp_path / f"screen/{number}.dcm", np.zeros((64, 64)), PixelData=None)
    _, remarks = suggest(tmp_path)
    (remark,) = [line for line in remarks if "cannot be used" in line]
    assert remark.startswith("screen: 3 of 20 images")
    assert ".dcm, which has no pixel data" in remark
    assert "xbench data verify" in remark


def test_domains_are_compared_with_one_another(tmp_path: Path) -> None:
    fill(tmp_path / "film", head, name="f")
    fill(tmp_path / "screen", negative, name="s")
    description, remarks = suggest(tmp_path)
    assert description.polarity == {"screen": "bone-bright"}
    (remark,) = [line for line in remarks if line.startswith("screen")]
    assert "100%" in remark
    assert "film" in remark


def test_polarity_that_images_do_not_show_is_left_alone_and_said(tmp_path: Path) -> None:
    for domain in ("a", "b"):
        fill(tmp_path / domain, no_anatomy, name=domain)
    description, remarks = suggest(tmp_path)
    assert description.polarity == "bone-dark"
    assert sum('set polarity = "bone-bright"' in line for line in remarks) == 2


def test_constant_images_have_no_say(tmp_path: Path) -> None:
    fill(tmp_path / "a", negative, name="a")
    fill(tmp_path / "b", negative, name="b")
    for k in range(10):
        Image.new("L", (SIZE, SIZE), 255 * (k % 2)).save(tmp_path / "a" / f"flat{k}.png")
    description, _ = suggest(tmp_path)
    assert description.polarity == "bone-bright"


def test_two_polarities_in_one_domain_are_told(tmp_path: Path) -> None:
    fill(tmp_path / "a", lambda view: negative(view) if int(view[1:]) < 6 else head(view), name="a")
    fill(tmp_path / "b", head, name="b")
    _, remarks = suggest(tmp_path)
    (remark,) = [line for line in remarks if "negatives of the others" in line]
    assert remark.startswith("a: 6 of 20")


def test_no_window_is_guessed_for_two_bit_depths(tmp_path: Path) -> None:
    fill(tmp_path / "a", head, 10, name="deep", most=4095)
    fill(tmp_path / "b", head, 20, name="b", most=4095)
    for k in range(10):
        pixels = (head(f"flat{k}") * 255).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / "a" / f"flat{k}.jpg")
    description, remarks = suggest(tmp_path)
    assert description.window == {"b": (0.0, 4095.0)}
    (remark,) = [line for line in remarks if "bit depth" in line]
    assert "8 bits (10), 16 bits (10)" in remark


@pytest.mark.parametrize("brightness", [head, negative], ids=["alike", "negative"])
def test_equal_names_of_equal_views_are_aligned(
    tmp_path: Path, brightness: Callable[[str], np.ndarray]
) -> None:
    fill(tmp_path / "a", head)
    fill(tmp_path / "b", brightness)
    description, remarks = suggest(tmp_path)
    assert description.alignment == "id"
    assert any("(20 names)" in line for line in remarks)


def test_equal_names_of_other_views_are_not_aligned(tmp_path: Path) -> None:
    fill(tmp_path / "a", head)
    fill(tmp_path / "b", lambda view: head("another " + view))
    description, remarks = suggest(tmp_path)
    assert description.alignment == "none"
    (remark,) = [line for line in remarks if "alignment" in line]
    assert "20 names" in remark
    assert 'alignment = "id"' in remark


def test_few_equal_names_say_nothing_of_alignment(tmp_path: Path) -> None:
    fill(tmp_path / "a", head, 3)
    fill(tmp_path / "b", head, 3)
    description, remarks = suggest(tmp_path)
    assert description.alignment == "none"
    assert any("only 3 names" in line for line in remarks)


def test_headers_say_the_polarity(tmp_path: Path, save_dicom: Callable[..., Path]) -> None:
    for domain in ("a", "b"):
        (tmp_path / domain).mkdir()
        for k in range(6):
            pixels = np.round(no_anatomy(f"{domain}{k}") * 4095).astype(np.uint16)
            save_dicom(tmp_path / domain / f"{domain}{k}.dcm", pixels, Modality="DX")
    description, remarks = suggest(tmp_path)
    assert description.polarity == "bone-bright"
    assert all("header" in line for line in remarks if "polarity" in line)
