"""Labels of the anatomy in folders: where they lie, how they follow images, what is refused."""

import json
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from xbench.core.errors import UserError
from xbench.core.profiles import get_profile
from xbench.datasets import registry
from xbench.datasets.base import Box
from xbench.datasets.folder import Folder

Xbench = Callable[..., Any]
SPLITS = ("train", "val", "test")
#: The images of the tests are wide: 20 rows of 40 columns.
SHAPE = (20, 40)


def save(path: Path, values: np.ndarray) -> Path:
    """Save one picture, making its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)
    return path


def table(path: Path, *lines: str) -> Path:
    """Write a table, making its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    return path


def images(root: Path) -> Path:
    """Two domains with the images `one` and `two` in each split: noise."""
    rng = np.random.default_rng(0)
    for split, domain, name in product(SPLITS, ("hard", "soft"), ("one", "two")):
        grey = rng.integers(0, 2**16, SHAPE).astype(np.uint16)
        save(root / split / domain / f"{name}.png", grey)
    return root


def mask(*columns: int) -> np.ndarray:
    """A mask that holds some columns of an image."""
    inside = np.zeros(SHAPE, np.uint8)
    inside[:, list(columns)] = 1
    return inside


def opened(root: Path, size: int = 40, fit: str = "pad") -> Folder:
    """The data set in a folder, not decoded."""
    kind = registry.get(str(root))
    config = kind.configure(get_profile("smoke")).model_copy(update={"size": size, "fit": fit})
    folder = kind(config)
    assert isinstance(folder, Folder)
    return folder


def test_masks_lie_below_labels_in_a_folder_for_each_structure(tmp_path: Path) -> None:
    images(tmp_path)
    for number, name in enumerate(("one", "two")):
        save(tmp_path / f"labels/test/hard/teeth/{name}.png", mask(number))
        save(tmp_path / f"labels/test/hard/orbits/{name}.png", mask(10 + number))
        save(tmp_path / f"labels/train/hard/{name}.png", mask(20 + number))
    data = opened(tmp_path)
    labels = data.labels("test", "hard")
    assert labels is not None
    assert list(labels.masks) == ["orbits", "teeth"]
    # The images are padded by ten rows above and below, which are in no mask.
    expected = np.stack([mask(0), mask(1)]).astype(bool)
    np.testing.assert_array_equal(labels.masks["teeth"][:, 10:30], expected)
    assert labels.masks["teeth"].sum() == expected.sum()
    assert labels.landmarks == {}
    assert labels.angles is None
    unnamed = data.labels("train", "hard")
    assert unnamed is not None
    assert list(unnamed.masks) == ["mask"]
    assert unnamed.masks["mask"][1, 20, 21]
    assert data.labels("val", "hard") is None
    assert data.labels("test", "soft") is None


def test_tables_hold_landmarks_and_angles(tmp_path: Path) -> None:
    images(tmp_path)
    places = tmp_path / "labels/test/hard/landmarks.csv"
    table(places, "id,name,x,y", "two,nasion,3.25,5", "one,nasion,39.5,-0.5", "two,chin,8,9")
    table(tmp_path / "labels/test/hard/angles.csv", "id,lao,cran", "two,30,-5.5", "one,-90,0")
    table(tmp_path / "labels/train/hard/points.csv", "id,name,x,y", "one,ear,1,2")
    labels = opened(tmp_path).labels("test", "hard")
    assert labels is not None
    # (row, column), ten rows of padding above; in the order of the ids one, two.
    assert labels.landmarks["nasion"].tolist() == [[9.5, 39.5], [15, 3.25]]
    np.testing.assert_array_equal(labels.landmarks["chin"], [[np.nan, np.nan], [19, 8]])
    assert np.isnan(labels.landmarks["ear"]).all()  # marked elsewhere in the folder
    assert labels.angles is not None
    assert labels.angles.tolist() == [[-90, 0], [30, -5.5]]


