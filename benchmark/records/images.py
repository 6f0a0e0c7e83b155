"""Images of units as they are stored: 16-bit PNGs, and 8-bit strips of a few views."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from xbench.core.pixels import WHITE, Pixels, from_pixels, to_pixels

if TYPE_CHECKING:
    from xbench.records.schema import Extent

#: Views of every unit that are kept as one 8-bit strip, and their greatest height in pixels.
STRIP_VIEWS, STRIP_SIDE = 6, 128


def spread(n: int, count: int) -> list[int]:
    """Up to `count` of the indices below n, spread by multiples of the golden ratio.

    Evenly spaced ids would often show views of one class only.
    """
    chosen = dict.fromkeys(int(n * (k * 0.618034 % 1)) for k in range(min(count, n)))
    return sorted(chosen)


def without_padding(pixels: Pixels, content: Sequence["Extent"] | None) -> Pixels:
    """Images uint16 `[n, H, W]` for people to look at: bright where they are padded."""
    if content is None:
        return pixels
    shown = np.full_like(pixels, WHITE)
    for whole, image, (top, left, height, width) in zip(shown, pixels, content, strict=True):
        inside = np.s_[top : top + height, left : left + width]
        whole[inside] = image[inside]
    return shown


def make_strip(pixels: np.ndarray) -> np.ndarray:
    """Views uint16 `[n, H, W]` side by side in 8 bit, at most `STRIP_SIDE` pixels high."""
    height, width = pixels.shape[1:]
    if height > STRIP_SIDE:
        from torchvision.transforms.functional import resize

        size = [STRIP_SIDE, round(width * STRIP_SIDE / height)]
        pixels = to_pixels(resize(from_pixels(pixels), size, antialias=True))
    strip: np.ndarray = np.concatenate(list(pixels), axis=1)
    return (strip / 257).round().astype(np.uint8)


def read_png(path: Path) -> Pixels:
    """Grey values `[H, W]` of a PNG and of nothing else: of other formats, some run programs.

    Raises:
        OSError, SyntaxError, ValueError: it is missing, damaged or no PNG.
    """
    with Image.open(path, formats=["PNG"]) as image:
        return np.asarray(image).astype(np.uint16)


def read_pngs(folder: Path, ids: Sequence[str]) -> Pixels:
    """The images `<id>.png` of a folder, uint16 `[n, H, W]`; errors as of `read_png`."""
    return np.stack([read_png(folder / f"{name}.png") for name in ids])
