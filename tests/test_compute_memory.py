"""Memory of a device: training images on it, batches that fill it, errors without it.

No GPU is needed: the device is the CPU, or a card that is made up.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from xbench.core.compute import Compute
from xbench.core.errors import UserError
from xbench.core.pixels import from_pixels
from xbench.core.profiles import get_profile
from xbench.datasets.base import Images
from xbench.datasets.resident import Resident, resident
from xbench.harness import batches
from xbench.harness.translation import translate
from xbench.methods import registry
from xbench.methods.identity import Identity
from xbench.methods.medshift import FlowLearner
from xbench.plugins.conformance.bench import DOMAINS, PAIRS, Bench

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def trained(name: str, folder: Path, **given: Any) -> dict[str, Tensor]:
    """The weights of a method after two steps under some settings."""
    bench = Bench(registry.get(name), get_profile("smoke"), CPU)
    method = bench.make()
    method.computing = Compute(**given)
    (one,) = method.trainings(PAIRS[:1])
    folder.mkdir()
    batch: int = method.config.batch  # type: ignore[attr-defined]
    log = one.fit(bench.visible(DOMAINS), 2 * batch, 0, folder, lambda *_: None)
    one.save(folder)
    assert log.compute["precision"] == "float32"
    return load_file(folder / "weights.safetensors")


@pytest.mark.parametrize(
    "name", ["medshift", "cyclegan", "hierarchyflow", "stargan", "dsbm", "contourdiff"]
)
def test_images_on_the_device_train_the_same_weights(name: str, tmp_path: Path) -> None:
    plain = trained(name, tmp_path / "plain")
    near = trained(name, tmp_path / "near", resident="on")
    assert all(torch.equal(plain[key], near[key]) for key in plain)


def test_every_grey_value_is_the_same_on_the_device() -> None:
    greys = np.arange(65536, dtype=np.uint16).reshape(256, 16, 16)
    images = [Images([greys[:100], greys[100:]]), Images([greys[::-1].copy()])]
    store = Resident(images, CPU)
    rows = torch.arange(512)
    assert torch.equal(store.at(rows), from_pixels(np.concatenate([greys, greys[::-1]])))


def test_a_choice_by_domain_and_chance_is_that_of_images() -> None:
    sizes = (3, 7)
    images = [Images([np.full((n, 4, 4), 0, np.uint16)]) for n in sizes]
    for number, own in enumerate(images):
        own.parts[0][:] = (100 * number + np.arange(sizes[number]))[:, None, None]
    store = Resident(images, CPU)
    domains, chance = torch.tensor([0, 1, 1, 0]), torch.tensor([0.999, 0.5, 0.0, 1 / 3])
    found = [round(float(v) * 65535) for v in store.choose(domains, chance)[:, 0, 0, 0]]
    assert found == [2, 103, 100, 1]


def test_images_of_other_values_stay_where_they_are() -> None:
    class Bright(Images):
        def __getitem__(self, index: Any) -> Tensor:
            return super().__getitem__(index) ** 0.7

    pixels = np.zeros((2, 4, 4), np.uint16)
    wanted = Compute(resident="on")
    assert resident([Bright([pixels])], wanted, CPU) is None
    assert resident([Images([pixels]), Images([pixels[:, :2]])], wanted, CPU) is None
    assert resident([Images([pixels])], Compute(), CPU) is None
    assert resident([Images([pixels])], wanted, CPU) is not None


class Counting(Identity):
    """Notes how many images it is given."""

    seen: list[int]
    least = 10**6

    def translate(self, images: Tensor, *arguments: Any, **more: Any) -> Tensor:
        self.seen.append(len(images))
        if len(images) > self.least:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return images.clone()


def counted(least: int = 10**6, **given: Any) -> tuple[Counting, dict[str, Any]]:
    """A method that has translated 40 images, eight at once unless the settings differ."""
    pixels = np.arange(40 * 16, dtype=np.uint16).reshape(40, 4, 4)
    method = Counting(Identity.Config(), ("a", "b"), 4, CPU)
    method.seen, method.least, method.computing = [], least, Compute(**given)
    names = [str(number) for number in range(40)]
    made = translate(method, Images([pixels]), names, "a", ["b"], seed=0, batch=8)
    assert np.array_equal(made["b"], pixels)
    return method, made


def test_a_batch_grows_into_the_room_that_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    class Room:
        def watch(self) -> None:
            pass

        def holds(self, worked: int) -> int:
            return 5 * worked // 2

    monkeypatch.setattr(
        batches, "room_of", lambda method: None if method.computing.batch else Room()
    )
    assert counted()[0].seen == [8, 16, 16]
    assert counted(batch=10)[0].seen == [10, 10, 10, 10]
    with pytest.warns(UserWarning, match="going on with batches of 8"):
        assert counted(least=8)[0].seen == [8, 16, 8, 8, 8, 8]


def test_a_card_measures_its_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """1 GB for each image, 50 GB free on the card, 14 more that torch holds and does not use."""
    gigabytes = {"memory_allocated": 2, "max_memory_allocated": 10, "memory_reserved": 16}
    for name, value in gigabytes.items():
        monkeypatch.setattr(torch.cuda, name, lambda device, value=value: int(value * 1e9))
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: None)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (int(50e9), int(80e9)))
    room = batches.Room(CUDA)
    room.watch()
    assert room.holds(8) == int(batches.SHARE * 64)


def test_a_training_without_room_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def losses(*_: object) -> Iterator[None]:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9.00 GiB")
        yield

    monkeypatch.setattr(FlowLearner, "losses", losses)
    with pytest.raises(UserError) as caught:
        trained("medshift", tmp_path / "full")
    assert "ran out while training on 16 images at once" in str(caught.value)
    assert "--set METHOD.accumulate=2" in str(caught.value)
