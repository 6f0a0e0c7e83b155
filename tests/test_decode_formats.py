"""Formats and depths: the very values that other libraries wrote, or a refusal that says why."""

import gzip
import json
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
import tifffile
from PIL import Image

from xbench.datasets.decode import Undecodable, is_image, read, read_mask
from xbench.datasets.prepare import normalise

SaveDicom = Callable[..., Path]
SHAPE = (24, 32)
RAMP = np.linspace(0, 1, 24 * 32).reshape(SHAPE)


def of_type(kind: str) -> np.ndarray:
    """A ramp over the range of a type, [0, 1] for floating point."""
    if np.dtype(kind).kind == "f":
        return RAMP.astype(kind)
    ends = np.iinfo(np.dtype(kind))
    return (ends.min + RAMP * (ends.max - ends.min)).round().astype(kind)


def png(path: Path, samples: np.ndarray, colours: int, bits: int, chunks: bytes = b"") -> Path:
    """Write a PNG of whole bytes per sample by hand: Pillow writes no 16 bits of colour."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    height, width = samples.shape[:2]
    rows = samples.astype(">u2" if bits == 16 else "u1").reshape(height, -1)
    data = b"".join(b"\0" + row.tobytes() for row in rows)
    header = struct.pack(">IIBBBBB", width, height, bits, colours, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunks + chunk(b"IDAT", zlib.compress(data))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body + chunk(b"IEND", b""))
    return path


def tiff(path: Path, data: bytes, bits: int, photometric: int) -> Path:
    """Write a TIFF by hand: tifffile writes no packed bits."""
    height, width = SHAPE
    tags = {256: width, 257: height, 258: bits, 259: 1, 262: photometric, 277: 1, 278: height}
    tags |= {273: 8, 279: len(data)}
    entries = [struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(tags.items())]
    directory = struct.pack("<H", len(tags)) + b"".join(entries) + bytes(4)
    path.write_bytes(b"II*\0" + struct.pack("<I", 8 + len(data)) + data + directory)
    return path


TYPES = ("u1", "u2", "u4", "i1", "i2", "i4", "f2", "f4", "f8")
LAYOUTS: dict[str, dict[str, Any]] = {
    "strips": {"rowsperstrip": 5},
    "tiles": {"tile": (16, 16)},
    "big": {"bigtiff": True},
    "zipped": {"compression": "zlib", "predictor": True},
    "LZW": {"compression": "lzw"},
    "packed": {"compression": "packbits"},
}


@pytest.mark.parametrize(
    ("kind", "layout", "order", "zero"),
    [
        case
        for case in product(TYPES, LAYOUTS, "<>", ("minisblack", "miniswhite"))
        if not (case[0] == "f2" and case[1] == "zipped")
    ],
)
def test_tiffs_of_every_depth_layout_and_byte_order(
    tmp_path: Path, kind: str, layout: str, order: str, zero: str
) -> None:
    given = of_type(kind)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, given, photometric=zero, byteorder=order, **LAYOUTS[layout])
    picture = read(path)
    assert np.array_equal(picture.stored, given)
    assert picture.inverted == (zero == "miniswhite")
    assert picture.type == np.dtype(kind)
    if kind in ("u1", "u2") or kind[0] == "f":
        expected = RAMP if zero == "minisblack" else 1 - RAMP
        assert np.abs(normalise(picture, None, invert=False) - expected).max() < 1 / 255
    else:
        with pytest.raises(Undecodable, match="without a defined range: set window"):
            normalise(picture, None, invert=False)
    # A window acts on stored values; white-is-zero is inverted thereafter.
    low, high = float(given.min()), float(given.max())
    windowed = normalise(picture, (low, high), invert=False)
    expected = RAMP if zero == "minisblack" else 1 - RAMP
    assert np.abs(windowed - expected).max() < 1 / 128


@pytest.mark.parametrize("zero", [0, 1])
def test_twelve_packed_bits_span_their_range(tmp_path: Path, zero: int) -> None:
    values = (RAMP * 4095).round().astype(np.uint16)
    pairs = values.reshape(-1, 2)
    first, second = pairs[:, 0], pairs[:, 1]
    packed = np.stack([first >> 4, (first & 15) << 4 | second >> 8, second & 255], -1)
    picture = read(tiff(tmp_path / "a.tif", packed.astype(np.uint8).tobytes(), 12, zero))
    assert np.array_equal(picture.stored, values)
    assert picture.bits == 12
    expected = values / 4095 if zero else 1 - values / 4095
    assert normalise(picture, None, invert=False) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("kind", ["u1", "u2"])
def test_colours_of_tiffs_become_their_luma(tmp_path: Path, kind: str, planar: str) -> None:
    top = np.iinfo(kind).max
    colours = np.zeros((3, *SHAPE), kind)
    colours[0], colours[2] = top, top // 3
    array = colours if planar == "separate" else np.moveaxis(colours, 0, -1)
    tifffile.imwrite(tmp_path / "a.tif", array, photometric="rgb", planarconfig=planar)
    picture = read(tmp_path / "a.tif")
    assert picture.values == pytest.approx(0.299 * top + 0.114 * (top // 3), rel=1e-6)
    assert picture.colour
    assert picture.type == np.dtype(kind)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_orientation_is_respected(tmp_path: Path, orientation: int) -> None:
    """By TIFF's tag as by that of EXIF, which Pillow applies."""
    given = of_type("u1")
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(given).save(tmp_path / "a.png", exif=exif)
    tag = (274, "H", 1, orientation, True)
    tifffile.imwrite(tmp_path / "a.tif", given, photometric="minisblack", extratags=[tag])
    assert np.array_equal(read(tmp_path / "a.tif").values, read(tmp_path / "a.png").values)


