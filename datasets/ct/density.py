"""Hounsfield units to densities, by a curve of straight lines.

Mass density follows the CT number in two lines, of soft tissue and of bone, as Schneider,
Pedroni and Lomax (Phys Med Biol 41, 1996, 111-124) and Schneider, Bortfeld and Schlegel (Phys Med
Biol 45, 2000, 459-478) describe it. Our points: air (-1000 HU, 0), adipose tissue (-98, .93),
water (0, 1.00) and cortical bone (1524, 1.92), with the CT numbers and densities of these
tissues in the paper of 2000; the bone line goes on beyond cortical bone, to enamel.

Above 100 HU (soft tissues end there) a voxel is a mixture: `bone` grows linearly to all of the
density at 1524 HU, and `soft` is the rest. So attenuation is linear in HU, as it must be.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Voxels = NDArray[np.float32]

#: (HU, g/cm3), rising; the last one extends the line through the two before to the largest HU.
POINTS = ((-1000.0, 0.0), (-98.0, 0.93), (0.0, 1.0), (1524.0, 1.92), (3071.0, 2.8539))
#: HU above which a voxel holds bone, and at which it is all cortical bone.
BONE_FROM, BONE_FULL = 100.0, 1524.0
#: Cortical bone, g/cm3 (ICRU 44).
CORTICAL = 1.92
#: Air has noise: below this HU, density is 0.
AIR_BELOW = -900.0

#: A simulator's surface of bone: its threshold in HU, and the blur in mm (standard deviation) of
#: what lies above it. A plate of 2 mm reaches half its height then; thinner ones are lost.
SURFACE_HU, SURFACE_BLUR = 250.0, 1.48


def densities(hu: Voxels) -> tuple[Voxels, Voxels]:
    """Densities of bone and of soft tissue in g/cm3, float32, of any shape.

    >>> bone, soft = densities(np.array([-1000, 0, 1524], np.float32))
    >>> bone.tolist(), soft.tolist()
    ([0.0, 0.0, 1.9199999570846558], [0.0, 1.0, 0.0])
    """
    raws, rhos = zip(*POINTS, strict=True)
    total = np.interp(hu, raws, rhos).astype(np.float32)
    total[hu < AIR_BELOW] = 0
    share = (hu - np.float32(BONE_FROM)) / np.float32(BONE_FULL - BONE_FROM)
    np.clip(share, 0, 1, out=share)
    bone = np.minimum(np.float32(CORTICAL) * share, total)
    bone[share >= 1] = total[share >= 1]
    return bone, total - bone


def surface(hu: Voxels, spacing: tuple[float, float, float]) -> Voxels:
    """Share of each voxel inside a surface model of the bone, without structures below 2 mm.

    Args:
        hu: Hounsfield units `[z, y, x]`.
        spacing: mm along z, y and x.
    """
    inside = (hu > SURFACE_HU).astype(np.float32)
    blur = [SURFACE_BLUR / side for side in spacing]
    ndimage.gaussian_filter(inside, blur, mode="nearest", truncate=3, output=inside)
    # The blurred edge has a slope of 1 / (blur √2π) per mm: make it a ramp of one voxel.
    ramp = max(1.0, SURFACE_BLUR * (2 * np.pi) ** 0.5 / max(spacing))
    inside -= 0.5
    inside *= np.float32(ramp)
    inside += 0.5
    result: Voxels = np.clip(inside, 0, 1, out=inside)
    return result
