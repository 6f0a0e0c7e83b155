"""Head-like shadows in a folder, for the tests of `data verify`."""

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from xbench.core.hashing import seed_from
from xbench.datasets.decode import read
from xbench.datasets.facts import Loaded
from xbench.datasets.index import Item
from xbench.datasets.prepare import normalise
from xbench.datasets.problems import Problem
from xbench.datasets.quality import check

Array = np.ndarray[Any, np.dtype[Any]]
SIZE = 72


def bone(view: str, size: int = SIZE) -> Array:
    """Thickness of a head-like shadow: an ellipse with twenty blobs that depend on the view."""
    shape = np.random.default_rng(seed_from(view))
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    tall, wide = shape.uniform(0.7, 0.85), shape.uniform(0.6, 0.8)
    inside = np.clip(1 - (x / wide) ** 2 - (y / tall) ** 2, 0, 1) ** 0.3
    thickness: Array = 0.35 * inside
    for _ in range(20):
        cy, cx = shape.uniform(-0.5, 0.5, 2)
        ry, rx = shape.uniform(0.03, 0.2, 2)
        blob = np.exp(-(((x - cx) / rx) ** 2) - ((y - cy) / ry) ** 2)
        thickness = thickness + shape.uniform(-0.15, 0.3) * blob * inside
    return thickness


@cache
def draw(view: str, domain: str, exposure: int = 0) -> Array:
    """A head-like shadow as a domain shows it, with grain, `[SIZE, SIZE]` in [0, 1]."""
    thickness = bone(view)
    grain = np.random.default_rng(seed_from(view, domain, exposure))
    contrast = {"synthetic": 0.8}.get(domain, 1.4)
    image: Array = np.exp(-contrast * thickness) + grain.normal(0, 0.004, thickness.shape)
    return np.clip(image, 0, 1)


def draw_file(item: Item) -> Array:
    return draw(item.id, item.domain)


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
