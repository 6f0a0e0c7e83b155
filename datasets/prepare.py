"""Preprocessing of decoded images: window, polarity, square working size, 16 bits."""

from typing import Any, Literal, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from xbench.core.pixels import WHITE, Pixels
from xbench.datasets.base import Box
from xbench.datasets.decode import Grey, Mask, Picture, Undecodable
from xbench.datasets.labels import inside

Value = TypeVar("Value", np.float32, np.uint16)
Fit = Literal["pad", "crop", "stretch", "align"]
#: Sides below this show no anatomy, and metrics of texture and noise cannot use them.
LEAST_SIDE = 16
#: Least pixels of the shorter side at the working size of images that are only translated.
LEAST_TRANSLATED = 11


def normalise(picture: Picture, window: tuple[float, float] | None, invert: bool) -> Grey:
    """Grey values to float32 `[H, W]` in [0, 1], air bright and bone dark.

    Args:
        picture: a decoded file.
        window: the stored values that become 0 and 1; None for the range of the file.
        invert: whether bone is bright in the file.

    Raises:
        Undecodable: values are not finite, or neither window nor file defines a range.

    >>> picture = Picture(np.array([[0, 100, 300]], np.float32), 0.0, 255.0, 8)
    >>> normalise(picture, (100.0, 200.0), invert=False).tolist()
    [[0.0, 0.0, 1.0]]
    """
    if window:
        return _windowed(picture, window, invert)
    values = picture.values
    low, high = picture.low, picture.high
    _refuse_infinite(values)
    inside = picture.bits or (values.min() >= -1e-3 and values.max() <= 1 + 1e-3)
    if low is None or high is None or not inside:
        raise Undecodable(
            f"has values from {values.min():g} to {values.max():g} without a defined range: "
            "set window = [LOW, HIGH] in dataset.toml"
        )
    scaled: Grey = np.clip((values - np.float32(low)) / np.float32(high - low), 0, 1)
    return np.float32(1) - scaled if invert else scaled


def _windowed(picture: Picture, window: tuple[float, float], invert: bool) -> Grey:
    """Grey values by a user's window, which acts on what is stored, before any inversion."""
    values = picture.values if picture.stored is None else picture.stored
    _refuse_infinite(values)
    low, high = window
    scaled: Grey = np.clip((values.astype(np.float64) - low) / (high - low), 0, 1).astype(
        np.float32
    )
    if picture.inverted:
        scaled = np.float32(1) - scaled
    if picture.background is not None:
        scaled[picture.background] = 0
    return np.float32(1) - scaled if invert else scaled


def _refuse_infinite(values: NDArray[Any]) -> None:
    if not np.isfinite(values).all():
        nans, infinite = int(np.isnan(values).sum()), int(np.isinf(values).sum())
        raise Undecodable(f"has values that are not finite: {nans} NaN, {infinite} infinite")


class View(NamedTuple):
    """A part of an image that is padded to a square: shares of the square's side."""

    top: float
    left: float
    height: float
    width: float


class Frame(NamedTuple):
    """How an image becomes a square: a part of it is scaled to a part of the square.

    Attributes:
        size: side of the square in px.
        source: the part of the image that is used.
        target: the part of the square that shows it; the rest is padding.
    """

    size: int
    source: Box
    target: Box

    def image(self, image: Grey) -> Grey:
        """An image `[H, W]` as a square, padded by reflection."""
        return padded(self._scaled(image), self.target, self.size)

    def mask(self, mask: Mask) -> Mask:
        """A mask `[H, W]` as a square: pixels of which more than half is inside; no padding is."""
        inside = self._scaled(mask.astype(np.float32)) > 0.5
        return np.pad(inside, _margins(self.target, self.size))

    def places(self, places: NDArray[np.float64]) -> NDArray[np.float64]:
        """Places `[n, 2]` (row, column) in the image, in the square; NaN if they are cut off.

        >>> half = frame(64, 32, 32, "pad")  # 8 columns of padding on each side
        >>> half.places(np.array([[0.5, 0.5], [10.5, 20.5]])).tolist()
        [[0.0, 8.0], [5.0, 18.0]]
        """
        source, target = np.array(self.source), np.array(self.target)
        scaled = (places - source[:2] + 0.5) * (target[2:] / source[2:]) - 0.5
        kept: NDArray[np.float64] = inside(scaled, *self.target[2:]) + target[:2]
        return kept

    def _scaled(self, image: Grey) -> Grey:
        top, left, high, wide = self.source
        return _resize(image[top : top + high, left : left + wide], *self.target[2:])


