"""Real heads from CT volumes: files to voxels of bone and soft tissue in the phantom's axes.

`find` lists the volumes below a folder, `read` reads one (`dicom` one series of slices),
`calibration` turns raw values into Hounsfield units. `geometry` turns any stored axes into head
axes and resamples. `anatomy` finds the head, removes table and head-holder, rejects what is no
head and places its origin; `density` turns Hounsfield units into densities; `heads` does
all of it, and `dataset` renders what it makes.

Needs the extra `ct` (SimpleITK). May import `datasets.phantom` and `core`. Units: mm, g/cm3 and
Hounsfield units (HU). Head axes as in the phantom: x left, y front, z up; arrays are `[z, y, x]`.
"""

from xbench.datasets.ct.find import Found, Source, find
from xbench.datasets.ct.heads import CtHead, check_enough, load_head

__all__ = ["CtHead", "Found", "Source", "check_enough", "find", "load_head"]
