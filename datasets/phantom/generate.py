"""Makes the images and the truth of heads: projected once, rendered in every domain."""

import math
import random
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xbench.core.hashing import seed_from
from xbench.core.pixels import WHITE, Pixels, to_pixels
from xbench.datasets.phantom import vessels
from xbench.datasets.phantom.acquisition import Acquisition, draw_acquisition
from xbench.datasets.phantom.anatomy import Variation
from xbench.datasets.phantom.files import Job, one_thread
from xbench.datasets.phantom.projection import Projector, View
from xbench.datasets.phantom.render import LOOKS, Contrast, Look, Paths, look, render
from xbench.datasets.phantom.vessels import Discs
from xbench.datasets.phantom.views import NARROW, WIDE, draw_view, mount_path
from xbench.datasets.phantom.volume import SOLID_RHO, Head, make_head, placed

#: Stored grey levels per cm of the bone path and of the vessel path.
STEPS_PER_CM = 2000
#: Masks, in the order of their bits; after them comes a bit for each domain, set where its two
#: exposures of the view show something unpredictable.
MASKS = ("dense_bone", "orbits", "sinuses", "teeth")
#: Least path in cm of a ray inside a mask: 2.5 cm of bone shows base, rim of the vault and teeth.
MASK_CM = (2.5, 0.4, 0.4, 0.25)
#: How far the plate of the mount may lie from its usual place, as a share of version 1's play.
PLATE_PLAY = 0.12

#: Whether arteries are filled: no; yes; yes, and the mask is subtracted.
Vessels = Literal["none", "angiogram", "dsa"]
#: Iodine in contrast media, g/cm3 (usually 250 to 350 mg per ml), and the share of the medium in
#: the blood of a filled artery (our choice).
IODINE_RANGE, DILUTION = (0.25, 0.35), 0.7
#: Motion of a head between mask and filling, px at 256 px (up to 0.2 mm, our choice).
MOTION_RANGE = (0.05, 0.2)


class Planes(NamedTuple):
    """Where the truth of a head holds what; of a training head for its own domain alone."""

    expected: slice
    bone: int
    bits: int
    repeats: slice
    vessels: int

    @classmethod
    def of(cls, domains: int) -> "Planes":
        """The planes for so many domains; second exposures only exist for all of them."""
        last = domains + 2
        return cls(slice(domains), domains, domains + 1, slice(last, last + domains), 2 * last - 2)


