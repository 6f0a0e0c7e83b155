"""The phantom's geometry, physics and looks, without the cache."""

import math
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor

from xbench.datasets.phantom import anatomy, physics
from xbench.datasets.phantom.acquisition import Acquisition, draw_acquisition
from xbench.datasets.phantom.anatomy import Variation
from xbench.datasets.phantom.files import one_thread
from xbench.datasets.phantom.generate import project
from xbench.datasets.phantom.noise import NoiseField
from xbench.datasets.phantom.projection import Projector, View, Volume, gaussian
from xbench.datasets.phantom.render import LOOKS, Paths, look, render
from xbench.datasets.phantom.shapes import Block, Ellipsoid, Ring, Shape, Tube, Turned, mirrored
from xbench.datasets.phantom.views import CLASSES, draw_view
from xbench.datasets.phantom.volume import EXTENT, Head, make_head

#: Mean, standard deviation and mean below .9 of one published image per domain (X-DigiSkull).
PUBLISHED = {
    "synthetic_low": (0.79, 0.19, 0.65),
    "synthetic_high": (0.82, 0.19, 0.64),
    "real_low": (0.69, 0.23, 0.54),
    "real_normal": (0.69, 0.24, 0.53),
    "real_exposure": (0.67, 0.23, 0.51),
}


@pytest.fixture(autouse=True, scope="module")
def one_thread_each() -> Iterator[None]:
    """Small operations on one thread, as the generator does them."""
    with one_thread():
        yield


def plain_view(name: str, roll: float = 0.0) -> View:
    return View(name, *CLASSES[name], roll, (0.0, 6.0, 8.0), 272.0)


def march(volume: Volume, view: View, size: int) -> Tensor:
    """Line integrals by trilinear sampling every third of a voxel: slow and plain."""
    focus, rays = view.rays(size)
    length = rays.norm(dim=-1)
    middle = float((focus - torch.tensor(view.isocentre)).norm())
    step = volume.voxel / 3
    depths = torch.arange(middle - 200, middle + 200, step, dtype=torch.float64)
    corner = torch.tensor(volume.corner, dtype=torch.float64)
    extent = torch.tensor([n * volume.voxel for n in reversed(volume.data.shape[1:])])
    total = torch.zeros(volume.data.shape[0], size, size)
    for depth in depths:
        points = focus + rays / length[..., None] * depth
        where = (2 * (points - corner) / extent - 1).float()[None, None]
        slab = torch.nn.functional.grid_sample(volume.data[None], where, align_corners=False)
        total += slab[0, :, 0]
    return total * step / 10


@pytest.fixture(scope="module")
def head() -> Head:
    return make_head(Variation(11), 3.0)


@pytest.fixture(scope="module")
def paths() -> list[Paths]:
    """Eight views, one of each class, of two heads at 256 px."""
    result = []
    for index in range(2):
        seed = 500 + index
        made = make_head(Variation(seed), 1.25)
        bone, soft = Projector(made.bone), Projector(made.soft)
        for number in range(4):
            view = draw_view("statistics", 4 * index + number)
            result.append(project(bone, soft, view, 256, seed)[0])
    return result


@pytest.mark.parametrize("name", ["pa", "towne", "lateral", "obl60"])
def test_shear_warp_agrees_with_ray_marching(head: Head, name: str) -> None:
    view = plain_view(name, roll=3.0)
    for volume in (head.bone, head.soft):
        fast, slow = Projector(volume).project(view, 64), march(volume, view, 64)
        # The splines and the pixel's width blur a little; a common blur takes that out.
        difference = gaussian(fast, 1.0) - gaussian(slow, 1.0)
        assert difference.abs().mean() < 0.02 * slow.mean()
        assert (fast.sum() / slow.sum() - 1).abs() < 0.005


@pytest.mark.parametrize("name", ["pa", "waters", "lateral"])
def test_sphere_has_its_chord_length(name: str) -> None:
    voxel, radius, center = 2.0, 60.0, (5.0, 10.0, 3.0)
    axes = [torch.arange(80) * voxel - 79.0 + c for c in reversed(center)]
    z, y, x = torch.meshgrid(*axes, indexing="ij")
    distance = Ellipsoid(center, (radius,) * 3).distance(x, y, z)
    corner = (center[0] - 80.0, center[1] - 80.0, center[2] - 80.0)
    volume = Volume((0.5 - distance / 2.8).clamp(0, 1)[None], voxel, corner)
    view = plain_view(name)
    focus, rays = view.rays(96)
    offset = torch.tensor(center, dtype=torch.float64) - focus
    along = (rays @ offset) / rays.norm(dim=-1)
    chord = 2 * (radius**2 - (offset.square().sum() - along**2)).clamp(min=0).sqrt() / 10
    found = Projector(volume).project(view, 96)[0]
    assert (found - chord).abs().mean() < 0.015 * chord.mean()
    assert float(found.max()) == pytest.approx(12.0, rel=0.005)


