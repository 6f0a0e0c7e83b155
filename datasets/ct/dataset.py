"""The data set `ct:FOLDER`: CT heads in the five domains of the phantom."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from math import prod
from pathlib import Path
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import avg_pool3d

from xbench.core.errors import UserError
from xbench.core.hashing import digest, file_digest, seed_from
from xbench.core.profiles import Profile
from xbench.datasets.base import Progress
from xbench.datasets.ct.find import Found, Source, find
from xbench.datasets.ct.heads import CtHead, check_enough, load_head
from xbench.datasets.patients import remarks
from xbench.datasets.phantom.anatomy import Variation
from xbench.datasets.phantom.dataset import PROFILES
from xbench.datasets.phantom.files import Job
from xbench.datasets.phantom.generate import RenderedJob
from xbench.datasets.phantom.projection import Volume
from xbench.datasets.phantom.render import LOOKS
from xbench.datasets.phantom.rendered import Rendered, RenderedConfig
from xbench.datasets.phantom.volume import EXTENT, Head

#: Share of the soft tissue that the simulator shows of a head, on average (our choice: what the
#: phantom shows of scalp, face, neck and brain together).
TISSUE_SHARE = 0.25
#: Least voxel of the soft tissue, mm.
COARSE_MM = 2.5


class CtConfig(RenderedConfig):
    """See `RenderedConfig`.

    Attributes:
        hu: `[PATTERN=]RAW:HU,RAW:HU[;…]`: calibration of values that are not Hounsfield units.
        orientation: `[PATTERN=]CODE[;…]`: where stored axes run (`LPS`), if files are wrong.
        shared_heads: whether all domains and splits show the same heads, in other views.
    """

    hu: str | None = None
    orientation: str | None = None
    shared_heads: bool = False
    train_views: int = Field(default=25, ge=1)


@dataclass(frozen=True)
class CtJob(RenderedJob):
    """A head from a CT: the files of its volume, its name, and how to read it."""

    files: tuple[str, ...] = ()
    name: str = ""
    dicom: bool = False
    hu: str | None = None
    orientation: str | None = None

    def volumes(self) -> Head:
        """See `RenderedJob`."""
        return channels(self._scan())

    def head_facts(self) -> dict[str, object]:
        """See `RenderedJob`."""
        head = self._scan()
        return {
            "volume": head.name,
            "values": head.digest,
            "cropped": head.cropped,
            "notes": head.notes,
        }

    def _scan(self) -> CtHead:
        source = Source(self.name, tuple(Path(path) for path in self.files), self.dicom)
        return _loaded(source, self.voxel_mm, self.hu, self.orientation)


@lru_cache(maxsize=1)
def _loaded(source: Source, voxel: float, hu: str | None, orientation: str | None) -> CtHead:
    """A head; the last one stays in memory, as a shared head is rendered several times."""
    return load_head(source, voxel=voxel, hu=hu, orientation=orientation)


def channels(head: CtHead) -> Head:
    """The channels that the renderer wants; spaces and landmarks of a CT are not known."""
    share = Variation(seed_from(head.digest)).share("head", TISSUE_SHARE)
    soft = torch.stack([share * head.soft, head.soft + head.bone])
    return Head(
        Volume(torch.stack([head.bone, head.solid]), head.voxel, head.corner),
        Volume(*_coarser(soft, head.voxel), head.corner),
        {},
    )


def _coarser(soft: Tensor, voxel: float) -> tuple[Tensor, float]:
    factor = max(1, int(COARSE_MM / voxel))
    if factor == 1:
        return soft, voxel
    sides = [-size % factor for size in reversed(soft.shape[1:])]
    padded = torch.nn.functional.pad(soft, [p for side in sides for p in (0, side)])
    return avg_pool3d(padded, factor), voxel * factor


class CtHeads(Rendered):
    """Real heads from the CT volumes of a folder, in the five domains of the phantom."""

    Config = CtConfig
    version: ClassVar[int] = 1
    known_masks: ClassVar[int] = 1
    #: The folder of the volumes, set by `CtHeads.at`.
    root: ClassVar[Path]

    config: CtConfig

    @classmethod
    def at(cls, root: Path) -> "type[CtHeads]":
        """A class for the volumes below a folder, used like the class of a built-in data set.

        Raises:
            UserError: there are none.
        """
        find(root)
        name = f"ct-{root.resolve().name}"
        return type(cls.__name__, (cls,), {"root": root, "name": name, "__doc__": cls.__doc__})

    @classmethod
    def configure(cls, profile: Profile) -> CtConfig:
        """See `Dataset`."""
        voxel, _, val, test, _ = PROFILES[profile.name]
        return CtConfig(
            size=profile.size,
            voxel_mm=voxel,
            val_views=4 * val[1],
            test_views=4 * test[1],
        )

    @cached_property
    def found(self) -> Found:
        """The volumes, enough for the splits.

        Raises:
            UserError: too few for disjoint heads.
        """
        found = find(self.root)
        check_enough(len(found.sources), self.root, self.config.shared_heads)
        return found

    @cached_property
    def key(self) -> str:
        """Hash of the volumes' contents and the settings; says so if heads are shared."""
        hashes = [
            [source.name, [file_digest(path) for path in sorted(source.files)]]
            for source in self.found.sources
        ]
        facts = {"volumes": hashes, "config": self.config.model_dump(mode="json")}
        shared = "-shared-heads" if self.config.shared_heads else ""
        return f"ct{shared}-v{self.version}-{digest(facts, 12)}"

    def notes(self) -> list[str]:
        """See `Dataset`."""
        lines = self.found.lines()
        lines += remarks((source.name for source in self.found.sources), "rename the files")
        if self.config.shared_heads:
            lines.append(
                f"{len(self.found.sources)} heads are shared by all domains and splits, in other "
                "views: results say nothing about unseen heads"
            )
        for name, facts in self._made().items():
            if facts["cropped"]:
                lines.append(
                    f"{name}: the volume cuts the head off ({', '.join(facts['cropped'])})"
                )
            lines += [f"{name}: {note}" for note in facts["notes"]]
        return lines

    def prepare(self, progress: Progress | None = None) -> None:
        """See `Dataset`.

        Raises:
            UserError: a volume cannot be used, or the same one comes twice.
        """
        super().prepare(progress)
        names: dict[str, str] = {}
        for name, facts in self._made().items():
            other = names.setdefault(facts["values"], name)
            if other != name:
                raise UserError(
                    f"'{other}' and '{name}' are the same volume",
                    "expected: every head once, as splits must not share heads",
                    f"take one of them out of {self.root}",
                )

    def _made(self) -> dict[str, dict[str, Any]]:
        """Volume → what the sidecar of a head says, of all that are rendered, by name."""
        jobs = [job for split in ("train", "val", "test") for job in self.jobs(split)]
        made = {job.name: job for job in jobs if job.sidecar.exists()}
        return {name: made[name].facts() for name in sorted(made)}

    def heads(self, split: str) -> list[tuple[str | None, Source]]:
        """(domain of a training head, volume) of a split; volumes are mixed by a hash of names."""
        order = sorted(self.found.sources, key=lambda source: digest(source.name, 16))
        val = max(1, len(order) // 10)
        test = max(1, min(len(order) // 5, len(order) - val - len(LOOKS)))
        parts = {"val": order[:val], "test": order[val : val + test], "train": order[val + test :]}
        if self.config.shared_heads:
            parts = dict.fromkeys(parts, order)
        if split != "train":
            return [(None, source) for source in parts.get(split, [])]
        each = {
            domain: parts["train"][0 if self.config.shared_heads else number :: self._stride()]
            for number, domain in enumerate(LOOKS)
        }
        return [(domain, source) for domain, sources in each.items() for source in sources]

    def _stride(self) -> int:
        return 1 if self.config.shared_heads else len(LOOKS)

    def jobs(self, split: str) -> list[CtJob]:
        """See `Heads`."""
        names = {"size", "voxel_mm", "attenuation", "noise", "soft_tissue", "variation"}
        shared = self.config.model_dump(include={*names, "hu", "orientation"})
        counts: dict[str | None, int] = {}
        jobs = []
        for domain, source in self.heads(split):
            index = counts[domain] = counts.get(domain, -1) + 1
            jobs.append(
                CtJob(
                    str(self.cache()),
                    split,
                    domain,
                    index,
                    getattr(self.config, f"{split}_views"),
                    files=tuple(str(path) for path in sorted(source.files)),
                    name=source.name,
                    dicom=source.dicom,
                    **shared,
                )
            )
        return jobs

    def seconds(self, jobs: Sequence[Job]) -> float:
        """See `Heads`."""
        voxels = prod(EXTENT) / self.config.voxel_mm**3
        views = sum(job.views * (1 if job.domain else 3) for job in jobs)
        return float(len(jobs) * (3 + 1e-6 * voxels) + views * 2e-6 * self.config.size**2)
