"""`data verify` finds the faults of a folder of images, and none in clean folders."""

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from xbench.core.hashing import seed_from
from xbench.datasets.decode import read
from xbench.datasets.facts import Loaded
from xbench.datasets.index import Item
from xbench.datasets.prepare import normalise
from xbench.datasets.problems import CHECKS, Problem
from xbench.datasets.quality import check

Array = np.ndarray[Any, np.dtype[Any]]
Xbench = Callable[..., Any]
SIZE = 72


@cache
def draw(view: str, domain: str, exposure: int = 0) -> Array:
    """A head-like shadow: an ellipse with some twenty blobs that depend on the view."""
    shape = np.random.default_rng(seed_from(view))
    y, x = np.mgrid[-1 : 1 : SIZE * 1j, -1 : 1 : SIZE * 1j]
    tall, wide = shape.uniform(0.7, 0.85), shape.uniform(0.6, 0.8)
    inside = np.clip(1 - (x / wide) ** 2 - (y / tall) ** 2, 0, 1) ** 0.3
    bone = 0.35 * inside
    for _ in range(20):
        cy, cx = shape.uniform(-0.5, 0.5, 2)
        ry, rx = shape.uniform(0.03, 0.2, 2)
        blob = np.exp(-(((x - cx) / rx) ** 2) - ((y - cy) / ry) ** 2)
        bone = bone + shape.uniform(-0.15, 0.3) * blob * inside
    grain = np.random.default_rng(seed_from(view, domain, exposure))
    contrast = {"synthetic": 0.8}.get(domain, 1.4)
    image: Array = np.exp(-contrast * bone) + grain.normal(0, 0.004, bone.shape)
    return np.clip(image, 0, 1)


@dataclass
class Data:
    """A folder of 16-bit PNG files and their index."""

    root: Path
    items: dict[str, Item] = field(default_factory=dict)

    def add(self, domain: str, split: str, view: str, image: Array | None = None) -> str:
        file = f"{domain}/{split}/{view}.png"
        self.items[file] = Item(file, domain, split, view, view)
        self.put(file, draw(view, domain) if image is None else image)
        return file

    def put(self, file: str, image: Array) -> None:
        path = self.root / file
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((image * 65535).round().astype(np.uint16)).save(path, compress_level=1)

    def fill(self, domain: str, train: int = 16, test: int = 12) -> "Data":
        """Views of its own for training, and shared ones for val and test."""
        for number in range(train):
            self.add(domain, "train", f"{domain}{number:02d}")
        for number in range(test):
            self.add(domain, "test", f"view{number:02d}")
        for number in range(4):
            self.add(domain, "val", f"check{number:02d}")
        return self

    def load(self, item: Item) -> Loaded:
        picture = read(self.root / item.file)
        return Loaded(normalise(picture, None, invert=False), picture.bits)

    def check(self, aligned: bool = True) -> list[Problem]:
        return check(list(self.items.values()), self.load, aligned=aligned)


def found(problems: list[Problem]) -> set[tuple[str, tuple[str, ...]]]:
    assert len(problems) == len({(p.check, p.domain, p.files) for p in problems})
    return {(problem.check, problem.files) for problem in problems}


@pytest.fixture
def empty(tmp_path: Path) -> Data:
    return Data(tmp_path)


@pytest.fixture
def data(empty: Data) -> Data:
    """Two clean domains."""
    return empty.fill("synthetic").fill("real")


def test_clean_domains_have_no_problems(data: Data) -> None:
    assert data.check() == []


