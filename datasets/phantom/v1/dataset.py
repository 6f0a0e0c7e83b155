"""The first version of the phantom, as long as its published results are shown."""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from xbench.core.errors import UserError
from xbench.core.hashing import digest
from xbench.core.profiles import Profile
from xbench.datasets.base import DatasetConfig, Images, Split
from xbench.datasets.phantom.files import Job
from xbench.datasets.phantom.generate import STEPS_PER_CM, Vessels
from xbench.datasets.phantom.rendered import Heads
from xbench.datasets.phantom.v1.generate import BONE_PLANE, VESSEL_PLANE, FirstJob
from xbench.datasets.phantom.v1.render import LOOKS
from xbench.datasets.phantom.v1.volume import EXTENT


class FirstConfig(DatasetConfig):
    """Sizes of the data set, and switches of the causes of the gap between its domains.

    The fields are those of version 2, less `variation`.
    """

    size: int = Field(ge=16)
    voxel_mm: float = Field(gt=0.2, le=6.0)
    train_heads: int = Field(ge=1)
    train_views: int = Field(ge=1)
    val_heads: int = Field(ge=1)
    val_views: int = Field(ge=1)
    test_heads: int = Field(ge=1)
    test_views: int = Field(ge=1)
    attenuation: bool = True
    noise: bool = True
    soft_tissue: bool = True
    vessels: Vessels = "none"


#: Profile → voxel side and (heads, views) of train (per domain), val and test.
_PROFILES = {
    "smoke": (4.0, (2, 8), (2, 4), (4, 4)),
    "quick": (2.75, (12, 25), (8, 4), (16, 4)),
    "medium": (1.75, (12, 25), (8, 4), (16, 4)),
    "standard": (1.0, (24, 25), (8, 4), (32, 4)),
    "paper": (0.9, (32, 25), (8, 4), (32, 4)),
}


#: Heads and views for the reference row `paired`, as version 2 has them at `quick`.
PAIRED = (40, 5)


class FirstPhantom(Heads):
    """The phantom whose gap a global filter closes: version 1, for its published results."""

    name: ClassVar[str] = "phantom-v1"
    Config = FirstConfig

    config: FirstConfig

    @classmethod
    def configure(cls, profile: Profile) -> FirstConfig:
        """See `Dataset`."""
        voxel, *splits = _PROFILES[profile.name]
        sizes: dict[str, Any] = {"size": profile.size, "voxel_mm": voxel}
        for name, (heads, views) in zip(("train", "val", "test"), splits, strict=True):
            sizes |= {f"{name}_heads": heads, f"{name}_views": views}
        return FirstConfig(**sizes)

    @property
    def key(self) -> str:
        """See `Dataset`; `vessels` counts only if set, as published keys are older."""
        later = {"vessels"} if self.config.vessels == "none" else None
        settings = self.config.model_dump(mode="json", exclude=later)
        return f"{self.name}-" + digest(settings, 12)

    def repeats(self, split: Split, domain: str) -> Images:
        """See `Dataset`."""
        number = len(LOOKS) + self._check(domain)
        return Images([job.load()[number] for job in self.of(split)])

    def masks(self, split: Split, domain: str) -> NDArray[np.bool_]:
        """See `Dataset`; bone of more than 2.5 cm: base, rim of the vault, teeth."""
        return self.bone_masks(split, thicker_than=2.5)

    def bone_masks(self, split: Split, thicker_than: float = 0.15) -> NDArray[np.bool_]:
        """Pixels whose ray crosses more than so many cm of bone: bool `[n, H, W]` by `ids`."""
        steps = thicker_than * STEPS_PER_CM
        return np.concatenate([job.load()[BONE_PLANE] > steps for job in self.of(split)])

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
        paths = [job.load()[VESSEL_PLANE] / STEPS_PER_CM for job in self.of(split)]
        return np.concatenate(paths).astype(np.float32)

    def jobs(self, split: str) -> list[FirstJob]:
        """See `Heads`."""
        sizes = self.config.model_dump() | {"paired_heads": PAIRED[0], "paired_views": PAIRED[1]}
        heads, views = sizes[f"{split}_heads"], sizes[f"{split}_views"]
        names = {"size", "voxel_mm", "attenuation", "noise", "soft_tissue", "vessels"}
        shared = self.config.model_dump(include=names)
        folder = str(self.cache())
        return [
            FirstJob(folder, split, domain, index, views, **shared)
            for domain in (LOOKS if split == "train" else [None])
            for index in range(heads)
        ]

    def seconds(self, jobs: Sequence[Job]) -> float:
        """See `Heads`."""
        voxels = np.prod(EXTENT) / self.config.voxel_mm**3
        views = sum(job.views * (1 if job.domain else 3) for job in jobs)
        return float(len(jobs) * (0.1 + 5e-7 * voxels) + views * 1e-6 * self.config.size**2)
