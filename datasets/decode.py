"""Image files as people have them, to grey values: PNG, TIFF, JPEG, NPY and DICOM."""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

if TYPE_CHECKING:
    from pydicom import Dataset as Header

Grey = NDArray[np.float32]

#: File endings that are read, in lower case. DICOM files without an ending are known by their
#: first bytes.
SUFFIXES = frozenset({".png", ".tif", ".tiff", ".jpg", ".jpeg", ".npy", ".dcm", ".dicom"})
#: Luma of ITU-R BT.601, as Pillow has it.
LUMA = np.array([0.299, 0.587, 0.114], np.float32)


#: Pillow's name of a kind of picture that is not read → what it is.
REFUSED = {
    "1": "has 1 bit per pixel, as masks have",
    "P": "has a palette instead of grey values",
    "CMYK": "has the colours of a printer (CMYK)",
}


class Undecodable(Exception):
    """A file that cannot be used; the text says why in one line, without the file's name."""


@dataclass(frozen=True)
class Picture:
    """One decoded file.

    Attributes:
        values: float32 `[H, W]`, as stored; of a DICOM file as displayed (rescaled, and inverted
            where it is MONOCHROME1).
        low: the value that stands for 0: the least of the bit depth, or of the DICOM window;
            None where the file does not tell (signed and wide integers).
        high: likewise the value that stands for 1.
        bits: bits per sample as stored; 0 for floating point.
        colour: whether it was a colour picture and became grey by its luma.
    """

    values: Grey
    low: float | None
    high: float | None
    bits: int
    colour: bool = False


def is_image(path: Path) -> bool:
    """Whether a file has an ending that is read, or none but the first bytes of DICOM."""
    if path.suffix.lower() in SUFFIXES:
        return True
    return not path.suffix and _is_dicom(path)


def read(path: Path) -> Picture:
    """Decode one file.

    Raises:
        Undecodable: it is damaged, of several frames, or of a kind that is not read.
    """
    suffix = path.suffix.lower()
    try:
        if suffix == ".npy":
            return _read_array(path)
        if suffix in (".dcm", ".dicom") or not suffix:
            return read_dicom(path)
        return _read_picture(path)
    except Undecodable:
        raise
    except FileNotFoundError:
        raise Undecodable("is not there") from None
    except Exception as error:  # decoders raise whatever they like at damaged files
        raise Undecodable(f"cannot be decoded ({type(error).__name__}: {error})") from error