@pytest.mark.parametrize(
    ("fit", "content", "place", "pixels"),
    [
        ("pad", Box(10, 0, 20, 40), [19, 28], 1),  # half the size, ten rows of padding
        ("crop", Box(0, 0, 40, 40), [18.5, 36.5], 4),  # the columns 20 to 59
        ("stretch", Box(0, 0, 40, 40), [18.5, 28], 2),  # half as wide
    ],
)
def test_labels_go_the_way_of_their_images(
    tmp_path: Path, fit: str, content: Box, place: list[float], pixels: int
) -> None:
    dot = np.zeros((40, 80), np.uint8)
    dot[18:20, 56:58] = 255  # the image of a dot is its mask, too
    for split, domain, name in product(SPLITS, ("hard", "soft"), ("one", "two")):
        save(tmp_path / split / domain / f"{name}.png", dot)
        save(tmp_path / "labels" / split / domain / f"{name}.png", dot)
    lines = ["id,name,x,y", "one,dot,56.5,18.5", "one,left,2,3"]
    table(tmp_path / "labels/train/hard/landmarks.csv", *lines)
    data = opened(tmp_path, fit=fit)
    data.prepare()
    labels = data.labels("train", "hard")
    assert labels is not None
    assert labels.landmarks["dot"][0].tolist() == place
    assert np.isnan(labels.landmarks["left"][0]).all() == (fit == "crop")  # cut off
    unpadded = np.zeros((40, 40), bool)
    unpadded[content.top : content.top + content.height] = True
    image = data.train("hard")[0][0].numpy()
    np.testing.assert_array_equal(labels.masks["mask"][0], (image > 0.5) & unpadded)
    assert labels.masks["mask"][0].sum() == pixels


def test_a_pixel_is_in_a_mask_if_more_than_half_of_it_is(tmp_path: Path) -> None:
    images(tmp_path)
    for name in ("one", "two"):
        save(tmp_path / f"labels/test/hard/{name}.png", mask(0, 1, 4, 5, 6, 9))
    labels = opened(tmp_path, size=16, fit="stretch").labels("test", "hard")  # 2.5 columns in one
    assert labels is not None
    # Columns 0 and 1 are 0.8 of the first; 4 (half of it), 5, 6 and the half of 7.
    assert np.flatnonzero(labels.masks["mask"][0].all(axis=0)).tolist() == [0, 2]


@pytest.mark.parametrize("kind", ["1 bit", "palette", "16 bits", "npy"])
def test_masks_may_have_the_formats_of_masks(tmp_path: Path, kind: str) -> None:
    images(tmp_path)
    inside = mask(3).astype(bool)
    folder = tmp_path / "labels/test/hard"
    folder.mkdir(parents=True)
    for name in ("one", "two"):
        if kind == "npy":
            np.save(folder / f"{name}.npy", inside)
        elif kind == "16 bits":
            save(folder / f"{name}.tif", inside.astype(np.uint16))
        else:
            picture = Image.fromarray(inside).convert("1" if kind == "1 bit" else "P")
            picture.save(folder / f"{name}.png")
    labels = opened(tmp_path).labels("test", "hard")
    assert labels is not None
    np.testing.assert_array_equal(labels.masks["mask"][0, 10:30], inside)


def test_labels_mirror_the_folders_that_there_are(tmp_path: Path) -> None:
    # No folders of splits, and the images of a head in a folder of its own.
    for domain, head in product(("hard", "soft"), range(4)):
        save(tmp_path / domain / f"head{head}" / "a.png", mask(head) * 255)
        save(tmp_path / "labels" / domain / f"head{head}" / "a.png", mask(head))
        save(tmp_path / "labels" / domain / f"head{head}" / "teeth" / "a.png", mask(7))
    table(tmp_path / "labels/soft/all.csv", "id,name,x,y", "head2/a,nasion,1,2")
    data = opened(tmp_path)
    assert data.domains == ("hard", "soft")
    assert len(data.layout.items) == 8
    assert not any("left out" in note for note in data.notes())
    found = [labels for split in SPLITS if (labels := data.labels(split, "soft"))]
    assert all(set(labels.masks) == {"mask", "teeth"} for labels in found)
    assert sum(labels.masks["mask"].sum() for labels in found) == 4 * 20
    (places,) = [labels.landmarks["nasion"] for labels in found if labels.landmarks]
    assert places[np.isfinite(places).all(axis=1)].tolist() == [[12, 1]]


def test_labels_have_a_key_of_their_own(tmp_path: Path) -> None:
    images(tmp_path)
    keys, label_keys = set(), []
    for column in (None, "3", "3.5"):
        if column:
            lines = ["id,name,x,y", f"one,nasion,{column},5"]
            table(tmp_path / "labels/test/hard/landmarks.csv", *lines)
        data = opened(tmp_path)
        keys.add(data.key)
        label_keys.append(data.labels_key)
    assert len(keys) == 1
    assert label_keys[0] is None
    assert len(set(label_keys)) == 3
    assert opened(tmp_path).labels_key == label_keys[-1]


def points(root: Path, *lines: str) -> None:
    """Write lines of landmarks."""
    table(root / "labels/test/hard/landmarks.csv", "id,name,x,y", *lines)