@dataclass(frozen=True)
class RenderedJob(Job):
    """A head, and the switches of the causes of the gap between domains."""

    voxel_mm: float
    attenuation: bool
    noise: bool
    soft_tissue: bool
    variation: bool
    vessels: Vessels = "none"

    @abstractmethod
    def volumes(self) -> Head:
        """The head."""

    def head_facts(self) -> dict[str, object]:
        """What else the sidecar says of the head."""
        return {}

    @property
    def seed(self) -> int:
        """Determines the head and the structures in its images."""
        return seed_from("phantom 2", self.head)

    def look(self, domain: str) -> Look:
        """The image formation of a domain with this job's switches."""
        subtracted = self.vessels == "dsa"
        return look(domain, self.attenuation, self.noise, self.soft_tissue, subtracted)

    def acquisition(self, view: str, domain: str, repeat: int) -> Acquisition | None:
        """Random structures of an exposure; None where there are none.

        Images for the reference row `paired` have none, as it shows what can be known.
        """
        if not self.variation or not LOOKS[domain].soft.mount or self.split == "paired":
            return None
        return draw_acquisition(f"{view} {domain} {repeat}")

    def make(self) -> None:
        """Render all views and write them."""
        with one_thread():
            head = self.volumes()
            projectors = Projector(head.bone), Projector(head.soft)
            discs = None if self.vessels == "none" else self.arteries()
            images, truth, facts = [], [], []
            for number in range(self.views):
                slot = self.index * self.views + number
                play = WIDE if self.variation else NARROW
                view = draw_view(f"{self.split} {self.domain}", slot, play)
                name = f"{self.head} {number}"
                lines, masks = project(*projectors, view, self.size, self.seed)
                if discs is not None:
                    path = vessels.project(discs, view, self.size)
                    lines = replace(lines, contrast=inject(path, name))
                image, known = self._view(lines, masks, name)
                images.append(image)
                truth.append(known)
                facts.append(self._facts(number, view, head))
        shown = np.stack(images, axis=1)
        self.save(
            shown[0] if self.domain else shown,
            {"head_seed": self.seed, **self.head_facts(), "views": facts},
            np.stack(truth, axis=1),
        )

    def anatomy(self) -> Variation:
        """How the head differs from the mean head."""
        return Variation(self.seed, self.variation)

    def arteries(self) -> Discs:
        """The arteries of the head."""
        anatomy = self.anatomy()
        return vessels.grow(anatomy, partial(placed, anatomy))

    def _view(self, lines: Paths, masks: Tensor, name: str) -> tuple[Pixels, Pixels]:
        """Images `[domains, H, W]` and truth `[planes, H, W]` of a view."""
        domains = [self.domain] if self.domain else list(LOOKS)
        clean = replace(self, noise=False)

        def shown(repeat: int) -> list[Tensor]:
            return [
                render(
                    self.look(domain),
                    lines,
                    seed_from("noise", name, domain, repeat),
                    self.acquisition(name, domain, repeat),
                )
                for domain in domains
            ]

        expected = [render(clean.look(domain), lines, 0) for domain in domains]
        planes = [_pixels(expected), _pixels([lines.solid / SOLID_RHO * STEPS_PER_CM / WHITE])]
        planes.append(self._bits(masks, name, domains)[None])
        if not self.domain:
            planes.append(_pixels(shown(1)))
        if lines.contrast is not None:
            planes.append(_pixels([lines.contrast.vessels * STEPS_PER_CM / WHITE]))
        return _pixels(shown(0)), np.concatenate(planes)

    def _bits(self, masks: Tensor, name: str, domains: Sequence[str]) -> Pixels:
        """All masks of a view in the bits of `[H, W]`."""
        bits = np.zeros(masks.shape[1:], np.uint16)
        for number, (path, least) in enumerate(zip(masks, MASK_CM, strict=False)):
            bits |= (path > least).numpy().astype(np.uint16) << number
        for domain in domains:
            bit = len(MASKS) + list(LOOKS).index(domain)
            for repeat in range(2):
                structures = self.acquisition(name, domain, repeat)
                if structures is not None:
                    bits |= structures.mask(self.size).numpy().astype(np.uint16) << bit
        return bits

    def _facts(self, number: int, view: View, head: Head) -> dict[str, Any]:
        return {
            "id": f"{self.head}-{number}-{view.name}",
            "view": view.name,
            "lao": round(view.lao, 4),
            "cran": round(view.cran, 4),
            "landmarks": {
                name: [round(value, 3) for value in view.pixel(point, self.size)]
                for name, point in head.landmarks.items()
            },
        }


@dataclass(frozen=True)
class PhantomJob(RenderedJob):
    """A procedural head."""

    def volumes(self) -> Head:
        """See `RenderedJob`."""
        return make_head(self.anatomy(), self.voxel_mm)


def _pixels(images: Sequence[Tensor]) -> Pixels:
    return to_pixels(torch.stack(list(images))[:, None])


def project(
    bone: Projector, soft: Projector, view: View, size: int, seed: int
) -> tuple[Paths, Tensor]:
    """Line integrals of one view, and the paths in cm through what the `MASKS` show `[k, H, W]`.

    The soft channels are tissue, plastic, and the spaces whose masks are known.
    """
    dens, solid = bone.project(view, size)
    tissue, plastic, *spaces = soft.project(view, size)
    mount = mount_path(seed, view, size, PLATE_PLAY)
    return Paths(dens, solid, tissue, plastic, mount), torch.stack([solid / SOLID_RHO, *spaces])


def inject(path: Tensor, view: str) -> Contrast:
    """Contrast medium in arteries with a `path` in cm; `view` names the random draws."""
    draw = random.Random(seed_from("contrast", view)).uniform
    rho = DILUTION * draw(*IODINE_RANGE)
    angle, reach = draw(0, 2 * math.pi), draw(*MOTION_RANGE)
    return Contrast(path, rho, (reach * math.sin(angle), reach * math.cos(angle)))


def mask_of(bits: Pixels, bit: int) -> NDArray[np.bool_]:
    """One mask of the bits `[..., H, W]`."""
    found: NDArray[np.bool_] = (np.asarray(bits) >> bit) & 1 > 0
    return found