def test_thumbnails_are_no_pages(tmp_path: Path) -> None:
    given, small = of_type("u2"), of_type("u2")[::2, ::2]
    with tifffile.TiffWriter(tmp_path / "before.tif") as file:
        file.write(small, subfiletype=1, photometric="minisblack")
        file.write(given, photometric="minisblack")
    with tifffile.TiffWriter(tmp_path / "inside.tif") as file:
        file.write(given, subifds=1, photometric="minisblack")
        file.write(small, subfiletype=1, photometric="minisblack")
    for name in ("before.tif", "inside.tif"):
        assert np.array_equal(read(tmp_path / name).stored, given)


#: Reads files in a process without imagecodecs; prints the values, or why there are none.
WITHOUT_CODECS = """
import json, sys
from pathlib import Path
sys.modules["imagecodecs"] = None
from xbench.datasets.decode import Undecodable, read
for path in sys.argv[1:]:
    try:
        print(json.dumps(read(Path(path)).stored.tolist()))
    except Undecodable as error:
        print(json.dumps(str(error)))
"""


def test_usual_compressions_need_no_further_package(tmp_path: Path) -> None:
    """What tifffile alone cannot unpack, Pillow does, with the same values."""
    files = []
    for kind, zero in product(("u1", "u2", "f4"), ("minisblack", "miniswhite")):
        files.append(tmp_path / f"{kind}-{zero}.tif")
        tifffile.imwrite(files[-1], of_type(kind), compression="lzw", photometric=zero)
    command = [sys.executable, "-c", WITHOUT_CODECS, *files]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    *read_alike, refused, _ = map(json.loads, done.stdout.splitlines())
    for values, kind in zip(read_alike, ("u1", "u1", "u2", "u2"), strict=True):
        assert np.array_equal(values, of_type(kind))
    assert "compressed (LZW)" in refused
    assert "xbench-xray[codecs]" in refused


@pytest.mark.parametrize(
    ("colours", "channels", "dropped"), [(2, 3, ""), (6, 4, "transparency"), (4, 2, "transparency")]
)
def test_sixteen_bits_of_colour_keep_all_of_them(
    tmp_path: Path, colours: int, channels: int, dropped: str
) -> None:
    given = of_type("u2")
    samples = np.stack([given] * channels, -1)
    gamma = struct.pack(">I", 4) + b"gAMA" + struct.pack(">I", 45455)
    gamma += struct.pack(">I", zlib.crc32(gamma[4:]))
    picture = read(png(tmp_path / "a.png", samples, colours, 16, gamma))
    assert np.array_equal(picture.values, given)
    assert (picture.type, picture.dropped) == (np.uint16, dropped)


@pytest.mark.parametrize("mode", ["LA", "RGBA", "RGB"])
def test_eight_bits_of_colour_and_transparency(tmp_path: Path, mode: str) -> None:
    given = of_type("u1")
    Image.fromarray(given).convert(mode).save(tmp_path / "a.png")
    picture = read(tmp_path / "a.png")
    assert np.array_equal(picture.values, given)
    assert picture.dropped == ("transparency" if mode.endswith("A") else "")


