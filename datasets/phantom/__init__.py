"""The head phantom: a procedural data set that needs no download.

`dataset` is the data set, `rendered` the base of all whose heads are projected; `generate` makes
the images of one head, and `files` its files, in processes of `worker`. A head is `anatomy` (bones
as `shapes`) turned into voxels with `noise` by `volume`; `arteries` grows its cerebral arteries.
`views` draws C-arm angles and `acquisition` the structures of single exposures, `projection`
computes line integrals through the voxels and `vessels` those through the arteries, `render` turns
both into the images of the five domains with the attenuation of `physics` and the `detector`.

May import `datasets.base` and `core`. Units: mm, g/cm3 and degrees unless a name says otherwise.
"""

from xbench.datasets.phantom.dataset import Phantom, PhantomConfig
from xbench.datasets.phantom.rendered import ViewTruth

__all__ = ["Phantom", "PhantomConfig", "ViewTruth"]
