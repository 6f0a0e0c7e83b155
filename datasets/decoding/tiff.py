"""Decodes TIFF files of every depth with tifffile."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from xbench.datasets.decoding.picture import (
    Array,
    Picture,
    Undecodable,
    from_array,
    from_colour,
    oriented,
    refuse_huge,
)

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPage

#: Tags of a picture's orientation, and of a page's kind in old files (2: a reduced image).
ORIENTATION, OLD_SUBFILE = 274, 255
#: Bits of a page's kind: a reduced image, a transparency mask.
REDUCED, MASK = 1, 4
#: Photometric interpretations that hold grey values or colours.
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, CMYK, YCBCR = 0, 1, 2, 3, 5, 6


def read_tiff(path: Path, mask: bool) -> Picture:
    """Decode the one page of a TIFF file: all depths, signs, layouts and byte orders.

    Thumbnails and transparency masks are no pages.

    Raises:
        Undecodable: it has several pages, or pixels that are neither grey values nor RGB.
    """
    from tifffile import TiffFile

    with TiffFile(path) as file:
        page = _only_page(file)
        _refuse_unknown(page, mask)
        array = _samples(path, page)
        tag = page.tags.get(ORIENTATION)
        array = oriented(array, int(tag.value) if tag else 1)
        return _picture(page, array)


def _only_page(file: "TiffFile") -> "TiffPage":
    from tifffile import TiffPage

    found = [page for page in file.pages if isinstance(page, TiffPage)]
    pages = [page for page in found if not _is_extra(page)] or found
    frames = len(pages)
    if frames == 1 and file.series:  # ImageJ and tifffile put stacks below one page
        pixels = pages[0].imagewidth * pages[0].imagelength * pages[0].samplesperpixel
        frames = max(1, round(float(np.prod(file.series[0].shape, dtype=float)) / max(pixels, 1)))
    if frames != 1 or pages[0].imagedepth > 1:
        count = max(frames, pages[0].imagedepth)
        raise Undecodable(f"has {count} frames (pages) instead of one: save the one that you need")
    return pages[0]


def _is_extra(page: "TiffPage") -> bool:
    """Whether a page is a thumbnail or a transparency mask."""
    old = page.tags.get(OLD_SUBFILE)
    return bool(page.subfiletype & (REDUCED | MASK)) or (old is not None and old.value == 2)


def _refuse_unknown(page: "TiffPage", mask: bool) -> None:
    refuse_huge(page.imagelength, page.imagewidth)
    kind, samples = int(page.photometric), page.samplesperpixel
    if kind == PALETTE and not mask:
        raise Undecodable("has a palette instead of grey values: save it with 8 or 16 bits of grey")
    if kind == CMYK:
        raise Undecodable("has the colours of a printer (CMYK): save it with 8 or 16 bits of grey")
    if kind not in (WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, YCBCR):
        name = getattr(page.photometric, "name", kind)
        raise Undecodable(f"has the colours {name}: save it with 8 or 16 bits of grey")
    if page.bitspersample == 1 and not mask:
        raise Undecodable("has 1 bit per pixel, as masks have: save it with 8 or 16 bits of grey")
    if page.dtype is None:
        raise Undecodable(f"has samples of {page.bitspersample} bits, which cannot be read")
    if kind in (WHITE_IS_ZERO, BLACK_IS_ZERO) and samples > 1 + len(page.extrasamples):
        raise Undecodable(f"has {samples} channels instead of one")
    if kind in (WHITE_IS_ZERO, BLACK_IS_ZERO) and samples > 2:
        raise Undecodable(f"has {samples} channels instead of one")


def _samples(path: Path, page: "TiffPage") -> Array:
    """The samples of a page as stored, `[H, W]` or `[H, W, C]`."""
    if int(page.photometric) == YCBCR:
        return _by_pillow(path, page)
    try:
        array = np.asarray(page.asarray())
    except ValueError as error:
        if "imagecodecs" not in str(error):
            raise
        return _by_pillow(path, page)
    samples, size = page.samplesperpixel, (page.imagelength, page.imagewidth)
    if samples == 1:
        return array.reshape(size)
    if int(page.planarconfig) == 2:
        return np.moveaxis(array.reshape(samples, *size), 0, -1)
    return array.reshape(*size, samples)


def _by_pillow(path: Path, page: "TiffPage") -> Array:
    """Samples of usual depths without imagecodecs: what Pillow reads exactly."""
    kind, bits = int(page.photometric), page.bitspersample
    grey = kind in (WHITE_IS_ZERO, BLACK_IS_ZERO) and page.samplesperpixel == 1
    colour = kind in (RGB, YCBCR) and page.samplesperpixel == 3
    unsigned = page.dtype is not None and page.dtype.kind == "u"
    if page.index or not unsigned or not ((grey and bits in (8, 16)) or (colour and bits == 8)):
        name = getattr(page.compression, "name", page.compression)
        raise Undecodable(
            f"is compressed ({name}), with {bits} bits per sample, for which no decoder is "
            'installed: pip install "xbench-xray[codecs]"'
        )
    with Image.open(path, formats=("TIFF",)) as opened:
        if colour:
            return np.asarray(opened.convert("RGB"))
        array = np.asarray(opened)
    return ~array if kind == WHITE_IS_ZERO and bits == 8 else array  # which Pillow inverts


def _picture(page: "TiffPage", array: Array) -> Picture:
    kind, bits = int(page.photometric), page.bitspersample
    top = 2**bits - 1 if array.dtype.kind == "u" and bits <= 16 else None
    if kind == PALETTE:
        return from_colour(np.moveaxis(np.asarray(page.colormap)[:, array], 0, -1))
    if kind in (RGB, YCBCR):
        if array.shape[-1] < 3:
            raise Undecodable(f"has {array.shape[-1]} channels instead of three")
        return from_colour(array, top=top)
    dropped = ""
    if array.ndim == 3:
        array, dropped = array[..., 0], "transparency"
    if array.dtype == np.bool_:
        array, top = array.astype(np.uint8), 1
    return from_array(array, top=top, inverted=kind == WHITE_IS_ZERO, dropped=dropped)