def test_left_and_head_up_lie_where_they_should() -> None:
    data = torch.zeros(1, 60, 60, 60)
    data[0, 45, 30, 40] = 1.0  # above the middle and to the patient's left
    volume = Volume(data, 2.0, (-60.0, -60.0, -60.0))
    image = Projector(volume).project(View("pa", 0, 0, 0, (0, 0, 0), 200.0), 64)[0]
    row, column = divmod(int(image.argmax()), 64)
    assert row < 24
    assert column > 38


def test_voxel_size_changes_little() -> None:
    view = plain_view("lao")
    images = [
        Projector(make_head(Variation(3), voxel).bone).project(view, 48) for voxel in (2.0, 3.2)
    ]
    smooth = [gaussian(image, 1.0) for image in images]
    for fine, coarse in zip(*smooth, strict=True):
        assert (fine.sum() / coarse.sum() - 1).abs() < 0.03
        assert torch.corrcoef(torch.stack([fine.flatten(), coarse.flatten()]))[0, 1] > 0.995


def test_seeds_make_heads() -> None:
    one, again, other = (make_head(Variation(seed), 5.0).bone.data for seed in (1, 1, 2))
    assert torch.equal(one, again)
    assert (one - other).abs().mean() > 0.05 * one.mean()


def test_noise_is_a_function_of_place() -> None:
    field = NoiseField(4, 10.0, EXTENT)
    axis = torch.arange(2, 170, 3.0)
    whole = field.sample(axis, axis, axis)
    part = field.sample(axis[5:9], axis, axis[30:])
    torch.testing.assert_close(part, whole[30:, :, 5:9])
    assert float(whole.std()) == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize(
    "shape",
    [
        Ellipsoid((10, 5, -4), (8, 12, 5), (20, -10, 35)),
        Tube(((2, 0, 0), (14, 8, 6), (20, 8, -5)), (4, 2, 3), (1, 1.5, 0.5)),
        Block((6, 1, 2), (4, 9, 6), 2, (10, 20, -30)),
        Ring((4, 0, 0), (12, 9), 3, "z", (15, 0, 0)),
        Ring((4, 0, 0), (12, 9), 3, "y", (0, 0, 25)),
        Turned(Block((6, 1, 2), (4, 9, 6), 2, (10, 20, -30)), 15, -3, 4),
    ],
)
def test_shapes_keep_their_bounds_and_mirror(shape: Shape) -> None:
    points = (torch.rand(3, 20000, generator=torch.Generator().manual_seed(0)) - 0.5) * 80
    x, y, z = points
    distance = shape.distance(x, y, z)
    low, high = (torch.tensor(corner)[:, None] for corner in shape.bounds())
    inside = ((points >= low) & (points <= high)).all(dim=0)
    assert (distance < 0).any()
    assert (distance[~inside] > 0).all()
    torch.testing.assert_close(mirrored(shape).distance(-x, y, z), distance)


def test_every_head_has_all_its_parts() -> None:
    variation = Variation(3)
    assert 0 <= len(anatomy.teeth(variation)) // 2 <= 32
    assert len(anatomy.teeth(Variation(3, wide=False))) // 2 >= 26
    assert len(anatomy.cavities(variation)) > 20
    assert variation == Variation(3)
    assert variation.vault_mm != Variation(4).vault_mm


def test_attenuation_tables_are_smooth() -> None:
    for table in (physics.BONE, physics.SOFT, physics.ALUMINIUM, physics.COPPER):
        points = zip(physics.ENERGIES, table, strict=True)
        slopes = [math.log(m1 / m0) / math.log(e1 / e0) for (e0, m0), (e1, m1) in pairwise(points)]
        # Photoabsorption (about E^-3) gives way to scatter: the slope rises without a jump.
        assert -3.1 < slopes[0] < 0
        assert all(b > a for a, b in pairwise(slopes))


def test_caesium_iodide_has_two_edges_and_fits_its_elements() -> None:
    def csi(energy: float) -> float:
        return physics.mass_attenuation(physics.CAESIUM_IODIDE, energy)

    assert csi(33.2) / csi(33.1) == pytest.approx(3.07, rel=0.03)
    assert csi(36.0) / csi(35.9) == pytest.approx(1.76, rel=0.03)
    # Iodine alone; caesium, two elements on, absorbs about (55/53)^3 times as much.
    for energy, iodine in ((40, 22.1), (50, 12.3), (60, 7.58), (80, 3.51), (100, 1.94)):
        assert csi(energy) == pytest.approx(iodine * (0.488 + 0.512 * (55 / 53) ** 3), rel=0.03)


