"""Images of units as they are stored: 16-bit PNGs, and 8-bit strips of a few views to look at."""

import errno
import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from xbench.core.files import within
from xbench.core.pixels import WHITE, Pixels, from_pixels, to_pixels

if TYPE_CHECKING:
    from xbench.records.schema import Extent

#: Views of every unit that are kept as one 8-bit strip, and their greatest height in pixels.
STRIP_VIEWS, STRIP_SIDE = 4, 128
#: Strips are WebP with losses: a third of the bytes of a PNG, at an error of 2 of 255 grey levels.
STRIP_QUALITY = 90
#: Most pixels of one picture.
MOST_PIXELS = 4096 * 4096
#: Pillow's kinds of pictures that hold grey values alone.
GREY = ("L", "I;16", "I")


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


def write_strip(strip: np.ndarray, path: Path) -> None:
    """Write 8-bit grey values `[H, W]`, for people to look at."""
    # WebP knows no grey pictures.
    picture = Image.fromarray(strip).convert("RGB")
    picture.save(path, "WEBP", quality=STRIP_QUALITY, method=6)


def read_strip(path: Path) -> np.ndarray:
    """The 8-bit grey values `[H, W]` of a strip.

    Raises:
        OSError: as of `read_png`.
    """
    with _opened(path, "WEBP", ("RGB",), MOST_PIXELS) as image:
        return np.asarray(image.convert("L"))


def read_png(path: Path, most: int = MOST_PIXELS) -> Pixels:
    """Grey values `[H, W]` of a PNG and of nothing else: of other formats, some run programs.

    Raises:
        OSError: it is missing, damaged, no grey PNG, a link, or has more than `most` pixels.
    """
    with _opened(path, "PNG", GREY, most) as image:
        return np.asarray(image).astype(np.uint16)


@contextmanager
def _opened(path: Path, kind: str, modes: Sequence[str], most: int) -> Iterator[Image.Image]:
    """A picture of one format whose modes and number of pixels are as expected.

    A few kilobytes can hold a picture that fills the memory, so its size is looked at first.
    """
    within(path.parent, path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        try:
            with Image.open(path, formats=[kind]) as image:
                if image.mode not in modes or math.prod(image.size) > most:
                    what = f"{image.size[0]} x {image.size[1]} pixels of the kind {image.mode}"
                    expected = f"at most {most} of {' or '.join(modes)}"
                    raise OSError(errno.EINVAL, f"has {what}, not {expected}", path)
                yield image
        except (OSError, MemoryError):
            raise
        except Exception as error:  # for damaged files Pillow raises errors of any type
            raise OSError(errno.EINVAL, f"is no picture ({error})", path) from error


def read_pngs(folder: Path, ids: Sequence[str]) -> Pixels:
    """The images `<id>.png` of a folder, uint16 `[n, H, W]`.

    Raises:
        OSError: as of `read_png`, or they differ in size.
    """
    images = [read_png(folder / f"{ids[0]}.png")]
    for name in ids[1:]:
        images.append(read_png(folder / f"{name}.png", images[0].size))
        if images[-1].shape != images[0].shape:
            raise OSError(errno.EINVAL, "differs in size from the others", folder / f"{name}.png")
    return np.stack(images)
