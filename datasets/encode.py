"""Writes grey values as the file that they were read from was: its type, range and format."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from xbench.datasets.decode import Grey, Picture
from xbench.datasets.decoding.kinds import ENDINGS, ending, kind_of
from xbench.datasets.decoding.picture import Array

#: Kind of file → Pillow's name of the format and its options; JPEG is lossy in any case.
PILLOW: dict[str, tuple[str, dict[str, object]]] = {
    "PNG": ("PNG", {}),
    "JPEG": ("JPEG", {"quality": 95}),
    "BMP": ("BMP", {}),
    "JPEG 2000": ("JPEG2000", {"irreversible": False}),
    "WEBP": ("WEBP", {"lossless": True}),
}


def kind_written(file: Path) -> str:
    """The kind of file that an image is written as: its own, or PNG if we only read that.

    A damaged file has the kind that its name says.
    """
    try:
        kind = kind_of(file)
    except OSError:
        kind = None
    end = ending(file.name).lower()
    kind = kind or next((name for name, ends in ENDINGS.items() if end in ends), "PNG")
    return kind if kind in (*PILLOW, "TIFF", "NPY", "PNM") else "PNG"


def as_stored(
    shown: Grey, file: Path, picture: Picture, window: tuple[float, float] | None
) -> Array:
    """Grey values as displayed, in [0, 1], in the type and range of a file.

    DICOM and volumes, which are not written, are spread over 16 bits.

    Args:
        shown: float32 `[H, W]`.
        file: the file.
        picture: what was decoded of it.
        window: stored values that became 0 and 1; None for those of the file.
    """
    if kind_of(file) != kind_written(file):
        return np.round(shown * 65535).astype(np.uint16)
    assert picture.type is not None
    low, high = window or (picture.low, picture.high)
    assert low is not None
    assert high is not None
    values = shown.astype(np.float64)
    values = low + (1 - values if picture.inverted else values) * (high - low)
    if picture.type.kind in "ui":
        limits = np.iinfo(picture.type)
        most = limits.max if picture.high is None else min(limits.max, int(picture.high))
        values = np.clip(np.round(values), limits.min, most)
    return values.astype(picture.type)


def write(path: Path, values: Array, kind: str, picture: Picture) -> None:
    """Write values of `as_stored`.

    Args:
        path: the file, whose ending does not matter.
        values: `[H, W]`, or of any shape for NPY.
        kind: see `kind_written`.
        picture: the decoded file that is imitated: its white and its polarity are kept.
    """
    writers: dict[str, Callable[[], None]] = {
        "NPY": lambda: _write_array(path, values),
        "TIFF": lambda: _write_tiff(path, values, picture.inverted),
        "PNM": lambda: _write_graymap(path, values, int(picture.high or 255)),
    }
    writers.get(kind, lambda: _write_picture(path, values, kind))()


def changes(file: Path, picture: Picture) -> str:
    """What a file has, and its translation lacks, in a few words; "" if that is nothing."""
    found, kind, read = [], kind_written(file), kind_of(file)
    if read != kind:
        found.append(f"{read} became {kind} of 16 bits, as displayed")
    elif kind == "TIFF" and picture.type and picture.bits % 8:
        found.append(f"{picture.bits} bits per sample became {8 * picture.type.itemsize}")
    if picture.colour:
        found.append("colour became grey")
    if picture.dropped:
        found.append(f"{picture.dropped} is left out")
    return "; ".join(found)


def _write_array(path: Path, values: Array) -> None:
    with path.open("wb") as file:
        np.save(file, values)


def _write_tiff(path: Path, values: Array, white_is_zero: bool) -> None:
    import tifffile

    zero = "miniswhite" if white_is_zero else "minisblack"
    tifffile.imwrite(path, values, photometric=zero, metadata=None)


def _write_graymap(path: Path, values: Array, top: int) -> None:
    height, width = values.shape
    order = ">u2" if top > 255 else "u1"
    path.write_bytes(f"P5\n{width} {height}\n{top}\n".encode() + values.astype(order).tobytes())


def _write_picture(path: Path, values: Array, kind: str) -> None:
    name, options = PILLOW[kind]
    Image.fromarray(values).save(path, format=name, **options)
