"""Folders of images with known answers, for the tests of `xbench score`."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

Xbench = Callable[..., Any]
Array = np.ndarray[Any, Any]
N, SIZE = 20, 32
FOLDERS = ("--translated", "made", "--source", "given", "--target", "true")


def views(seed: int = 0, count: int = N, size: int = SIZE) -> Array:
    """Smooth shapes with a little noise, in steps of 16 bits, `[count, size, size]`."""
    rng = np.random.default_rng(seed)
    smooth = gaussian_filter(rng.normal(size=(count, size, size)), (0, 4, 4))
    smooth = 0.5 + 0.25 * smooth / np.abs(smooth).max() + rng.uniform(-0.1, 0.1, (count, 1, 1))
    return np.round((smooth + 0.01 * rng.normal(size=smooth.shape)).clip(0, 1) * 65535) / 65535


def names(count: int = N) -> list[str]:
    """Five views of each head."""
    return [f"head{number // 5}-{number:02d}" for number in range(count)]


def steps(image: Array) -> Array:
    return np.round(image * 65535).astype(np.uint16)


def write(folder: str | Path, images: Array, called: Sequence[str] | None = None) -> Path:
    """Images in [0, 1] as 16-bit PNGs."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name, image in zip(called or names(len(images)), images, strict=True):
        Image.fromarray(steps(image)).save(folder / f"{name}.png")
    return folder


def scored(xbench: Xbench, *options: object) -> dict[str, Any]:
    result = xbench("score", *(options or FOLDERS), "--json")
    assert result.code == 0, result.err
    found: dict[str, Any] = json.loads(result.out)
    return found


@pytest.fixture
def folders(xbench: Xbench) -> Array:
    """`given`, `made` and `true`, five views of each of four heads, in an empty folder."""
    given = views()
    write("given", given)
    write("made", (0.8 * given + 0.1).clip(0, 1))
    write("true", views(seed=1))
    return given
