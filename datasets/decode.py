"""Decodes image files to grey values: PNG, TIFF, JPEG, NPY and DICOM."""

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
Mask = NDArray[np.bool_]

#: Readable file endings, in lower case. DICOM files without an ending are recognised by their
#: first bytes.
SUFFIXES = frozenset({".png", ".tif", ".tiff", ".jpg", ".jpeg", ".npy", ".dcm", ".dicom"})
#: Endings of DICOM files.
DICOM = ("", ".dcm", ".dicom")
#: Modalities of DICOM whose images for presentation show bone bright, as films do.
FILMS = frozenset({"CR", "DX", "IO", "MG", "PX", "RG"})
#: Weights of red, green and blue in the luma of ITU-R BT.601, as in Pillow.
LUMA = np.array([0.299, 0.587, 0.114], np.float32)
#: Unreadable modes of Pillow → what they are.
REFUSED = {
    "1": "has 1 bit per pixel, as masks have",
    "P": "has a palette instead of grey values",
    "CMYK": "has the colours of a printer (CMYK)",
}


class Undecodable(Exception):
    """A file cannot be used; the message is the rest of a sentence that starts with its name."""


@dataclass(frozen=True)
class Picture:
    """One decoded file.

    Attributes:
        values: float32 `[H, W]`, as stored; for DICOM files as displayed (rescaled, and inverted
            if MONOCHROME1); for colour pictures their luma.
        low: the value that becomes 0: the lower end of the bit depth or of the DICOM window; None
            if the file does not define it (signed and wide integers).
        high: likewise the value that becomes 1.
        bits: bits per sample as stored; 0 for floating point.
        shown: the polarity of `values` by the header: "bone-bright", "bone-dark", or None if the
            file does not say it, as pictures never do.
    """

    values: Grey
    low: float | None
    high: float | None
    bits: int
    shown: str | None = None


def is_image(path: Path) -> bool:
    """Whether a file has a readable ending, or no ending and the first bytes of DICOM."""
    if path.suffix.lower() in SUFFIXES:
        return True
    return not path.suffix and _is_dicom(path)


def read(path: Path, *, mask: bool = False) -> Picture:
    """Decode one file.

    Args:
        path: the file.
        mask: also read what only masks have: 1 bit, a palette, true and false.

    Raises:
        Undecodable: it is missing, damaged, of several frames, or of an unreadable kind.
    """
    suffix = path.suffix.lower()
    try:
        if suffix == ".npy":
            array = np.load(path, allow_pickle=False)
            array = array.astype(np.uint8) if mask and array.dtype == np.bool_ else array
            return _from_array(array.squeeze() if array.ndim > 2 else array)
        return _read_dicom(path) if suffix in DICOM else _read_picture(path, mask)
    except Undecodable:
        raise
    except FileNotFoundError:
        raise Undecodable("is not there") from None
    except Exception as error:  # decoders raise errors of any type for damaged files
        raise Undecodable(f"cannot be decoded ({type(error).__name__}: {error})") from error


def read_mask(path: Path) -> Mask:
    """Decode a mask: bool `[H, W]`, True where the file is neither zero nor black.

    Raises:
        Undecodable: see `read`.
    """
    inside: Mask = read(path, mask=True).values != 0
    return inside


