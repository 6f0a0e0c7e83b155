"""Decodes DICOM files to their grey values as displayed, with pydicom's own functions.

PS3.3 C.11: stored values → modality LUT or rescale → window or table (VOI LUT) → presentation LUT,
inverted if the smallest value is white.
"""

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from xbench.datasets.decoding.picture import (
    Array,
    Mask,
    Picture,
    Undecodable,
    from_colour,
    refuse_huge,
)

if TYPE_CHECKING:
    from pydicom import Dataset as Header

#: Modalities of DICOM whose images for presentation show bone bright, as films do.
FILMS = frozenset({"CR", "DX", "IO", "MG", "PX", "RG"})
#: Elements that may lie in a functional group → its sequence (PS3.3 C.7.6.16).
GROUPS = {
    "FrameVOILUTSequence": ("WindowCenter", "WindowWidth", "VOILUTFunction"),
    "PixelValueTransformationSequence": ("RescaleSlope", "RescaleIntercept"),
}
#: Elements that say how values are displayed.
DISPLAY = (
    *("BitsStored", "PixelRepresentation", "PresentationLUTShape", "PresentationLUTSequence"),
    *("ModalityLUTSequence", "VOILUTSequence"),
    *(element for elements in GROUPS.values() for element in elements),
)
#: Elements that pixels need.
NEEDED = ("Rows", "Columns", "BitsAllocated")
#: Ways to apply a window.
FUNCTIONS = ("LINEAR", "LINEAR_EXACT", "SIGMOID")
GREY = ("MONOCHROME1", "MONOCHROME2")
COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT", "YBR_PARTIAL_420")


def read_dicom(path: Path, mask: bool) -> Picture:
    """Decode a DICOM file of one frame.

    Raises:
        Undecodable: it has no pixels or several frames, is damaged, or needs another decoder.
    """
    try:
        import pydicom
    except ImportError:
        raise Undecodable('needs pydicom: pip install "xbench-xray[dicom]"') from None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about odd elements that are not used
        header = pydicom.dcmread(path, force=True)
        stored = _stored(header)
        kind = str(header.get("PhotometricInterpretation") or "MONOCHROME2")
        if kind == "PALETTE COLOR":
            return _from_palette(header, stored)
        if stored.ndim == 3:
            if kind not in COLOUR:
                raise Undecodable(f"has the colours {kind}: save it as grey or RGB")
            return from_colour(stored, top=2 ** int(header.BitsStored) - 1)
        if kind not in GREY:
            raise Undecodable(f"has the photometric interpretation {kind}, which is not read")
        if header.get("BitsStored") == 1 and not mask:
            raise Undecodable("has 1 bit per pixel, as masks have")
        return _displayed(header, stored)


def _stored(header: "Header") -> Array:
    """Stored values `[H, W]`, or `[H, W, 3]`."""
    if not any(f"{kind}PixelData" in header for kind in ("", "Float", "DoubleFloat")):
        name = getattr(header.get("SOPClassUID"), "name", "") or header.get("Modality")
        what = f" (it is a {name})" if name else ""
        raise Undecodable(f"has no pixel data{what}" if len(header) else "is not a DICOM file")
    frames = int(header.get("NumberOfFrames") or 1)
    if frames > 1:
        raise Undecodable(f"has {frames} frames instead of one: export the frame that you need")
    missing = [name for name in NEEDED if header.get(name) is None]
    if missing:
        raise Undecodable(f"lacks the DICOM elements {', '.join(missing)}")
    refuse_huge(int(header.Rows), int(header.Columns))
    _complete(header)
    shift = _unused_low_bits(header)
    if shift:
        header.BitsStored = int(header.HighBit) + 1
    pixels = _decompressed(header)
    if shift:
        header.BitsStored = int(header.HighBit) + 1 - shift
        pixels = pixels >> shift
    return pixels


def _complete(header: "Header") -> None:
    """Add what a data set without its file header lacks: how it is encoded."""
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

    if not hasattr(header, "file_meta"):
        header.file_meta = FileMetaDataset()
    if not header.file_meta.get("TransferSyntaxUID"):
        implicit, little = header.original_encoding
        explicit = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
        header.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else explicit


def _unused_low_bits(header: "Header") -> int:
    """Unused bits below the stored ones: of a High Bit other than Bits Stored - 1 (PS3.5 8.1.1)."""
    if header.file_meta.TransferSyntaxUID.is_compressed or header.get("HighBit") is None:
        return 0
    high = int(header.HighBit)
    return max(0, high + 1 - int(header.BitsStored)) if high < int(header.BitsAllocated) else 0


