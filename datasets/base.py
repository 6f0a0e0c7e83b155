"""The interface of a data set: domains × splits of images, with ids, groups and a key."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from xbench.core.errors import UserError
from xbench.core.hashing import digest
from xbench.core.pixels import Pixels, from_pixels
from xbench.core.profiles import Profile
from xbench.datasets.labels import Labels

Split = Literal["train", "val", "test"]
#: Called with (done, total, what) while data are prepared.
Progress = Callable[[int, int, str], None]


class Box(NamedTuple):
    """The part of an image without its padding, in pixels."""

    top: int
    left: int
    height: int
    width: int


class DatasetConfig(BaseModel):
    """Base of the configurations: frozen, no unknown fields; all fields are part of the key."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    size: int


class Images:
    """Indexable images: float32 `[1, H, W]` for one index, `[B, 1, H, W]` for a list or slice.

    Values lie in [0, 1], air bright and bone dark. Backed by uint16 arrays `[n, H, W]`, which may
    be memory-mapped: an epoch decodes no files and copies no data set into memory. `boxes` are the
    parts of the images without their padding, None where no image is padded.

    >>> images = Images([np.full((3, 8, 8), 65535, np.uint16)])
    >>> len(images), images[0].shape, images[1:].shape, float(images[2].max())
    (3, torch.Size([1, 8, 8]), torch.Size([2, 1, 8, 8]), 1.0)
    """

    def __init__(self, parts: Sequence[Pixels], boxes: Sequence[Box] | None = None) -> None:
        self.parts = [part for part in parts if len(part)]
        self.ends = np.cumsum([len(part) for part in self.parts])
        self.boxes = boxes

    def content(self, index: int) -> Box:
        """The part of an image that is no padding."""
        part = self.parts[0]
        return self.boxes[index] if self.boxes else Box(0, 0, *part.shape[1:])

    def __len__(self) -> int:
        return int(self.ends[-1]) if len(self.parts) else 0

    def __getitem__(self, index: int | slice | Sequence[int]) -> Tensor:
        if isinstance(index, slice):
            return self[range(len(self))[index]]
        if isinstance(index, int):
            return self[[index]][0]
        return from_pixels(self._stack(index))

    def only(self, index: Sequence[int]) -> "Images":
        """Some of the images, with their boxes."""
        return Images([self._stack(index)], self.boxes and [self.boxes[i] for i in index])

    def pixels(self) -> Pixels:
        """All images as they are stored, uint16 `[n, H, W]`."""
        return self._stack(range(len(self)))

    def _stack(self, index: Sequence[int]) -> Pixels:
        if not index:
            raise IndexError("an empty list selects no images")
        return np.stack([self._row(i) for i in index])

    def _row(self, index: int) -> Pixels:
        if not -len(self) <= index < len(self):
            raise IndexError(f"image {index} of {len(self)}")
        index %= len(self)
        part = int(np.searchsorted(self.ends, index, side="right"))
        start = int(self.ends[part - 1]) if part else 0
        row: Pixels = self.parts[part][index - start]
        return row


