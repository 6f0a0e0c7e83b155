"""Preprocessing of decoded images: window, polarity, square working size, 16 bits."""

from typing import Literal

import numpy as np
from PIL import Image

from xbench.core.pixels import WHITE, Pixels
from xbench.datasets.base import Box
from xbench.datasets.decode import Grey, Picture, Undecodable

Fit = Literal["pad", "crop", "stretch"]
#: Sides below this show no anatomy, and metrics of texture and noise cannot use them.
LEAST_SIDE = 16
#: Least pixels of the shorter side at the working size of images that are only translated.
LEAST_TRANSLATED = 11


def normalise(picture: Picture, window: tuple[float, float] | None, invert: bool) -> Grey:
    """Grey values to float32 `[H, W]` in [0, 1], air bright and bone dark.

    Args:
        picture: a decoded file.
        window: the values that become 0 and 1; None for the range of the file.
        invert: whether bone is bright in the file.

    Raises:
        Undecodable: values are not finite, or neither window nor file defines a range.

    >>> picture = Picture(np.array([[0, 100, 300]], np.float32), 0.0, 255.0, 8)
    >>> normalise(picture, (100.0, 200.0), invert=False).tolist()
    [[0.0, 0.0, 1.0]]
    """
    values = picture.values
    if not np.isfinite(values).all():
        raise Undecodable("has values that are not finite")
    low, high = window or (picture.low, picture.high)
    inside = picture.bits or window or (values.min() >= -1e-3 and values.max() <= 1 + 1e-3)
    if low is None or high is None or not inside:
        raise Undecodable(
            f"has values from {values.min():g} to {values.max():g} without a defined range: "
            "set window = [LOW, HIGH] in dataset.toml"
        )
    scaled: Grey = np.clip((values - np.float32(low)) / np.float32(high - low), 0, 1)
    return np.float32(1) - scaled if invert else scaled


def to_square(image: Grey, size: int, fit: Fit, least: int = LEAST_SIDE) -> tuple[Pixels, Box]:
    """An image `[H, W]` in [0, 1] as a square of the working size.

    `pad` keeps the whole image and its aspect ratio, and pads by reflection; `crop` takes the
    largest square from the middle; `stretch` ignores the aspect ratio. Larger images are averaged
    over areas, as by a detector with larger pixels; smaller ones are interpolated.

    Returns:
        uint16 `[size, size]`, and the part of it that is not padding.

    Raises:
        Undecodable: a side is shorter than `LEAST_SIDE`, or than `least` after scaling.
    """
    height, width = image.shape
    if min(height, width) < LEAST_SIDE:
        raise Undecodable(f"has {height} x {width} pixels, at least {LEAST_SIDE} are needed")
    if fit == "crop":
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        image = image[top : top + side, left : left + side]
    if fit == "pad":
        scale = size / max(height, width)
        scaled = round(height * scale), round(width * scale)
        if min(scaled) < least:
            raise Undecodable(f"is too elongated for {size} pixels: {height} x {width} pixels")
        image = _resize(image, *scaled)
    else:
        image = _resize(image, size, size)
    high, wide = image.shape
    top, left = (size - high) // 2, (size - wide) // 2
    margins = ((top, size - high - top), (left, size - wide - left))
    return quantise(np.pad(image, margins, mode="reflect")), Box(top, left, high, wide)


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
