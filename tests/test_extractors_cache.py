"""Features on disk: computed once, whatever the order, the batch and the kind of images."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from xbench.core.errors import UserError
from xbench.datasets.base import Images
from xbench.metrics.extractors import Extractor
from xbench.scoring.features import cached_features


def images(count: int, height: int = 24, width: int = 24, seed: int = 5) -> Tensor:
    """Noise of 16 bits, so that rounding to 8 bits matters."""
    rng = np.random.default_rng(seed)
    steps = rng.integers(0, 65536, (count, 1, height, width))
    return torch.from_numpy(steps.astype(np.float32) / np.float32(65535))


class Counting:
    """A mean and a corner of each image; counts the images that it saw."""

    def __init__(self) -> None:
        self.seen = 0

    def __call__(self, batch: Tensor) -> Tensor:
        self.seen += len(batch)
        wide = batch.double()
        return torch.stack([wide.flatten(1).mean(1), wide[:, 0, 0, 0]], dim=1)


@pytest.fixture
def counting() -> Counting:
    return Counting()


@pytest.fixture
def extractor(counting: Counting) -> Extractor:
    return Extractor("counting", "counting-v1", torch.device("cpu"), counting)


def test_what_was_computed_is_not_computed_again(
    extractor: Extractor, counting: Counting, tmp_path: Path
) -> None:
    batch = images(10)
    found = cached_features(extractor, batch, tmp_path)
    assert counting.seen == 10
    assert found.dtype == torch.float64
    assert torch.equal(found, extractor.features(batch))
    counting.seen = 0
    assert torch.equal(cached_features(extractor, batch, tmp_path), found)
    assert counting.seen == 0
    assert [path.suffix for path in tmp_path.rglob("*") if path.is_file()] == [".safetensors"]


def test_order_batches_copies_and_kinds_of_images_change_nothing(
    extractor: Extractor, counting: Counting, tmp_path: Path
) -> None:
    batch = images(10)
    found = cached_features(extractor, batch, tmp_path)
    order = torch.randperm(10, generator=torch.Generator().manual_seed(0))
    raw = (batch[:, 0].double() * 65535).round().numpy().astype(np.uint16)
    counting.seen = 0
    for same, expected in (
        (batch[order], found[order]),
        (torch.cat([batch, batch[:3]]), torch.cat([found, found[:3]])),
        (Images([raw[:4], raw[4:]]), found),
        (list(batch), found),
    ):
        assert torch.equal(cached_features(extractor, same, tmp_path), expected)
    assert counting.seen == 0
    for number in (1, 3, 100):
        fresh = cached_features(extractor, batch, tmp_path / str(number), batch=number)
        assert torch.equal(fresh, found)
    assert counting.seen == 30


def test_equal_images_are_computed_once(
    extractor: Extractor, counting: Counting, tmp_path: Path
) -> None:
    batch = images(2)
    found = cached_features(extractor, batch[[0, 1, 0, 0]], tmp_path)
    assert counting.seen == 2
    assert torch.equal(found, extractor.features(batch)[[0, 1, 0, 0]])


def test_other_pixels_sizes_and_extractors_are_recomputed(
    extractor: Extractor, counting: Counting, tmp_path: Path
) -> None:
    batch = images(4, 8, 8)
    cached_features(extractor, batch, tmp_path)
    changed = batch.clone()
    changed[0, 0, 0, 0] += (1 if changed[0, 0, 0, 0] < 0.5 else -1) / 65535
    found = cached_features(extractor, changed, tmp_path)
    assert torch.equal(found, extractor.features(changed))
    counting.seen = 0
    cached_features(extractor, batch.reshape(4, 1, 4, 16), tmp_path)
    assert counting.seen == 4
    cached_features(replace(extractor, version="counting-v2"), batch, tmp_path)
    assert counting.seen == 8


def test_images_of_several_sizes(extractor: Extractor, counting: Counting, tmp_path: Path) -> None:
    mixed = [*images(3, 8, 8), *images(3, 5, 9), *images(2, 8, 8, seed=6)]
    found = cached_features(extractor, mixed, tmp_path, batch=2)
    expected = torch.cat([extractor.features(image[None]) for image in mixed])
    assert torch.equal(found, expected)
    flat = replace(extractor, version="flat", compute=lambda batch: batch.flatten(1))
    with pytest.raises(UserError, match=r"counting returns \[45, 64\] features"):
        cached_features(flat, mixed, tmp_path)


@pytest.mark.parametrize("damage", ["cut", "flipped", "emptied", "replaced"])
def test_a_damaged_file_is_set_aside_and_recomputed(
    damage: str, extractor: Extractor, counting: Counting, tmp_path: Path
) -> None:
    batch = images(10)
    found = cached_features(extractor, batch, tmp_path)
    (path,) = tmp_path.rglob("*.safetensors")
    data = path.read_bytes()
    flipped = data[:-8] + bytes([data[-8] ^ 1]) + data[-7:]
    other = {"cut": data[:-10], "flipped": flipped, "emptied": b"", "replaced": b"x" * 500}
    path.write_bytes(other[damage])
    counting.seen = 0
    with pytest.warns(UserWarning, match="is damaged .* recomputed"):
        again = cached_features(extractor, batch, tmp_path)
    assert counting.seen == 10
    assert torch.equal(again, found)
    assert path.read_bytes() == data
    assert path.with_name(path.name + ".corrupt").read_bytes() == other[damage]


def test_a_failure_half_way_leaves_nothing(extractor: Extractor, tmp_path: Path) -> None:
    def killed(batch: Tensor) -> Tensor:
        if len(batch) < 4:
            raise KeyboardInterrupt
        return batch.flatten(1)

    batch = images(6)
    with pytest.raises(KeyboardInterrupt):
        cached_features(replace(extractor, compute=killed), batch, tmp_path, batch=4)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    assert torch.equal(cached_features(extractor, batch, tmp_path), extractor.features(batch))


def test_a_folder_that_cannot_be_written_costs_only_the_next_time(
    extractor: Extractor, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("where the folder should be")
    batch = images(2)
    with pytest.warns(UserWarning, match="not kept"):
        found = cached_features(extractor, batch, tmp_path / "file")
    assert torch.equal(found, extractor.features(batch))


@pytest.mark.parametrize(
    ("bad", "problem"),
    [
        (torch.rand(0, 1, 8, 8), "expected images"),
        (torch.rand(2, 3, 8, 8), r"\[B, 1, H, W\]"),
        (torch.full((1, 1, 8, 8), float("nan")), "finite values"),
        (torch.full((1, 1, 8, 8), 1.5), "finite values"),
    ],
)
def test_bad_images_are_refused(
    bad: Tensor, problem: str, extractor: Extractor, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=problem):
        cached_features(extractor, bad, tmp_path)
