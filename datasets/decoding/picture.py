"""What a decoded file is: grey values as displayed, and those that are stored."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

Grey = NDArray[np.float32]
Mask = NDArray[np.bool_]
Array = NDArray[Any]

#: Weights of red, green and blue in the luma of ITU-R BT.601, as in Pillow.
LUMA = np.array([0.299, 0.587, 0.114])
#: Files that claim more pixels are refused: a few bytes can fill the memory. (Pillow's own limit.)
MOST_PIXELS = 2**29 // 3


class Undecodable(Exception):
    """A file cannot be used; the message is the rest of a sentence that starts with its name."""


@dataclass(frozen=True)
class Picture:
    """One decoded file.

    Attributes:
        values: float32 `[H, W]` as displayed: larger is brighter (after a window or table of the
            file, and inverted if its smallest value is white); of colour pictures the luma.
        low: the value that becomes 0; None if the file does not define it (signed and wide
            integers).
        high: likewise the value that becomes 1.
        bits: bits per sample as stored; 0 for floating point.
        shown: the polarity of `values` by the header: "bone-bright", "bone-dark", or None if the
            file does not say it, as pictures never do.
        stored: `[H, W]`, what a user's window acts on: the values as stored (of DICOM: rescaled),
            before window and inversion. None: `values`.
        inverted: whether the smallest stored value is white (MONOCHROME1, WhiteIsZero).
        windowed: whether the file has its own window or table of greys, so that low is 0, high 1.
        background: pixels that hold no picture, as the file says (DICOM's padding): black.
        type: type of the stored samples.
        colour: whether these had colour.
        dropped: what the file has besides, and grey values lack: "transparency", or nothing.
    """

    values: Grey
    low: float | None
    high: float | None
    bits: int
    shown: str | None = None
    stored: Array | None = None
    inverted: bool = False
    windowed: bool = False
    background: Mask | None = None
    type: np.dtype[Any] | None = None
    colour: bool = False
    dropped: str = ""


def from_array(
    array: Array, *, top: int | None = None, inverted: bool = False, dropped: str = ""
) -> Picture:
    """Grey values of an array `[H, W]`.

    Args:
        array: integers or floating point.
        top: the largest value that the file can hold; else that of the (unsigned) integer type.
        inverted: whether 0 is white.
        dropped: see `Picture`.

    Raises:
        Undecodable: it has no pixels, or is no array of numbers of two dimensions.
    """
    kind, bits = array.dtype.kind, 8 * array.dtype.itemsize
    if kind not in "uif":
        raise Undecodable(f"has values of the type {_name(array.dtype)}, not numbers")
    if array.ndim != 2:
        raise Undecodable(f"has the shape {array.shape}, not [H, W]")
    if array.size == 0:
        raise Undecodable(f"has no pixels: {array.shape[0]} x {array.shape[1]}")
    low: float | None = 0.0
    high: float | None = 1.0
    if kind == "u" and (top or bits <= 16):
        high = float(top or 2**bits - 1)
        bits = round(np.log2(high + 1)) if top else bits
    elif kind != "f":
        low = high = None
    values = array.astype(np.float32)
    if inverted:
        values = np.float32(high or 0) - values
    bits = 0 if kind == "f" else bits
    made = Picture(values, low, high, bits, stored=array, inverted=inverted)
    return replace(made, type=array.dtype, dropped=dropped)


def from_colour(array: Array, *, top: int | None = None) -> Picture:
    """Grey values of a colour array `[H, W, 3]`, or `[H, W, 4]` with transparency: its luma.

    Args:
        array: unsigned integers, or floating point in [0, 1].
        top: the largest value that the file can hold; else that of the integer type.
    """
    dropped = "transparency" if array.shape[-1] > 3 else ""
    array = array[..., :3]
    bits = 8 * array.dtype.itemsize
    if array.size and (array == array[..., :1]).all():
        grey = from_array(array[..., 0], top=top, dropped=dropped)
        return replace(grey, colour=True)
    values = (array.astype(np.float64) @ LUMA).astype(np.float32)
    if array.dtype.kind == "f":
        return Picture(values, 0.0, 1.0, 0, type=array.dtype, colour=True, dropped=dropped)
    if array.dtype.kind != "u":
        raise Undecodable(f"has colours of the type {_name(array.dtype)}")
    high = float(top or 2**bits - 1)
    return Picture(values, 0.0, high, bits, type=array.dtype, colour=True, dropped=dropped)


def oriented(array: Array, orientation: int) -> Array:
    """An array `[H, W]` or `[H, W, C]` upright, by the orientation tag of TIFF and EXIF (1 to 8).

    >>> oriented(np.array([[1, 2], [3, 4]]), 6).tolist()  # to be shown turned clockwise
    [[3, 1], [4, 2]]
    """
    if orientation >= 5:
        array = array.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        array = array[:, ::-1]
    if orientation in (3, 4, 7, 8):
        array = array[::-1]
    return array


def refuse_huge(height: int, width: int) -> None:
    """Refuse what would fill the memory.

    Raises:
        Undecodable: there are more than `MOST_PIXELS`.
    """
    if height * width > MOST_PIXELS:
        raise Undecodable(f"claims {height} x {width} pixels, more than {MOST_PIXELS:,}")


def _name(kind: np.dtype[Any]) -> str:
    if kind.kind == "O":
        return "object (Python's own)"
    return "structured (of several fields)" if kind.names else str(kind)
