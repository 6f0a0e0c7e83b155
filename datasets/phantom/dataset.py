"""The phantom data set, version 2: procedural heads."""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from xbench.core.errors import UserError
from xbench.core.profiles import Profile
from xbench.datasets.base import Split
from xbench.datasets.phantom.files import Job
from xbench.datasets.phantom.generate import STEPS_PER_CM, PhantomJob, Vessels
from xbench.datasets.phantom.render import LOOKS
from xbench.datasets.phantom.rendered import Rendered, RenderedConfig
from xbench.datasets.phantom.volume import EXTENT


class PhantomConfig(RenderedConfig):
    """See `RenderedConfig`.

    Attributes:
        train_heads: training heads per domain; no two domains share a head.
        val_heads: validation heads.
        test_heads: test heads.
        paired_heads: heads whose views exist in all domains, for the reference row `paired` alone.
        paired_views: views of each.
        vessels: `angiogram` fills the cerebral arteries with iodine, `dsa` also subtracts the mask
            (digital subtraction angiography).
    """

    train_heads: int = Field(ge=1)
    val_heads: int = Field(ge=1)
    test_heads: int = Field(ge=1)
    paired_heads: int = Field(ge=1)
    paired_views: int = Field(ge=1)
    vessels: Vessels = "none"


#: Profile → voxel side and (heads, views) of train (per domain), val, test and paired.
PROFILES = {
    "smoke": (4.0, (2, 8), (2, 4), (4, 4), (4, 8)),
    "quick": (2.75, (12, 16), (8, 4), (20, 4), (60, 5)),
    "medium": (1.75, (12, 16), (8, 4), (20, 4), (60, 5)),
    "standard": (1.0, (24, 25), (8, 4), (32, 4), (40, 25)),
    "paper": (0.9, (32, 25), (8, 4), (32, 4), (40, 25)),
}


def sizes(profile: Profile) -> dict[str, Any]:
    """Sizes of images, voxels and splits by profile."""
    voxel, *splits = PROFILES[profile.name]
    result: dict[str, Any] = {"size": profile.size, "voxel_mm": voxel}
    for name, (heads, views) in zip(("train", "val", "test", "paired"), splits, strict=True):
        result |= {f"{name}_heads": heads, f"{name}_views": views}
    return result


class Phantom(Rendered):
    """Procedural head phantom in five domains, generated on first use and cached."""

    name: ClassVar[str] = "phantom"
    Config = PhantomConfig
    version: ClassVar[int] = 2

    config: PhantomConfig

    @classmethod
    def configure(cls, profile: Profile) -> PhantomConfig:
        """See `Dataset`."""
        return PhantomConfig(**sizes(profile))

    def vessel_paths(self, split: Split) -> NDArray[np.float32]:
        """Path of each pixel's ray through arteries in cm: float32 `[n, H, W]` by `ids`.

        Raises:
            UserError: the data set has no vessels.
        """
        if self.config.vessels == "none":
            raise UserError(
                f"{self.key} has no vessels",
                "expected: the phantom's setting vessels=angiogram or vessels=dsa",
                "try: --set data.vessels=angiogram",
            )
        empty = np.empty((0, self.config.size, self.config.size), np.float32)
        plane = self._planes(split).vessels
        paths = [job.load_truth()[plane] / STEPS_PER_CM for job in self.of(split)]
        return np.concatenate([empty, *paths]).astype(np.float32)

    def jobs(self, split: str) -> list[PhantomJob]:
        """See `Heads`."""
        heads, views = (getattr(self.config, f"{split}_{what}") for what in ("heads", "views"))
        names = ("size", "voxel_mm", "attenuation", "noise", "soft_tissue", "variation", "vessels")
        shared = self.config.model_dump(include=set(names))
        folder = str(self.cache())
        return [
            PhantomJob(folder, split, domain, index, views, **shared)
            for domain in (LOOKS if split == "train" else [None])
            for index in range(heads)
        ]

    def seconds(self, jobs: Sequence[Job]) -> float:
        """See `Heads`."""
        voxels = np.prod(EXTENT) / self.config.voxel_mm**3
        views = sum(job.views * (1 if job.domain else 3) for job in jobs)
        return float(len(jobs) * (0.1 + 1e-6 * voxels) + views * 2e-6 * self.config.size**2)
