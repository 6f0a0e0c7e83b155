"""The head phantom: a procedural data set that needs no download.

`dataset` is the data set; `generate` makes the files of one head, in processes of `worker`.
A head is `anatomy` (bones as `shapes`) turned into voxels with `noise` by `volume`; `arteries`
grows its cerebral arteries. `views` draws C-arm angles, `projection` computes line integrals
through the voxels and `vessels` those through the arteries, `render` turns both into the images of
the five domains with the attenuation of `physics`.

May import `datasets.base` and `core`. Units: mm, g/cm3 and degrees unless a name says otherwise.
"""

from xbench.datasets.phantom.dataset import Phantom, PhantomConfig, ViewTruth

__all__ = ["Phantom", "PhantomConfig", "ViewTruth"]
