"""Recognises image files by their first bytes, whatever their names are."""

import gzip
import re
import zlib
from pathlib import Path

#: First bytes → kind of file.
MAGIC = {
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"II+\0": "TIFF",  # BigTIFF
    b"MM\0+": "TIFF",
    b"\x93NUMPY": "NPY",
    b"\0\0\0\x0cjP  \r\n\x87\n": "JPEG 2000",
    b"\xff\x4f\xff\x51": "JPEG 2000",
    b"NRRD000": "NRRD",
}
#: Kind of file → its usual endings, the first one for files that we write.
ENDINGS = {
    "PNG": (".png",),
    "TIFF": (".tif", ".tiff"),
    "JPEG": (".jpg", ".jpeg"),
    "NPY": (".npy",),
    "DICOM": (".dcm", ".dicom", ".ima"),
    "BMP": (".bmp",),
    "PNM": (".pgm", ".ppm", ".pnm"),
    "JPEG 2000": (".jp2", ".j2k"),
    "WEBP": (".webp",),
    "NIfTI": (".nii.gz", ".nii"),
    "MetaImage": (".mha",),
    "NRRD": (".nrrd",),
}
#: Endings of images, in lower case.
SUFFIXES = frozenset(ending for endings in ENDINGS.values() for ending in endings)
#: DICOM's storage classes without pixels (PS3.4 B.5): directories, presentation states, waveforms,
#: raw data, registrations, reports, documents, plans of radiotherapy, hanging protocols, palettes,
#: implants; a dot ends a whole family.
_STORAGE = "1.2.840.10008.5.1.4.1.1."
WITHOUT_PIXELS = (
    "1.2.840.10008.1.3.10",
    *(f"1.2.840.10008.5.1.4.{part}." for part in (38, 39, 43, 44, 45)),
    *(_STORAGE + end for end in ("11.", "9.", "66", "66.1", "66.2", "66.3", "66.5", "66.6")),
    *(_STORAGE + end for end in ("67", "88.", "104.", "4.2", "481.3", "481.4", "481.5")),
    *(_STORAGE + end for end in ("481.6", "481.7", "481.8", "481.9")),
)
#: Headers of BMP files by their sizes.
_BMP_HEADERS = (12, 40, 52, 56, 64, 108, 124)
#: Groups that a DICOM data set begins with, and elements that come first.
_FIRST_GROUPS, _FIRST_ELEMENTS = (0x0002, 0x0008), range(0x0000, 0x0021)


def is_image(path: Path) -> bool:
    """Whether a file is an image by its content, or should be one by its ending.

    A damaged file with an image's ending counts, so that it is reported. DICOM files without
    pixels (DICOMDIR, reports, plans) do not.
    """
    try:
        start = _start(path)
    except OSError:
        return bool(ending(path.name))
    if kind(start) == "DICOM":
        return not _is_without_pixels(start)
    return kind(start) is not None or bool(ending(path.name))


def kind_of(path: Path) -> str | None:
    """The kind of an image file, one of `ENDINGS`, by its first bytes; None for others.

    Raises:
        OSError: it cannot be read.
    """
    return kind(_start(path))


def ending(name: str) -> str:
    """The ending of an image's name as written, or "": the numbers in a UID are none.

    >>> ending("a.PNG"), ending("scan.nii.gz"), ending("1.2.840.113619.2.5")
    ('.PNG', '.nii.gz', '')
    """
    lower = name.lower()
    found = [known for known in SUFFIXES if lower.endswith(known) and len(lower) > len(known)]
    return name[-max(map(len, found)) :] if found else ""


def stem(name: str) -> str:
    """An image's name without its `ending`.

    >>> stem("a.PNG"), stem("1.2.840.113619.2.5")
    ('a', '1.2.840.113619.2.5')
    """
    return name[: len(name) - len(ending(name))]


def kind(start: bytes) -> str | None:
    """The kind of an image file by its first 1024 bytes; None for others."""
    if start[128:132] == b"DICM":  # which some scanners begin with the first bytes of a TIFF
        return "DICOM"
    for magic, name in MAGIC.items():
        if start.startswith(magic):
            return name
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return "WEBP"
    if start[:2] == b"BM" and int.from_bytes(start[14:18], "little") in _BMP_HEADERS:
        return "BMP"
    if re.match(rb"P[256](\s|#.*\n)+\d+(\s|#.*\n)+\d+(\s|#.*\n)+\d+\s", start):
        return "PNM"
    if start[344:348] in (b"n+1\0", b"ni1\0") or start[4:8] == b"n+2\0":
        return "NIfTI"
    if re.match(rb"(ObjectType|NDims)\s*=", start):
        return "MetaImage"
    return "DICOM" if _is_bare_dicom(start) else None


def _start(path: Path) -> bytes:
    """The first 1024 bytes; of a zipped NIfTI those inside, of other archives none."""
    with path.open("rb") as file:
        start = file.read(1024)
    if start[:2] != b"\x1f\x8b":
        return start
    try:
        with gzip.open(path) as file:
            inside = file.read(1024)
        return inside if kind(inside) == "NIfTI" else b""
    except (EOFError, zlib.error, gzip.BadGzipFile):
        return b""


def _is_bare_dicom(start: bytes) -> bool:
    """Whether bytes begin as a DICOM data set does, without the 128 bytes and "DICM" before it."""
    for order in ("little", "big"):
        group, element = (int.from_bytes(start[i : i + 2], order) for i in (0, 2))
        if group not in _FIRST_GROUPS or element not in _FIRST_ELEMENTS or len(start) < 16:
            continue
        if re.fullmatch(rb"CS|DA|OB|SH|TM|UI|UL", start[4:6]):
            return True
        if int.from_bytes(start[4:8], order) <= 64:  # implicit: a length in place of the type
            return True
    return False


def _is_without_pixels(start: bytes) -> bool:
    """Whether the storage class at the start of a DICOM file is one without pixels."""
    found = re.search(rb"\x02\x00\x02\x00UI..([0-9.]+)", start, re.DOTALL)
    uid = found[1].decode() if found else ""
    return any(uid == c or (c[-1] == "." and uid.startswith(c)) for c in WITHOUT_PIXELS)