def _decompressed(header: "Header") -> Array:
    """Samples as pydicom decodes them: unused high bits are cleared, YBR becomes RGB."""
    from pydicom.pixels.decoders.base import get_decoder

    syntax = header.file_meta.TransferSyntaxUID
    try:
        pixels: Array = header.pixel_array
    except (NotImplementedError, RuntimeError) as error:
        if not syntax.is_compressed:
            raise
        known = True
        try:
            known = get_decoder(syntax).is_available
        except NotImplementedError:
            known = False
        if not known or "not support" in str(error):
            raise Undecodable(
                f"is compressed as {syntax.name}, for which no decoder is installed: "
                "pip install pylibjpeg pylibjpeg-libjpeg pylibjpeg-openjpeg"
            ) from error
        reason = " ".join(str(error).split()).rpartition("plugins: ")[2]
        raise Undecodable(f"is damaged: its {syntax.name} data cannot be decoded ({reason})") from (
            error
        )
    return pixels


def _from_palette(header: "Header", stored: Array) -> Picture:
    """The colours that numbers stand for."""
    from pydicom.pixels.processing import apply_color_lut

    entries, first, bits = header.RedPaletteColorLookupTableDescriptor
    # Its index has the type of the entries: 8 bits would wrap around.
    inside = np.clip(stored.astype(np.int64), first, first + (entries or 2**16) - 1)
    colours = apply_color_lut(inside, header)
    top = 2 ** int(bits) - 1
    return from_colour(colours, top=top if colours.max() <= top else None)


def _displayed(header: "Header", stored: Array) -> Picture:
    """Grey values as displayed, with the ends of their range; see `Picture`."""
    from pydicom.pixels.processing import (
        apply_modality_lut,
        apply_presentation_lut,
        apply_voi_lut,
    )

    view = _view(header)
    wide = stored.astype(np.int64) if stored.dtype.kind in "ui" else stored
    values: Array = apply_modality_lut(wide, view)
    inverted = _is_inverted(header)
    low, high = _full_range(header, view, stored)
    shown = values
    windowed = bool(view.get("VOILUTSequence")) or "WindowCenter" in view
    if windowed:
        shown, low, high = _windowed(values, view, apply_voi_lut), 0.0, 1.0
    if "PresentationLUTSequence" in view:
        shown = _presented(shown, low, high, view, apply_presentation_lut)
        low, high, windowed = 0.0, 1.0, True
    if inverted:
        shown = low + high - shown
    shown = shown.astype(np.float32)
    background = _background(header, stored)
    if background is not None:
        shown[background] = low
    bits = int(header.BitsStored) if stored.dtype.kind in "ui" else 0
    return Picture(
        values=shown,
        low=low,
        high=high,
        bits=bits,
        shown=_shown(header, view, inverted),
        stored=values,
        inverted=inverted,
        windowed=windowed,
        background=background,
        type=stored.dtype,
    )


def _view(header: "Header") -> "Header":
    """The elements for display alone, without empty ones, in the form that pydicom reads right."""
    from pydicom import Dataset

    view = Dataset()
    view.PhotometricInterpretation = "MONOCHROME2"
    for element in DISPLAY:
        for level in (header, *_groups(header)):
            if element in level and level[element].value not in (None, "", b"", []):
                view[element] = level[element]
    if "BitsStored" not in view:  # floating point
        view.BitsStored, view.PixelRepresentation = 1, 0
    if "RescaleSlope" in view or "RescaleIntercept" in view:
        view.RescaleSlope = view.get("RescaleSlope", 1)
        view.RescaleIntercept = view.get("RescaleIntercept", 0)
        if view.RescaleSlope == 0:
            raise Undecodable("has a Rescale Slope of 0, which makes all pixels equal")
    for name in ("ModalityLUTSequence", "VOILUTSequence"):
        if name in view:
            _replace_table(view, name, header)
    _mend_window(view)
    return view


def _groups(header: "Header") -> list["Header"]:
    """Functional groups of the (only) frame; the later ones count."""
    found = []
    for name in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        for group in (header.get(name) or [])[:1]:
            found += [group[s].value[0] for s in GROUPS if group.get(s)]
    return found


def _mend_window(view: "Header") -> None:
    """Delete a window that cannot be applied; a width below 1 can be meant exactly alone."""
    if "WindowCenter" not in view or "WindowWidth" not in view or _first(view.WindowWidth) <= 0:
        for name in ("WindowCenter", "WindowWidth", "VOILUTFunction"):
            if name in view:
                del view[name]
        return
    function = str(view.get("VOILUTFunction", "LINEAR")).strip().upper()
    if function not in FUNCTIONS:
        raise Undecodable(f"has the VOI LUT function {function}, not one of {', '.join(FUNCTIONS)}")
    narrow = function == "LINEAR" and _first(view.WindowWidth) < 1
    view.VOILUTFunction = "LINEAR_EXACT" if narrow else function


