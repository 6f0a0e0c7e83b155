"""Heads of ellipsoids in Hounsfield units, and files of them: for tests of CT volumes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

#: A dense ball in the left of the brain: distinguishes left from right, mm.
BALL = (30.0, 20.0, 60.0)
#: The part of space that a volume shows, mm (x left, y front, z up).
LOW, HIGH = (-100.0, -130.0, -90.0), (100.0, 130.0, 135.0)
VOXEL = 3.0
#: Directions of DICOM axes (left, back, up) in head axes.
TO_PATIENT = np.diag([1.0, -1.0, 1.0])


def hu_at(x: Any, y: Any, z: Any, table: bool = False) -> np.ndarray:
    """HU at points of head axes: neck, face, skull with orbits and sinuses, no left-right twin."""
    x, y, z = np.broadcast_arrays(x, y, z)

    def ellipsoid(center: tuple[float, ...], radii: tuple[float, ...]) -> np.ndarray:
        parts = zip((x, y, z), center, radii, strict=True)
        return sum(((axis - c) / r) ** 2 for axis, c, r in parts) < 1

    hu = np.full(x.shape, -1000, np.float32)
    skin = ellipsoid((0, 2, 45), (77, 95, 78)) | ellipsoid((0, 45, -20), (55, 58, 75))
    skin |= (x**2 + (y + 15) ** 2 < 52**2) & (z < 20)
    hu[skin] = 45
    hu[ellipsoid((0, 2, 45), (70, 88, 72))] = 1100
    hu[ellipsoid((0, 2, 45), (63, 81, 65))] = 35
    hu[ellipsoid((0, 52, -30), (32, 30, 22))] = 900
    for side in (-32, 32):
        hu[ellipsoid((side, 84, 8), (18, 18, 16))] = 0
    hu[ellipsoid((0, 70, -8), (10, 28, 26))] = -1000
    hu[ellipsoid((0, -20, -55), (12, 12, 70)) & (z < -20)] = 700
    hu[ellipsoid(BALL, (9, 9, 9))] = 2500
    if table:
        hu[(y < -104) & (y > -112) & (abs(x) < 90)] = 300
        hu[(y <= -112) & (y > -120) & (abs(x) < 90)] = -900
    return hu


def volume(spacing: Any = (VOXEL,) * 3, low: Any = LOW, high: Any = HIGH, **how: Any) -> np.ndarray:
    """Voxels `[z, y, x]` with their centres from `low` on, spacing in mm (x, y, z)."""
    ticks = [np.arange(a, b, s) for a, b, s in zip(low, high, spacing, strict=True)]
    x, y, z = ticks[0][None, None, :], ticks[1][None, :, None], ticks[2][:, None, None]
    return hu_at(x, y, z, **how)


def image(hu: np.ndarray, spacing: Any = (VOXEL,) * 3, axes: str = "LPS") -> sitk.Image:
    """A SimpleITK image whose axes run towards three letters."""
    result = sitk.GetImageFromArray(np.ascontiguousarray(hu[:, ::-1]))
    result.SetSpacing([float(side) for side in spacing])
    result.SetOrigin((-80.0, -110.0, -90.0))
    return sitk.DICOMOrient(result, axes)


def save(path: Path, hu: np.ndarray, spacing: Any = (VOXEL,) * 3, axes: str = "LPS") -> Path:
    """Write a file of any format that SimpleITK knows by its ending."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(image(hu.astype(np.int16), spacing, axes), str(path))
    return path


def turned(degrees: tuple[float, float], tilt: float = 0.0) -> np.ndarray:
    """Directions of i, j, k (columns, patient axes): turned about x and z, or slices tilted."""
    a, b, t = np.radians([*degrees, tilt])
    about_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    about_z = np.array([[np.cos(b), -np.sin(b), 0], [np.sin(b), np.cos(b), 0], [0, 0, 1]])
    result = about_z @ about_x
    result[:, 1] = [0, np.cos(t), np.sin(t)] if tilt else result[:, 1]
    return result


def oblique(direction: np.ndarray, spacing: float = VOXEL) -> tuple[np.ndarray, np.ndarray]:
    """Voxels `[k, j, i]` sampled along directions, and the place of the first, patient axes."""
    half = (np.array(HIGH) - LOW) / 2
    count = (2 * half / spacing).astype(int)
    center = TO_PATIENT @ (np.array(HIGH) + LOW) / 2
    first = center - direction @ ((count - 1) / 2 * spacing)
    index = np.stack(np.meshgrid(*map(np.arange, count), indexing="ij")).reshape(3, -1)
    points = TO_PATIENT @ (first[:, None] + direction @ index * spacing)
    return hu_at(*points).reshape(count).transpose(2, 1, 0), first


def save_series(
    folder: Path,
    hu: np.ndarray,
    spacing: Any = (VOXEL,) * 3,
    *,
    direction: np.ndarray | None = None,
    change: Callable[[int, Any], None] | None = None,
    **elements: Any,
) -> Path:
    """Write slices `[k, j, i]` as a DICOM series in files of random names and order.

    Args:
        folder: made if needed.
        hu: in head axes (j to the front) without `direction`, else along its columns.
        spacing: mm (i, j, k).
        direction: directions of i, j and k in patient axes.
        change: called with the number and header of each slice before it is written.
        elements: DICOM elements for all slices.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if direction is None:
        direction, hu = np.eye(3), hu[:, ::-1]
    series, study, frame = generate_uid(), generate_uid(), generate_uid()
    names = np.random.default_rng(len(str(folder))).permutation(10 * len(hu))
    for k, plane in enumerate(hu):
        meta = FileMetaDataset()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        meta.MediaStorageSOPClassUID = CTImageStorage
        meta.MediaStorageSOPInstanceUID = generate_uid()
        header = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
        header.SOPClassUID, header.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
        header.Modality, header.SeriesDescription, header.PatientName = "CT", "Head 3.0", "A^B"
        header.StudyInstanceUID, header.SeriesInstanceUID = study, series
        header.FrameOfReferenceUID, header.InstanceNumber = frame, k + 1
        header.Rows, header.Columns = plane.shape
        header.SamplesPerPixel, header.PixelRepresentation = 1, 0
        header.BitsAllocated, header.BitsStored, header.HighBit = 16, 16, 15
        header.PhotometricInterpretation = "MONOCHROME2"
        header.RescaleSlope, header.RescaleIntercept = 0.5, -1024
        header.PixelSpacing = [spacing[1], spacing[0]]
        header.ImageOrientationPatient = [round(v, 8) for v in direction[:, :2].T.ravel()]
        header.ImagePositionPatient = [round(v, 4) for v in direction[:, 2] * spacing[2] * k]
        header.PixelData = np.round((plane + 1024) * 2).astype(np.uint16).tobytes()
        for name, value in elements.items():
            setattr(header, name, value)
        if change:
            change(k, header)
        header.save_as(folder / f"IM{names[k]:05d}", enforce_file_format=True)
    return folder