def test_spectra_harden_with_voltage_and_filter() -> None:
    spectra = [physics.tube_spectrum(*v) for v in ((80, 0.4), (76, 0.2), (72, 0.1))]
    means = [float(np.average(s.energies, weights=s.weights)) for s in spectra]
    assert means == pytest.approx([54.6, 50.0, 46.6], abs=1.5)  # an independent calculation
    spectrum = physics.tube_spectrum(76, 0.2)
    bone = torch.tensor([0.0, 1.0, 2.0])
    passed = spectrum.transmission(bone, torch.zeros(3))
    assert float(passed[0]) == pytest.approx(1.0, abs=1e-6)
    # Beam hardening: the second gram stops less than the first.
    assert passed[1] / passed[0] < passed[2] / passed[1] < 1


def test_views_cover_all_classes() -> None:
    names = [draw_view("series", slot).name for slot in range(16)]
    assert set(names[:8]) == set(names[8:]) == set(CLASSES)
    assert names[:8] != names[8:]
    view = draw_view("series", 5)
    assert view == draw_view("series", 5)
    assert abs(view.lao - CLASSES[view.name][0]) <= 6
    assert view != draw_view("other", 5)


@pytest.mark.parametrize("domain", list(LOOKS))
def test_statistics_match_the_published_images(domain: str, paths: list[Paths]) -> None:
    images = [render(look(domain, True, True, True), p, 1) for p in paths]
    mean = sum(float(i.mean()) for i in images) / len(images)
    std = sum(float(i.std()) for i in images) / len(images)
    inside = sum(float(i[i < 0.9].mean()) for i in images) / len(images)
    assert (mean, std, inside) == pytest.approx(PUBLISHED[domain], abs=0.06)


@pytest.mark.parametrize("domain", list(LOOKS))
def test_air_is_white_and_bone_dark(domain: str, paths: list[Paths]) -> None:
    for p in paths:
        image = render(look(domain, True, True, True), p, 1)
        air = (p.plastic == 0) & (p.tissue == 0) & (p.solid == 0) & (p.mount == 0)
        assert image[air].mean() > 0.9
        assert image[p.dens > 4].mean() < image[air].mean() - 0.3


def test_low_dose_is_noisier_and_real_is_sharper(paths: list[Paths]) -> None:
    def images(domain: str, noise: bool) -> Tensor:
        return torch.stack([render(look(domain, True, noise, True), p, 1) for p in paths])

    silent = {domain: images(domain, False) for domain in LOOKS}
    noise = {domain: float((images(domain, True) - silent[domain]).std()) for domain in LOOKS}
    assert noise["synthetic_low"] > 3 * noise["synthetic_high"] > 0
    assert noise["real_low"] > 1.5 * noise["real_normal"]
    assert noise["real_normal"] > 1.5 * noise["real_exposure"] > 0
    edges = {domain: float((x - gaussian(x, 1.0)).std()) for domain, x in silent.items()}
    assert edges["real_exposure"] > edges["real_normal"] > 3 * edges["synthetic_high"]


def test_switches_remove_their_cause(paths: list[Paths]) -> None:
    p = paths[0]

    def images(attenuation: bool, noise: bool, soft_tissue: bool, seed: int = 1) -> list[Tensor]:
        return [render(look(d, attenuation, noise, soft_tissue), p, seed) for d in LOOKS]

    def spread(stack: list[Tensor]) -> float:
        return float(torch.stack(stack).std(dim=0).mean())

    silent, again = images(True, False, True), images(True, False, True, seed=2)
    assert all(torch.equal(a, b) for a, b in zip(silent, again, strict=True))
    # All off: nothing is left of the gap. One on: something is.
    none = images(False, False, False)
    assert all(torch.equal(none[0], image) for image in none[1:])
    assert spread(images(True, False, False)) > 0.03
    assert spread(images(False, True, False)) > 0.003
    assert spread(images(False, False, True)) > 0.03
    # A switch changes the simulator alone where it takes over what the real domains have.
    full, bare = images(True, True, True), images(True, True, False)
    assert not torch.equal(full[0], bare[0])
    assert all(torch.equal(a, b) for a, b in zip(full[2:], bare[2:], strict=True))


def test_structures_of_an_acquisition_are_masked(paths: list[Paths]) -> None:
    normal = look("real_normal", True, False, True)
    plain = render(normal, paths[0], 1)
    structures = [draw_acquisition(str(i)) for i in range(40)]
    assert any(a.wedges for a in structures)
    assert any(a.cable for a in structures)
    assert any(a.screws for a in structures)
    for acquisition in structures:
        changed = (render(normal, paths[0], 1, acquisition) - plain).abs()
        mask = acquisition.mask(256)
        assert changed[~mask].mean() < 0.003
        if mask.any():
            assert changed[mask].mean() > max(0.004, 3 * changed[~mask].mean())
            assert changed[mask].max() > 0.05
            assert mask.double().mean() < 0.5
    assert not Acquisition().mask(64).any()
    assert draw_acquisition("a") == draw_acquisition("a") != draw_acquisition("b")
