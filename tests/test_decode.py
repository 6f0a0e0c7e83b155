"""Image files of all kinds: their grey values, and why some cannot be used."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless

from xbench.datasets.decode import Undecodable, is_image, read
from xbench.datasets.prepare import normalise, to_square

SaveDicom = Callable[..., Path]
Make = Callable[[Path, SaveDicom], Path]
RAMP = np.linspace(0, 65535, 32 * 24).reshape(32, 24)


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("eight.png", (RAMP / 257).astype(np.uint8)),
        ("sixteen.png", RAMP.astype(np.uint16)),
        ("eight.tif", (RAMP / 257).astype(np.uint8)),
        ("sixteen.tiff", RAMP.astype(np.uint16)),
        ("float.tif", (RAMP / 65535).astype(np.float32)),
    ],
)
def test_pictures_of_any_depth_span_zero_to_one(
    tmp_path: Path, name: str, array: np.ndarray
) -> None:
    Image.fromarray(array).save(tmp_path / name)
    values = normalise(read(tmp_path / name), window=None, invert=False)
    assert values.dtype == np.float32
    assert np.abs(values - RAMP / 65535).max() < 1 / 255


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32, np.float64])
def test_arrays_span_zero_to_one_by_their_type(tmp_path: Path, kind: type) -> None:
    top = 1 if np.issubdtype(kind, np.floating) else np.iinfo(kind).max
    np.save(tmp_path / "a.npy", (RAMP / 65535 * top).astype(kind))
    values = normalise(read(tmp_path / "a.npy"), window=None, invert=False)
    assert np.abs(values - RAMP / 65535).max() < 1 / 255


def test_a_jpeg_is_read(tmp_path: Path) -> None:
    Image.fromarray((RAMP / 257).astype(np.uint8)).save(tmp_path / "a.JPG", quality=95)
    values = normalise(read(tmp_path / "a.JPG"), window=None, invert=False)
    assert np.abs(values - RAMP / 65535).max() < 0.05


def test_a_screenshot_becomes_grey(tmp_path: Path) -> None:
    red = np.zeros((32, 32, 3), np.uint8)
    red[..., 0] = 255
    Image.fromarray(red).save(tmp_path / "red.png")
    Image.fromarray(np.full((32, 32, 3), 51, np.uint8)).save(tmp_path / "grey.png")
    assert read(tmp_path / "red.png").values == pytest.approx(0.299 * 255)
    grey = read(tmp_path / "grey.png")
    assert normalise(grey, None, invert=False) == pytest.approx(0.2)


def test_a_picture_that_the_camera_turned_is_turned_back(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned clockwise by a quarter
    upright = (RAMP / 257).astype(np.uint8)
    Image.fromarray(np.rot90(upright)).save(tmp_path / "turned.png", exif=exif)
    assert np.array_equal(read(tmp_path / "turned.png").values, upright)


def test_a_window_spreads_twelve_bits_over_the_range(tmp_path: Path) -> None:
    Image.fromarray((RAMP / 16).astype(np.uint16)).save(tmp_path / "twelve.png")
    picture = read(tmp_path / "twelve.png")
    assert normalise(picture, None, invert=False).max() < 0.07
    assert normalise(picture, (0, 4095), invert=False).max() == 1
    assert normalise(picture, (0, 4095), invert=True).max() == 1
    assert normalise(picture, (0, 4095), invert=True)[0, 0] == 1


def test_dicom_is_read_as_it_is_displayed(tmp_path: Path, save_dicom: SaveDicom) -> None:
    stored = np.linspace(0, 4095, 32 * 24).reshape(32, 24).astype(np.uint16)
    exact = stored / 4095
    plain = save_dicom(tmp_path / "plain.dcm", stored)
    assert normalise(read(plain), None, invert=False) == pytest.approx(exact, abs=1e-6)
    film = save_dicom(tmp_path / "film", stored, PhotometricInterpretation="MONOCHROME1")
    assert is_image(film)
    assert normalise(read(film), None, invert=False) == pytest.approx(1 - exact, abs=1e-6)
    rescaled = save_dicom(
        *(tmp_path / "rescaled.dcm", stored),
        **{"RescaleSlope": 2, "RescaleIntercept": -1000},
        **{"WindowCenter": 1000.5, "WindowWidth": 2001},
    )
    # The window goes from 0 to 2000 in units of 2 x stored - 1000.
    expected = np.clip((2.0 * stored - 1000) / 2000, 0, 1)
    assert normalise(read(rescaled), None, invert=False) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("elements", "shown"),
    [
        ({"Modality": "DX"}, "bone-bright"),
        ({"Modality": "DX", "PhotometricInterpretation": "MONOCHROME1"}, "bone-bright"),
        ({"Modality": "DX", "PresentationIntentType": "FOR PROCESSING"}, None),
        ({"Modality": "XA"}, None),
        ({"Modality": "XA", "PixelIntensityRelationshipSign": 1}, "bone-dark"),
        ({"Modality": "XA", "PixelIntensityRelationshipSign": -1}, "bone-bright"),
        (
            {
                "PixelIntensityRelationshipSign": 1,
                "PhotometricInterpretation": "MONOCHROME1",
                "PresentationLUTShape": "INVERSE",  # another word for MONOCHROME1
            },
            "bone-bright",
        ),
        ({"Modality": "CR", "PixelIntensityRelationshipSign": 1}, None),  # a contradiction
        ({"Modality": "MR"}, None),
        ({}, None),
    ],
)
def test_the_header_tells_the_displayed_polarity(
    tmp_path: Path, save_dicom: SaveDicom, elements: dict[str, Any], shown: str | None
) -> None:
    path = save_dicom(tmp_path / "a.dcm", np.zeros((32, 32)), **elements)
    assert read(path).shown == shown


def _truncated(folder: Path, _: SaveDicom) -> Path:
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8)).save(
        folder / "whole.png"
    )
    path = folder / "cut.png"
    path.write_bytes((folder / "whole.png").read_bytes()[:900])
    return path


def _two_frames(folder: Path, _: SaveDicom) -> Path:
    frames = [Image.new("L", (32, 32), value) for value in (0, 255)]
    frames[0].save(folder / "stack.tif", save_all=True, append_images=frames[1:])
    return folder / "stack.tif"


def _nothing(folder: Path, _: SaveDicom) -> Path:
    (folder / "empty.png").write_bytes(b"")
    return folder / "empty.png"


def _of_mode(mode: str, name: str) -> Make:
    def save(folder: Path, _: SaveDicom) -> Path:
        Image.new(mode, (32, 32)).save(folder / name)
        return folder / name

    return save


def _saved(array: np.ndarray) -> Make:
    def save(folder: Path, _: SaveDicom) -> Path:
        np.save(folder / "a.npy", array, allow_pickle=True)
        return folder / "a.npy"

    return save


def _dicom(**elements: Any) -> Make:
    return lambda folder, save: save(folder / "a.dcm", np.zeros((32, 32)), **elements)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (_truncated, "cannot be decoded"),
        (_two_frames, "2 frames"),
        (_nothing, "cannot be decoded"),
        (_of_mode("1", "mask.png"), "1 bit"),
        (_of_mode("P", "chart.png"), "palette"),
        (_of_mode("CMYK", "print.jpg"), "CMYK"),
        (_saved(np.zeros((3, 32, 32))), "shape"),
        (_saved(np.array([{}])), "cannot be decoded"),
        (_saved(np.full((32, 32), 3.0)), "window"),
        (_saved(np.full((32, 32), 7, np.int32)), "window"),
        (_saved(np.full((32, 32), np.nan)), "not finite"),
        (_saved(np.zeros((1, 1), np.uint8)), "1 x 1 pixels"),
        (_saved(np.zeros((20, 2000), np.uint8)), "elongated"),
        (_dicom(PixelData=None), "no pixel data"),
        (_dicom(NumberOfFrames=12), "12 frames"),
        (
            _dicom(syntax=JPEGLSLossless, PixelData=encapsulate([bytes(16)])),
            "no decoder is installed",
        ),
        (
            _dicom(syntax=JPEG2000Lossless, PixelData=encapsulate([bytes(16)])),
            "is damaged",  # Pillow decodes JPEG 2000
        ),
    ],
)
def test_what_cannot_be_used_says_why(
    tmp_path: Path, save_dicom: SaveDicom, make: Make, reason: str
) -> None:
    with pytest.raises(Undecodable, match=reason):
        to_square(normalise(read(make(tmp_path, save_dicom)), None, invert=False), 64, "pad")


def test_padding_reflects_and_its_box_is_the_image() -> None:
    tall = np.linspace(0, 1, 64 * 32, dtype=np.float32).reshape(64, 32)
    pixels, box = to_square(tall, 64, "pad")
    assert box == (0, 16, 64, 32)
    assert np.array_equal(pixels[:, 16:48], np.round(tall * 65535))
    assert np.array_equal(pixels[:, 15], pixels[:, 17])
    assert np.array_equal(pixels[:, 48], pixels[:, 46])


def test_cropping_and_stretching_fill_the_square() -> None:
    tall = np.linspace(0, 1, 64 * 32, dtype=np.float32).reshape(64, 32)
    cropped, box = to_square(tall, 32, "crop")
    assert box == (0, 0, 32, 32)
    assert np.array_equal(cropped, np.round(tall[16:48] * 65535))
    stretched, box = to_square(tall, 32, "stretch")
    assert box == (0, 0, 32, 32)
    assert stretched.astype(float).mean() == pytest.approx(65535 / 2, rel=1e-3)


def test_shrinking_averages_areas() -> None:
    checks = np.indices((64, 64)).sum(axis=0) % 2
    pixels, _ = to_square(checks.astype(np.float32), 32, "pad")
    assert (pixels == round(65535 / 2)).all()
