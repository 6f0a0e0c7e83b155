"""`data verify` finds the faults of a folder of images, and none in clean folders."""

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from xbench.datasets.facts import Loaded
from xbench.datasets.index import Item
from xbench.datasets.problems import CHECKS
from xbench.datasets.quality import check

from .shadows import SIZE, Array, Data, draw, draw_file, found

Xbench = Callable[..., Any]


@pytest.fixture
def data(tmp_path: Path) -> Data:
    """Two clean domains."""
    return Data(tmp_path).fill("synthetic").fill("real")


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


def test_a_domain_of_one_image(tmp_path: Path) -> None:
    data = Data(tmp_path).fill("real")
    data.add("alone", "train", "alone00")
    problems = data.check()
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


def test_thumbnails_beside_all_images_are_one_problem(data: Data) -> None:
    for number in range(16):
        view = f"real{number:02d}"
        small = Image.fromarray(draw(view, "real").astype(np.float32)).resize((36, 36))
        data.add("real", "train", f"{view}_small", np.clip(np.asarray(small), 0, 1))
    (problem,) = [p for p in data.check() if p.domain == "real"]
    assert problem.check == "duplicates"
    assert "16 images" in problem.note
    assert "thumbnails" in problem.fix
