"""DICOM files: pixels as they are displayed; nothing else of a file is ever kept."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from xbench.datasets.decode import Picture, Undecodable, from_colour

if TYPE_CHECKING:
    from pydicom import Dataset as Header


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