def test_a_dirty_folder(data: Data) -> None:
    data.fill("copy").fill("tiny", train=3, test=1)
    for file in [file for file in data.items if file.startswith("synthetic")]:
        # Pixel by pixel the same images under other names of files.
        twin = data.items[file]
        data.put(f"copy/{twin.split}/{twin.id.replace('synthetic', 'copy')}.png", draw_file(twin))
    truncated = data.root / "real/train/real00.png"
    truncated.write_bytes(truncated.read_bytes()[:500])
    data.put("real/train/real01.png", np.ones((1, 1)))
    data.put("real/train/real02.png", np.full((SIZE, SIZE), 0.5))
    data.put("real/train/real03.png", 1 - draw("real03", "real"))
    data.put("real/train/real04.png", draw("real04", "real") * 4095 / 65535)
    data.put("real/train/real05.png", np.clip(draw("real05", "real") * 5 - 2.4, 0, 1))
    jpeg = Image.fromarray((draw("real07", "real") * 255).astype(np.uint8))
    jpeg.save(data.root / "real/train/real06.jpg", quality=90)
    data.items["real/train/real06.png"] = Item("real/train/real06.jpg", "real", "train", "6", "6")
    larger = Image.fromarray(draw("view00", "real").astype(np.float32)).resize((150, 150))
    data.put("real/train/real08.png", np.clip(np.asarray(larger), 0, 1))
    data.put("real/test/view03.png", draw("another view", "real"))
    data.put("tiny/train/tiny00.png", draw("real09", "real"))

    problems = data.check()

    assert found(problems) == {
        ("corrupt", ("real/train/real00.png",)),
        ("too small", ("real/train/real01.png",)),
        ("empty", ("real/train/real02.png",)),
        ("mixed polarity", ("real/train/real03.png",)),
        ("little range", ("real/train/real04.png",)),
        ("saturated", ("real/train/real05.png",)),
        ("duplicates", ("real/train/real06.jpg", "real/train/real07.png")),
        ("leakage", ("real/test/view00.png", "real/train/real08.png")),
        ("identical domains", ()),
        (
            "misaligned",
            ("real/test/view03.png", "synthetic/test/view03.png", "copy/test/view03.png"),
        ),
        ("shared images", ("real/train/real09.png", "tiny/train/tiny00.png")),
        ("few images", ()),
        ("unequal counts", ()),
    }
    outcomes = [problem.outcome for problem in problems]
    assert outcomes == sorted(outcomes)  # errors first
    assert outcomes.count("error") == 6
    places = [CHECKS.index(p.check) for p in problems]
    assert places == sorted(places)
    assert {p.domain for p in problems if p.check in ("few images", "unequal counts")} == {"tiny"}
    for problem in problems:
        assert all(file in problem.text for file in problem.files)


def draw_file(item: Item) -> Array:
    return draw(item.id, item.domain)


def test_a_missing_file_is_corrupt_and_named(data: Data) -> None:
    (data.root / "real/train/real05.png").unlink()
    (problem,) = data.check()
    assert (problem.check, problem.outcome) == ("corrupt", "error")
    assert problem.text.startswith("real/train/real05.png ")


def test_a_file_that_may_not_be_read_is_corrupt(data: Data) -> None:
    def forbidden(item: Item) -> Loaded:
        if item.id == "real05":
            raise PermissionError(13, "Permission denied", item.file)
        return data.load(item)

    (problem,) = check(list(data.items.values()), forbidden)
    assert problem.files == ("real/train/real05.png",)
    assert problem.text.endswith("Permission denied")


def test_a_fault_of_the_program_is_not_taken_for_a_fault_of_the_data(data: Data) -> None:
    def faulty(item: Item) -> Loaded:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        check(list(data.items.values()), faulty)


def test_every_file_is_read_once_and_counted(data: Data) -> None:
    loaded: list[str] = []
    lock = threading.Lock()
    steps: list[tuple[int, int, str]] = []

    def load(item: Item) -> Loaded:
        with lock:
            loaded.append(item.file)
        return data.load(item)

    check(list(data.items.values()), load, lambda *now: steps.append(now))
    assert sorted(loaded) == sorted(data.items)
    assert steps == [(i, len(loaded), "images") for i in range(1, len(loaded) + 1)]


def test_the_report_does_not_depend_on_the_order_of_the_files(data: Data) -> None:
    data.put("real/train/real03.png", draw("real07", "real"))
    data.put("real/train/real04.png", np.zeros((SIZE, SIZE)))
    forward = data.check()
    order = sorted(data.items.values(), key=lambda item: item.file, reverse=True)
    order.sort(key=lambda item: item.domain == "real")
    assert check(order, data.load) == forward
    assert len(forward) == 2


def test_second_exposures_are_no_duplicates(data: Data) -> None:
    for number in range(12):
        view = f"view{number:02d}"
        data.add("real", "test_repeat", view, draw(view, "real", exposure=1))
    assert data.check() == []


def test_second_exposures_of_test_views_in_train_leak(data: Data) -> None:
    data.add("real", "test_repeat", "view02", draw("view02", "real", exposure=1))
    data.put("real/train/real01.png", draw("view02", "real", exposure=2))
    files = ("real/test/view02.png", "real/test_repeat/view02.png", "real/train/real01.png")
    assert found(data.check()) == {("leakage", files)}


def test_three_copies_are_one_problem(data: Data) -> None:
    for number in (3, 9):
        data.put(f"real/train/real{number:02d}.png", draw("real06", "real", exposure=number))
    files = tuple(f"real/train/real{number:02d}.png" for number in (3, 6, 9))
    assert found(data.check()) == {("duplicates", files)}


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


