"""What the conformance kit runs methods on: tiny domains and trainings of a step or two."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from xbench.core import isolation
from xbench.core.hashing import seed_from
from xbench.core.pairs import PAIRED, Pair
from xbench.core.profiles import Profile
from xbench.datasets.base import Images
from xbench.methods.base import Method, Training

DOMAINS = ("low", "normal", "high")
PAIRS = (("low", "normal"), ("low", "high"))
#: Training images per domain, and the budget of a training: one step for most methods.
IMAGES, BUDGET = 12, 8


class Broken(Exception):
    """A promise is broken; `fix` says what to do."""

    def __init__(self, reason: str, fix: str) -> None:
        super().__init__(reason)
        self.fix = fix


class Skipped(Exception):
    """A promise does not apply, or cannot be looked at."""


def pictures(name: str, number: int, height: int, width: int) -> Tensor:
    """Smooth noisy shapes `[n, 1, H, W]` in [0, 1]; the name sets brightness and noise."""
    generator = torch.Generator().manual_seed(seed_from("conformance", name))
    level, grain = torch.rand(2, generator=generator).tolist()
    coarse = torch.rand(number, 1, 6, 6, generator=generator)
    shapes = functional.interpolate(coarse, (height, width), mode="bilinear", align_corners=True)
    noise = torch.randn(number, 1, height, width, generator=generator)
    images: Tensor = 0.2 + 0.3 * level + 0.4 * shapes + (0.01 + 0.03 * grain) * noise
    return images.clamp(0, 1)


class TrainingImages:
    """What a training may see; every other attribute that it asks for is noted and refused."""

    def __init__(self, domains: Sequence[str], size: int) -> None:
        self._images = {}
        for domain in domains:
            pixels = (pictures(domain, IMAGES, size, size)[:, 0] * 65535).round()
            self._images[domain] = Images([pixels.numpy().astype(np.uint16)])
        self.refused: list[str] = []

    def train(self, domain: str) -> Images:
        """Training images of one domain."""
        return self._images[domain]

    def __getattr__(self, name: str) -> object:
        if not name.startswith("__"):
            self.refused.append(name)
        raise AttributeError(f"a training sees only `train(domain)`, not '{name}'")


class PairedImages(TrainingImages):
    """The same, for the reference row of aligned pairs."""

    def paired(self, domain: str) -> Images:
        """The training images again: enough to see whether a method works."""
        return self.train(domain)


class Bench:
    """One method on three domains, trained for two pairs.

    Attributes:
        data: its training images.
        trainings: its finished trainings.
        method: the trained method.
        output: its translation of `images()` to the second domain.
        changed: state of the process that it changed.
        printed: its output to stdout.
        input_changed: whether it changed the images that it was given.
    """

    def __init__(self, kind: type[Method], profile: Profile, device: torch.device) -> None:
        self.kind, self.profile, self.device = kind, profile, device
        self.changed: list[str] = []
        self.printed = ""

    def start(self) -> None:
        """Set up, train and translate, and note what else the method does."""
        self.data = self.visible(DOMAINS)
        with self._watched():
            self.method, self.trainings = self.trained(DOMAINS, PAIRS, self.data)
            images = self.images()
            before = images.clone()
            self.output = self.translate(self.method, images)
            self.input_changed = not torch.equal(images, before)

    def visible(self, domains: Sequence[str]) -> TrainingImages:
        """What a training of the method may see."""
        paired = getattr(self.kind, "name", "") == PAIRED
        return (PairedImages if paired else TrainingImages)(domains, self.profile.size)

    def make(self, domains: Sequence[str] = DOMAINS) -> Method:
        """The method with the profile's settings, untrained."""
        config = self.kind.configure(self.profile)
        return self.kind(config, domains, self.profile.size, self.device)

    def trained(
        self, domains: Sequence[str], pairs: Sequence[Pair], data: TrainingImages | None = None
    ) -> tuple[Method, list[Training]]:
        """The method after setup and training."""
        data = data or self.visible(domains)
        method = self.make(domains)
        method.setup(data)
        trainings = method.trainings(pairs)
        for training in trainings:
            with tempfile.TemporaryDirectory() as folder:
                seed = seed_from("training", 0)
                training.fit(data, BUDGET, seed, Path(folder), lambda *_: None)
        return method, trainings

    def images(self, number: int = 3, height: int = 0, width: int = 0) -> Tensor:
        """Images of the first domain that are not in its training images."""
        side = self.profile.size
        images = pictures(DOMAINS[0], IMAGES + number, height or side, width or side)
        return images[IMAGES:].to(self.device)

    def generators(self, number: int, seed: int = 0) -> list[torch.Generator]:
        """A generator for each image."""
        return [
            torch.Generator(self.device).manual_seed(seed_from(seed, row)) for row in range(number)
        ]

    def translate(
        self, method: Method, images: Tensor, pair: Pair = PAIRS[0], seed: int = 0
    ) -> Tensor:
        """Translate with generators that depend on the row and the seed."""
        return method.translate(images, *pair, generators=self.generators(len(images), seed))

    @contextmanager
    def _watched(self) -> Iterator[None]:
        """Note what the method changes in the process and prints, and restore the process."""
        before = isolation.snapshot()
        with tempfile.TemporaryFile("w+") as stdout:
            try:
                with isolation.stdout_to(stdout):
                    yield
            finally:
                self.changed = isolation.changes(before)
                isolation.restore(before)
                stdout.seek(0)
                self.printed = stdout.read()


@contextmanager
def called_modules() -> Iterator[list[torch.nn.Module]]:
    """All modules that are called inside."""
    called: list[torch.nn.Module] = []
    register = torch.nn.modules.module.register_module_forward_pre_hook
    handle = register(lambda module, _: called.append(module))
    try:
        yield called
    finally:
        handle.remove()


def parameters(modules: Sequence[torch.nn.Module]) -> int:
    """Number of parameters of modules, shared ones counted once."""
    return sum({id(p): p.numel() for net in modules for p in net.parameters()}.values())


#: Looks at one promise: returns a remark or nothing, or raises `Broken` or `Skipped`.
Look = Callable[[Bench], str | None]
