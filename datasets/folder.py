"""A data set in a folder: images of two or more domains, decoded once and cached."""

from collections.abc import Callable, Container
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from pydantic import Field, field_validator

from xbench.core.errors import UserError
from xbench.core.files import atomic, home
from xbench.core.hashing import digest
from xbench.core.names import plain, quoted
from xbench.core.pixels import Pixels
from xbench.core.processes import cores
from xbench.core.profiles import Profile
from xbench.datasets import pseudonyms
from xbench.datasets.base import Box, Dataset, DatasetConfig, Images, Progress, Split
from xbench.datasets.cached import is_whole, write_sidecar
from xbench.datasets.decode import DECODER, Grey, Undecodable, read
from xbench.datasets.describe import (
    FILE,
    Description,
    Polarity,
    Window,
    by_domain,
    read_description,
)
from xbench.datasets.facts import Loaded
from xbench.datasets.file_hashes import file_hashes, read_json
from xbench.datasets.folder_labels import FolderLabels
from xbench.datasets.framing import SAMPLE, SIDE, Framing, compare, views
from xbench.datasets.index import Item
from xbench.datasets.labels import Labels
from xbench.datasets.layout import (
    LABELS,
    SPLIT_NAMES,
    Layout,
    find,
    is_label,
    left_out_lines,
    refuse_unknown,
)
from xbench.datasets.prepare import Fit, View, normalise, to_square
from xbench.datasets.walk import walk


class FolderConfig(DatasetConfig):
    """Working size and preprocessing, by default from `dataset.toml` (see `Description`)."""

    size: int = Field(ge=16)
    polarity: Polarity | dict[str, Polarity] = "bone-dark"
    window: Window | dict[str, Window] | None = None
    fit: Fit = "pad"

    @field_validator("polarity", "window", mode="after")
    @classmethod
    def _by_domain(cls, value: Any) -> Any:
        return by_domain(value)


