"""Arteries of the phantom: geometry, path lengths, iodine, and the images they make."""

import math
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from xbench.core.errors import UserError
from xbench.datasets.phantom import Phantom, PhantomConfig, physics, vessels
from xbench.datasets.phantom.anatomy import Variation
from xbench.datasets.phantom.files import one_thread
from xbench.datasets.phantom.projection import Projector, View, Volume
from xbench.datasets.phantom.render import LOOKS, VESSEL_GROUND
from xbench.datasets.phantom.vessels import MAGNIFICATION, Discs, project
from xbench.datasets.phantom.views import CLASSES
from xbench.datasets.phantom.volume import CORNER, make_head, placed

TINY = PhantomConfig(
    size=64,
    voxel_mm=6.0,
    train_heads=1,
    train_views=1,
    val_heads=1,
    val_views=1,
    test_heads=1,
    test_views=4,
    paired_heads=1,
    paired_views=1,
    variation=False,
)


@pytest.fixture(autouse=True, scope="module")
def one_thread_each() -> Iterator[None]:
    """Small operations on one thread, as the generator does them."""
    with one_thread():
        yield


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Phantom]]:
    """The same heads without and with filled arteries; `silent` ones are free of noise."""
    configs = {
        "silent none": {"noise": False},
        "silent angiogram": {"noise": False, "vessels": "angiogram"},
        "silent dsa": {"noise": False, "vessels": "dsa"},
        "dsa": {"vessels": "dsa"},
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XBENCH_HOME", str(tmp_path_factory.mktemp("vessels")))
        made = {name: Phantom(TINY.model_copy(update=c)) for name, c in configs.items()}
        for data in made.values():
            data.prepare()
        yield made


def grow(variation: Variation) -> Discs:
    """The arteries of a head."""
    return vessels.grow(variation, partial(placed, variation))


def plain_view(name: str) -> View:
    return View(name, *CLASSES[name], 0.0, (0.0, 6.0, 8.0), 272.0)


def stack(data: Phantom, domain: str) -> Tensor:
    return data.images("test", domain)[:].squeeze(1)


def correlation(a: Tensor, b: Tensor) -> float:
    return float(torch.corrcoef(torch.stack([a.flatten(), b.flatten()]).double())[0, 1])


def straight(radius: float, way: tuple[float, float, float], length: float) -> Discs:
    """A straight vessel through the isocentre of `plain_view`."""
    places = (torch.arange(0, length, 0.1, dtype=torch.float64) + 0.05 - length / 2)[:, None]
    unit = torch.tensor(way, dtype=torch.float64) / math.hypot(*way)
    middle = torch.tensor([0.0, 6.0, 8.0], dtype=torch.float64)
    count = len(places)
    return Discs(
        middle + places * unit,
        torch.full((count,), radius, dtype=torch.float64),
        torch.full((count,), 0.1, dtype=torch.float64),
    )


def test_a_vessel_has_its_chord_lengths() -> None:
    # A pixel of 256 is 0.86 mm wide at the isocentre; the vessel runs head to foot.
    image = project(straight(6.0, (0, 0, 1), 60.0), plain_view("pa"), 256)
    columns = ((torch.arange(256) + 0.5) / 256 - 0.5) * 272 / MAGNIFICATION
    chord = 2 * (36 - columns**2).clamp(min=0).sqrt() / 10
    assert (image[128] - chord).abs().max() < 0.1
    assert float(image[128].max()) == pytest.approx(1.2, rel=0.02)
    # Seen at 30 degrees to its axis it is twice as thick, seen from its end as thick as long.
    slanted = straight(6.0, (math.sin(math.pi / 6), math.cos(math.pi / 6), 0), 60.0)
    assert float(project(slanted, plain_view("pa"), 256)[128, 128]) == pytest.approx(2.4, rel=0.03)
    end_on = project(straight(6.0, (0, 1, 0), 60.0), plain_view("pa"), 256)
    assert float(end_on[128, 128]) == pytest.approx(6.0, rel=0.01)


@pytest.mark.parametrize("angles", [(0, 0), (90, 0), (55, -25)])
def test_arteries_lie_where_the_volume_has_them(angles: tuple[float, float]) -> None:
    data = torch.zeros(1, 60, 60, 60)
    data[0, 45, 20, 40] = 1.0
    view = View("any", *angles, 4.0, (0, 0, 0), 200.0)
    bone = Projector(Volume(data, 2.0, (-60.0, -60.0, -60.0))).project(view, 64)[0]
    one = torch.ones(1, dtype=torch.float64)
    vessel = project(Discs(torch.tensor([[21.0, -19.0, 31.0]]).double(), one, one), view, 64)
    steps = torch.arange(64.0)
    for image in (bone, vessel):
        image /= image.sum()
    for axis in (0, 1):
        place, expected = ((image.sum(dim=axis) * steps).sum() for image in (vessel, bone))
        assert float(place) == pytest.approx(float(expected), abs=0.1)


@pytest.mark.parametrize("radius", [0.2, 0.5, 2.0])
def test_vessels_finer_than_a_pixel_keep_their_volume(radius: float) -> None:
    arteries = straight(radius, (1, 0, 1), 80.0)
    expected = math.pi * radius**2 * 80.0 * MAGNIFICATION**2 / 10
    for size in (32, 64, 200):
        image = project(arteries, plain_view("pa"), size)
        assert float(image.sum()) * (272 / size) ** 2 == pytest.approx(expected, rel=0.005)


@pytest.mark.parametrize("name", ["pa", "towne", "lateral", "obl60"])
def test_path_length_does_not_depend_on_image_size(name: str) -> None:
    arteries = grow(Variation(11))
    coarse, fine = (project(arteries, plain_view(name), size) for size in (64, 128))
    assert float(coarse.sum()) * 4 == pytest.approx(float(fine.sum()), rel=0.01)
    blocks = fine.reshape(64, 2, 64, 2).mean(dim=(1, 3))
    assert correlation(coarse, blocks) > 0.95


def test_arteries_are_those_of_their_head() -> None:
    one, again, other = grow(Variation(1)), grow(Variation(1)), grow(Variation(2))
    assert torch.equal(one.centers, again.centers)
    assert len(one.centers) != len(other.centers)
    assert 0.25 <= float(one.radii.min()) < 0.4
    assert 2.0 < float(one.radii.max()) < 2.6


@pytest.mark.parametrize("seed", [3, 8])
def test_arteries_run_within_the_skull(seed: int) -> None:
    arteries, head = grow(Variation(seed)), make_head(Variation(seed), 2.5)
    above = arteries.centers[:, 2] > 40  # the skull base has canals for them that voxels lack
    index = ((arteries.centers[above] - torch.tensor(CORNER)) / 2.5).long().unbind(dim=1)
    assert (head.bone.data[1, index[2], index[1], index[0]] > 0.8).double().mean() < 0.02
    assert (head.soft.data[1, index[2], index[1], index[0]] > 0.9).double().mean() > 0.99
    # Both sides, and all lobes.
    low, high = arteries.centers[above].amin(dim=0), arteries.centers[above].amax(dim=0)
    assert low[0] < -45
    assert high[0] > 45
    assert low[1] < -60
    assert high[1] > 60
    assert high[2] > 85


def test_iodine_has_its_k_edge() -> None:
    def iodine(energy: float) -> float:
        return physics.mass_attenuation(physics.IODINE, energy)

    assert iodine(33.2) / iodine(33.1) == pytest.approx(35.82 / 6.553, rel=0.02)
    assert [iodine(e) for e in (40, 60, 100)] == pytest.approx([22.1, 7.579, 1.942])
    spectrum = physics.tube_spectrum(76, 0.2)
    nothing, some = torch.zeros(1), torch.tensor([0.05])
    weakened = spectrum.transmission(nothing, nothing, some)
    assert float(weakened) == pytest.approx(math.exp(-0.05 * 12.3), abs=0.06)
    assert torch.equal(
        spectrum.transmission(some, some), spectrum.transmission(some, some, nothing)
    )


def test_vessels_darken_where_the_mask_says(phantoms: dict[str, Phantom]) -> None:
    plain, filled = phantoms["silent none"], phantoms["silent angiogram"]
    assert filled.ids("test", "real_low") == plain.ids("test", "real_low")
    path = torch.from_numpy(filled.vessel_paths("test"))
    near = torch.nn.functional.max_pool2d(path, 7, 1, 3) > 0
    assert 0.1 < (~near).double().mean() < 0.7
    assert np.array_equal(filled.bone_masks("test"), plain.bone_masks("test"))
    for domain in LOOKS:
        drop = stack(plain, domain) - stack(filled, domain)
        assert drop[path > 0.15].mean() > 0.04
        assert drop[path > 0.15].mean() > 2 * drop[(path > 0.02) & (path < 0.08)].mean() > 0
        assert drop[~near].abs().mean() < 0.002


def test_domains_show_the_same_arteries(phantoms: dict[str, Phantom]) -> None:
    dsa = phantoms["silent dsa"]
    path = torch.from_numpy(dsa.vessel_paths("test"))
    for domain in LOOKS:
        images = stack(dsa, domain)
        for view in range(4):
            assert correlation(images[view], path[view]) < -0.8
            assert correlation(images[view], path[(view + 1) % 4]) > -0.6


def test_subtraction_leaves_vessels_on_an_even_ground(phantoms: dict[str, Phantom]) -> None:
    dsa, angiogram = phantoms["dsa"], phantoms["silent angiogram"]
    bone = torch.from_numpy(dsa.bone_masks("test", 1.0)).float()
    path = torch.from_numpy(dsa.vessel_paths("test"))
    mask = path > 0.15
    away = torch.nn.functional.max_pool2d(path, 5, 1, 2) == 0
    for domain in LOOKS:
        images = stack(dsa, domain)
        assert float(images[away].mean()) == pytest.approx(VESSEL_GROUND, abs=0.03)
        assert images[mask].mean() < VESSEL_GROUND - 0.12
        assert abs(correlation(images[away], bone[away])) < 0.06
        assert correlation(stack(angiogram, domain)[away], bone[away]) < -0.8


def test_second_exposures_and_training_images(phantoms: dict[str, Phantom]) -> None:
    dsa, silent = phantoms["dsa"], phantoms["silent dsa"]
    for domain in LOOKS:
        first, second = dsa.images("test", domain)[:], dsa.repeats("test", domain)[:]
        assert not torch.equal(first, second)
        assert (first - second).mean().abs() < 0.01
        assert torch.equal(silent.images("test", domain)[:], silent.repeats("test", domain)[:])
        image = silent.train(domain)[0]
        assert image.shape == (1, 64, 64)
        assert float(image.median()) == pytest.approx(VESSEL_GROUND, abs=0.05)
        assert float(image.min()) < 0.5


def test_vessels_are_made_the_same_again(
    phantoms: dict[str, Phantom], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = phantoms["dsa"].vessel_paths("val"), phantoms["dsa"].images("val", "real_low")[:]
    again = Phantom(phantoms["dsa"].config)
    monkeypatch.setenv("XBENCH_HOME", str(tmp_path))
    again.prepare()
    assert np.array_equal(again.vessel_paths("val"), expected[0])
    assert torch.equal(again.images("val", "real_low")[:], expected[1])


def test_a_head_without_contrast_has_no_vessel_paths(phantoms: dict[str, Phantom]) -> None:
    with pytest.raises(UserError, match=r"has no vessels(.|\n)*data.vessels=angiogram"):
        phantoms["silent none"].vessel_paths("test")