@pytest.mark.parametrize(
    ("name", "options"),
    [("a.bmp", {}), ("a.jp2", {}), ("a.webp", {"lossless": True}), ("a.pgm", {})],
)
def test_other_pictures(tmp_path: Path, name: str, options: dict[str, Any]) -> None:
    Image.fromarray(of_type("u1")).save(tmp_path / name, **options)
    assert np.array_equal(read(tmp_path / name).values, of_type("u1"))


@pytest.mark.parametrize(("top", "kind"), [(4095, ">u2"), (65535, ">u2"), (100, "u1")])
def test_a_graymap_says_which_value_is_white(tmp_path: Path, top: int, kind: str) -> None:
    values = (RAMP * top).round().astype(kind)
    header = f"P5\n# a comment\n{SHAPE[1]} {SHAPE[0]}\n{top}\n".encode()
    (tmp_path / "a.pgm").write_bytes(header + values.tobytes())
    text = " ".join(map(str, values.ravel()))
    (tmp_path / "b.pgm").write_bytes(header.replace(b"P5", b"P2") + text.encode())
    for name in ("a.pgm", "b.pgm"):
        picture = read(tmp_path / name)
        assert np.array_equal(picture.stored, values)
        assert normalise(picture, None, invert=False) == pytest.approx(values / top, abs=1e-6)


@pytest.mark.parametrize("kind", [">u2", ">f8", "<f2", "|u1", "<i2"])
def test_arrays_of_any_byte_order(tmp_path: Path, kind: str) -> None:
    np.save(tmp_path / "a.npy", of_type(kind)[np.newaxis, :, :, np.newaxis])
    picture = read(tmp_path / "a.npy")
    assert np.array_equal(picture.stored, of_type(kind))
    window = None if kind != "<i2" else (-32768.0, 32767.0)
    assert np.abs(normalise(picture, window, invert=False) - RAMP).max() < 1 / 255


@pytest.mark.parametrize("name", ["a.nii.gz", "a.nii", "a.mha", "a.nrrd"])
def test_volumes_of_one_slice(tmp_path: Path, name: str) -> None:
    given = of_type("u2")
    for shape in (SHAPE, (1, *SHAPE)):
        sitk.WriteImage(sitk.GetImageFromArray(given.reshape(shape)), tmp_path / name)
        assert is_image(tmp_path / name)
        assert np.array_equal(read(tmp_path / name).values, given)
    sitk.WriteImage(sitk.GetImageFromArray(np.stack([given] * 5)), tmp_path / name)
    with pytest.raises(Undecodable, match="5 slices instead of one"):
        read(tmp_path / name)


@pytest.mark.parametrize(
    "name", ["1.2.840.113619.2.5", "IM0001", "wrong.jpg", "wrong.npy", "a.IMA"]
)
@pytest.mark.parametrize("kind", ["DICOM", "PNG", "TIFF"])
def test_the_content_counts_not_the_name(
    tmp_path: Path, save_dicom: SaveDicom, name: str, kind: str
) -> None:
    path, values = tmp_path / name, of_type("u2") >> 4
    if kind == "DICOM":
        save_dicom(path, values)
    elif kind == "PNG":
        Image.fromarray(values).save(path, format="PNG")
    else:
        with path.open("wb") as file:
            tifffile.imwrite(file, values, photometric="minisblack")
    assert is_image(path)
    assert np.array_equal(read(path).stored, values)


def test_a_scanners_preamble_may_look_like_a_tiff(tmp_path: Path, save_dicom: SaveDicom) -> None:
    path = save_dicom(tmp_path / "a.dcm", of_type("u2") >> 4)
    path.write_bytes(b"II*\0" + path.read_bytes()[4:])
    assert np.array_equal(read(path).stored, of_type("u2") >> 4)


@pytest.mark.parametrize("implicit", [True, False])
def test_a_dicom_data_set_without_its_file_header(
    tmp_path: Path, save_dicom: SaveDicom, implicit: bool
) -> None:
    header = pydicom.dcmread(save_dicom(tmp_path / "a.dcm", of_type("u2") >> 4, Modality="DX"))
    bare = pydicom.Dataset({element.tag: element for element in header})
    bare.SOPClassUID = "1.2.840.10008.5.1.4.1.1.1.1"
    path = tmp_path / "bare"
    bare.save_as(path, implicit_vr=implicit, little_endian=True, enforce_file_format=False)
    assert is_image(path)
    assert np.array_equal(read(path).stored, of_type("u2") >> 4)