def test_shuffled_names_are_not_aligned(data: Data) -> None:
    for number in range(12):
        other = f"view{(5 * number + 2) % 12:02d}"
        data.put(f"real/test/view{number:02d}.png", draw(other, "real"))
    for number in range(4):
        data.put(f"real/val/check{number:02d}.png", draw(f"check{(number + 1) % 4:02d}", "real"))
    (problem,) = data.check()
    assert (problem.check, problem.outcome) == ("unaligned", "error")
    assert problem.domain == "synthetic, real"
    assert 'alignment = "none"' in problem.text
    assert data.check(aligned=False) == []


def test_one_wrong_name_is_reported_with_both_files(data: Data) -> None:
    data.put("real/test/view07.png", draw("something else", "real"))
    (problem,) = data.check()
    assert problem.check == "misaligned"
    assert set(problem.files) == {"real/test/view07.png", "synthetic/test/view07.png"}


@pytest.mark.parametrize(
    "change",
    [
        lambda image: np.roll(image, (2, -2), (0, 1)),
        lambda image: 0.3 + 0.5 * image,
        lambda image: image**2,
    ],
    ids=["shifted", "flat", "dark"],
)
def test_aligned_need_not_be_exact(data: Data, change: Callable[[Array], Array]) -> None:
    for file, item in data.items.items():
        if item.domain == "real":
            data.put(file, change(draw_file(item)))
    assert data.check() == []


def test_views_of_the_phantom_are_aligned_until_two_are_exchanged(xbench: Xbench) -> None:
    """Its domains differ in soft tissue, wedge filters and cables."""
    assert xbench("data", "export", "phantom", "heads", "--profile", "smoke").code == 0

    def misaligned() -> list[str]:
        checks = json.loads(xbench("data", "verify", "heads", "--json").out)
        return [c["note"] for c in checks if c["check"] in ("misaligned", "unaligned")]

    assert misaligned() == []
    first, *_, last = sorted(Path("heads/test/real_normal").iterdir())
    for old, new in ((first, "spare"), (last, first), ("spare", last)):
        Path(old).rename(new)
    notes = " ".join(misaligned())
    assert first.name in notes
    assert last.name in notes


def test_a_domain_of_one_image(empty: Data) -> None:
    empty.fill("real").add("alone", "train", "alone00")
    problems = empty.check()
    assert {(p.check, p.domain) for p in problems} == {
        ("few images", "alone"),
        ("unequal counts", "alone"),
    }


def test_a_domain_in_which_nothing_can_be_read(data: Data) -> None:
    data.add("broken", "train", "broken00")
    (data.root / "broken/train/broken00.png").write_bytes(b"")
    assert {(p.check, p.domain) for p in data.check()} == {
        ("corrupt", "broken"),
        ("few images", "broken"),
        ("unequal counts", "broken"),
    }


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
def chests(empty: Data) -> Data:
    for domain in ("one", "two"):
        for number in range(24):
            view = f"{domain}{number:02d}"
            empty.add(domain, "train" if number < 16 else "test", view, chest(view))
    return empty


@pytest.mark.parametrize(
    "cut",
    [(0, 0.4, 0, 0), (0.3, 0, 0, 0), (0, 0, 0.25, 0.25), (0.15, 0.2, 0.15, 0.15)],
    ids=["below", "above", "at the sides", "all around"],
)
@pytest.mark.parametrize("shutter", [0.05, 0.92], ids=["dark", "bright"])
def test_a_collimated_image_is_not_inverted(
    chests: Data, cut: tuple[float, float, float, float], shutter: float
) -> None:
    image = chest("one03", cut)
    image = np.where(abs(image - 0.92) < 0.05, shutter, image) if shutter < 0.5 else image
    chests.put("one/train/one03.png", image)
    checks = {each.check for each in chests.check(aligned=False)}
    assert "mixed polarity" not in checks


def test_an_inverted_chest_is(chests: Data) -> None:
    files = tuple(f"one/train/one{number:02d}.png" for number in (2, 5, 11))
    for file in files:
        chests.put(file, 1 - chest(Path(file).stem))
    (odd,) = [each for each in chests.check(aligned=False) if each.check == "mixed polarity"]
    assert odd.files == files


def test_domains_of_opposite_polarity_are_told_with_both_names(data: Data) -> None:
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


def test_thumbnails_beside_all_images_are_one_problem(data: Data) -> None:
    for number in range(16):
        view = f"real{number:02d}"
        small = Image.fromarray(draw(view, "real").astype(np.float32)).resize((36, 36))
        data.add("real", "train", f"{view}_small", np.clip(np.asarray(small), 0, 1))
    (problem,) = [p for p in data.check() if p.domain == "real"]
    assert problem.check == "duplicates"
    assert "16 images" in problem.note
    assert "thumbnails" in problem.fix
