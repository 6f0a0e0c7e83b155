"""The base of data sets whose heads are projected and rendered: splits, cache, truth."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from xbench.core.files import home, sweep_parts
from xbench.core.processes import cores
from xbench.datasets.base import Dataset, DatasetConfig, Images, Progress, Split
from xbench.datasets.labels import ANGLES, Labels, inside
from xbench.datasets.phantom.files import Job, make_all
from xbench.datasets.phantom.generate import MASKS, STEPS_PER_CM, Planes, mask_of
from xbench.datasets.phantom.projection import SOURCE_DETECTOR, SOURCE_ISOCENTRE
from xbench.datasets.phantom.render import LOOKS
from xbench.datasets.phantom.views import FIELD_RANGE

#: The `MASKS` that tasks are learned from.
LABELLED = ("dense_bone", "orbits")


class RenderedConfig(DatasetConfig):
    """Sizes of the data set, and switches of the causes of the gap between its domains.

    Attributes:
        size: image height and width in pixels.
        voxel_mm: voxel side of the bone; about the pixel pitch at the head (220 mm / size).
        train_views: views per training head.
        val_views: views per validation head; each exists in all domains.
        test_views: views per test head; each exists in all domains.
        attenuation: False gives all domains the image formation of `real_normal`: spectrum, real
            bone, scatter, blur, multi-scale contrast, grey scale.
        noise: False removes all noise from all domains.
        soft_tissue: False surrounds the bone in all domains as in the real ones: by a little
            clear plastic and the plate of the mount.
        variation: False draws heads as alike as those of version 1, and no structures of single
            acquisitions (wedge filters, cables, screws).
    """

    size: int = Field(ge=16)
    voxel_mm: float = Field(gt=0.2, le=6.0)
    train_views: int = Field(ge=1)
    val_views: int = Field(ge=1)
    test_views: int = Field(ge=1)
    attenuation: bool = True
    noise: bool = True
    soft_tissue: bool = True
    variation: bool = True


@dataclass(frozen=True)
class ViewTruth:
    """Ground truth of a view.

    Attributes:
        id: of the view.
        view: its class.
        lao: rotation to the left anterior oblique, degrees.
        cran: cranial tilt, degrees.
        head_seed: of the head.
        group: name of the head.
        landmarks: name → (row, column) in px; the centre of the first pixel is (0, 0).
    """

    id: str
    view: str
    lao: float
    cran: float
    head_seed: int
    group: str
    landmarks: dict[str, tuple[float, float]]


class Heads(Dataset):
    """Files of heads, one job for each, generated on first use and cached."""

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

    @abstractmethod
    def jobs(self, split: str) -> Sequence[Job]:
        """All heads of a split in a fixed order; those of `train` domain by domain.

        Beside train, val and test there may be `paired`: heads for the reference row of that name.
        """

    @abstractmethod
    def seconds(self, jobs: Sequence[Job]) -> float:
        """Estimate of what jobs take on one core."""

    def prepare(self, progress: Progress | None = None) -> None:
        """Make missing and damaged files; warns of a damaged file and keeps it as `.corrupt`."""
        jobs = [job for split in ("train", "val", "test") for job in self.jobs(split)]
        self._make(jobs, progress)

    def _make(self, jobs: Sequence[Job], progress: Progress | None) -> None:
        folder = self.cache()
        folder.mkdir(parents=True, exist_ok=True)
        sweep_parts(folder)
        todo = [job for job in jobs if not job.is_whole()]
        done = len(jobs) - len(todo)

        def count() -> None:
            nonlocal done
            done += 1
            if progress:
                progress(done, len(jobs), "heads")

        if todo:
            if progress:
                progress(done, len(jobs), "heads")
            make_all(todo, self._workers(todo), count)

    def _workers(self, todo: Sequence[Job]) -> int:
        """Number of worker processes: one per core, or 1 if starting them would take longer."""
        return min(cores(), len(todo)) if self.seconds(todo) > 12 else 1

    def train(self, domain: str) -> Images:
        """See `Dataset`."""
        return Images([job.load() for job in self.of("train", domain)])

    def images(self, split: Split, domain: str) -> Images:
        """See `Dataset`."""
        number = self._check(domain)
        return Images([job.load()[number] for job in self.of(split)])

    def prepare_paired(self, progress: Progress | None = None) -> None:
        """See `Dataset`."""
        self._make(self.jobs("paired"), progress)

    def paired(self, domain: str) -> Images | None:
        """See `Dataset`."""
        number, jobs = self._check(domain), self.jobs("paired")
        return Images([job.load()[number] for job in jobs]) if jobs else None

    def repeated(self, split: Split) -> bool:
        """See `Dataset`."""
        return True

    def ids(self, split: Split, domain: str) -> list[str]:
        """See `Dataset`; the same for all domains."""
        return [view["id"] for job in self.of(split) for view in job.facts()["views"]]

    def groups(self, split: Split, domain: str) -> list[str]:
        """See `Dataset`; the same for all domains."""
        return [job.head for job in self.of(split) for _ in range(job.views)]

    def sides_mm(self, split: Split, domain: str) -> list[float]:
        """See `Dataset`; the nominal field, from which single views differ by some percent."""
        side = sum(FIELD_RANGE) / 2 * SOURCE_ISOCENTRE / SOURCE_DETECTOR
        return [side] * len(self.ids(split, domain))

    def _check(self, domain: str) -> int:
        if domain not in LOOKS:
            raise KeyError(f"the phantom has no domain '{domain}', only {', '.join(LOOKS)}")
        return list(LOOKS).index(domain)

    def of(self, split: str, domain: str | None = None) -> Sequence[Job]:
        """Heads of `val` or `test`; of `train`, those of a domain."""
        if split != "train":
            return self.jobs(split)
        if domain is None:
            raise ValueError("training images have no ids and no pairs: name a domain")
        self._check(domain)
        return [job for job in self.jobs("train") if job.domain == domain]


class Rendered(Heads):
    """Heads whose truth is known: noise-free images, masks, landmarks, second exposures."""

    config: RenderedConfig
    #: How many of the `MASKS` are known.
    known_masks: ClassVar[int] = len(MASKS)

    def repeats(self, split: Split, domain: str) -> Images:
        """See `Dataset`."""
        return self._truth(split, self._planes(split).repeats.start + self._check(domain))

    def expected(self, split: Split, domain: str) -> Images:
        """See `Dataset`; also of `train`. Without the structures of single acquisitions."""
        plane = 0 if split == "train" else self._check(domain)
        return self._truth(split, plane, domain)

    def unpredictable(self, split: Split, domain: str) -> NDArray[np.bool_] | None:
        """See `Dataset`; also of `train`. Nothing in synthetic images is."""
        if not self.config.variation:
            return None
        return self._mask(split, len(MASKS) + self._check(domain), domain)

    def masks(self, split: Split, domain: str) -> NDArray[np.bool_]:
        """See `Dataset`; bone of more than 2.5 cm: base, rim of the vault, teeth."""
        return self._mask(split, 0, domain)

    def anatomy(self, split: Split, domain: str) -> dict[str, NDArray[np.bool_]]:
        """Masks of any split, bool `[n, H, W]` each: those of `MASKS` that the heads have."""
        known = MASKS[: self.known_masks]
        return {name: self._mask(split, bit, domain) for bit, name in enumerate(known)}

    def labels(self, split: Split, domain: str) -> Labels:
        """See `Dataset`: masks of dense bone and orbits, all landmarks, both angles."""
        masks = self.anatomy(split, domain)
        views = self.truth(split, domain if split == "train" else None)
        names = views[0].landmarks if views else {}
        size = self.config.size
        return Labels(
            {name: masks[name] for name in LABELLED if name in masks},
            {n: inside(np.array([view.landmarks[n] for view in views]), size, size) for n in names},
            np.array([[view.lao, view.cran] for view in views]).reshape(-1, len(ANGLES)),
        )

    @property
    def labels_key(self) -> str:
        """See `Dataset`; the labels follow from the parameters, as the pixels do."""
        return self.key

    def bone_masks(
        self, split: Split, thicker_than: float = 0.15, domain: str | None = None
    ) -> NDArray[np.bool_]:
        """Pixels whose ray crosses more than so many cm of bone: bool `[n, H, W]`.

        The default is nearly the skull's silhouette; 2.5 cm shows only the dense bone (base, rim of
        the vault, teeth).
        """
        plane, steps = self._planes(split).bone, thicker_than * STEPS_PER_CM
        found = [job.load_truth()[plane] > steps for job in self.of(split, domain)]
        return self._joined(found)

    def truth(self, split: Split, domain: str | None = None) -> list[ViewTruth]:
        """Ground truth of the views of a split in their order; of `train`, those of a domain."""
        result = []
        for job in self.of(split, domain):
            side = job.facts()
            seed, group = side["head_seed"], job.head
            for view in side["views"]:
                places = {name: (row, col) for name, (row, col) in view["landmarks"].items()}
                facts: dict[str, Any] = {**view, "landmarks": places}
                result.append(ViewTruth(**facts, head_seed=seed, group=group))
        return result

    def _planes(self, split: str) -> Planes:
        return Planes.of(1 if split == "train" else len(LOOKS))

    def _truth(self, split: Split, plane: int, domain: str | None = None) -> Images:
        return Images([job.load_truth()[plane] for job in self.of(split, domain)])

    def _mask(self, split: Split, bit: int, domain: str) -> NDArray[np.bool_]:
        plane = self._planes(split).bits
        found = [mask_of(job.load_truth()[plane], bit) for job in self.of(split, domain)]
        return self._joined(found)

    def _joined(self, masks: Sequence[NDArray[np.bool_]]) -> NDArray[np.bool_]:
        empty = np.empty((0, self.config.size, self.config.size), np.bool_)
        return np.concatenate([empty, *masks])
