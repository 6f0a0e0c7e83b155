"""What a data set is to the rest of xbench."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from xbench.core.hashing import digest
from xbench.core.profiles import Profile

Split = Literal["train", "val", "test"]
#: Called with (done, total, what) while data are made ready.
Progress = Callable[[int, int, str], None]


class Box(NamedTuple):
    """The part of an image that is not padding, in pixels."""

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

    Values lie in [0, 1], air bright and bone dark. Backed by uint16 arrays `[n, H, W]` that may
    be memory-mapped: an epoch reads no file format and holds no second copy.
    """

    def __init__(self, parts: Sequence[np.ndarray[Any, np.dtype[np.uint16]]]) -> None:
        self.parts = [part for part in parts if len(part)]
        self.ends = np.cumsum([len(part) for part in self.parts])

    def __len__(self) -> int:
        return int(self.ends[-1]) if len(self.parts) else 0

    def __getitem__(self, index: int | slice | Sequence[int]) -> Tensor:
        if isinstance(index, slice):
            return self[range(len(self))[index]]
        if isinstance(index, int):
            return self[[index]][0]
        rows = [self._row(i) for i in index]
        if not rows:
            raise IndexError("an empty list selects no images")
        return torch.from_numpy(np.divide(np.stack(rows), 65535, dtype=np.float32)).unsqueeze(1)

    def _row(self, index: int) -> np.ndarray[Any, np.dtype[np.uint16]]:
        if not -len(self) <= index < len(self):
            raise IndexError(f"image {index} of {len(self)}")
        index %= len(self)
        part = int(np.searchsorted(self.ends, index, side="right"))
        start = int(self.ends[part - 1]) if part else 0
        row: np.ndarray[Any, np.dtype[np.uint16]] = self.parts[part][index - start]
        return row


class Dataset(ABC):
    """Domains × splits of images, aligned by id across domains where the data set says so."""

    #: Heads tables and folders of results.
    name: ClassVar[str]
    Config: ClassVar[type[DatasetConfig]]
    #: The generator's or importer's version: bump it whenever pixels change.
    version: ClassVar[int] = 1
    #: Hash of the file of a plug-in; it stands in for the version.
    plugin: ClassVar[str | None] = None

    def __init__(self, config: DatasetConfig) -> None:
        self.config = config

    @classmethod
    @abstractmethod
    def configure(cls, profile: Profile) -> DatasetConfig:
        """The profile's defaults."""

    @property
    def key(self) -> str:
        """What published rows are matched by: the same key means the same pixels."""
        version = self.plugin[:12] if self.plugin else self.version
        return f"{self.name}-v{version}-" + digest(self.config.model_dump(mode="json"), 12)

    @property
    def images_key(self) -> str:
        """The same for data sets whose images are the same: by it trainings are found again.

        Another key than `key` where that tells more: which views are aligned, say.
        """
        return self.key

    @property
    @abstractmethod
    def domains(self) -> tuple[str, ...]:
        """Domain names, in the order of tables and figures."""

    @property
    def domain_groups(self) -> dict[str, str]:
        """Domain → group of domains (`synthetic`, `real`); one group where there are none."""
        return dict.fromkeys(self.domains, "all")

    def aligned(self, split: Split) -> bool:
        """Whether one id of `val` or `test` shows the same view in every domain."""
        return True

    def notes(self) -> list[str]:
        """What a user should know about these data before a run, a line each."""
        return []

    @abstractmethod
    def prepare(self, progress: Progress | None = None) -> None:
        """Make the images ready (generate, download, decode); does nothing when they are."""

    @abstractmethod
    def train(self, domain: str) -> Images:
        """Training images of one domain: no ids, no pairs."""

    @abstractmethod
    def ids(self, split: Split, domain: str) -> list[str]:
        """View ids of `val` or `test`; in an aligned split the same for all domains."""

    @abstractmethod
    def groups(self, split: Split, domain: str) -> list[str]:
        """The group (head, acquisition) of each id: what splits and intervals respect."""

    @abstractmethod
    def images(self, split: Split, domain: str) -> Images:
        """Images of `val` or `test`, in the order of `ids`."""

    def repeated(self, split: Split) -> bool:
        """Whether all domains have second exposures of the views of `val` or `test`."""
        return False

    def repeats(self, split: Split, domain: str) -> Images | None:
        """A second exposure of the same views (other noise), or None where there is none."""
        return None

    def masks(self, split: Split, domain: str) -> NDArray[np.bool_] | None:
        """Where there is bone in each image of `val` or `test`, `[n, H, W]`, if that is known."""
        return None

    def content(self, split: Split, domain: str) -> list[Box] | None:
        """What of each image is no padding, in their order; None where there is no padding."""
        return None

    def cache(self) -> Path | None:
        """The folder that holds the prepared images, if any."""
        return None


class TrainOnly:
    """All that a method may see of a data set: training images by domain."""

    def __init__(self, dataset: Dataset) -> None:
        self.train = dataset.train
