"""Makes the files of heads of version 1."""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch

from xbench.core.hashing import seed_from
from xbench.core.pixels import WHITE, Pixels, to_pixels
from xbench.datasets.phantom import vessels
from xbench.datasets.phantom.files import Job, one_thread
from xbench.datasets.phantom.generate import STEPS_PER_CM, Vessels, inject
from xbench.datasets.phantom.projection import Projector, View
from xbench.datasets.phantom.v1.anatomy import Variation
from xbench.datasets.phantom.v1.render import LOOKS, Look, Paths, bone_channel, look, render
from xbench.datasets.phantom.v1.volume import CHANNELS, SOLID_RHO, Head, make_head
from xbench.datasets.phantom.views import draw_view, mount_path

#: Planes of val and test files: each domain, each domain again with other noise, the bone path, and
#: the vessel path if there are vessels.
BONE_PLANE = 2 * len(LOOKS)
VESSEL_PLANE = BONE_PLANE + 1


@dataclass(frozen=True)
class FirstJob(Job):
    """A head of version 1; its array holds everything."""

    voxel_mm: float
    attenuation: bool
    noise: bool
    soft_tissue: bool
    vessels: Vessels = "none"

    def make(self) -> None:
        """Render all views and write them."""
        with one_thread():
            images, truth = _images(self)
        self.save(images, truth)

    def shape(self) -> tuple[int, ...]:
        """Shape of the array."""
        images = (self.views, self.size, self.size)
        last = BONE_PLANE if self.vessels == "none" else VESSEL_PLANE
        return images if self.domain else (last + 1, *images)

    def look(self, domain: str) -> Look:
        """The image formation of a domain with this job's switches."""
        subtracted = self.vessels == "dsa"
        return look(domain, self.attenuation, self.noise, self.soft_tissue, subtracted)


def _images(job: FirstJob) -> tuple[Pixels, dict[str, Any]]:
    seed = seed_from("phantom", job.head)
    channels = (bone_channel(job.look(job.domain)),) if job.domain else CHANNELS
    head = make_head(seed, job.voxel_mm, channels)
    bone, soft = Projector(head.bone), Projector(head.soft)
    variation = Variation(seed)
    place = partial(vessels.scaled, variation)
    discs = None if job.vessels == "none" else vessels.grow(variation, place)
    out = np.empty(job.shape(), np.uint16)
    views = []
    for number in range(job.views):
        view = draw_view(f"{job.split} {job.domain}", job.index * job.views + number)
        paths = project(head, bone, soft, view, job.size, seed)
        if discs is not None:
            path = vessels.project(discs, view, job.size)
            paths = replace(paths, contrast=inject(path, f"{job.head} {number}"))
        out[..., number, :, :] = _planes(job, paths, f"{job.head} {number}")
        views.append(_truth(job, number, view))
    return out, {"head_seed": seed, "views": views}


def project(
    head: Head, bone: Projector, soft: Projector, view: View, size: int, seed: int
) -> Paths:
    """Line integrals of one view; empty for a bone channel that the head does not have."""
    lines = dict(zip(head.channels, bone.project(view, size), strict=True))
    nothing = torch.empty(0)
    return Paths(
        dens=lines.get("dens", nothing),
        solid=lines.get("solid", nothing),
        soft=soft.project(view, size)[0],
        mount=mount_path(seed, view, size),
    )


def _planes(job: FirstJob, paths: Paths, view: str) -> Pixels:
    """The stored images of one view: `[1, H, W]` for training, else `[planes, H, W]`."""
    if job.domain:
        seed = seed_from("noise", view, job.domain, 0)
        return to_pixels(render(job.look(job.domain), paths, seed)[None, None])
    planes = [
        render(job.look(domain), paths, seed_from("noise", view, domain, repeat))
        for repeat in range(2)
        for domain in LOOKS
    ]
    planes.append(paths.solid / SOLID_RHO * STEPS_PER_CM / WHITE)
    if paths.contrast is not None:
        planes.append(paths.contrast.vessels * STEPS_PER_CM / WHITE)
    return to_pixels(torch.stack(planes)[:, None])


def _truth(job: FirstJob, number: int, view: View) -> dict[str, Any]:
    return {
        "id": f"{job.head}-{number}-{view.name}",
        "view": view.name,
        "lao": round(view.lao, 4),
        "cran": round(view.cran, 4),
    }
