"""The phantom data set: cached files of generated heads, one per head."""

import json
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from xbench.core.errors import UserError
from xbench.core.files import home, set_aside, sweep_parts
from xbench.core.hashing import digest, file_digest
from xbench.core.pixels import Pixels
from xbench.core.processes import cores
from xbench.core.profiles import Profile
from xbench.datasets.base import Dataset, DatasetConfig, Images, Progress, Split
from xbench.datasets.phantom.generate import (
    BONE_PLANE,
    STEPS_PER_CM,
    VESSEL_PLANE,
    Job,
    Vessels,
    make_all,
)
from xbench.datasets.phantom.projection import SOURCE_DETECTOR, SOURCE_ISOCENTRE
from xbench.datasets.phantom.render import LOOKS
from xbench.datasets.phantom.views import FIELD_RANGE
from xbench.datasets.phantom.volume import EXTENT


class PhantomConfig(DatasetConfig):
    """Sizes of the data set, and switches of the causes of the gap between its domains.

    Attributes:
        size: image height and width in pixels.
        voxel_mm: voxel side of the bone; about the pixel pitch at the head (220 mm / size).
        train_heads: training heads per domain; no two domains share a head.
        train_views: views per training head.
        val_heads: validation heads; each view exists in all domains.
        val_views: views per validation head.
        test_heads: test heads; each view exists in all domains.
        test_views: views per test head.
        attenuation: False gives all domains the image formation of `real_normal`: spectrum,
            layered bone, scatter, blur, range compression, edges, grey scale.
        noise: False removes all noise from all domains.
        soft_tissue: False surrounds the bone in all domains as in the real ones: by a little
            clear plastic and the plate of the mount.
        vessels: `angiogram` fills the cerebral arteries with iodine, `dsa` also subtracts the mask
            (digital subtraction angiography).
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


@dataclass(frozen=True)
class ViewTruth:
    """Ground truth of a val or test view: class, angles in degrees, seed and name of the head."""

    id: str
    view: str
    lao: float
    cran: float
    head_seed: int
    group: str


class Phantom(Dataset):
    """Procedural head phantom in five domains, generated on first use and cached."""

    name: ClassVar[str] = "phantom"
    Config = PhantomConfig
    version: ClassVar[int] = 1

    config: PhantomConfig

    @classmethod
    def configure(cls, profile: Profile) -> PhantomConfig:
        """See `Dataset`."""
        voxel, train, val, test = _PROFILES[profile.name]
        return PhantomConfig(
            size=profile.size,
            voxel_mm=voxel,
            train_heads=train[0],
            train_views=train[1],
            val_heads=val[0],
            val_views=val[1],
            test_heads=test[0],
            test_views=test[1],
        )

    @property
    def key(self) -> str:
        """See `Dataset`; `vessels` counts only if set, as published keys are older."""
        later = {"vessels"} if self.config.vessels == "none" else None
        settings = self.config.model_dump(mode="json", exclude=later)
        return f"{self.name}-v{self.version}-" + digest(settings, 12)

    @property
    def domains(self) -> tuple[str, ...]:
        """See `Dataset`."""
        return tuple(LOOKS)

    @property
    def domain_groups(self) -> dict[str, str]:
        """See `Dataset`."""
        return {domain: domain.split("_")[0] for domain in LOOKS}

    def cache(self) -> Path:
        """See `Dataset`."""
        return home() / "phantom" / self.key

    def prepare(self, progress: Progress | None = None) -> None:
        """Make missing and damaged files; warns of a damaged file and keeps it as `.corrupt`."""
        folder = self.cache()
        folder.mkdir(parents=True, exist_ok=True)
        sweep_parts(folder)
        jobs = self._jobs()
        todo = [job for job in jobs if not _is_whole(job)]
        done = len(jobs) - len(todo)

        def count() -> None:
            nonlocal done
            done += 1
            if progress:
                progress(done, len(jobs), "heads")

        if todo:
            if progress:
                progress(done, len(jobs), "heads")
            make_all(todo, self._workers(len(todo)), count)

    def train(self, domain: str) -> Images:
        """See `Dataset`."""
        self._check(domain)
        return Images([_load(job) for job in self._jobs("train") if job.domain == domain])

    def images(self, split: Split, domain: str) -> Images:
        """See `Dataset`."""
        return self._planes(split, self._check(domain))

    def repeated(self, split: Split) -> bool:
        """See `Dataset`."""
        return True

    def repeats(self, split: Split, domain: str) -> Images:
        """See `Dataset`."""
        return self._planes(split, len(LOOKS) + self._check(domain))

    def ids(self, split: Split, domain: str) -> list[str]:
        """See `Dataset`; the same for all domains."""
        return [view.id for view in self.truth(split)]

    def groups(self, split: Split, domain: str) -> list[str]:
        """See `Dataset`; the same for all domains."""
        return [view.group for view in self.truth(split)]

    def masks(self, split: Split, domain: str) -> NDArray[np.bool_]:
        """See `Dataset`; bone of more than 2.5 cm: base, rim of the vault, teeth."""
        return self.bone_masks(split, thicker_than=2.5)

    def sides_mm(self, split: Split, domain: str) -> list[float]:
        """See `Dataset`; the nominal field, from which single views differ by some percent."""
        side = sum(FIELD_RANGE) / 2 * SOURCE_ISOCENTRE / SOURCE_DETECTOR
        return [side] * len(self.ids(split, domain))

    def truth(self, split: Split) -> list[ViewTruth]:
        """Ground truth of the views of `val` or `test`, in the order of `ids`."""
        result = []
        for job in self._aligned_jobs(split):
            side = _sidecar(job)
            result += [
                ViewTruth(**v, head_seed=side["head_seed"], group=job.head) for v in side["views"]
            ]
        return result

    def bone_masks(self, split: Split, thicker_than: float = 0.15) -> NDArray[np.bool_]:
        """Pixels whose ray crosses more than so many cm of bone: bool `[n, H, W]` by `ids`.

        The default is nearly the skull's silhouette; 2.5 cm shows only the dense bone (base, rim of
        the vault, teeth).
        """
        empty = np.empty((0, self.config.size, self.config.size), np.bool_)
        steps = thicker_than * STEPS_PER_CM
        masks = [_load(job)[BONE_PLANE] > steps for job in self._aligned_jobs(split)]
        return np.concatenate([empty, *masks])

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
        paths = [_load(job)[VESSEL_PLANE] / STEPS_PER_CM for job in self._aligned_jobs(split)]
        return np.concatenate([empty, *paths]).astype(np.float32)

    def _planes(self, split: Split, plane: int) -> Images:
        return Images([_load(job)[plane] for job in self._aligned_jobs(split)])

    def _check(self, domain: str) -> int:
        if domain not in LOOKS:
            raise KeyError(f"the phantom has no domain '{domain}', only {', '.join(LOOKS)}")
        return list(LOOKS).index(domain)

    def _aligned_jobs(self, split: Split) -> list[Job]:
        if split == "train":
            raise ValueError("training images have no ids and no pairs: use train(domain)")
        return self._jobs(split)

    def _jobs(self, split: Split | None = None) -> list[Job]:
        """All heads of a split (by default, of all splits) in a fixed order."""
        c, folder = self.config, str(self.cache())
        plan: list[tuple[Split, str | None, int, int]]
        plan = [("train", domain, c.train_heads, c.train_views) for domain in LOOKS]
        plan.append(("val", None, c.val_heads, c.val_views))
        plan.append(("test", None, c.test_heads, c.test_views))
        fields = {"size", "voxel_mm", "attenuation", "noise", "soft_tissue", "vessels"}
        shared = c.model_dump(include=fields)
        return [
            Job(folder, name, domain, index, views, **shared)
            for name, domain, heads, views in plan
            if split in (None, name)
            for index in range(heads)
        ]

    def _workers(self, heads: int) -> int:
        """Number of worker processes: one per core, or 1 if starting them would take longer."""
        voxels = np.prod(EXTENT) / self.config.voxel_mm**3
        views = max(self.config.train_views, 3 * self.config.test_views)
        seconds = heads * (0.1 + 5e-7 * voxels + views * 1e-6 * self.config.size**2)
        return min(cores(), heads) if seconds > 12 else 1


def _sidecar(job: Job) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(job.sidecar.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise _unprepared(job) from None
    return content


def _load(job: Job) -> Pixels:
    try:
        array: Pixels = np.load(job.array, mmap_mode="r")
    except FileNotFoundError:
        raise _unprepared(job) from None
    return array


def _unprepared(job: Job) -> UserError:
    return UserError(
        f"the phantom head '{job.head}' has not been made yet",
        f"expected: {job.array}",
        "call prepare() of the data set first",
    )


def _is_whole(job: Job) -> bool:
    """Whether a head's files are complete; a damaged file is set aside with a warning."""
    # The sidecar is written last: an array alone cannot be checked.
    if not job.sidecar.exists() or not job.array.exists():
        return False
    try:
        damaged = _damaged(job)
        if damaged is None:
            return True
        aside = set_aside(damaged)
    except FileNotFoundError:
        # Another process has just set the file aside, and makes it again.
        return False
    warnings.warn(
        f"{damaged} is damaged: kept as {aside.name} and made again", RuntimeWarning, stacklevel=3
    )
    return False


def _damaged(job: Job) -> Path | None:
    """A file of a head that differs from what was written, or None."""
    try:
        side = json.loads(job.sidecar.read_text(encoding="utf-8"))
        expected, views = side["sha256"], side["views"]
    except (ValueError, KeyError, TypeError):
        return job.sidecar
    if len(views) != job.views:
        return job.sidecar
    return None if file_digest(job.array) == expected else job.array
