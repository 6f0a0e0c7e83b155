"""Physics metrics on pictures whose noise, edges and greys are known, and on the phantom."""

import math
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.ndimage
import scipy.stats
import torch
from numpy.typing import NDArray
from torch import Tensor

from xbench.core.profiles import get_profile
from xbench.datasets.phantom.v1 import FirstPhantom
from xbench.metrics.base import METRICS
from xbench.metrics.physics import (
    DARKEST,
    POWER_FLOOR,
    dark_gap,
    edge_sharpness,
    grey_distributions,
    noise_spectra,
    otsu_thresholds,
    rms_gap,
    tissue_shares,
)

independent = runpy.run_path(str(Path(__file__).with_name("references") / "independent.py"))
darkest_part = independent["dark_distance"]
otsu = independent["otsu"]
patch_by_patch = independent["noise_spectrum"]
Array = NDArray[np.float64]
#: Metric → what measures an image, and what compares the measures of two sets.
MEASURES: dict[str, tuple[Any, Any]] = {
    name: (metric.function, metric.gap)
    for name, metric in METRICS.items()
    if metric.kind == "measures"
}


def distance(name: str) -> Callable[[Tensor, Tensor], float]:
    measure, gap = MEASURES[name]
    return lambda output, target: gap(measure(output), measure(target))


nps_distance, edge_ratio, tissue_contrast = map(distance, ("nps", "edge_ratio", "tissue_contrast"))
DISTANCES = tuple(map(distance, MEASURES))


def attenuation_distance(output: Tensor, target: Tensor, darkest: float = DARKEST) -> float:
    return dark_gap(grey_distributions(output), grey_distributions(target), darkest)


def head(seed: int = 0, noise: float = 0.0, side: int = 64, blur: float = 1.0) -> Array:
    """Air, a disc of soft tissue, a ring of bone around a grey vault; white noise on it."""
    rng = np.random.default_rng(seed)
    y, x = (np.mgrid[:side, :side] + 0.5) / side - 0.5 - rng.uniform(-0.03, 0.03, (2, 1, 1))
    radius = np.hypot(x, 1.1 * y)
    grey = np.select([radius < 0.3, radius < 0.35, radius < 0.42], [0.55, 0.3, 0.82], 0.97)
    smooth: Array = scipy.ndimage.gaussian_filter(grey, blur)
    return np.clip(smooth + noise * rng.standard_normal(smooth.shape), 0, 1)


def heads(count: int = 6, seed: int = 0, **how: float) -> Tensor:
    pictures = [head(seed=100 * seed + index, **how) for index in range(count)]  # type: ignore[arg-type]
    return torch.from_numpy(np.stack(pictures))[:, None]


def batch(*pictures: Array) -> Tensor:
    return torch.from_numpy(np.stack(pictures))[:, None]


def test_noise_spectrum_is_what_its_definition_says() -> None:
    for side in (32, 50, 64):
        image = head(noise=0.02, side=side)
        spectrum = noise_spectra(batch(image))[0].numpy()
        np.testing.assert_allclose(spectrum, patch_by_patch(image), atol=1e-6)


def test_white_noise_has_its_variance_as_power() -> None:
    for noise in (0.02, 0.04):
        spectra = noise_spectra(heads(20, noise=noise)).mean(0)
        expected = 10 * math.log10(noise**2 + POWER_FLOOR)
        # The median over patches of means over a few frequencies lies below their mean.
        assert spectra.tolist() == pytest.approx([expected - 0.5, expected - 0.9], abs=0.4)


def test_nps_distance_counts_decibels_of_noise() -> None:
    quiet, loud = heads(20, noise=0.04), heads(20, seed=1, noise=0.08)
    assert nps_distance(quiet, loud) == pytest.approx(6.02, abs=0.4)
    assert nps_distance(quiet, heads(20, seed=2, noise=0.04)) < 0.4


def test_nps_distance_sees_the_grain_of_equally_strong_noise() -> None:
    rng = np.random.default_rng(0)
    white = rng.standard_normal((10, 64, 64))
    base = np.stack([head(seed) for seed in range(10)])
    fine = base + 0.03 * white
    for width, least in ((0.5, 1), (1.0, 5)):
        grain = scipy.ndimage.gaussian_filter(white, (0, width, width))
        coarse = base + 0.03 * grain / grain.std()
        assert nps_distance(*(batch(*images.clip(0, 1)) for images in (fine, coarse))) > least


def test_noise_spectrum_sees_neither_smooth_anatomy_nor_rounding() -> None:
    clean = heads(10)
    floor = 10 * math.log10(POWER_FLOOR)
    assert noise_spectra(clean).max() < floor + 0.1
    assert nps_distance(clean, heads(10, blur=3.0)) < 0.1
    assert nps_distance(clean, (clean * 255).round() / 255) < 0.2
    flat = torch.full((1, 1, 32, 32), 0.4)
    assert noise_spectra(flat)[0].tolist() == pytest.approx([floor, floor], abs=1e-6)


