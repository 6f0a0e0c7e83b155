"""`data verify` finds an image that a domain has twice, however it was saved, and no other."""

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter, zoom

from xbench.datasets.duplicates import find
from xbench.datasets.facts import Loaded, Seen, look_at
from xbench.datasets.index import Item

from .shadows import draw

Array = np.ndarray[Any, np.dtype[Any]]


def seen(images: list[Array], splits: tuple[str, ...] = ("train", "test")) -> list[Seen]:
    """What is known of images, the first of the first split and so on in turns."""
    found = []
    for number, image in enumerate(images):
        split = splits[number % len(splits)]
        item = Item(f"{split}/{number}.png", "one", split, str(number), str(number))
        facts = look_at(item, lambda _, image=image: Loaded(image.astype(np.float32), 16))  # type: ignore[misc]
        assert isinstance(facts, Seen)
        found.append(facts)
    return found


def smooth(number: int, side: int, width: float) -> list[Array]:
    """Smooth random images over most of the range."""
    rng = np.random.default_rng(5)
    images = []
    for _ in range(number):
        image = gaussian_filter(rng.normal(size=(side, side)), width)
        images.append(0.5 + 0.2 * (image - image.mean()) / image.std())
    return [image.clip(0, 1) for image in images]


def heads() -> list[Array]:
    return [draw(f"view{number}", "real") for number in range(16)]


def jpeg(image: Array) -> Array:
    file = io.BytesIO()
    Image.fromarray((image * 255).round().astype(np.uint8)).save(file, "JPEG", quality=75)
    return np.asarray(Image.open(file)) / 255


def cropped(image: Array) -> Array:
    return zoom(image, 8, order=1)[10:-14, 12:-8]


def quarter(image: Array) -> Array:
    small = Image.fromarray(image.astype(np.float32))
    return np.asarray(small.resize((32, 32), Image.Resampling.BOX))


COPIES: dict[str, Callable[[Array], Array]] = {
    "saved as JPEG": jpeg,
    "with a quarter of the pixels": quarter,
    "enlarged": lambda image: zoom(image, 2, order=1).clip(0, 1),
    "cropped": cropped,
    "flat": lambda image: 0.3 + 0.5 * image,
    "dark": lambda image: image**1.5,
    "bright, and as JPEG": lambda image: jpeg(image**0.7),
}


@pytest.mark.parametrize("how", COPIES)
@pytest.mark.parametrize("kind", ["heads", "smooth"])
def test_a_copy_is_found_however_it_was_made(kind: str, how: str) -> None:
    images = heads() if kind == "heads" else smooth(16, 64, 6)
    problems = list(find("one", seen([*images, COPIES[how](images[4])], ("train",))))
    (problem,) = problems
    assert problem.check == "duplicates"
    assert set(problem.files) == {"train/4.png", f"train/{len(images)}.png"}


@pytest.mark.parametrize("width", [6, 24])
def test_smooth_images_that_differ_do_not_leak(width: float) -> None:
    images = smooth(600, 64, width)
    # As from two sources: small copies are compared by their coarse details.
    images[::3] = [quarter(image) for image in images[::3]]
    assert not list(find("one", seen(images)))


def test_heads_that_differ_do_not_leak() -> None:
    assert not list(find("one", seen(heads())))