@pytest.mark.parametrize(
    "uid", ["1.2.840.10008.1.3.10", "1.2.840.10008.5.1.4.1.1.88.22", "1.2.840.10008.5.1.4.1.1.11.1"]
)
def test_dicom_files_without_pixels_are_no_images(
    tmp_path: Path, save_dicom: SaveDicom, uid: str
) -> None:
    path = save_dicom(tmp_path / "a.dcm", of_type("u2"), PixelData=None)
    header = pydicom.dcmread(path)
    header.file_meta.MediaStorageSOPClassUID = header.SOPClassUID = uid
    header.save_as(path, enforce_file_format=True)
    assert not is_image(path)
    with pytest.raises(Undecodable, match=r"no pixel data \(it is a .*Storage"):
        read(path)


def test_texts_and_archives_are_no_images(tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("P2 is a word, P5 another: 12 34 56")
    (tmp_path / "BM").write_text("BMs are no bitmaps")
    (tmp_path / "a.gz").write_bytes(gzip.compress(of_type("u1").tobytes()))
    (tmp_path / "empty").write_bytes(b"")
    assert not any(map(is_image, tmp_path.iterdir()))
    (tmp_path / "a.png").write_text("damaged")  # which must be reported, not passed over
    assert is_image(tmp_path / "a.png")


def _pages(path: Path) -> None:
    tifffile.imwrite(path, np.stack([of_type("u1")] * 7), photometric="minisblack")


def _stack(path: Path) -> None:
    """Several frames below one page, as ImageJ writes large stacks."""
    tifffile.imwrite(path, np.stack([of_type("u2")] * 9), photometric="minisblack", truncate=True)


def _palette(path: Path) -> None:
    colours = np.zeros((3, 256), np.uint16)
    tifffile.imwrite(path, of_type("u1"), photometric="palette", colormap=colours)


def _lab(path: Path) -> None:
    tifffile.imwrite(path, np.zeros((*SHAPE, 3), np.uint8), photometric="cielab")


def _channels(path: Path) -> None:
    tifffile.imwrite(
        path, np.zeros((*SHAPE, 5), np.uint8), photometric="minisblack", planarconfig="contig"
    )


def _complex(path: Path) -> None:
    tifffile.imwrite(path, of_type("f4").astype(np.complex64))


@pytest.mark.parametrize(
    ("write", "reason"),
    [
        (_pages, "has 7 frames"),
        (_stack, "has 9 frames"),
        (_palette, "has a palette"),
        (_lab, "has the colours CIELAB"),
        (_channels, "has 5 channels"),
        (_complex, "type complex64"),
    ],
)
def test_tiffs_that_are_no_picture_say_why(
    tmp_path: Path, write: Callable[[Path], None], reason: str
) -> None:
    write(tmp_path / "a.tif")
    with pytest.raises(Undecodable, match=reason):
        read(tmp_path / "a.tif")


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.zeros((0, 48)), "no pixels: 0 x 48"),
        (np.zeros((5, 4, 3)), r"shape \(5, 4, 3\)"),
        (np.zeros(9), r"shape \(9,\)"),
        (np.zeros(SHAPE, complex), "type complex128"),
        (np.zeros(SHAPE, [("a", "f4"), ("b", "u1")]), "structured"),
        (np.full(SHAPE, "text"), "type <U4"),
        (np.full(SHAPE, None), "Python objects"),
        (np.full(SHAPE, True), "type bool"),
    ],
)
def test_arrays_that_are_no_picture_say_why(tmp_path: Path, array: np.ndarray, reason: str) -> None:
    np.save(tmp_path / "a.npy", array, allow_pickle=True)
    with pytest.raises(Undecodable, match=reason):
        read(tmp_path / "a.npy")


def test_masks_may_have_one_bit_a_palette_or_white_at_zero(tmp_path: Path) -> None:
    inside = RAMP > 0.4
    Image.fromarray(inside).save(tmp_path / "a.png")
    tifffile.imwrite(tmp_path / "b.tif", inside, photometric="minisblack")
    tifffile.imwrite(tmp_path / "c.tif", ~inside, photometric="miniswhite")
    np.save(tmp_path / "d.npy", inside)
    colours = np.zeros((3, 256), np.uint16)
    colours[1, 1:] = 9000
    labels = inside.astype(np.uint8) * 3
    tifffile.imwrite(tmp_path / "e.tif", labels, photometric="palette", colormap=colours)
    for path in tmp_path.iterdir():
        assert np.array_equal(read_mask(path), inside), path.name