def _is_dicom(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False


def _from_array(array: NDArray[Any]) -> Picture:
    """Grey values of an array `[H, W]`; the range is that of its integer type."""
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


def _read_picture(path: Path, mask: bool) -> Picture:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about odd metadata; unreadable pictures raise
        with Image.open(path) as opened:
            frames = getattr(opened, "n_frames", 1)
            if frames > 1:
                raise Undecodable(f"has {frames} frames instead of one")
            kind = opened.format
            picture = ImageOps.exif_transpose(opened)
            picture.load()
    if picture.mode in REFUSED and not mask:
        raise Undecodable(f"{REFUSED[picture.mode]}: save it with 8 or 16 bits of grey")
    if picture.mode in ("L", "F", "I;16", "I;16B", "I;16L"):
        return _from_array(np.asarray(picture))
    if picture.mode == "I":  # Pillow's 32 bits; a PNG has 16 at most
        array = np.asarray(picture)
        return _from_array(array.astype(np.uint16) if kind == "PNG" else array)
    return _from_colour(np.asarray(picture.convert("RGB")))


def _from_colour(array: NDArray[Any]) -> Picture:
    """Grey values of a colour array `[H, W, 3]` of unsigned integers: its luma."""
    bits = 8 * array.dtype.itemsize
    is_grey = (array == array[..., :1]).all()
    values = array[..., 0].astype(np.float32) if is_grey else array.astype(np.float32) @ LUMA
    return Picture(values, 0.0, float(2**bits - 1), bits)


def _read_dicom(path: Path) -> Picture:
    """Decode a DICOM file of one frame.

    Applies the modality rescale and the (first) VOI window of the DICOM standard, PS3.3 C.11.1 and
    C.11.2; inverts MONOCHROME1, so that larger values are brighter.
    """
    try:
        import pydicom
        from pydicom.errors import InvalidDicomError
    except ImportError:
        raise Undecodable('needs pydicom: pip install "xbench-xray[dicom]"') from None
    try:
        header = pydicom.dcmread(path)
    except InvalidDicomError as error:
        raise Undecodable("is not a DICOM file") from error
    frames = int(header.get("NumberOfFrames") or 1)
    if frames > 1:
        raise Undecodable(f"has {frames} frames instead of one: export the frame that you need")
    stored = _pixels(header)
    return _from_colour(stored) if stored.ndim == 3 else _displayed(header, stored)


def _pixels(header: "Header") -> NDArray[Any]:
    """Stored values `[H, W]`, or `[H, W, 3]`."""
    if "PixelData" not in header:
        raise Undecodable("has no pixel data")
    try:
        pixels: NDArray[Any] = header.pixel_array
    except (NotImplementedError, RuntimeError) as error:
        syntax = header.file_meta.get("TransferSyntaxUID")
        if syntax is not None and syntax.is_compressed:
            raise Undecodable(
                f"is compressed as {syntax.name}, for which no decoder is installed: "
                "pip install pylibjpeg pylibjpeg-libjpeg pylibjpeg-openjpeg"
            ) from error
        raise
    return pixels


def _displayed(header: "Header", stored: NDArray[Any]) -> Picture:
    """Rescaled values, larger ones brighter, with the ends of their window."""
    from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut

    values = apply_modality_lut(stored, header).astype(np.float32)
    bits = int(header.BitsStored)
    low, high = _full_range(header)
    center, width = _first(header.get("WindowCenter")), _first(header.get("WindowWidth"))
    if header.get("VOILUTSequence"):
        values = apply_voi_lut(values.astype(np.int32), header).astype(np.float32)
        low, high = 0.0, float(2 ** int(header.VOILUTSequence[0].LUTDescriptor[2]) - 1)
    elif center is not None and width is not None and width > 1:
        # LINEAR reaches from c - 0.5 - (w - 1) / 2 to c - 0.5 + (w - 1) / 2.
        exact = header.get("VOILUTFunction", "LINEAR") == "LINEAR_EXACT"
        middle, half = (center, width / 2) if exact else (center - 0.5, (width - 1) / 2)
        low, high = middle - half, middle + half
    inverted = _is_inverted(header)
    if inverted:
        values = np.float32(low + high) - values
    return Picture(values, low, high, bits, _shown(header, inverted))


def _is_inverted(header: "Header") -> bool:
    """Whether the smallest value is displayed white: PS3.3 C.7.6.3.1.2 and C.11.6.

    MONOCHROME1 and a Presentation LUT Shape of INVERSE are two words for one inversion.
    """
    first = header.get("PhotometricInterpretation") == "MONOCHROME1"
    return first or header.get("PresentationLUTShape") == "INVERSE"


def _shown(header: "Header", inverted: bool) -> str | None:
    """The displayed polarity by the header: "bone-bright", "bone-dark", or None.

    Radiographs for presentation are displayed with bright bone. Fluoroscopy is displayed either
    way; there, as for raw images, only the Pixel Intensity Relationship Sign tells it (PS3.3
    C.8.11.3.1.2): 1 if larger values are of more X-rays, -1 if they are of fewer. None if the two
    contradict each other.
    """
    raw = header.get("PresentationIntentType") == "FOR PROCESSING"
    film = header.get("Modality") in FILMS and not raw
    sign = header.get("PixelIntensityRelationshipSign")
    slope = float(header.get("RescaleSlope") or 1)
    if sign not in (1, -1):
        return "bone-bright" if film else None
    air_bright = (sign * slope > 0) != inverted
    if air_bright:
        return None if film else "bone-dark"
    return "bone-bright"


def _full_range(header: "Header") -> tuple[float, float]:
    """The smallest and largest value that the stored bits can hold, rescaled."""
    bits, signed = int(header.BitsStored), bool(header.PixelRepresentation)
    ends = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    slope = float(header.get("RescaleSlope") or 1)
    shift = float(header.get("RescaleIntercept") or 0)
    low, high = sorted(slope * end + shift for end in ends)
    return low, high


def _first(value: Any) -> float | None:
    """The first number of a DICOM element."""
    if value is None or value == "":
        return None
    return float(value[0] if hasattr(value, "__len__") and not isinstance(value, str) else value)
