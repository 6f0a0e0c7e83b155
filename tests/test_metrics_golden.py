"""Numbers stored once: a change of a library that moves a metric fails here."""

import numpy as np
import pytest
import torch
from torch import Tensor

from xbench.metrics.frechet import conditional_frechet_distance, frechet_distance
from xbench.metrics.spaces import TEXTURE_COMPONENTS, FeatureSpace
from xbench.metrics.structural import psnr, ssim
from xbench.metrics.texture import DESCRIPTOR_NAMES, descriptors

COUNT, SIDE = 64, 48

# SSIM to source and target, PSNR to source and target.
PIXELS = [0.7383631600964764, 0.9776525838400643, 21.53905146393212, 26.054056235285543]
DESCRIPTORS = {
    "mean": 0.47081493106533245,
    "skewness": 0.017250584492907166,
    "kurtosis": 2.250518086461806,
    "quantile_05": 0.23023502535652368,
    "entropy": 5.167282658709945,
    "glcm1_contrast": 2.4068979839223066,
    "glcm2_energy": 0.10413955215642191,
    "glcm4_correlation": 0.9001898746488786,
    "glcm4_entropy": 7.049064840522087,
    "edge0_gradient_mean": 0.03285371672812487,
    "edge1_laplacian_abs": 0.009089947545906555,
    "edge2_gradient_std": 0.003845214357399443,
    "edge4_gradient_quantile_90": 0.016298598465586043,
    "power_00": 0.45908396106022,
    "power_11": -2.995617847155865,
}
# ftd, cftd
DISTANCES = [18.39953549311282, 17.490827354346766]


def images(grain: int, gain: int) -> Tensor:
    """Shifted ramps with multiplicative-congruential grain, in whole numbers: no library in it."""
    index, row, column = np.ogrid[:COUNT, :SIDE, :SIDE]
    shape = (row * (9 + index % 5) + column * (7 + index % 7) + 31 * index) % 1024
    wave = np.minimum(shape, 1024 - shape) * 64  # up and down again, 0 to 32768
    noise = (row * 48271 + column * 69621 + index * 40692 + row * column * 16807) % 65537 % 1024
    steps = wave * gain // 8 + noise * grain + 9000
    return torch.from_numpy((steps / 65535).astype(np.float32))[:, None]


@pytest.fixture(scope="module")
def sets() -> tuple[Tensor, Tensor, Tensor]:
    return images(1, 8), images(9, 10), images(7, 9)


def test_pixels(sets: tuple[Tensor, Tensor, Tensor]) -> None:
    source, target, output = sets
    values = [
        metric(output, other).mean().item() for metric in (ssim, psnr) for other in (source, target)
    ]
    assert values == pytest.approx(PIXELS, rel=1e-9)


def test_descriptors(sets: tuple[Tensor, Tensor, Tensor]) -> None:
    means = dict(zip(DESCRIPTOR_NAMES, descriptors(sets[2]).mean(0).tolist(), strict=True))
    assert {name: means[name] for name in DESCRIPTORS} == pytest.approx(DESCRIPTORS, rel=1e-9)


def test_texture_distances(sets: tuple[Tensor, Tensor, Tensor]) -> None:
    source, target, output = (descriptors(x) for x in sets)
    space = FeatureSpace.fit(torch.cat([source, target]), TEXTURE_COMPONENTS)
    ftd = frechet_distance(space.standardise(target), space.standardise(output))
    k = space.dimensions(COUNT)
    cftd = conditional_frechet_distance(*(space.project(x, k) for x in (source, target, output)))
    assert k == 16
    assert [ftd, cftd] == pytest.approx(DISTANCES, rel=1e-6)