def _is_dicom(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False


def _read_array(path: Path) -> Picture:
    array = np.load(path, allow_pickle=False)
    return from_array(array.squeeze() if array.ndim > 2 else array)


def from_array(array: NDArray[Any]) -> Picture:
    """Grey values of an array `[H, W]`; the range is that of its integer type.

    Raises:
        Undecodable: another shape or type.
    """
    if array.ndim != 2:
        raise Undecodable(f"has the shape {array.shape}, not [H, W]")
    kind, bits = array.dtype.kind, 8 * array.dtype.itemsize
    if kind not in "uif":
        raise Undecodable(f"has values of the type {array.dtype}")
    values = array.astype(np.float32)
    if kind == "f":
        return Picture(values, 0.0, 1.0, bits=0)
    if kind == "u" and bits <= 16:
        return Picture(values, 0.0, float(2**bits - 1), bits)
    return Picture(values, None, None, bits)


def _read_picture(path: Path) -> Picture:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of odd metadata; what is not readable raises
        with Image.open(path) as opened:
            frames = getattr(opened, "n_frames", 1)
            if frames > 1:
                raise Undecodable(f"has {frames} frames, one is expected")
            kind = opened.format
            picture = ImageOps.exif_transpose(opened)
            picture.load()
    if picture.mode in REFUSED:
        raise Undecodable(f"{REFUSED[picture.mode]}: save it with 8 or 16 bits of grey")
    if picture.mode in ("L", "F", "I;16", "I;16B", "I;16L"):
        return from_array(np.asarray(picture))
    if picture.mode == "I":  # Pillow's 32 bits; a PNG has 16 at most
        array = np.asarray(picture)
        return from_array(array.astype(np.uint16) if kind == "PNG" else array)
    return from_colour(np.asarray(picture.convert("RGB")))


def from_colour(array: NDArray[Any]) -> Picture:
    """Grey values of a colour array `[H, W, 3]` of unsigned integers: its luma."""
    bits = 8 * array.dtype.itemsize
    first = array[..., :1]
    if (array == first).all():
        return Picture(first[..., 0].astype(np.float32), 0.0, float(2**bits - 1), bits)
    return Picture(array.astype(np.float32) @ LUMA, 0.0, float(2**bits - 1), bits, colour=True)


def read_dicom(path: Path) -> Picture:
    """Decode a DICOM file of one frame.

    Modality rescale and VOI window are applied as PS3.3 C.11.1 and C.11.2 define them (of several
    windows the first); MONOCHROME1 is inverted, so that larger values are brighter.

    Raises:
        Undecodable: no pixel data, several frames, or a compression without a decoder.
    """
    try:
        import pydicom
        from pydicom.errors import InvalidDicomError
    except ImportError:
        raise Undecodable('needs pydicom: pip install "xbench-xray[dicom]"') from None
    try:
        header = pydicom.dcmread(path)
    except InvalidDicomError as error:
        raise Undecodable("is no DICOM file") from error
    frames = int(header.get("NumberOfFrames") or 1)
    if frames > 1:
        raise Undecodable(f"has {frames} frames, one is expected: export the frame you mean")
    stored = _pixels(header)
    if stored.ndim == 3:
        return from_colour(stored)
    return _displayed(header, stored)


def _pixels(header: "Header") -> np.ndarray[Any, Any]:
    """Stored values `[H, W]`, or `[H, W, 3]`."""
    if "PixelData" not in header:
        raise Undecodable("has no pixel data")
    try:
        pixels: np.ndarray[Any, Any] = header.pixel_array
    except (NotImplementedError, RuntimeError) as error:
        syntax = header.file_meta.get("TransferSyntaxUID")
        if syntax is not None and syntax.is_compressed:
            raise Undecodable(
                f"is compressed as {syntax.name}, for which no decoder is installed: "
                "pip install pylibjpeg pylibjpeg-libjpeg pylibjpeg-openjpeg"
            ) from error
        raise
    return pixels


def _displayed(header: "Header", stored: np.ndarray[Any, Any]) -> Picture:
    """Rescale, find the window, and make large values bright."""
    from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut

    values = apply_modality_lut(stored, header).astype(np.float32)
    bits = int(header.BitsStored)
    low, high = _full_range(header)
    center, width = _first(header.get("WindowCenter")), _first(header.get("WindowWidth"))
    if header.get("VOILUTSequence"):
        values = apply_voi_lut(values.astype(np.int32), header).astype(np.float32)
        low, high = 0.0, float(2 ** int(header.VOILUTSequence[0].LUTDescriptor[2]) - 1)
    elif center is not None and width is not None and width > 1:
        # LINEAR spans from c - 0.5 - (w - 1) / 2 to c - 0.5 + (w - 1) / 2.
        exact = header.get("VOILUTFunction", "LINEAR") == "LINEAR_EXACT"
        middle, half = (center, width / 2) if exact else (center - 0.5, (width - 1) / 2)
        low, high = middle - half, middle + half
    if header.get("PhotometricInterpretation") == "MONOCHROME1":
        values = np.float32(low + high) - values
    return Picture(values, low, high, bits)


def _full_range(header: "Header") -> tuple[float, float]:
    """The least and greatest value that the stored bits allow, rescaled."""
    bits, signed = int(header.BitsStored), bool(header.PixelRepresentation)
    ends = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    slope = float(header.get("RescaleSlope") or 1)
    shift = float(header.get("RescaleIntercept") or 0)
    low, high = sorted(slope * end + shift for end in ends)
    return low, high


def _first(value: Any) -> float | None:
    """The first of a DICOM element's numbers."""
    if value is None or value == "":
        return None
    return float(value[0] if hasattr(value, "__len__") and not isinstance(value, str) else value)