def _replace_table(view: "Header", name: str, header: "Header") -> None:
    """Put the first table into 16 bits, whatever its entries have: pydicom's index wraps at 8."""
    from pydicom import Dataset
    from pydicom.sequence import Sequence

    item = view[name].value[0]
    if item.get("LUTDescriptor") is None or item.get("LUTData") is None:
        del view[name]
        return
    count, first, bits = item.LUTDescriptor
    data = item.LUTData
    if isinstance(data, bytes):
        little = header.file_meta.TransferSyntaxUID.is_little_endian
        packed = len(data) < 2 * (count or 2**16)
        data = np.frombuffer(data, "u1" if packed else "<u2" if little else ">u2").tolist()
    if first >= 2**15 and min(_ends(view)) < 0:  # signed, though written as unsigned
        first -= 2**16
    table = Dataset()
    table.add_new("LUTDescriptor", "US", [count, first, 16])
    table.add_new("LUTData", "US", list(data)[: count or 2**16])
    table.LUTExplanation = str(bits)
    view[name].value = Sequence([table])


def _windowed(values: Array, view: "Header", apply: Any) -> Array:
    """Values in [0, 1] by the first window or table."""
    if view.get("VOILUTSequence"):
        table = view.VOILUTSequence[0]
        count, first, _ = table.LUTDescriptor
        inside = np.floor(np.clip(values, first, first + (count or 2**16) - 1)).astype(np.int64)
        found: Array = apply(inside, view) / (2 ** int(table.LUTExplanation) - 1)
        return found
    with np.errstate(over="ignore"):  # far below the centre of a sigmoid
        applied: Array = apply(values, view)
    # pydicom spreads the window over the full range of the stored bits.
    low, high = _ends(view)
    return (applied - low) / (high - low)


def _presented(shown: Array, low: float, high: float, view: "Header", apply: Any) -> Array:
    """Values in [0, 1] by a presentation LUT, whose input is the full range, not that of pixels."""
    bits = int(view.PresentationLUTSequence[0].LUTDescriptor[2])
    spread = np.append(np.clip((shown - low) / (high - low), 0, 1), (0.0, 1.0))
    mapped: Array = apply(spread, view)[:-2] / (2**bits - 1)
    return mapped.reshape(shown.shape)


def _full_range(header: "Header", view: "Header", stored: Array) -> tuple[float, float]:
    """The smallest and largest value that the stored bits can hold, rescaled; None if unknown."""
    if stored.dtype.kind == "f":
        return 0.0, 1.0
    if "ModalityLUTSequence" in view:
        return 0.0, 2.0 ** int(view.ModalityLUTSequence[0].LUTExplanation) - 1
    low, high = sorted(_ends(view))
    return low, high


def _ends(view: "Header") -> tuple[float, float]:
    """What pydicom makes black and white of a window: the ends of the stored bits, rescaled."""
    bits, signed = int(view.BitsStored), bool(view.PixelRepresentation)
    ends = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    if "ModalityLUTSequence" in view:
        ends = (0, 2**16 - 1)
    slope, shift = float(view.get("RescaleSlope", 1)), float(view.get("RescaleIntercept", 0))
    return slope * ends[0] + shift, slope * ends[1] + shift


def _background(header: "Header", stored: Array) -> Mask | None:
    """Pixels of the padding value or range (PS3.3 C.7.5.1.1.2), or None if there are none."""
    name = "PixelPaddingValue"
    if stored.dtype.kind == "f":
        name = "FloatPixelPaddingValue"
    value = header.get(name)
    if value in (None, ""):
        return None
    limit = header.get("PixelPaddingRangeLimit")
    ends = np.array([value, value if limit in (None, "") else limit])
    # A signed value may be written as an unsigned one.
    low, high = sorted(ends.astype(stored.dtype))
    background: Mask = (stored >= low) & (stored <= high)
    return background if background.any() else None


def _is_inverted(header: "Header") -> bool:
    """Whether the smallest value is displayed white: PS3.3 C.7.6.3.1.2 and C.11.6.

    MONOCHROME1 and a Presentation LUT Shape of INVERSE are two words for one inversion.
    """
    first = header.get("PhotometricInterpretation") == "MONOCHROME1"
    return first or bool(header.get("PresentationLUTShape") == "INVERSE")


def _shown(header: "Header", view: "Header", inverted: bool) -> str | None:
    """The displayed polarity by the header: "bone-bright", "bone-dark", or None.

    Radiographs for presentation are displayed with bright bone. Fluoroscopy is displayed either
    way; there, as for raw images, only the Pixel Intensity Relationship Sign says it (PS3.3
    C.8.11.3.1.2): 1 if larger values are of more X-rays, -1 if they are of fewer. None if the two
    contradict each other.
    """
    raw = header.get("PresentationIntentType") == "FOR PROCESSING"
    film = header.get("Modality") in FILMS and not raw
    sign = header.get("PixelIntensityRelationshipSign")
    if sign not in (1, -1):
        return "bone-bright" if film else None
    air_bright = (sign * float(view.get("RescaleSlope", 1)) > 0) != inverted
    if air_bright:
        return None if film else "bone-dark"
    return "bone-bright"


def _first(value: Any) -> float:
    """The first number of an element with one or several."""
    return float(
        value[0] if hasattr(value, "__getitem__") and not isinstance(value, str) else value
    )