def padded(inside: NDArray[Value], box: Box, size: int) -> NDArray[Value]:
    """The content `[h, w]` of an image in its box, padded by reflection to `[size, size]`."""
    return np.pad(inside, _margins(box, size), mode="reflect")


def _margins(box: Box, size: int) -> tuple[tuple[int, int], tuple[int, int]]:
    return (box.top, size - box.height - box.top), (box.left, size - box.width - box.left)


def frame(
    height: int,
    width: int,
    size: int,
    fit: Fit,
    least: int = LEAST_SIDE,
    view: View | None = None,
) -> Frame:
    """How an image of some height and width becomes a square: see `to_square`.

    Raises:
        Undecodable: a side is shorter than `LEAST_SIDE`, or than `least` after scaling.
    """
    if min(height, width) < LEAST_SIDE:
        raise Undecodable(f"has {height} x {width} pixels, at least {LEAST_SIDE} are needed")
    source, high, wide = Box(0, 0, height, width), size, size
    if fit == "crop":
        side = min(height, width)
        source = Box((height - side) // 2, (width - side) // 2, side, side)
    if fit == "align" and view is not None:
        return _aligned(height, width, size, view, least)
    if fit in ("pad", "align"):
        scale = size / max(height, width)
        high, wide = round(height * scale), round(width * scale)
        if min(high, wide) < least:
            raise Undecodable(f"is too elongated for {size} pixels: {height} x {width} pixels")
    return Frame(size, source, Box((size - high) // 2, (size - wide) // 2, high, wide))


def _aligned(height: int, width: int, size: int, view: View, least: int) -> Frame:
    """The frame of a view: its larger side fills the square."""
    longer, side = max(height, width), max(view.height, view.width)
    # Shares of the padded square → px of the image.
    top = height / 2 + (view.top - 0.5) * longer
    left = width / 2 + (view.left - 0.5) * longer
    first_row, first_column = max(0, round(top)), max(0, round(left))
    last_row = min(height, round(top + view.height * longer))
    last_column = min(width, round(left + view.width * longer))
    scale = size / (side * longer)
    # The view lies in the middle of the square.
    down = size / 2 - (top + view.height * longer / 2) * scale
    right = size / 2 - (left + view.width * longer / 2) * scale
    begin = max(0, round(first_row * scale + down)), max(0, round(first_column * scale + right))
    end = round(last_row * scale + down), round(last_column * scale + right)
    high, wide = min(size, end[0]) - begin[0], min(size, end[1]) - begin[1]
    if min(high, wide) < least or last_row <= first_row or last_column <= first_column:
        raise Undecodable(f"shows little of what all domains show: {height} x {width} pixels")
    source = Box(first_row, first_column, last_row - first_row, last_column - first_column)
    return Frame(size, source, Box(*begin, high, wide))


def to_square(
    image: Grey, size: int, fit: Fit, least: int = LEAST_SIDE, view: View | None = None
) -> tuple[Pixels, Box]:
    """An image `[H, W]` in [0, 1] as a square of the working size.

    `pad` keeps the whole image and its aspect ratio, and pads by reflection; `crop` takes the
    largest square from the middle; `stretch` ignores the aspect ratio; `align` cuts out `view`, and
    pads as `pad` does. Larger images are averaged over areas, as by a detector with larger pixels;
    smaller ones are interpolated.

    Returns:
        uint16 `[size, size]`, and the part of it that is not padding.

    Raises:
        Undecodable: a side is shorter than `LEAST_SIDE`, or than `least` after scaling.
    """
    height, width = image.shape
    fitted = frame(height, width, size, fit, least, view)
    return quantise(fitted.image(image)), fitted.target


def quantise(image: Grey) -> Pixels:
    """Grey values in [0, 1] to 16 bits, rounded in float32 (`to_pixels` rounds in float64)."""
    return np.round(image * WHITE).astype(np.uint16)


def _resize(image: Grey, height: int, width: int) -> Grey:
    if image.shape == (height, width):
        return image
    shrinks = height < image.shape[0] or width < image.shape[1]
    how = Image.Resampling.BOX if shrinks else Image.Resampling.BILINEAR
    picture = Image.fromarray(np.ascontiguousarray(image, np.float32))
    resized: Grey = np.clip(np.asarray(picture.resize((width, height), how)), 0, 1)
    return resized
