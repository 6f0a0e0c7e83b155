"""The statistics table of a data set."""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import pytest

from xbench.core.profiles import Profile
from xbench.datasets.base import Box, Dataset, DatasetConfig, Images, Progress, Split
from xbench.datasets.stats import MEASURES, beside, domain_statistics, notes, published, sigma

Array = np.ndarray[Any, np.dtype[Any]]


class Given(Dataset):
    """Two domains of given images `[n, size, size]` in [0, 1]; `plain` has none at all."""

    name: ClassVar[str] = "given"
    domains = ("given", "none")

    def __init__(
        self, train: Array, test: Array | None = None, boxes: Sequence[Box] | None = None
    ) -> None:
        super().__init__(DatasetConfig(size=train.shape[-1]))
        none = train[:0]
        self.splits = {"train": train, "val": none, "test": none if test is None else test}
        self.boxes = boxes

    @classmethod
    def configure(cls, profile: Profile) -> DatasetConfig:
        return DatasetConfig(size=profile.size)

    def prepare(self, progress: Progress | None = None) -> None:
        pass

    def train(self, domain: str) -> Images:
        return self.images("train", domain)

    def images(self, split: Split, domain: str) -> Images:
        chosen = self.splits[split] if domain == "given" else self.splits[split][:0]
        return Images([(chosen * 65535).round().astype(np.uint16)])

    def ids(self, split: Split, domain: str) -> list[str]:
        return [str(i) for i in range(len(self.images(split, domain)))]

    def groups(self, split: Split, domain: str) -> list[str]:
        return self.ids(split, domain)

    def content(self, split: Split, domain: str) -> list[Box] | None:
        return list(self.boxes) if self.boxes and split == "train" else None


def measured(*args: Any) -> dict[str, Any]:
    return domain_statistics(Given(*args))[0]


def test_pixels_of_train_and_test_are_pooled() -> None:
    rng = np.random.default_rng(1)
    train, test = rng.random((3, 20, 20)) ** 0.5, rng.random((2, 20, 20)) ** 2
    row = measured(train, test)
    pixels = np.concatenate([train, test]).ravel()
    inside = pixels[pixels < 0.9]
    assert (row["train"], row["val"], row["test"], row["images"]) == (3, 0, 2, 5)
    assert row["mean"] == pytest.approx(pixels.mean(), abs=1e-4)
    assert row["std"] == pytest.approx(pixels.std(), abs=1e-4)
    for name, share in (("q01", 0.01), ("q25", 0.25), ("q50", 0.5), ("q95", 0.95)):
        assert row[name] == pytest.approx(np.quantile(pixels, share), abs=2e-3)
    assert row["inside_mean"] == pytest.approx(inside.mean(), abs=1e-4)
    assert row["inside_std"] == pytest.approx(inside.std(), abs=1e-4)


def test_sharpness_of_white_noise_is_what_the_blur_takes_from_it() -> None:
    noise = np.random.default_rng(2).normal(0.5, 0.02, (4, 64, 64))
    steps = np.arange(-6, 7)
    kernel = np.exp(-(steps**2) / (2 * sigma(64) ** 2))
    kernel /= kernel.sum()
    centre, power = kernel[6] ** 2, (kernel**2).sum() ** 2
    expected = 0.02 * (1 - 2 * centre + power) ** 0.5
    assert measured(noise)["sharpness"] == pytest.approx(expected, rel=0.03)


def test_edges_against_air_are_sharper_than_their_blur() -> None:
    crisp = np.full((1, 40, 40), 0.8)
    crisp[:, 10:30, 10:30] = 0.4
    soft = (crisp + np.roll(crisp, 1, 1) + np.roll(crisp, 1, 2) + np.roll(crisp, -1, 1)) / 4
    assert measured(crisp)["sharpness"] > 1.5 * measured(soft)["sharpness"] > 0


def test_air_counts_neither_as_inside_nor_for_sharpness() -> None:
    noise = 0.95 + 0.02 * np.random.default_rng(3).random((1, 32, 32))
    row = measured(noise)
    assert (row["inside_mean"], row["inside_std"], row["sharpness"]) == (None, None, None)
    assert row["mean"] == pytest.approx(0.96, abs=0.002)


def test_padding_is_left_out() -> None:
    padded = np.full((2, 32, 32), 0.1)
    padded[:, 8:24] = 0.6
    row = measured(padded, None, [Box(8, 0, 16, 32)] * 2)
    assert row["mean"] == pytest.approx(0.6, abs=1e-4)
    assert row["std"] == pytest.approx(0, abs=1e-4)


def test_many_images_are_sampled_evenly() -> None:
    ramp = np.linspace(0, 1, 401)[:, None, None] * np.ones((1, 16, 16))
    row = measured(ramp)
    assert (row["train"], row["images"]) == (401, 200)
    assert row["mean"] == pytest.approx(0.5, abs=0.001)
    assert (row["q01"], row["q95"]) == pytest.approx((0.01, 0.95), abs=0.01)


def test_a_domain_without_images_has_counts_alone() -> None:
    row = domain_statistics(Given(np.full((1, 16, 16), 0.5)))[1]
    assert row["domain"] == "none"
    assert row["images"] == 0
    assert {row[name] for name in MEASURES} == {None}


def test_progress_counts_the_images_of_each_domain() -> None:
    seen: list[tuple[int, int, str]] = []
    dataset = Given(np.full((2, 16, 16), 0.5))
    domain_statistics(dataset, lambda *now: seen.append(now))
    assert seen == [(1, 2, "given"), (2, 2, "given")]


def test_references_stand_beside_the_same_domain() -> None:
    own = [{"domain": "mine", "mean": 0.1}, {"domain": "real_low", "mean": 0.2}]
    phantom = [{"domain": "real_low", "mean": 0.3}]
    rows = beside(own, {"phantom": phantom, "published": published()})
    assert [(row["data"], row["domain"], row["mean"]) for row in rows] == [
        ("these data", "mine", 0.1),
        ("these data", "real_low", 0.2),
        ("phantom", "real_low", 0.3),
        ("published", "real_low", 0.69),
        ("published", "synthetic_low", 0.79),
        ("published", "synthetic_high", 0.82),
        ("published", "real_normal", 0.69),
        ("published", "real_exposure", 0.67),
    ]


def test_small_images_have_a_least_blur_and_a_note_that_says_so() -> None:
    assert sigma(760) == 2.0
    assert sigma(64) == 0.7
    assert len(notes(760)) == 2
    assert "64 px" in notes(64)[2]
