"""DICOM's grey values over a matrix of headers: as pydicom's own functions display them.

Each case is one combination of stored bits, rescale, window or table, and polarity.
"""

import warnings
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom import Dataset
from pydicom.pixels import apply_modality_lut, apply_voi_lut
from pydicom.sequence import Sequence

from xbench.datasets.decode import read
from xbench.datasets.prepare import normalise

SaveDicom = Callable[..., Path]
Elements = dict[str, Any]

#: (bits allocated, bits stored, signed)
BITS = [(8, 8, 0), (16, 10, 0), (16, 12, 0), (16, 16, 0), (16, 12, 1), (16, 16, 1), (32, 20, 0)]
#: Name → Rescale Slope and Intercept, or the bits of the entries of a Modality LUT.
RESCALES: dict[str, Any] = {
    "stored": None,
    "units": (1, 0),
    "hounsfield": (2.5, -1024),
    "falling": (-1, 100),
    "tiny": (5.6e-06, 0),
    "table 8": 8,
    "table 12": 12,
    "table 16": 16,
}
#: Name → what makes grey values of the (rescaled) values: a part of the range, and the function.
VOIS: dict[str, Any] = {
    "range": None,
    "LINEAR": (0.5, 0.5),
    "LINEAR_EXACT": (0.4, 0.3),
    "SIGMOID": (0.6, 0.2),
    "several": (0.3, 0.9),
    "LUT 8": 8,
    "LUT 10": 10,
    "LUT 16": 16,
    "LUT and window": 16,
}
#: Elements that make the smallest value black or white.
POLARITIES: list[Elements] = [
    {"PhotometricInterpretation": "MONOCHROME2"},
    {"PhotometricInterpretation": "MONOCHROME1"},
    {"PhotometricInterpretation": "MONOCHROME2", "PresentationLUTShape": "INVERSE"},
    {"PhotometricInterpretation": "MONOCHROME1", "PresentationLUTShape": "INVERSE"},
]
CASES = [
    case
    for case in product(BITS, RESCALES, VOIS, range(len(POLARITIES)))
    # A window of a width below 1 is one that the standard, and pydicom, knows for LINEAR_EXACT.
    if not (case[1] == "tiny" and case[2] not in ("range", "LINEAR_EXACT", "SIGMOID"))
][::3]  # every third, to be quick: each value of a header stands beside each other one


def test_the_matrix_is_large() -> None:
    assert len(CASES) >= 200


@pytest.mark.parametrize(("bits", "rescale", "voi", "polarity"), CASES, ids=str)
def test_greys_are_those_of_pydicom(
    tmp_path: Path,
    save_dicom: SaveDicom,
    bits: tuple[int, int, int],
    rescale: str,
    voi: str,
    polarity: int,
) -> None:
    low, high = ends(*bits)
    stored = np.linspace(low, high, 32 * 24).round().astype(np.int64).reshape(32, 24)
    elements = POLARITIES[polarity] | rescaled(rescale, low) | displayed(voi, rescale, low, high)
    path = save_dicom(tmp_path / "a.dcm", stored, **pixels(stored, *bits), **elements)
    picture = read(path)
    expected = reference(path)
    assert np.abs(normalise(picture, None, invert=False) - expected).max() <= 1 / 65535
    assert picture.bits == bits[1]


def ends(_: int, stored: int, signed: int) -> tuple[int, int]:
    """The smallest and the largest stored value."""
    return (-(2 ** (stored - 1)), 2 ** (stored - 1) - 1) if signed else (0, 2**stored - 1)


def pixels(values: np.ndarray, allocated: int, stored: int, signed: int) -> Elements:
    kind = np.dtype(f"{'i' if signed else 'u'}{allocated // 8}")
    return {
        "BitsAllocated": allocated,
        "BitsStored": stored,
        "HighBit": stored - 1,
        "PixelRepresentation": signed,
        "PixelData": values.astype(kind).tobytes(),
    }


def rescaled(name: str, low: int) -> Elements:
    given = RESCALES[name]
    if given is None:
        return {}
    if isinstance(given, tuple):
        return {"RescaleSlope": given[0], "RescaleIntercept": given[1]}
    return {"ModalityLUTSequence": Sequence([table(given, low)])}


def displayed(name: str, rescale: str, low: int, high: int) -> Elements:
    given, change = VOIS[name], RESCALES[rescale]
    if isinstance(change, tuple):
        low, high = sorted(end * change[0] + change[1] for end in (low, high))
    elif change is not None:
        low, high = 0, 2**change - 1
    window: Elements = {}
    if isinstance(given, tuple) or name == "LUT and window":
        center, width = given if isinstance(given, tuple) else (0.5, 0.5)
        center, width = low + center * (high - low), width * (high - low)
        window = {"WindowCenter": f"{center:.9g}", "WindowWidth": f"{width:.9g}"}
    if name == "several":
        return {key: [text, "7"] for key, text in window.items()}
    if name in ("LINEAR_EXACT", "SIGMOID"):
        return window | {"VOILUTFunction": name}
    if isinstance(given, int):
        return window | {"VOILUTSequence": Sequence([table(given, int(max(low, -(2**15))))])}
    return window


def table(bits: int, first: int) -> Dataset:
    """A table of 200 entries that is no straight line."""
    item = Dataset()
    entries = (np.linspace(0, 1, 200) ** 2 * (2**bits - 1)).round().astype(int)
    item.add_new("LUTDescriptor", "SS" if first < 0 else "US", [200, first, bits])
    item.add_new("LUTData", "US", entries.tolist())
    return item


def reference(path: Path) -> np.ndarray:
    """Grey values in [0, 1] by pydicom's functions in the order of PS3.3 C.11."""
    header = pydicom.dcmread(path)
    values = header.pixel_array.astype(np.int64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of tables after a rescale by a fraction
        if "ModalityLUTSequence" in header:
            # pydicom makes integers of 12 bits, which NumPy does not know.
            item = header.ModalityLUTSequence[0]
            low, high = 0.0, float(2 ** item.LUTDescriptor[2] - 1)
            item.LUTDescriptor = [*item.LUTDescriptor[:2], 16]
        else:
            bits = (header.BitsAllocated, header.BitsStored, header.PixelRepresentation)
            ratio, shift = header.get("RescaleSlope", 1), header.get("RescaleIntercept", 0)
            low, high = (end * float(ratio) + float(shift) for end in ends(*bits))
        rescaled = apply_modality_lut(values, header)
        if "VOILUTSequence" in header:
            count, first, bits_per_entry = header.VOILUTSequence[0].LUTDescriptor
            # The values beyond a table are its ends; pydicom's index is too small for some.
            inside = np.clip(rescaled, first, first + count - 1)
            shown = apply_voi_lut(inside, header) / (2.0**bits_per_entry - 1)
        else:
            shown = apply_voi_lut(rescaled, header)
            if "WindowCenter" in header and "ModalityLUTSequence" in header:
                low, high = 0.0, 65535.0  # pydicom's range after the change above
            elif "WindowCenter" not in header:
                low, high = sorted((low, high))
            shown = (shown - low) / (high - low)
    inverse = header.get("PresentationLUTShape") == "INVERSE"
    white = header.PhotometricInterpretation == "MONOCHROME1" or inverse
    return 1 - shown if white else shown