def test_attenuation_distance_equals_sorting_and_scipy() -> None:
    a, b = heads(4, noise=0.03).numpy(), heads(4, seed=1, blur=2).numpy() ** 1.3
    images = torch.from_numpy(a), torch.from_numpy(b)
    assert attenuation_distance(*images) == pytest.approx(darkest_part(a, b, 0.25), abs=1e-4)
    assert attenuation_distance(*images, 0.05) == pytest.approx(darkest_part(a, b, 0.05), abs=2e-4)
    expected = scipy.stats.wasserstein_distance(a.ravel(), b.ravel())
    assert attenuation_distance(*images, darkest=1) == pytest.approx(expected, abs=1e-4)


def test_attenuation_distance_of_few_greys_is_off_by_a_bin_at_most() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        a, b = rng.choice(rng.random(5), (2, 3, 16, 16))
        a[0, 0, 0], b[0, 0, 0] = 0, 1
        for share in (0.25, 1):
            found = attenuation_distance(batch(*a), batch(*b), share)
            assert abs(found - darkest_part(a, b, share)) <= 1 / 1024 + 1e-12


def test_attenuation_distance_in_units_of_the_grey_range() -> None:
    dark = heads(4) * 0.8
    assert attenuation_distance(dark, dark + 0.125) == pytest.approx(0.125, abs=1e-9)
    black, white = torch.zeros(2, 1, 16, 16), torch.ones(3, 1, 20, 24)
    assert attenuation_distance(black, white) == pytest.approx(1, abs=1e-3)
    bright = torch.where(dark > 0.7, 0.95, dark)  # air alone: no matter of bone
    assert attenuation_distance(dark, bright) == 0
    assert attenuation_distance(dark, bright, darkest=1) > 0.05


@pytest.mark.parametrize("blur", [0.8, 1.5, 3.0])
@pytest.mark.parametrize("contrast", [0.1, 0.9])
def test_sharpness_of_a_blurred_edge(blur: float, contrast: float) -> None:
    across = np.arange(64) - 31.7
    profile = scipy.stats.norm.cdf((across + 0.2 * np.arange(64)[:, None] - 6) / blur / 1.0198)
    found = edge_sharpness(batch(0.05 + contrast * profile)).item()
    expected = math.log2(math.sqrt((blur**2 + 4 + 1 / 3) / (blur**2 + 0.49 + 1 / 3)))
    # The 2 % steepest pixels reach a little beyond the crest, where the gradient is largest.
    assert found == pytest.approx(expected, abs=0.06)


def test_edge_ratio_orders_blur_and_sharpening_but_not_noise_or_contrast() -> None:
    sharp = heads(6, blur=1.0)
    softer = [edge_ratio(heads(6, blur=blur), sharp) for blur in (1.0, 1.3, 1.8, 2.5)]
    assert softer == sorted(softer)
    assert softer[0] == 0
    assert softer[3] > 0.3
    assert edge_ratio(0.2 + 0.4 * sharp, sharp) < 1e-3
    assert edge_ratio(heads(6, blur=1.0, noise=0.02), sharp) < 0.05
    enhanced = (sharp + 2 * (sharp - heads(6, blur=2.0))).clamp(0, 1)
    assert edge_sharpness(enhanced).mean() > edge_sharpness(sharp).mean() + 0.1


def test_tissue_share_is_the_area_between_air_and_bone() -> None:
    image = np.full((40, 40), 0.95)
    image[10:30, 5:35] = 0.83  # (.95 - .83) / (.95 - .35) = .2
    image[15:30, 10:30] = 0.55
    image[20:30, 10:30] = 0.35
    assert tissue_shares(batch(image)).item() == (20 * 30 - 15 * 20) / 1600
    # Another grey scale, the same contrast.
    assert tissue_shares(batch(0.1 + 0.5 * image)).item() == (20 * 30 - 15 * 20) / 1600
    bare = np.where(image == 0.83, 0.95, image)
    assert tissue_contrast(batch(image), batch(bare)) == (20 * 30 - 15 * 20) / 1600


def test_thresholds_are_those_of_scikit_image() -> None:
    rng = np.random.default_rng(0)
    images = [head(seed, noise=0.02) for seed in range(4)] + [rng.random((64, 64)) ** 3]
    images += [np.where(rng.random((64, 64)) < 0.1, 0.2, 0.9), np.full((64, 64), 0.3)]
    found = otsu_thresholds(torch.from_numpy(np.stack(images)))
    expected = [otsu(image) for image in images]
    assert found.tolist() == pytest.approx(expected, abs=1e-9)


def test_each_image_is_measured_for_itself() -> None:
    images = torch.cat([heads(5, noise=0.03), heads(4, seed=1, blur=2.0)])
    for name, (measure, gap) in MEASURES.items():
        together = measure(images)
        assert together.shape[0] == 9
        assert together.dtype == torch.float64
        alone = torch.cat([measure(image[None]) for image in images.flip(0)]).flip(0)
        assert together.numpy() == pytest.approx(alone.numpy(), abs=1e-9), name
        assert gap(together[:5], together[5:]) > 0, name
        assert gap(together, together) == 0, name


