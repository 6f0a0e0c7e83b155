"""What a data set is to the rest of xbench."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from xbench.hashing import digest
from xbench.profiles import Profile

Split = Literal["train", "val", "test"]
#: Called with (done, total, what) while data are made ready.
Progress = Callable[[int, int, str], None]


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
        return torch.from_numpy(np.stack(rows).astype(np.float32) / np.float32(65535)).unsqueeze(1)

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

    name: ClassVar[str]
    Config: ClassVar[type[DatasetConfig]]
    #: The generator's or importer's version: bump it whenever pixels change.
    version: ClassVar[int] = 1

    def __init__(self, config: DatasetConfig) -> None:
        self.config = config

    @classmethod
    @abstractmethod
    def configure(cls, profile: Profile) -> DatasetConfig:
        """The profile's defaults."""

    @property
    def key(self) -> str:
        """What published rows are matched by: the same key means the same pixels."""
        return f"{self.name}-v{self.version}-" + digest(self.config.model_dump(mode="json"), 12)

    @property
    @abstractmethod
    def domains(self) -> tuple[str, ...]:
        """Domain names, in the order of tables and figures."""

    @property
    def domain_groups(self) -> dict[str, str]:
        """Domain → group of domains (`synthetic`, `real`); one group where there are none."""
        return dict.fromkeys(self.domains, "all")

    @property
    def aligned(self) -> bool:
        """Whether one id shows the same view in every domain (val and test)."""
        return True

    @abstractmethod
    def prepare(self, progress: Progress | None = None) -> None:
        """Make the images ready (generate, download, decode); does nothing when they are."""

    @abstractmethod
    def train(self, domain: str) -> Images:
        """Training images of one domain: no ids, no pairs."""

    @abstractmethod
    def ids(self, split: Split) -> list[str]:
        """View ids of `val` or `test`, the same for all domains of an aligned data set."""

    @abstractmethod
    def groups(self, split: Split) -> list[str]:
        """The group (head, acquisition) of each id: what splits and intervals respect."""

    @abstractmethod
    def images(self, split: Split, domain: str) -> Images:
        """Images of `val` or `test`, in the order of `ids`."""

    def repeats(self, split: Split, domain: str) -> Images | None:
        """A second exposure of the same views (other noise), or None where there is none."""
        return None

    def cache(self) -> Path | None:
        """The folder that holds the prepared images, if any."""
        return None


class TrainOnly:
    """All that a method may see of a data set: training images by domain."""

    def __init__(self, dataset: Dataset) -> None:
        self.train = dataset.train