class Dataset(ABC):
    """Domains × splits of images; in an aligned split equal ids show the same view."""

    #: Names tables and results folders.
    name: ClassVar[str]
    Config: ClassVar[type[DatasetConfig]]
    #: Version of the generator or importer: bump it whenever pixels change.
    version: ClassVar[int] = 1
    #: Hash of a plug-in's file, used instead of the version.
    plugin: ClassVar[str | None] = None

    def __init__(self, config: DatasetConfig) -> None:
        self.config = config

    @classmethod
    @abstractmethod
    def configure(cls, profile: Profile) -> DatasetConfig:
        """The profile's defaults."""

    @property
    def key(self) -> str:
        """Identifies the data in published rows: the same key means the same pixels."""
        version = self.plugin[:12] if self.plugin else self.version
        return f"{self.name}-v{version}-" + digest(self.config.model_dump(mode="json"), 12)

    @property
    def images_key(self) -> str:
        """Identifies the images alone; part of the recipe by which trainings are reused.

        Differs from `key` where that also covers something else, such as which views are aligned.
        """
        return self.key

    @property
    @abstractmethod
    def domains(self) -> tuple[str, ...]:
        """Domain names, in the order of tables and figures."""

    @property
    def domain_groups(self) -> dict[str, str]:
        """Domain → group of domains (`synthetic`, `real`); by default `all` for every domain."""
        return dict.fromkeys(self.domains, "all")

    def aligned(self, split: Split) -> bool:
        """Whether equal ids of `val` or `test` show the same view in every domain."""
        return True

    def notes(self) -> list[str]:
        """Lines that a user should read before a run."""
        return []

    @abstractmethod
    def prepare(self, progress: Progress | None = None) -> None:
        """Generate or decode the images that are not in the cache yet."""

    @abstractmethod
    def train(self, domain: str) -> Images:
        """Training images of one domain: no ids, no pairs."""

    @abstractmethod
    def ids(self, split: Split, domain: str) -> list[str]:
        """View ids of `val` or `test`; in an aligned split the same for all domains."""

    @abstractmethod
    def groups(self, split: Split, domain: str) -> list[str]:
        """The group (head, acquisition) of each id: never split up, resampled as a whole."""

    @abstractmethod
    def images(self, split: Split, domain: str) -> Images:
        """Images of `val` or `test`, in the order of `ids`."""

    def repeated(self, split: Split) -> bool:
        """Whether all domains have second exposures of the views of `val` or `test`."""
        return False

    def repeats(self, split: Split, domain: str) -> Images | None:
        """Second exposures of the same views (other noise), or None."""
        return None

    def masks(self, split: Split, domain: str) -> NDArray[np.bool_] | None:
        """Masks of dense bone of `val` or `test`: bool `[n, H, W]`, or None if unknown."""
        return None

    def expected(self, split: Split, domain: str) -> Images | None:
        """Noise-free images of the views of `val` or `test`, or None where they are not known.

        A plan asks before the images are made: see `known`.
        """
        return None

    def unpredictable(self, split: Split, domain: str) -> NDArray[np.bool_] | None:
        """Pixels that no image of another domain determines: bool `[n, H, W]`, or None.

        They show what the acquisition drew at random (cables, collimator), and another draw in the
        second exposure. Metrics against the aligned target leave them out.
        """
        return None

    def prepare_paired(self, progress: Progress | None = None) -> None:
        """Generate the images of `paired`, if there are any."""
        return

    def paired(self, domain: str) -> Images | None:
        """Aligned training images: image i shows the same view in every domain; or None.

        They are of heads that no other split uses. Only the reference row `paired` may see them.
        A plan asks before the images are made: see `known`.
        """
        return None

    def labels(self, split: Split, domain: str) -> Labels | None:
        """What is known of the anatomy in the images of a split, in their order, or None.

        Of `train`, too: networks for the tasks of `xbench utility` learn from it, methods never
        see it.
        """
        return None

    @property
    def labels_key(self) -> str | None:
        """Identifies the labels: the same key means the same labels; None where there are none."""
        return None

    def sides_mm(self, split: Split, domain: str) -> list[float] | None:
        """Side of each image of `val` or `test` in the plane of the isocentre; None if unknown."""
        return None

    def content(self, split: Split, domain: str) -> list[Box] | None:
        """The part of each image without its padding; None where no image is padded."""
        return None

    def cache(self) -> Path | None:
        """The folder of the prepared images, or None."""
        return None


def known(images: Callable[[str], Images | None], domains: Sequence[str]) -> bool:
    """Whether a data set has some images of all domains, which not every data set has.

    A `UserError` says that they are not made yet, so that there will be some.
    """
    try:
        return all(images(domain) is not None for domain in domains)
    except UserError:
        return True
