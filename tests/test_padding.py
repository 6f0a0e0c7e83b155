"""Padding is no anatomy: no method learns it, translates it, or shows it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from xbench.core.pixels import from_pixels
from xbench.datasets.base import Box, Images
from xbench.datasets.folder import Folder
from xbench.datasets.visible import Squares, TrainOnly, common_side
from xbench.harness.translation import translate
from xbench.methods.base import Method, MethodConfig
from xbench.records.images import without_padding

CPU = torch.device("cpu")
#: An own grey for every pixel, so that a pixel says where it comes from.
RAMP = np.arange(32 * 32, dtype=np.uint16).reshape(32, 32) * 60
TALL, WIDE = Box(0, 4, 32, 24), Box(6, 0, 20, 32)


def framed(*boxes: Box) -> Images:
    """Images with a content in each box, in a frame of white."""
    pixels = without_padding(np.stack([RAMP] * len(boxes)), boxes)
    return Images([pixels], boxes)


def part(box: Box) -> tuple[slice, slice]:
    """What of an image a box holds."""
    return np.s_[box.top : box.top + box.height, box.left : box.left + box.width]


class Shapes(Method):
    """Inverts, and notes the shapes that it was given."""

    name = "shapes"

    def __init__(self) -> None:
        super().__init__(MethodConfig(), ("a", "b"), 32, CPU)
        self.seen: list[tuple[int, ...]] = []

    def translate(
        self, images: Tensor, source: str, target: str, *, generators: Sequence[torch.Generator]
    ) -> Tensor:
        self.seen.append(tuple(images.shape))
        return 1 - images


class WholeShapes(Shapes):
    any_size = False


def test_squares_to_train_on_hold_content_alone_and_all_of_it() -> None:
    squares = Squares(framed(TALL, WIDE), 16)
    seen = squares[:]
    assert seen.shape[1:] == (1, 16, 16)
    assert float(seen.max()) < 1  # the frame is 1
    found = set(seen.mul(65535).round().int().flatten().tolist())
    assert found == set(RAMP[part(TALL)].flat) | set(RAMP[part(WIDE)].flat)


def test_no_image_counts_more_than_another() -> None:
    squares = Squares(framed(TALL, WIDE, Box(0, 0, 32, 32)), 16)
    rows = [row for row, _, _ in squares.places]
    assert len({rows.count(row) for row in range(3)}) == 1


def test_the_side_is_what_nearly_all_images_of_each_domain_have() -> None:
    usual, narrow = [Box(0, 0, 32, 27)] * 39, [Box(0, 0, 32, 10)]
    assert common_side([framed(*usual, *narrow), framed(*[Box(0, 0, 32, 32)] * 4)]) == 24
    assert common_side([Images([np.stack([RAMP])])]) is None
    assert len(Squares(framed(*usual, *narrow), 24)) % 39 == 0


def test_methods_translate_the_content_and_get_no_padding() -> None:
    method, images = Shapes(), framed(TALL, WIDE, TALL)
    made = translate(method, images, ["x", "y", "z"], "a", ["b"], seed=0, batch=8)["b"]
    assert method.seen == [(2, 1, 32, 24), (1, 1, 20, 32)]
    for row, box in enumerate([TALL, WIDE, TALL]):
        np.testing.assert_array_equal(made[row][part(box)], 65535 - RAMP[part(box)])
    # Padded by its own content: the frame would have become black.
    np.testing.assert_array_equal(made[0][:, 3], made[0][:, 5])


def test_a_method_of_whole_images_gets_whole_images() -> None:
    method = WholeShapes()
    translate(method, framed(TALL, WIDE), ["x", "y"], "a", ["b"], seed=0, batch=8)
    assert method.seen == [(2, 1, 32, 32)]


def test_a_batch_changes_nothing() -> None:
    images = framed(TALL, WIDE, TALL)
    one, many = (
        translate(Shapes(), images, ["x", "y", "z"], "a", ["b"], seed=0, batch=batch)["b"]
        for batch in (1, 8)
    )
    np.testing.assert_array_equal(one, many)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """Tall images of one domain, wide ones of the other."""
    rng = np.random.default_rng(0)
    for domain, shape in {"tall": (64, 48), "wide": (40, 64)}.items():
        (tmp_path / domain).mkdir()
        for number in range(20):
            pixels = rng.integers(0, 200, shape, dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / domain / f"{domain}{number}.png")
    kind = Folder.at(tmp_path)
    dataset = kind(kind.configure_size(32))
    dataset.prepare()
    return dataset


def test_a_folder_of_rectangles_trains_on_squares_of_one_size(folder: Folder) -> None:
    seen = TrainOnly(folder)
    assert seen.train("tall")[0].shape == seen.train("wide")[0].shape == (1, 16, 16)
    whole = TrainOnly(folder, whole=True)
    assert whole.train("tall")[0].shape == (1, 32, 32)
    assert not isinstance(whole.train("tall"), Squares)


def test_padding_is_shown_as_an_empty_frame(folder: Folder) -> None:
    pixels = np.full((1, 32, 32), 7, np.uint16)
    shown = from_pixels(without_padding(pixels, folder.content("test", "wide")[:1]))
    assert (shown[0, 0, :6] == 1).all()
    assert (shown[0, 0, 6:26] < 1).all()
