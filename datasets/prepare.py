"""The one preprocessing of images from files: window, polarity, square working size."""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from xbench.datasets.base import Box
from xbench.datasets.decode import Grey, Picture, Undecodable

Fit = Literal["pad", "crop", "stretch"]
#: Sides below this show no anatomy.
LEAST_SIDE = 16
#: What remains of the shorter side at the working size: the window of SSIM.
LEAST_CONTENT = 11


def normalise(picture: Picture, window: tuple[float, float] | None, invert: bool) -> Grey:
    """Grey values to float32 `[H, W]` in [0, 1], air bright and bone dark.

    Args:
        picture: as decoded.
        window: the values that become 0 and 1; None for the picture's own.
        invert: whether bone is bright in it.

    Raises:
        Undecodable: values that are not finite, or no window where the file tells none.
    """
    values = picture.values
    if not np.isfinite(values).all():
        raise Undecodable("has values that are not finite")
    low, high = window or (picture.low, picture.high)
    inside = picture.bits or window or (values.min() >= -1e-3 and values.max() <= 1 + 1e-3)
    if low is None or high is None or not inside:
        raise Undecodable(
            f"has values from {values.min():g} to {values.max():g} and tells no range: "
            "set window = [LOW, HIGH] in dataset.toml"
        )
    scaled: Grey = np.clip((values - np.float32(low)) / np.float32(high - low), 0, 1)
    return np.float32(1) - scaled if invert else scaled


def to_square(image: Grey, size: int, fit: Fit) -> tuple[NDArray[np.uint16], Box]:
    """An image `[H, W]` in [0, 1] at the working size.

    `pad` keeps all of it and the aspect ratio, and fills up by reflection; `crop` takes the
    largest square from the middle; `stretch` ignores the aspect ratio. Smaller images come from
    averaging over areas, as by a detector with larger pixels; larger ones are interpolated.

    Returns:
        uint16 `[size, size]`, and the part of it that is not padding.

    Raises:
        Undecodable: a side of less than 16 pixels, or next to nothing left of it by padding.
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
        if min(scaled) < LEAST_CONTENT:
            raise Undecodable(f"is too elongated, {height} x {width} pixels, for {size} pixels")
        image = _resize(image, *scaled)
    else:
        image = _resize(image, size, size)
    high, wide = image.shape
    top, left = (size - high) // 2, (size - wide) // 2
    margins = ((top, size - high - top), (left, size - wide - left))
    padded = np.pad(image, margins, mode="reflect")
    return np.round(padded * 65535).astype(np.uint16), Box(top, left, high, wide)


def _resize(image: NDArray[Any], height: int, width: int) -> NDArray[Any]:
    if image.shape == (height, width):
        return image
    shrinks = height < image.shape[0] or width < image.shape[1]
    how = Image.Resampling.BOX if shrinks else Image.Resampling.BILINEAR
    picture = Image.fromarray(np.ascontiguousarray(image, np.float32))
    resized: NDArray[Any] = np.clip(np.asarray(picture.resize((width, height), how)), 0, 1)
    return resized
