"""Decodes pictures: PNG, JPEG, BMP, PGM and PPM, JPEG 2000, WebP."""

import re
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from xbench.datasets.decoding.picture import (
    Array,
    Picture,
    Undecodable,
    from_array,
    from_colour,
    oriented,
    refuse_huge,
)

#: Unreadable modes of Pillow → what they are.
REFUSED = {
    "1": "has 1 bit per pixel, as masks have",
    "P": "has a palette instead of grey values",
    "PA": "has a palette instead of grey values",
    "CMYK": "has the colours of a printer (CMYK)",
}
#: Formats that Pillow may try: what the first bytes are taken for.
FORMATS = ("PNG", "JPEG", "BMP", "PPM", "JPEG2000", "WEBP")
#: The tag of a picture's orientation in TIFF and EXIF.
ORIENTATION = 0x0112


def read_picture(path: Path, mask: bool) -> Picture:
    """Decode a picture with Pillow; colours of 16 bits, which it would cut to 8, with torchvision.

    Raises:
        Undecodable: it has several frames, or pixels that are no grey values.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about odd metadata; unreadable pictures raise
        with Image.open(path, formats=FORMATS) as opened:
            refuse_huge(opened.height, opened.width)
            frames = getattr(opened, "n_frames", 1)
            if frames > 1 and opened.format != "MPO":  # a photograph with its preview
                raise Undecodable(f"has {frames} frames instead of one")
            if opened.format == "PNG" and _is_deep_colour(path):
                orientation = opened.getexif().get(ORIENTATION, 1)
                return _deep_colour(oriented(_unpacked(path), orientation))
            if opened.format == "JPEG2000":
                _refuse_deep(path, opened.mode)
            kind = opened.format
            picture = ImageOps.exif_transpose(opened)
            picture.load()
    return _from_pillow(picture, str(kind), mask)


def _from_pillow(picture: Image.Image, kind: str, mask: bool) -> Picture:
    if picture.mode in REFUSED and not mask:
        raise Undecodable(f"{REFUSED[picture.mode]}: save it with 8 or 16 bits of grey")
    if picture.mode in ("L", "F", "I;16", "I;16B", "I;16L"):
        return from_array(np.asarray(picture))
    if picture.mode == "I":  # Pillow's 32 bits; a PNG has 16 at most
        array = np.asarray(picture)
        return from_array(array.astype(np.uint16) if kind in ("PNG", "JPEG2000") else array)
    if picture.mode == "LA":
        return from_array(np.asarray(picture)[..., 0], dropped="transparency")
    return from_colour(np.asarray(picture if picture.mode == "RGBA" else picture.convert("RGB")))


def _is_deep_colour(path: Path) -> bool:
    """Whether a PNG has 16 bits of colour or of grey with transparency (ISO 15948, 11.2.2)."""
    with path.open("rb") as file:
        bits, colours = file.read(26)[24:]
    return bits == 16 and colours in (2, 4, 6)


def _unpacked(path: Path) -> Array:
    """The samples of a PNG, `[H, W, C]`."""
    from torchvision.io import decode_image

    return np.moveaxis(decode_image(str(path), mode="UNCHANGED").numpy(), 0, -1)


def _deep_colour(samples: Array) -> Picture:
    if samples.shape[-1] == 2:
        return from_array(samples[..., 0], dropped="transparency")
    return from_colour(samples)


def _refuse_deep(path: Path, mode: str) -> None:
    """Refuse colours of more than 8 bits in JPEG 2000: Pillow would cut them without a word."""
    data = path.read_bytes()
    sizes = data.find(b"\xff\x4f\xff\x51")  # SOC and SIZ, ISO 15444-1, A.5.1
    samples = int.from_bytes(data[sizes + 40 : sizes + 42], "big")
    depths = [1 + (data[sizes + 42 + 3 * i] & 0x7F) for i in range(samples)]
    if samples > 1 and max(depths, default=8) > 8:
        raise Undecodable(
            f"has {samples} channels of {max(depths)} bits, which are not read from JPEG 2000: "
            "save it as PNG or TIFF"
        )


def read_portable(path: Path, mask: bool) -> Picture:
    """Decode a portable graymap (PGM), whose header says which value is white; PPM by Pillow.

    Raises:
        Undecodable: it is cut off.
    """
    data = path.read_bytes()
    found = re.match(rb"P([256])" + 3 * rb"(?:\s|#.*\n)+(\d+)" + rb"\s", data)
    if not found or found[1] == b"6":
        return read_picture(path, mask)
    width, height, top = (int(text) for text in found.groups()[1:])
    refuse_huge(height, width)
    rest = data[found.end() :]
    if found[1] == b"2":
        numbers = np.array(re.sub(rb"#.*", b"", rest).split(), np.int64).astype(np.uint16)
    else:
        kind = np.dtype(">u2" if top > 255 else "u1")
        numbers = np.frombuffer(rest[: height * width * kind.itemsize], kind)
    if numbers.size < height * width:
        raise Undecodable(f"cannot be decoded: {numbers.size} of {height * width} pixels are there")
    array = numbers[: height * width].reshape(height, width)
    return from_array(array.astype(np.uint16 if top > 255 else np.uint8), top=top)
