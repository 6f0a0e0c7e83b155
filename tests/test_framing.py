"""Domains that show the anatomy at another place or in another size: reported, and aligned."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from xbench.core.hashing import seed_from
from xbench.datasets.base import Box
from xbench.datasets.describe import read_description
from xbench.datasets.folder import Folder
from xbench.datasets.prepare import View, frame, to_square
from xbench.datasets.quality import check_framing


def head(view: str, scale: float = 1, down: float = 0, right: float = 0, side: int = 96):
    """A head with a neck; moved by shares of the side, uint8."""
    shape = np.random.default_rng(seed_from(view))
    y, x = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    y, x = (y - 2 * down) / scale, (x - 2 * right) / scale
    tall, wide = shape.uniform(0.5, 0.56), shape.uniform(0.4, 0.46)
    skull = (x / wide) ** 2 + ((y + 0.1) / tall) ** 2 < 1
    neck = (abs(x) < 0.2) & (y > 0.2)
    eye = ((x - 0.2) / 0.1) ** 2 + ((y + 0.1) / 0.08) ** 2 < 1
    image = 0.95 - 0.3 * neck - 0.35 * skull + 0.15 * eye
    grain = np.random.default_rng(seed_from(view, "grain")).normal(0, 0.01, image.shape)
    return np.round(np.clip(image + grain, 0, 1) * 255).astype(np.uint8)


def fill(root: Path, **framing: float) -> Path:
    """Domains `a` and `b`; the second is framed otherwise."""
    for domain, own in (("a", {}), ("b", framing)):
        (root / domain).mkdir(parents=True)
        for k in range(24):
            Image.fromarray(head(f"{domain}{k}", **own)).save(root / domain / f"{domain}{k}.png")
    return root


def opened(root: Path, size: int = 96) -> Folder:
    kind = Folder.at(root)
    data = kind(kind.configure_size(size))
    data.prepare()
    return data


def align(root: Path) -> Folder:
    (root / "dataset.toml").write_text('fit = "align"\nalignment = "none"\n')
    return opened(root)


@pytest.mark.parametrize(
    ("framing", "words"),
    [
        ({"down": 0.08}, "lies 8% of the height lower"),
        ({"right": -0.06}, "6% of the width further to the left"),
        ({"scale": 1.2}, "is 20% larger"),
    ],
)
def test_another_framing_is_reported_in_words(
    tmp_path: Path, framing: dict[str, float], words: str
) -> None:
    (problem,) = check_framing(opened(fill(tmp_path, **framing)))
    assert (problem.check, problem.outcome, problem.domain) == ("framing", "warning", "b")
    figures = [int(figure) for figure in re.findall(r"(\d+)%", problem.note)]
    (true,) = [int(figure) for figure in re.findall(r"(\d+)%", words)]
    assert any(abs(one - true) <= 2 for one in figures)
    assert words.split("%")[1] in problem.note
    assert 'fit = "align"' in problem.fix


def test_equal_framing_is_not_reported(tmp_path: Path) -> None:
    assert check_framing(opened(fill(tmp_path))) == []


def test_other_anatomy_is_not_compared(tmp_path: Path) -> None:
    root = fill(tmp_path)
    for path in (root / "b").iterdir():
        rng = np.random.default_rng(seed_from(path.name))
        Image.fromarray(rng.integers(0, 255, (96, 96), dtype=np.uint8)).save(path)
    assert opened(root).framings() == {}


def test_align_brings_the_anatomy_to_one_place_and_size(tmp_path: Path) -> None:
    root = fill(tmp_path, scale=1.2, down=0.06, right=-0.03)
    before, after = opened(root), align(root)
    assert check_framing(before)
    assert check_framing(after) == []

    def dark(data: Folder, domain: str) -> np.ndarray:
        """Middle and extent of the mean skull, as shares of the side."""
        mean = data.train(domain)[:].numpy().mean(axis=(0, 1))
        rows, columns = np.nonzero(mean < 0.75)
        ends = np.array([rows.min(), columns.min(), columns.max()])
        return ends / len(mean)

    def distance(data: Folder) -> float:
        return float(np.abs(dark(data, "a") - dark(data, "b")).max())

    assert distance(before) > 0.05
    assert distance(after) < 0.03


def test_aligned_images_are_cut_and_never_padded_where_all_are_square(tmp_path: Path) -> None:
    data = align(fill(tmp_path, scale=1.2))
    assert data.content("train", "a") is None
    assert data.content("test", "b") is None


def test_the_framing_is_that_of_the_training_images_alone(tmp_path: Path) -> None:
    root = fill(tmp_path, down=0.06)
    data = align(root)
    tests = [item.file for item in data.layout.items if item.split != "train"]
    for file in tests:
        Image.new("L", (96, 96), 100).save(root / file)
    assert align(root).views == data.views


def test_the_key_tells_aligned_images_from_padded_ones(tmp_path: Path) -> None:
    root = fill(tmp_path, down=0.06)
    padded, aligned = opened(root), align(root)
    assert padded.images_key != aligned.images_key
    assert align(root).images_key == aligned.images_key


def test_marks_stay_on_their_anatomy() -> None:
    """A bright pixel of an image is found where the frame says that it is; NaN if it is cut off."""
    image = np.zeros((80, 120), np.float32)
    marks = np.array([[30.0, 40.0], [60.0, 90.0], [2.0, 3.0]])
    for row, column in marks.astype(int):
        image[row, column] = 1
    view = View(top=0.15, left=0.2, height=0.65, width=0.7)
    fitted = frame(80, 120, 240, "align", view=view)
    square, box = to_square(image, 240, "align", view=view)
    assert square.shape == (240, 240)
    assert box == fitted.target
    places = fitted.places(marks)
    assert np.isnan(places[2]).all()
    for row, column in places[:2]:
        top, left = int(row) - 6, int(column) - 6
        near = square[top : top + 13, left : left + 13]
        found = np.argwhere(near > 0.5 * near.max()).mean(axis=0)
        assert tuple(found) == pytest.approx((row - top, column - left), abs=1)


def test_masks_have_no_padding_and_follow_the_view() -> None:
    view = View(top=0.1, left=0.0, height=0.8, width=1.0)
    fitted = frame(100, 100, 50, "align", view=view)
    assert fitted.source == Box(10, 0, 80, 100)
    assert fitted.target == Box(5, 0, 40, 50)
    assert fitted.mask(np.ones((100, 100), bool)).sum() == 40 * 50


def test_dataset_toml_knows_it(tmp_path: Path) -> None:
    (tmp_path / "dataset.toml").write_text('fit = "align"\n')
    description = read_description(tmp_path)
    assert description is not None
    assert description.fit == "align"