def test_two_halves_make_the_distance() -> None:
    a, b = heads(5, noise=0.03), heads(4, seed=1, blur=2.0)
    made = [gap(measure(a), measure(b).numpy()) for measure, gap in MEASURES.values()]
    assert made == [distance(a, b) for distance in DISTANCES]
    assert made == pytest.approx([distance(b, a) for distance in DISTANCES], rel=1e-12)


def test_constant_and_tiny_images_have_values() -> None:
    for grey in (0.0, 0.1, 1.0):
        constant = torch.full((3, 1, 16, 16), grey)
        for name, (measure, _) in MEASURES.items():
            assert measure(constant).isfinite().all(), name
        assert edge_sharpness(constant).abs().max() == 0
        assert tissue_shares(constant).max() == 0
    spot = torch.ones(1, 1, 16, 16)
    spot[0, 0, 7, 7] = 0
    for measure, _ in MEASURES.values():
        assert measure(spot).isfinite().all()


def test_wrong_input_is_refused() -> None:
    good = heads(2)
    for distance in DISTANCES:
        with pytest.raises(ValueError, match=r"expected images \[B, 1, H, W\]"):
            distance(good, good[:, 0])
        with pytest.raises(ValueError, match="at least 16 x 16 px"):
            distance(good[..., :15], good)
        with pytest.raises(ValueError, match=r"finite values in \[0, 1\]"):
            distance(good, good * 2)
        with pytest.raises(ValueError, match=r"finite values in \[0, 1\]"):
            distance(good, torch.full_like(good, torch.nan))
    for rows in (np.zeros((0, 3)), np.zeros((2, 2)), np.zeros(3)):
        with pytest.raises(ValueError, match="expected measures"):
            rms_gap(np.zeros((4, 3)), rows)
    for share in (0, 1.5):
        with pytest.raises(ValueError, match=r"a share of the pixels in \(0, 1\]"):
            attenuation_distance(good, good, share)
    with pytest.raises(ValueError, match="finite measures"):
        rms_gap(np.zeros((4, 3)), np.full((4, 3), np.inf))


PAIRS = (
    "synthetic_low>real_normal",
    "synthetic_high>real_low",
    "synthetic_high>real_exposure",
)


def small_phantom(**switches: bool) -> FirstPhantom:
    sizes = {"voxel_mm": 4.0, "train_heads": 1, "train_views": 1, "val_heads": 1, "val_views": 1}
    tests = {"test_heads": 3, "test_views": 3}
    config = FirstPhantom.configure(get_profile("quick")).model_copy(
        update=sizes | tests | switches
    )
    phantom = FirstPhantom(config)
    phantom.prepare()
    return phantom


@pytest.fixture(scope="module")
def gaps() -> dict[str, dict[str, dict[str, float]]]:
    """Value of the untranslated images, by cause that is switched off, metric and pair."""
    values: dict[str, dict[str, dict[str, float]]] = {}
    for cause in ("none", "noise", "attenuation", "soft_tissue"):
        phantom = small_phantom(**({} if cause == "none" else {cause: False}))
        values[cause] = {name: {} for name in MEASURES}
        for name, (measure, gap) in MEASURES.items():
            found = {d: measure(phantom.images("test", d)[:]) for d in phantom.domains}
            for pair in PAIRS:
                source, target = pair.split(">")
                values[cause][name][pair] = gap(found[source], found[target])
                again = measure(phantom.repeats("test", target)[:])
                values[cause][name][f"floor {pair}"] = gap(again, found[target])
    return values


@pytest.mark.parametrize(
    ("cause", "name", "left", "pairs"),
    [
        ("noise", "nps", 0.3, PAIRS[:2]),  # the high doses have hardly any noise to lose
        ("attenuation", "hist_emd", 0.7, PAIRS),
        ("attenuation", "edge_ratio", 0.3, PAIRS[::2]),  # real_low is noisy and soft itself
        ("soft_tissue", "tissue_contrast", 0.5, PAIRS),
    ],
)
def test_each_metric_answers_to_its_cause(
    gaps: dict[str, dict[str, dict[str, float]]],
    cause: str,
    name: str,
    left: float,
    pairs: tuple[str, ...],
) -> None:
    """Without the cause, at most the given part of the value is left."""
    for pair in pairs:
        assert gaps[cause][name][pair] < left * gaps["none"][name][pair], pair


def test_a_second_exposure_is_much_closer_than_the_source(
    gaps: dict[str, dict[str, dict[str, float]]],
) -> None:
    for name in MEASURES:
        for pair in PAIRS:
            assert gaps["none"][name][f"floor {pair}"] < 0.2 * gaps["none"][name][pair], (
                name,
                pair,
            )