WRONG: dict[str, Callable[[Path], object]] = {
    "1 of 2 test images of hard have no mask of 'teeth', the first: test/hard/two.png": lambda r: (
        save(r / "labels/test/hard/teeth/one.png", mask(1))
    ),
    "1 of 2 test images of hard have no line of angles": lambda r: table(
        r / "labels/test/hard/angles.csv", "id,lao,cran", "one,1,2"
    ),
    "two.png has 10 x 40 pixels, its image 20 x 40": lambda r: [
        save(r / f"labels/test/hard/teeth/{name}.png", mask(1)[:rows])
        for name, rows in (("one", 20), ("two", 10))
    ],
    "one.png cannot be decoded": lambda r: [
        save(r / f"labels/test/hard/{name}.png", mask(1)).write_bytes(b"no picture")
        for name in ("one", "two")
    ],
    "labels/test/hard/teeth/three.png belongs to no image": lambda r: save(
        r / "labels/test/hard/teeth/three.png", mask(1)
    ),
    "one.tif labels test/hard/one a second time": lambda r: [
        save(r / f"labels/test/hard/teeth/one.{ending}", mask(1)) for ending in ("png", "tif")
    ],
    "line 2 belongs to no image": lambda r: points(r, "three,nasion,1,2"),
    "line 3 labels test/hard/one a second time": lambda r: points(
        r, "one,nasion,1,2", "one,nasion,3,4"
    ),
    "line 3: (39.6, 2) lies outside its image": lambda r: points(r, "", "two,chin,39.6,2"),
    "line 2 is 'one,nasion,nan,2'": lambda r: points(r, "one,nasion,nan,2"),
    "line 2 is 'one,nasion,1'": lambda r: points(r, "one,nasion,1"),
    r"line 3 is 'one,nasion,1,2\n3'": lambda r: points(r, 'one,nasion,1,"2', '3"'),
    "line 2 is 'one,,1,2'": lambda r: points(r, "one,,1,2"),
    "landmarks.csv has the columns 'id,nasion,row,column'": lambda r: table(
        r / "labels/test/hard/landmarks.csv", "id,nasion,row,column"
    ),
    "landmarks.csv cannot be read": lambda r: table(
        r / "labels/test/hard/landmarks.csv", ""
    ).write_bytes(b"\xff\xfe"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_does_not_fit_is_said_in_three_lines(tmp_path: Path, wrong: str) -> None:
    WRONG[wrong](images(tmp_path))
    with pytest.raises(UserError) as raised:
        opened(tmp_path).labels("test", "hard")
    first, second, third = str(raised.value).split("\n")
    assert wrong in first
    assert second.startswith("expected: ")
    assert third


def test_verify_reports_labels_that_do_not_fit(xbench: Xbench) -> None:
    points(images(Path("mine")), "one,nasion,nan,2")
    result = xbench("data", "verify", "mine", "--json")
    assert result.code == 1
    (problem,) = [p for p in json.loads(result.out) if p["check"] == "labels"]
    assert problem["severity"] == "error"
    assert "landmarks.csv: line 2 is 'one,nasion,nan,2'" in problem["note"]


def test_an_exported_phantom_keeps_its_labels(xbench: Xbench) -> None:
    result = xbench("data", "export", "phantom", "heads", "--profile", "smoke")
    assert result.code == 0, result.err
    kind = registry.get("phantom")
    phantom, folder = kind(kind.configure(get_profile("smoke"))), opened(Path("heads"), size=32)
    assert folder.domains == phantom.domains
    files = [item.file for item in folder.layout.items]
    assert not [file for file in files if file.startswith("labels")]
    assert list(Path("heads/labels/test/real_low/orbits").glob("*.png"))
    for split, domain in product(SPLITS, phantom.domains):
        theirs, ours = phantom.labels(split, domain), folder.labels(split, domain)
        assert theirs is not None
        assert ours is not None
        order = np.arange(len(phantom.train(domain)))
        if split != "train":
            order = np.argsort(phantom.ids(split, domain))  # a folder sorts its ids
        assert set(ours.masks) == set(theirs.masks)
        assert set(ours.landmarks) == set(theirs.landmarks)
        for name, masks in theirs.masks.items():
            np.testing.assert_array_equal(ours.masks[name], masks[order])
        for name, places in theirs.landmarks.items():
            np.testing.assert_allclose(ours.landmarks[name], places[order], rtol=0, atol=1e-3)
        np.testing.assert_array_equal(ours.angles, theirs.angles[order])
    assert phantom.labels_key == phantom.key
