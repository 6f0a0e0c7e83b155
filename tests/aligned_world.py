"""A data set, in a plug-in file, that knows everything about itself.

Noise-free images, aligned training images, and pixels that no source determines.
"""

from functools import cache

import numpy as np
from scipy.ndimage import gaussian_filter

from xbench.datasets.base import Dataset, DatasetConfig, Images

#: Views of a split, and images per head.
VIEWS, PER_HEAD = {"train": 24, "val": 8, "test": 20, "paired": 40}, 5
NOISE = {"flat": 0.01, "steep": 0.03}


class AlignedConfig(DatasetConfig):
    """What the data set knows; `hidden` says whether pixels are unpredictable, and how many."""

    hidden: float | None = None
    known: bool = True


class Aligned(Dataset):
    """Smooth shapes in two domains: one is a curve of the other."""

    Config = AlignedConfig
    config: AlignedConfig
    domains = ("flat", "steep")

    @classmethod
    def configure(cls, profile):
        return AlignedConfig(size=profile.size)

    def prepare(self, progress=None):
        pass

    def train(self, domain):
        return self._noisy("train", domain)

    def images(self, split, domain):
        return self._noisy(split, domain)

    def ids(self, split, domain):
        return [f"view{number:02d}" for number in range(VIEWS[split])]

    def groups(self, split, domain):
        return [f"head{number // PER_HEAD}" for number in range(VIEWS[split])]

    def repeated(self, split):
        return True

    def repeats(self, split, domain):
        return self._noisy(split, domain, again=1)

    def expected(self, split, domain):
        return Images([_pixels(_clean(split, domain))]) if self.config.known else None

    def unpredictable(self, split, domain):
        return _hidden(split, self.config.hidden) if self.config.hidden is not None else None

    def paired(self, domain):
        return self._noisy("paired", domain) if self.config.known else None

    def _noisy(self, split, domain, again=0):
        clean = _clean(split, domain)
        seed = [again, *split.encode(), *domain.encode()]
        noisy = clean + NOISE[domain] * np.random.default_rng(seed).normal(size=clean.shape)
        if self.config.hidden and split == "test":
            drawn = np.random.default_rng(again).random(clean.shape)
            noisy = np.where(_hidden(split, self.config.hidden), drawn, noisy)
        return Images([_pixels(noisy)])


class Hidden(Aligned):
    """The same, with pixels that no source determines."""

    @classmethod
    def configure(cls, profile):
        return AlignedConfig(size=profile.size, hidden=4)


@cache
def _clean(split, domain):
    rng = np.random.default_rng(list(split.encode()))
    smooth = gaussian_filter(rng.normal(size=(VIEWS[split], 32, 32)), (0, 3, 3))
    flat = 0.5 + 0.12 * smooth / smooth.std(axis=(1, 2), keepdims=True)
    return (flat if domain == "flat" else 0.2 + 0.6 * flat**2 + 0.1 * np.sin(12 * flat)).clip(0, 1)


def _hidden(split, side):
    """A square of some side in each image."""
    masks = np.zeros((VIEWS[split], 32, 32), bool)
    for number, mask in enumerate(masks):
        top = 5 + number % 9
        mask[top : top + int(side), 8 : 8 + int(side)] = True
    return masks


def _pixels(images):
    return np.round(images.clip(0, 1) * 65535).astype(np.uint16)
