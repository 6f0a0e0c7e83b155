"""The data set in a folder: images of two or more domains, decoded once and cached."""

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from xbench.core.errors import UserError
from xbench.core.files import atomic, home, write_text
from xbench.core.hashing import digest, file_digest
from xbench.core.processes import cores
from xbench.core.profiles import Profile
from xbench.datasets.base import Box, Dataset, DatasetConfig, Images, Progress, Split
from xbench.datasets.decode import Grey, Undecodable, read
from xbench.datasets.describe import (
    FILE,
    Description,
    Polarity,
    Window,
    read_description,
)
from xbench.datasets.index import Item
from xbench.datasets.layout import Layout, find
from xbench.datasets.prepare import Fit, normalise, to_square


class FolderConfig(DatasetConfig):
    """Working size and preprocessing; `dataset.toml` has the defaults (see `Description`)."""

    size: int = Field(ge=16)
    polarity: Polarity | dict[str, Polarity] = "bone-dark"
    window: Window | dict[str, Window] | None = None
    fit: Fit = "pad"


class Folder(Dataset):
    """Images of your own, one sub-folder per domain."""

    Config = FolderConfig
    version: ClassVar[int] = 1
    #: The folder and what is said about it: `Folder.at` makes a class that has both.
    root: ClassVar[Path]
    description: ClassVar[Description]

    config: FolderConfig

    @classmethod
    def at(cls, root: Path) -> "type[Folder]":
        """The class of the data set in one folder, which works like that of a built-in one.

        Raises:
            UserError: there is no such folder, or its `dataset.toml` cannot be read.
        """
        if not root.is_dir():
            raise UserError(
                f"there is no folder {root}",
                "expected: a folder with a sub-folder of images for each domain",
                "see: xbench data init --help",
            )
        found = read_description(root)
        description = found or Description()
        name = description.name or root.resolve().name
        facts = {"root": root, "name": name, "description": description, "__doc__": cls.__doc__}
        return type(cls.__name__, (cls,), facts | {"described": found is not None})

    #: Whether there is a `dataset.toml`.
    described: ClassVar[bool] = False

    @classmethod
    def configure(cls, profile: Profile) -> FolderConfig:
        """See `Dataset`."""
        return cls.configure_size(profile.size)

    @classmethod
    def configure_size(cls, size: int) -> FolderConfig:
        """The description's preprocessing at a working size in pixels."""
        told = cls.description
        return FolderConfig(size=size, polarity=told.polarity, window=told.window, fit=told.fit)

    @property
    def domains(self) -> tuple[str, ...]:
        """See `Dataset`."""
        return self.layout.domains

    @property
    def domain_groups(self) -> dict[str, str]:
        """See `Dataset`."""
        return {d: self.description.domain_groups.get(d, "all") for d in self.domains}

    @cached_property
    def layout(self) -> Layout:
        """Which images there are."""
        return find(self.root, self.description)

    @cached_property
    def key(self) -> str:
        """Of the images, and of what the description says of them that scores depend on."""
        facts = [self.images_key, self.layout.aligned, self.domain_groups]
        return f"folder-v{self.version}-{digest(facts, 12)}"

    @cached_property
    def images_key(self) -> str:
        """Hash of the files' contents, their places, and the preprocessing."""
        hashes = _file_hashes(self.root, [item.file for item in self.layout.items])
        images = [[i.domain, i.split, i.id, i.group, hashes[i.file]] for i in self.layout.items]
        facts = {"images": images, "config": self.config.model_dump(mode="json")}
        facts["domains"] = list(self.domains)
        return f"images-v{self.version}-{digest(facts, 12)}"

    def aligned(self, split: Split) -> bool:
        """See `Dataset`."""
        return self.layout.aligned[split]

    def notes(self) -> list[str]:
        """See `Dataset`."""
        lines = []
        if not self.described:
            lines.append(
                f"{self.root} has no {FILE}: bone dark as stored, the full range of the bit depth, "
                "padded to squares, ids by file names, split 70/10/20 by sub-folder or name unless "
                "there are train and test folders; to see and change that: "
                f"xbench data init {self.root}"
            )
        for reason, files in self.layout.left_out.items():
            lines.append(f"left out: {len(files)} files ({reason}), the first: {files[0]}")
        for split in ("val", "test"):
            if not self.layout.aligned[split] and self.description.alignment == "id":
                lines.append(f"{split}: not aligned, the domains share too few ids")
        return lines

    def cache(self) -> Path:
        """See `Dataset`."""
        return home() / "folders" / self.key

    def load(self, item: Item) -> Grey:
        """One image at its own size, float32 `[H, W]` in [0, 1], air bright and bone dark.

        Raises:
            Undecodable: the file cannot be used.
        """
        window, polarity = self.config.window, self.config.polarity
        if isinstance(window, dict):
            window = window.get(item.domain)
        if isinstance(polarity, dict):
            polarity = polarity.get(item.domain, "bone-dark")
        return normalise(read(self.root / item.file), window, invert=polarity == "bone-bright")

    def prepare(self, progress: Progress | None = None) -> None:
        """Decode what is not in the cache yet, on all cores.

        Raises:
            UserError: files cannot be used; all others are decoded first, so that it names all.
        """
        todo = [part for part in self._parts() if not _is_whole(*self._files(*part))]
        total = sum(len(self._items(*part)) for part in todo)
        broken: list[tuple[str, str]] = []
        done = 0

        def count() -> None:
            nonlocal done
            done += 1
            if progress and (done % 10 == 0 or done == total):
                progress(done, total, "images")

        with ThreadPoolExecutor(cores()) as pool:  # Pillow decodes without holding the GIL
            for part in todo:
                broken += self._decode(part, pool, count)
        if broken:
            raise UserError(
                f"{self.root}: {len(broken)} files cannot be used: "
                + "; ".join(f"{file} {reason}" for file, reason in broken[:3]),
                "expected: images of one frame, whole, 16 pixels or more on each side",
                f"for all of them: xbench data verify {self.root}; then mend or delete the files",
            )

    def train(self, domain: str) -> Images:
        """See `Dataset`."""
        return self._images("train", domain)

    def images(self, split: Split, domain: str) -> Images:
        """See `Dataset`."""
        return self._images(split, domain)

    def ids(self, split: Split, domain: str) -> list[str]:
        """See `Dataset`."""
        return [item.id for item in self._items(split, domain)]

    def groups(self, split: Split, domain: str) -> list[str]:
        """See `Dataset`."""
        return [item.group for item in self._items(split, domain)]

    def repeated(self, split: Split) -> bool:
        """See `Dataset`."""
        again = {d: [i.id for i in self._items(f"{split}_repeat", d)] for d in self.domains}
        return all(ids and ids == self.ids(split, domain) for domain, ids in again.items())

    def repeats(self, split: Split, domain: str) -> Images | None:
        """See `Dataset`."""
        return self._images(f"{split}_repeat", domain) if self.repeated(split) else None

    def content(self, split: Split, domain: str) -> list[Box] | None:
        """See `Dataset`."""
        _, sidecar = self._files(split, domain)
        whole = Box(0, 0, self.config.size, self.config.size)
        boxes = [Box(*box) for box in _read_json(sidecar)["boxes"]]
        return None if all(box == whole for box in boxes) else boxes

    def _parts(self) -> list[tuple[str, str]]:
        """Every (split, domain) that has images."""
        return sorted({(item.split, item.domain) for item in self.layout.items})

    @cached_property
    def _by_part(self) -> dict[tuple[str, str], list[Item]]:
        found: dict[tuple[str, str], list[Item]] = {}
        for item in sorted(self.layout.items, key=lambda item: item.id):
            found.setdefault((item.split, item.domain), []).append(item)
        return found

    def _items(self, split: str, domain: str) -> list[Item]:
        if domain not in self.domains:
            raise KeyError(f"there is no domain '{domain}', only {', '.join(self.domains)}")
        return self._by_part.get((split, domain), [])

    def _files(self, split: str, domain: str) -> tuple[Path, Path]:
        """Array and sidecar of the images of one split and domain."""
        name = f"{split}-{self.domains.index(domain)}"
        return self.cache() / f"{name}.npy", self.cache() / f"{name}.json"

    def _images(self, split: str, domain: str) -> Images:
        if not self._items(split, domain):
            return Images([])
        array, _ = self._files(split, domain)
        try:
            return Images([np.load(array, mmap_mode="r")])
        except FileNotFoundError:
            raise UserError(
                f"the images of {self.root} have not been decoded yet",
                f"expected: {array}",
                "call prepare() of the data set first",
            ) from None

    def _decode(
        self, part: tuple[str, str], pool: ThreadPoolExecutor, count: Any
    ) -> list[tuple[str, str]]:
        """Decode the images of one split and domain into the cache; return what is broken."""
        items, size = self._items(*part), self.config.size
        array, sidecar = self._files(*part)
        boxes: list[Box | None] = [None] * len(items)
        broken = []
        with atomic(array) as target:
            shape = (len(items), size, size)
            pixels = np.lib.format.open_memmap(target, "w+", np.uint16, shape)

            def one(row: int) -> str | None:
                try:
                    image = self.load(items[row])
                    pixels[row], boxes[row] = to_square(image, size, self.config.fit)
                except Undecodable as error:
                    return str(error)
                finally:
                    count()
                return None

            for item, reason in zip(items, pool.map(one, range(len(items))), strict=True):
                if reason:
                    broken.append((item.file, reason))
            pixels.flush()
        if not broken:
            facts = {"shape": shape, "boxes": boxes}
            write_text(sidecar, json.dumps(facts) + "\n")
        return broken


def _is_whole(array: Path, sidecar: Path) -> bool:
    """Whether a cached array is the one that its sidecar, written last, tells of."""
    try:
        shape = _read_json(sidecar)["shape"]
        return bool(list(np.load(array, mmap_mode="r").shape) == shape)
    except (OSError, ValueError, KeyError):
        return False


def _read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _file_hashes(root: Path, files: Sequence[str]) -> dict[str, str]:
    """File → SHA-256; what has kept size and modification time is not read again."""
    path = home() / "folders" / f"hashes-{digest(str(root.resolve()))}.json"
    try:
        known = _read_json(path)
    except (OSError, ValueError):
        known = {}

    def one(file: str) -> tuple[str, list[object]]:
        facts = (root / file).stat()
        stamp = [facts.st_size, facts.st_mtime_ns]
        old = known.get(file)
        return file, old if old and old[:2] == stamp else [*stamp, file_digest(root / file)]

    with ThreadPoolExecutor(cores()) as pool:  # hashing does not hold the GIL
        found = dict(pool.map(one, files))
    if found != known:
        write_text(path, json.dumps(found))
    return {file: str(facts[2]) for file, facts in found.items()}
