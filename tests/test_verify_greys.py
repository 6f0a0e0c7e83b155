"""`data verify` finds inverted images and domains, and greys that do not fit the range."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from xbench.core.hashing import seed_from
from xbench.datasets.facts import Loaded
from xbench.datasets.index import Item
from xbench.datasets.quality import check

from .shadows import SIZE, Array, Data, draw, draw_file, found


@pytest.fixture
def data(tmp_path: Path) -> Data:
    """Two clean domains."""
    return Data(tmp_path).fill("synthetic").fill("real")


@pytest.mark.parametrize("share", [0.1, 0.4])
def test_inverted_images_are_found_by_the_majority(data: Data, share: float) -> None:
    files = [file for file in sorted(data.items) if file.startswith("real/train")]
    inverted = files[: round(share * 32)]
    for file in inverted:
        data.put(file, 1 - draw_file(data.items[file]))
    assert found(data.check()) == {("mixed polarity", tuple(inverted))}


def test_of_two_halves_the_one_with_bright_bone_is_inverted(data: Data) -> None:
    files = sorted(file for file in data.items if file.startswith("real"))[::2]
    for file in files:
        data.put(file, 1 - draw_file(data.items[file]))
    assert found(data.check(aligned=False)) == {("mixed polarity", tuple(files))}


def test_a_domain_with_bright_bone(data: Data) -> None:
    for file, item in data.items.items():
        if item.domain == "real":
            data.put(file, 1 - draw_file(item))
    (problem,) = data.check()
    assert (problem.check, problem.domain) == ("polarity", "real")
    assert 'polarity = "bone-bright"' in problem.text


def test_domains_of_opposite_polarity_are_both_named(data: Data) -> None:
    for file, item in data.items.items():
        if item.domain == "synthetic":
            data.put(file, 1 - draw_file(item))
    (problem,) = data.check()
    assert (problem.check, problem.domain) == ("polarity", "synthetic")
    assert "real" in problem.note


def test_a_header_outweighs_what_images_look_like(data: Data) -> None:
    def bright(item: Item) -> Loaded:
        return data.load(item)._replace(bone_bright=True)

    problems = check(list(data.items.values()), bright)
    assert {(p.check, p.domain) for p in problems} == {
        ("polarity", "synthetic"),
        ("polarity", "real"),
    }
    assert all("header" in p.text for p in problems)


def test_headers_that_contradict_the_images_are_not_believed(data: Data) -> None:
    said: list[str] = []

    def by_header(item: Item) -> Loaded:
        return data.load(item)._replace(bone_bright=item.domain == "real")

    assert check(list(data.items.values()), by_header, say=said.append) == []
    assert all("not sure" in line for line in said)


def test_it_is_said_how_sure_the_polarity_is(data: Data) -> None:
    said: list[str] = []
    assert check(list(data.items.values()), data.load, say=said.append) == []
    assert len(said) == 2
    assert all("bone is dark" in line and "100%" in line for line in said)


def chest(view: str, cut: tuple[float, float, float, float] = (0, 0, 0, 0)) -> Array:
    """A chest-like shadow, air bright; below a collimator that is cut off by these shares."""
    shape = np.random.default_rng(seed_from(view))
    top, bottom, left, right = cut
    y, x = np.mgrid[-1 : 1 : SIZE * 1j, -1 : 1 : SIZE * 1j]
    # The anatomy fills what the collimator leaves.
    high, wide = 2 - 2 * (top + bottom), 2 - 2 * (left + right)
    y, x = 2 * (y + 1 - 2 * top) / high - 1, 2 * (x + 1 - 2 * left) / wide - 1
    image = 0.5 - 0.25 * np.clip(y, 0, 1)
    for side in (-0.42, 0.42):
        across, along = shape.uniform(0.22, 0.36), shape.uniform(0.5, 0.75)
        lung = ((x - side) / across) ** 2 + ((y - shape.uniform(-0.1, 0.1)) / along) ** 2 < 1
        image = np.where(lung, image + 0.3, image)
    image = np.where(y > 0.65, image - 0.2, image)
    image = np.where(abs(x) < 0.12, image - 0.12, image)
    image = np.where((y < -0.8) & (abs(x) > 0.6), 0.95, image)
    image = np.where((abs(x) > 1) | (abs(y) > 1), 0.92, image)
    image = image + np.random.default_rng(seed_from(view, "grain")).normal(0, 0.01, image.shape)
    return np.clip(image, 0, 1)


@pytest.fixture
def chests(tmp_path: Path) -> Data:
    data = Data(tmp_path)
    for domain in ("one", "two"):
        for number in range(24):
            view = f"{domain}{number:02d}"
            data.add(domain, "train" if number < 16 else "test", view, chest(view))
    return data


@pytest.mark.parametrize("shutter", [0.05, 0.92], ids=["dark", "bright"])
def test_collimated_images_are_not_inverted(chests: Data, shutter: float) -> None:
    """Below, above, at the sides and all around."""
    cuts = ((0, 0.4, 0, 0), (0.3, 0, 0, 0), (0, 0, 0.25, 0.25), (0.15, 0.2, 0.15, 0.15))
    for number, cut in enumerate(cuts, start=3):
        image = chest(f"one{number:02d}", cut)
        image = np.where(abs(image - 0.92) < 0.05, shutter, image) if shutter < 0.5 else image
        chests.put(f"one/train/one{number:02d}.png", image)
    inverted = [each for each in chests.check(aligned=False) if each.check == "mixed polarity"]
    assert inverted == []


def test_an_inverted_chest_is(chests: Data) -> None:
    files = tuple(f"one/train/one{number:02d}.png" for number in (2, 5, 11))
    for file in files:
        chests.put(file, 1 - chest(Path(file).stem))
    (odd,) = [each for each in chests.check(aligned=False) if each.check == "mixed polarity"]
    assert odd.files == files


def test_12_bits_in_files_of_16_are_one_problem_of_the_domain(data: Data) -> None:
    files = sorted(file for file in data.items if file.startswith("real"))
    for file in files:
        data.put(file, draw_file(data.items[file]) * 4095 / 65535)
    assert found(data.check()) == {("little range", tuple(files))}


def test_white_air_is_not_saturated_but_burnt_bone_and_black_are(data: Data) -> None:
    image = draw("real00", "real")
    data.put("real/train/real00.png", np.where(image > 0.85, 1.0, image))
    assert data.check() == []
    data.put("real/train/real00.png", np.clip(image * 1.6, 0, 1))
    data.put("real/train/real01.png", np.clip(draw("real01", "real") * 1.6 - 0.9, 0, 1))
    files = ("real/train/real00.png", "real/train/real01.png")
    assert found(data.check()) == {("saturated", files)}


def test_one_window_does_not_fit_two_bit_depths(data: Data) -> None:
    files = sorted(file for file in data.items if file.startswith("real/train"))
    for file in files[::2]:  # 8 bits behind a window for 12 bits in 16
        image = (draw_file(data.items[file]) * 255).astype(np.uint8)
        Image.fromarray(image).save(data.root / file)
    eight = {Path(file).name for file in files[::2]}

    def windowed(item: Item) -> Loaded:
        loaded = data.load(item)
        dark = loaded.grey * 255 / 4095
        return loaded._replace(grey=dark) if Path(item.file).name in eight else loaded

    (problem,) = [p for p in check(list(data.items.values()), windowed) if p.check == "bit depths"]
    assert problem.domain == "real"
    assert "8 bits (8)" in problem.note
    assert "16 bits (24)" in problem.note
