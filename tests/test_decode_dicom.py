"""DICOM headers as they are found, beyond the matrix: what is stored, what is displayed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom import Dataset
from pydicom.data import get_testdata_file
from pydicom.encaps import encapsulate
from pydicom.pixels import apply_color_lut
from pydicom.sequence import Sequence
from pydicom.uid import JPEG2000Lossless, JPEGExtended12Bit, RLELossless

from xbench.datasets.decode import Grey, Undecodable, read
from xbench.datasets.prepare import normalise

SaveDicom = Callable[..., Path]
STORED = np.linspace(0, 4095, 32 * 24).round().reshape(32, 24).astype(np.uint16)
EXACT = STORED / 4095


def shown(path: Path, window: tuple[float, float] | None = None) -> Grey:
    return normalise(read(path), window, invert=False)


@pytest.fixture
def save(tmp_path: Path, save_dicom: SaveDicom) -> Callable[..., Path]:
    """Writes 12 bits from black to white, or other pixels, with elements of the header."""

    def write(pixels: np.ndarray = STORED, **elements: Any) -> Path:
        return save_dicom(tmp_path / "a.dcm", pixels, **elements)

    return write


def test_a_users_window_acts_on_stored_values_whatever_the_file_displays(
    save: Callable[..., Path],
) -> None:
    expected = np.clip((STORED - 1000.0) / 2000, 0, 1)
    own: list[dict[str, Any]] = [
        {},
        {"WindowCenter": 300, "WindowWidth": 100},
        {"WindowCenter": 300, "WindowWidth": 100, "VOILUTFunction": "SIGMOID"},
    ]
    for elements in own:
        assert shown(save(**elements), (1000, 3000)) == pytest.approx(expected, abs=1e-6)
        film = save(**elements, PhotometricInterpretation="MONOCHROME1")
        assert shown(film, (1000, 3000)) == pytest.approx(1 - expected, abs=1e-6)


def test_stored_bits_may_lie_anywhere_in_those_allocated(save: Callable[..., Path]) -> None:
    high = save(STORED << 4, HighBit=15)
    assert shown(high) == pytest.approx(EXACT, abs=1e-6)
    signed = (STORED.astype(np.int16) - 2048).view(np.uint16)
    elements = {"PixelRepresentation": 1, "HighBit": 13}
    middle = save((signed << 2) & 0x3FFF | 0xC003, **elements)  # and other bits are set
    assert shown(middle) == pytest.approx(EXACT, abs=1e-6)


def test_overlays_in_unused_bits_are_no_grey_values(save: Callable[..., Path]) -> None:
    overlay = np.indices(STORED.shape).sum(0).astype(np.uint16) % 2 << 12
    assert shown(save(STORED | overlay)) == pytest.approx(EXACT, abs=1e-6)


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_padding_is_black_and_leaves_the_others_alone(
    save: Callable[..., Path], photometric: str
) -> None:
    elements = {"PhotometricInterpretation": photometric, "PixelPaddingValue": 4000}
    padded = STORED >= 4000
    path = save(**elements, PixelPaddingRangeLimit=4095)
    expected = EXACT if photometric == "MONOCHROME2" else 1 - EXACT
    for window in (None, (0.0, 4095.0)):
        found = shown(path, window)
        assert (found[padded] == 0).all()
        assert found[~padded] == pytest.approx(expected[~padded], abs=1e-6)


def test_a_signed_padding_value_may_be_written_as_unsigned(save: Callable[..., Path]) -> None:
    signed = STORED.astype(np.int16) - 2048
    path = save(signed.view(np.uint16), PixelRepresentation=1)
    header = pydicom.dcmread(path)
    header.add_new("PixelPaddingValue", "US", 2**16 - 2000)
    header.save_as(path)
    assert np.array_equal(shown(path) == 0, (signed == -2000) | (signed == -2048))


def test_windows_and_rescales_in_functional_groups_count(save: Callable[..., Path]) -> None:
    def group(name: str, **elements: object) -> Dataset:
        inner, outer = Dataset(), Dataset()
        for key, value in elements.items():
            setattr(inner, key, value)
        setattr(outer, name, Sequence([inner]))
        return outer

    window = group("FrameVOILUTSequence", WindowCenter=1000.5, WindowWidth=2001)
    rescale = group("PixelValueTransformationSequence", RescaleSlope=2, RescaleIntercept=-1000)
    path = save(
        NumberOfFrames=1,
        SharedFunctionalGroupsSequence=Sequence([rescale]),
        PerFrameFunctionalGroupsSequence=Sequence([window]),
    )
    expected = np.clip((2.0 * STORED - 1000) / 2000, 0, 1)
    assert shown(path) == pytest.approx(expected, abs=1e-6)
    assert shown(path, (-1000, 7190)) == pytest.approx(EXACT, abs=1e-6)


def test_empty_and_impossible_elements_are_left_out(save: Callable[..., Path]) -> None:
    nothing = ("RescaleSlope", "RescaleIntercept", "WindowCenter", "WindowWidth", "VOILUTFunction")
    path = save(NumberOfFrames="", **dict.fromkeys(nothing, ""))
    assert shown(path) == pytest.approx(EXACT, abs=1e-6)
    assert not read(path).windowed
    assert shown(save(WindowCenter=5, WindowWidth=0)) == pytest.approx(EXACT, abs=1e-6)
    assert shown(save(RescaleSlope=2), (0, 8190)) == pytest.approx(EXACT, abs=1e-6)


def test_a_window_narrower_than_one_is_meant_exactly(save: Callable[..., Path]) -> None:
    """As of portal images, whose doses are small numbers."""
    path = save(RescaleSlope=1e-4, RescaleIntercept=0, WindowCenter=0.1, WindowWidth=0.2)
    assert shown(path) == pytest.approx(np.clip(STORED * 1e-4 / 0.2, 0, 1), abs=1e-6)
    step = save(WindowCenter=2000.5, WindowWidth=1)
    assert np.array_equal(shown(step), STORED > 2000)


def test_tables_of_eight_bits_may_be_packed(save: Callable[..., Path]) -> None:
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [4096, 0, 8])
    item.add_new("LUTData", "OW", (np.arange(4096) // 16).astype(np.uint8).tobytes())
    for name in ("VOILUTSequence", "ModalityLUTSequence"):
        path = save(**{name: Sequence([item])})
        assert shown(path) == pytest.approx(STORED // 16 / 255, abs=1e-6)


def test_a_presentation_table_comes_last(save: Callable[..., Path]) -> None:
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [4096, 0, 16])
    item.add_new("LUTData", "US", (np.arange(4096)[::-1] * 16).tolist())
    small = STORED // 2  # half of the range: the table's input is the range, not the pixels
    found = shown(save(small, PresentationLUTSequence=Sequence([item])))
    assert found == pytest.approx((4095 - small) * 16 / 65535, abs=1 / 4000)


def test_wide_and_floating_pixels(save: Callable[..., Path], tmp_path: Path) -> None:
    wide = {"BitsAllocated": 32, "BitsStored": 32, "HighBit": 31}
    path = save(PixelData=(STORED.astype(np.uint32) << 20).tobytes(), **wide)
    assert shown(path, (0, 4095 * 2.0**20)) == pytest.approx(EXACT, abs=1e-6)
    assert shown(path) == pytest.approx(STORED / 2**12, abs=1e-6)
    header = pydicom.dcmread(path)
    del header.PixelData, header.BitsStored, header.HighBit, header.PixelRepresentation
    for name, kind in (("FloatPixelData", np.float32), ("DoubleFloatPixelData", np.float64)):
        header.BitsAllocated = 8 * np.dtype(kind).itemsize
        setattr(header, name, EXACT.astype(kind).tobytes())
        header.save_as(path)
        assert shown(path) == pytest.approx(EXACT, abs=1e-6)
        delattr(header, name)


@pytest.mark.parametrize("planar", [0, 1])
def test_colours_become_their_luma(save: Callable[..., Path], planar: int) -> None:
    red = np.zeros((32, 24, 3), np.uint8)
    red[..., 0] = 200
    data = red if planar == 0 else np.moveaxis(red, -1, 0)
    elements = {"SamplesPerPixel": 3, "PlanarConfiguration": planar, "BitsAllocated": 8}
    elements |= {"BitsStored": 8, "HighBit": 7}
    path = save(PhotometricInterpretation="RGB", PixelData=data.tobytes(), **elements)
    assert read(path).values == pytest.approx(0.299 * 200, rel=1e-6)


def test_a_palettes_colours_are_looked_up() -> None:
    path = get_testdata_file("examples_palette.dcm", download=False)
    header = pydicom.dcmread(str(path))
    colours = apply_color_lut(header.pixel_array, header) @ [0.299, 0.587, 0.114]
    assert np.abs(shown(Path(str(path))) - colours / 65535).max() < 1e-6


@pytest.mark.parametrize(
    "name",
    [
        *("CT_small", "693_J2KI", "J2K_pixelrep_mismatch", "MR_small", "MR_small_RLE"),
        *("MR_small_bigendian", "MR_small_implicit", "MR_small_jp2klossless", "JPEG2000"),
        *("examples_overlay", "image_dfl", "rtdose_1frame", "rtdose_expb_1frame"),
    ],
)
def test_real_files_show_their_own_values(name: str) -> None:
    """Files of scanners that come with pydicom: rescaled as pydicom does it, by a wide window."""
    path = Path(str(get_testdata_file(f"{name}.dcm", download=False)))
    header = pydicom.dcmread(path)
    stored = header.pixel_array.astype(float)
    rescaled = stored * float(header.get("RescaleSlope", 1)) + float(
        header.get("RescaleIntercept", 0)
    )
    low, high = float(rescaled.min()), float(rescaled.max())
    found, padded = shown(path, (low, high)), stored == header.get("PixelPaddingValue")
    expected = (rescaled - low) / (high - low)
    assert np.abs(found - expected)[~padded].max() < 1 / 65535
    assert (found[padded] == 0).all()


@pytest.mark.parametrize(
    ("elements", "reason"),
    [
        ({"PhotometricInterpretation": "HSV"}, "photometric interpretation HSV"),
        ({"RescaleSlope": 0, "RescaleIntercept": 1}, "Rescale Slope of 0"),
        (
            {"WindowCenter": 9, "WindowWidth": 9, "VOILUTFunction": "CUBIC"},
            "VOI LUT function CUBIC",
        ),
        ({"Rows": None}, "lacks the DICOM elements Rows"),
        ({"Rows": 60000, "Columns": 60000}, "claims 60000 x 60000 pixels"),
        ({"PixelData": b"\0" * 100}, "less than expected"),
        ({"NumberOfFrames": 3}, "3 frames instead of one"),
        ({"syntax": RLELossless, "PixelData": encapsulate([bytes(90)])}, "is damaged"),
        ({"syntax": JPEG2000Lossless, "PixelData": encapsulate([bytes(90)])}, "is damaged"),
    ],
)
def test_what_cannot_be_displayed_says_why(
    save: Callable[..., Path], elements: dict[str, Any], reason: str
) -> None:
    with pytest.raises(Undecodable, match=reason):
        read(save(**elements))


def test_a_depth_that_no_installed_decoder_knows_is_no_damage() -> None:
    path = Path(str(get_testdata_file("JPGExtended.dcm", download=False)))
    assert pydicom.dcmread(path).file_meta.TransferSyntaxUID == JPEGExtended12Bit
    with pytest.raises(Undecodable, match="no decoder is installed: pip install pylibjpeg"):
        read(path)
