"""Decodes image files to grey values, each by its content: see `xbench.datasets.decoding`."""

from pathlib import Path

from xbench.datasets.decoding.arrays import read_array
from xbench.datasets.decoding.dicom import read_dicom
from xbench.datasets.decoding.kinds import SUFFIXES, ending, is_image, kind_of, stem
from xbench.datasets.decoding.picture import Grey, Mask, Picture, Undecodable
from xbench.datasets.decoding.pictures import read_picture, read_portable
from xbench.datasets.decoding.slices import READERS, read_slice
from xbench.datasets.decoding.tiff import read_tiff

__all__ = [
    "DECODER",
    "SUFFIXES",
    "Grey",
    "Mask",
    "Picture",
    "Undecodable",
    "ending",
    "is_image",
    "kind_of",
    "read",
    "read_mask",
    "stem",
]

#: Version of the decoders. Raise it whenever a file that was read before gives other pixels: it is
#: part of the keys of folders and of the place of their cached images, so that pixels read wrong
#: do not live on. A kind of file that was refused before needs no other number.
DECODER = 2


def read(path: Path, *, mask: bool = False) -> Picture:
    """Decode one file, by its content, whatever its name says.

    Args:
        path: the file.
        mask: also read what only masks have: 1 bit, a palette, true and false.

    Raises:
        Undecodable: it is missing, damaged, of several frames, or of an unreadable kind.
    """
    try:
        return _read(path, mask)
    except Undecodable:
        raise
    except FileNotFoundError:
        raise Undecodable("is not there") from None
    except Exception as error:  # decoders raise errors of any type for damaged files
        reason = " ".join(str(error).split())
        raise Undecodable(f"cannot be decoded ({type(error).__name__}: {reason})") from error


def read_mask(path: Path) -> Mask:
    """Decode a mask: bool `[H, W]`, True where the file is neither zero nor black.

    Raises:
        Undecodable: see `read`.
    """
    inside: Mask = read(path, mask=True).values != 0
    return inside


def _read(path: Path, mask: bool) -> Picture:
    kind = kind_of(path)
    if kind is None:
        empty = path.stat().st_size == 0
        what = "it is empty" if empty else "its content is of no kind of image that is read"
        raise Undecodable(f"cannot be decoded: {what}")
    if kind in READERS:
        return read_slice(path, kind)
    decode = {
        "DICOM": read_dicom,
        "TIFF": read_tiff,
        "NPY": read_array,
        "PNM": read_portable,
    }.get(kind, read_picture)
    return decode(path, mask)