class Folder(Dataset):
    """Your own images, in a sub-folder per domain, with labels in `labels/` (`folder_labels`)."""

    Config = FolderConfig
    #: Part of the key and so of the cache's place: images decoded by other versions are not used.
    version: ClassVar[int] = DECODER
    #: The folder and its description, set by `Folder.at`.
    root: ClassVar[Path]
    description: ClassVar[Description]

    config: FolderConfig

    @classmethod
    def at(cls, root: Path) -> "type[Folder]":
        """A class for the data set in one folder, used like the class of a built-in data set.

        Raises:
            UserError: the folder is missing, or its `dataset.toml` cannot be read.
        """
        if not root.is_dir():
            raise UserError(
                f"{root} is a file" if root.is_file() else f"there is no folder {root}",
                "expected: a folder with a sub-folder of images for each domain",
                "see: xbench data init --help",
            )
        description = read_description(root) or Description()
        name = description.name or plain(root.resolve().name)
        facts = {"root": root, "name": name, "description": description, "__doc__": cls.__doc__}
        return type(cls.__name__, (cls,), facts)

    @classmethod
    def configure(cls, profile: Profile) -> FolderConfig:
        """See `Dataset`."""
        return cls.configure_size(profile.size)

    @classmethod
    def configure_size(cls, size: int) -> FolderConfig:
        """The preprocessing of `dataset.toml` at a working size in pixels."""
        given = cls.description
        return FolderConfig(size=size, polarity=given.polarity, window=given.window, fit=given.fit)

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
        """The images with their domains, splits and ids."""
        layout = find(self.root, self.description)
        if self.description.ids == "hashed":  # after the split, which follows the names
            layout.items = pseudonyms.hashed(self.root, layout.items)
        present = layout.present
        for key, value in (("polarity", self.config.polarity), ("window", self.config.window)):
            if isinstance(value, dict):
                refuse_unknown(f"data.{key}", value, present, "--set")
        return layout

    @cached_property
    def key(self) -> str:
        """Hash of the images, their alignment and their groups of domains."""
        facts = [self.images_key, self.layout.aligned, self.domain_groups]
        return f"folder-v{self.version}-{digest(facts, 12)}"

    @cached_property
    def images_key(self) -> str:
        """Hash of the files' contents, domains, splits, ids, groups, and of the preprocessing."""
        hashes = file_hashes(self.root, [item.file for item in self.layout.items])
        images = [[i.domain, i.split, i.id, i.group, hashes[i.file]] for i in self.layout.items]
        facts = {"images": images, "config": self.config.model_dump(mode="json")}
        facts["domains"] = list(self.domains)
        return f"images-v{self.version}-{digest(facts, 12)}"

    def aligned(self, split: Split) -> bool:
        """See `Dataset`."""
        return self.layout.aligned[split]

    def share(self, split: Split) -> float | None:
        """The share of the groups that `split` gets; None if folders or a table decide."""
        domain, *parts = self.layout.items[0].file.split("/")
        own = domain == self.layout.items[0].domain and parts[0].lower() not in SPLIT_NAMES
        rule = self.description.split
        shares = {"val": rule.val, "test": rule.test}
        return shares.get(split) if own and not self.description.index else None

    def notes(self) -> list[str]:
        """See `Dataset`."""
        lines = []
        if not (self.root / FILE).exists():
            lines.append(
                f"{self.root} has no {FILE}. Defaults: bone is dark, the bit depth is the range, "
                "images are padded to squares, file names are ids, patients (or images) are split "
                "70/10/20 unless there are train and test folders. To see and change them: "
                f"xbench data init {quoted(self.root)}"
            )
        lines += left_out_lines(self.layout.left_out)
        lines += pseudonyms.notes(self.root, self.layout.items, self.description.ids)
        if self.layout.aligned["test"] and "alignment" not in self.description.model_fields_set:
            lines.append(
                "test: equal names are taken for equal views of all domains; if they are running "
                f'numbers, put alignment = "none" at the top of {self.root / FILE}'
            )
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
        return self.look(item).grey

    def look(self, item: Item) -> Loaded:
        """One image as `load` returns it, and what its file says of it.

        Raises:
            Undecodable: the file cannot be used.
        """
        window, polarity = self.config.window, self.config.polarity
        if isinstance(window, dict):
            window = window.get(item.domain)
        if isinstance(polarity, dict):
            polarity = polarity.get(item.domain, "bone-dark")
        picture, invert = read(self.root / item.file), polarity == "bone-bright"
        shown = (picture.shown == "bone-bright") != invert if picture.shown else None
        return Loaded(normalise(picture, window, invert=invert), picture.bits, shown)

    def prepare(
        self, progress: Progress | None = None, splits: Container[str] | None = None
    ) -> None:
        """Decode the images that are not in the cache yet, on all cores.

        Args:
            progress: see `Dataset`.
            splits: those that are wanted; None for all.

        Raises:
            UserError: files cannot be used; raised at the end, to count all of them.
        """
        wanted = [part for part in sorted(self._by_part) if splits is None or part[0] in splits]
        broken: list[tuple[str, str]] = []
        done = 0

        def count() -> None:
            nonlocal done
            done += 1
            if progress and (done % 10 == 0 or done == total):
                progress(done, total, "images")

        with ThreadPoolExecutor(cores()) as pool:  # Pillow and hashing release Python's lock
            whole = pool.map(is_whole, [self._files(*part)[0] for part in wanted])
            todo = [part for part, kept in zip(wanted, whole, strict=True) if not kept]
            total = sum(len(self._items(*part)) for part in todo)
            for part in todo:
                broken += self._decode(part, pool, count)
        if broken:
            raise UserError(
                f"{self.root}: {len(broken)} files cannot be used: "
                + "; ".join(f"{plain(file)} {reason}" for file, reason in broken[:3]),
                "expected: undamaged images of one frame and at least 16 pixels on each side",
                f"list them: xbench data verify {quoted(self.root)}; "
                "then repair or delete the files",
            )

    @cached_property
    def views(self) -> dict[str, View]:
        """Domain → the part of its images that is used, of `fit = "align"`; else empty.

        Computed from some training images alone; part of the key, as they and the version are.
        """
        return views(self.framings("pad"), self.domains) if self.config.fit == "align" else {}

    def framings(self, fit: Fit | None = None) -> dict[str, Framing]:
        """Domain → its framing relative to the first domain; see `framing.compare`.

        Args:
            fit: how images become squares; None for the data set's own way.
        """
        fit = fit or self.config.fit

        def square(item: Item) -> tuple[Pixels, Box] | None:
            view = self.views.get(item.domain) if fit == "align" else None
            try:
                return to_square(self.load(item), SIDE, fit, view=view)
            except (Undecodable, OSError):
                return None

        squares = {}
        with ThreadPoolExecutor(cores()) as pool:
            for domain in self.domains:
                items = self._items("train", domain)
                rows = np.linspace(0, len(items) - 1, min(SAMPLE, len(items))).astype(int)
                made = pool.map(square, [items[row] for row in rows])
                squares[domain] = [one for one in made if one is not None]
        return compare(squares)

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
        ids = {d: [i.id for i in self._items(f"{split}_repeat", d)] for d in self.domains}
        return all(second and second == self.ids(split, d) for d, second in ids.items())

    def repeats(self, split: Split, domain: str) -> Images | None:
        """See `Dataset`."""
        return self._images(f"{split}_repeat", domain) if self.repeated(split) else None

    def content(self, split: Split, domain: str) -> list[Box] | None:
        """See `Dataset`."""
        return self._boxes(split, domain)

    @cached_property
    def labels_key(self) -> str | None:
        """See `Dataset`: a hash of the files below `labels/`."""
        files = [file for file in walk(self.root) if is_label(self.root, file)]
        hashes = file_hashes(self.root, files, LABELS)
        return f"labels-v{self.version}-{digest(hashes, 12)}" if files else None

    def labels(self, split: Split, domain: str) -> Labels | None:
        """See `Dataset`.

        Raises:
            UserError: the labels cannot be used: see `FolderLabels`.
            Undecodable: an image cannot be used, which `prepare` says, too.
        """
        items, config = self._items(split, domain), self.config
        return self._labels.of(items, config.size, config.fit, self.views.get(domain))

    @cached_property
    def _labels(self) -> FolderLabels:
        return FolderLabels(self.root)

    @cached_property
    def _by_part(self) -> dict[tuple[str, str], list[Item]]:
        """(split, domain) → its images, sorted by id."""
        parts: dict[tuple[str, str], list[Item]] = {}
        for item in sorted(self.layout.items, key=lambda item: item.id):
            parts.setdefault((item.split, item.domain), []).append(item)
        return parts

    def _items(self, split: str, domain: str) -> list[Item]:
        if domain not in self.domains:
            raise KeyError(f"there is no domain '{domain}', only {', '.join(self.domains)}")
        return self._by_part.get((split, domain), [])

    def _files(self, split: str, domain: str) -> tuple[Path, Path]:
        """Array and sidecar file of the images of one split and domain."""
        name = f"{split}-{self.domains.index(domain)}"
        return self.cache() / f"{name}.npy", self.cache() / f"{name}.json"

    def _boxes(self, split: str, domain: str) -> list[Box] | None:
        """The part of each image that is no padding; None where none is padded."""
        _, sidecar = self._files(split, domain)
        whole = Box(0, 0, self.config.size, self.config.size)
        boxes = [Box(*box) for box in read_json(sidecar)["boxes"]]
        return None if all(box == whole for box in boxes) else boxes

    def _images(self, split: str, domain: str) -> Images:
        if not self._items(split, domain):
            return Images([])
        array, _ = self._files(split, domain)
        try:
            return Images([np.load(array, mmap_mode="r")], self._boxes(split, domain))
        except FileNotFoundError:
            raise UserError(
                f"the images of {self.root} have not been decoded yet",
                f"expected: {array}",
                "call prepare() of the data set first",
            ) from None

    def _decode(
        self, part: tuple[str, str], pool: ThreadPoolExecutor, count: Callable[[], None]
    ) -> list[tuple[str, str]]:
        """Decode one (split, domain) into the cache; return (file, reason) of unusable files."""
        items, size, view = self._items(*part), self.config.size, self.views.get(part[1])
        array, _ = self._files(*part)
        boxes: list[Box | None] = [None] * len(items)
        with atomic(array) as target:
            shape = (len(items), size, size)
            pixels = np.lib.format.open_memmap(target, "w+", np.uint16, shape)

            def decode(row: int) -> str | None:
                try:
                    image = self.load(items[row])
                    pixels[row], boxes[row] = to_square(image, size, self.config.fit, view=view)
                except Undecodable as error:
                    return str(error)
                finally:
                    count()
                return None

            reasons = list(pool.map(decode, range(len(items))))
            pixels.flush()
        broken = [(item.file, why) for item, why in zip(items, reasons, strict=True) if why]
        if not broken:
            write_sidecar(array, {"boxes": boxes})
        return broken
