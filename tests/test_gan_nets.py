"""Networks of the GAN family: the published shapes and counts, and what their layers promise."""

import math
from typing import TypeVar

import pytest
import torch
from torch import Tensor, nn

from xbench.methods.nets.patch import PatchDiscriminator, PatchProjector, least_squares
from xbench.methods.nets.resnet import (
    BlurDown,
    ResnetGenerator,
    encoder_taps,
    init_normal,
    init_xavier,
    instance_norm,
    tap_channels,
    tap_positions,
)
from xbench.methods.nets.unsb import BridgeGenerator, TimedDiscriminator
from xbench.methods.pairwise import count
from xbench.methods.patchnce import draw_locations, nce_loss, patch_nce

Net = TypeVar("Net", bound=nn.Module)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(number: int, height: int = 32, width: int = 32, channels: int = 1) -> Tensor:
    return torch.rand(number, channels, height, width, generator=seeded()) * 2 - 1


def randomise(net: Net, scale: float = 0.3, seed: int = 0) -> Net:
    """Weights and biases large enough for every input to matter."""
    generator = seeded(seed)
    with torch.no_grad():
        for weight in net.parameters():
            weight.copy_(torch.randn(weight.shape, generator=generator) * scale)
    return net


@pytest.mark.parametrize(
    ("channels", "generator", "discriminator", "projector"),
    [(1, 11_365_633, 2_762_689, 559_872), (3, 11_378_179, 2_764_737, 560_384)],
)
@pytest.mark.parametrize("antialias", [False, True])
def test_parameters_are_as_many_as_published(
    channels: int, generator: int, discriminator: int, projector: int, antialias: bool
) -> None:
    with torch.device("meta"):
        assert count(ResnetGenerator(channels, antialias=antialias)) == generator
        assert count(PatchDiscriminator(channels, antialias=antialias)) == discriminator
        assert count(PatchProjector(tap_channels(encoder_taps(9), channels))) == projector


@pytest.mark.parametrize(
    ("channels", "official", "live", "fixed", "discriminator", "energy"),
    [
        (1, 14_671_873, 7_502_337, 13_487_617, 3_140_993, 3_144_065),
        (3, 14_684_419, 7_514_883, 13_500_163, 3_143_041, 3_152_257),
    ],
)
def test_parameters_of_unsb_are_as_many_as_published(
    channels: int, official: int, live: int, fixed: int, discriminator: int, energy: int
) -> None:
    with torch.device("meta"):
        net = BridgeGenerator(channels, official=True)
        assert count(net) == official
        assert sum(w.numel() for w in net.parameters() if w.requires_grad) == live
        assert count(BridgeGenerator(channels)) == fixed
        assert count(TimedDiscriminator(channels)) == discriminator
        assert count(TimedDiscriminator(4 * channels)) == energy


@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize("size", [(32, 32), (36, 44)])
def test_a_generator_keeps_size_and_range(size: tuple[int, int], antialias: bool) -> None:
    net = randomise(ResnetGenerator(width=8, blocks=2, antialias=antialias))
    output = net(images(2, *size))
    assert output.shape == (2, 1, *size)
    assert output.abs().max() <= 1
    assert output.std() > 0.1


@pytest.mark.parametrize("antialias", [False, True])
def test_a_discriminator_scores_patches(antialias: bool) -> None:
    net = PatchDiscriminator(width=2, antialias=antialias)
    assert net(images(1, 256, 256)).shape == (1, 1, 30, 30)


def test_a_timed_discriminator_scores_patches() -> None:
    scores = TimedDiscriminator(width=2)(images(1, 256, 256), torch.tensor([3]))
    assert scores.shape == (1, 1, 30, 30)


@pytest.mark.parametrize("init", [init_normal, init_xavier])
def test_fresh_weights_give_small_images(init: object) -> None:
    assert callable(init)
    torch.manual_seed(0)
    net = ResnetGenerator(width=8, blocks=2)
    init(net)
    assert all(not w.any() for name, w in net.named_parameters() if name.endswith("bias"))
    assert net(images(1)).abs().mean() < 0.2


def test_a_batch_of_two_equals_two_singles_in_training_and_evaluation() -> None:
    net = randomise(ResnetGenerator(width=8, blocks=2, antialias=True), 0.1)
    x = images(2)
    together = net.train()(x)
    alone = torch.cat([net.eval()(x[:1]), net(x[1:])])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)


def test_instance_norm_equals_torchs_own() -> None:
    x = torch.randn(3, 5, 7, 9, generator=torch.Generator().manual_seed(0)) * 4 + 2
    torch.testing.assert_close(instance_norm(5)(x), nn.InstanceNorm2d(5)(x))


def test_a_bias_before_instance_norm_changes_nothing() -> None:
    net = randomise(ResnetGenerator(width=8, blocks=1))
    before = net(images(1))
    first = net.layers[1]
    assert isinstance(first, nn.Conv2d)
    assert first.bias is not None
    with torch.no_grad():
        first.bias += 0.5
    torch.testing.assert_close(net(images(1)), before, atol=1e-4, rtol=0)


def test_the_blur_weighs_neighbours_binomially() -> None:
    impulse = torch.zeros(1, 1, 5, 5)
    impulse[0, 0, 2, 2] = 16
    line = torch.tensor([0.0, 2.0, 0.0])
    assert torch.equal(BlurDown(1)(impulse)[0, 0], torch.outer(line, line))
    impulse = torch.zeros(1, 1, 5, 5)
    impulse[0, 0, 1, 1] = 16
    assert torch.equal(BlurDown(1)(impulse)[0, 0, :2, :2], torch.tensor([[4.0, 2], [2, 1]]))
    assert torch.equal(BlurDown(3)(torch.ones(1, 3, 6, 6)), torch.ones(1, 3, 3, 3))


def test_the_official_taps_and_what_lies_there() -> None:
    taps = encoder_taps(9)
    assert taps == (0, 4, 8, 12, 16)
    net = ResnetGenerator(width=2, antialias=True)
    shapes = [tuple(features.shape[1:]) for features in net.features(images(1, 256, 256), taps)]
    assert shapes == [(1, 262, 262), (4, 256, 256), (8, 128, 128), (8, 64, 64), (8, 64, 64)]


@pytest.mark.parametrize("blocks", [1, 2, 5])
@pytest.mark.parametrize("kind", [ResnetGenerator, BridgeGenerator])
def test_taps_are_as_wide_and_large_as_said(kind: type, blocks: int) -> None:
    taps = encoder_taps(blocks)
    x = images(1, 32, 36)
    if kind is ResnetGenerator:
        features = ResnetGenerator(width=8, blocks=blocks, antialias=True).features(x, taps)
    else:
        index, z = torch.zeros(1, dtype=torch.long), torch.zeros(1, 32)
        features = BridgeGenerator(width=8, blocks=blocks).features(x, index, z, taps)
    assert [f.shape[1] for f in features] == tap_channels(taps, width=8)
    assert [f[0, 0].numel() for f in features] == tap_positions(taps, 32, 36)


def test_locations_are_distinct_and_within_each_tap() -> None:
    locations = draw_locations(3, [400, 64], 256, seeded())
    assert locations.shape == (3, 2, 64)
    assert int(locations[:, 1].max()) < 64
    assert all(len(row.unique()) == 64 for row in locations.flatten(0, 1))


def test_least_squares_of_undecided_scores_is_a_quarter() -> None:
    undecided = torch.full((2, 1, 3, 3), 0.5)
    assert least_squares(undecided, 1) == least_squares(undecided, 0) == 0.25


def test_contrast_of_distinct_patches_is_small_and_of_equal_ones_is_the_logarithm() -> None:
    distinct = torch.eye(32)[None]
    assert patch_nce(distinct, distinct) < 1e-4
    equal = torch.ones(2, 256, 4) / 2
    assert float(patch_nce(equal, equal)) == pytest.approx(math.log(256), abs=1e-4)


def test_contrast_tells_patches_of_one_image_only() -> None:
    vectors = torch.nn.functional.normalize(torch.randn(2, 8, 4, generator=seeded()), dim=2)
    others = torch.nn.functional.normalize(torch.randn(2, 8, 4, generator=seeded(1)), dim=2)
    alone = [patch_nce(vectors[i : i + 1], others[i : i + 1]) for i in range(2)]
    torch.testing.assert_close(patch_nce(vectors, others), sum(alone) / 2)


def test_contrast_does_not_depend_on_the_patches_order_and_leaves_keys_alone() -> None:
    queries = torch.randn(1, 8, 4, generator=seeded(), requires_grad=True)
    keys = torch.randn(1, 8, 4, generator=seeded(1), requires_grad=True)
    loss = patch_nce(queries, keys)
    order = torch.randperm(8, generator=seeded())
    torch.testing.assert_close(patch_nce(queries[:, order], keys[:, order]), loss)
    loss.backward()
    assert keys.grad is None
    assert queries.grad is not None


def test_a_projector_puts_vectors_on_the_unit_sphere() -> None:
    projector = randomise(PatchProjector([1, 16], out=8))
    features = [images(2, 10, 10), images(2, 8, 8, channels=16)]
    vectors = projector(features, draw_locations(2, [100, 64], 16, seeded()))
    assert [v.shape for v in vectors] == [(2, 16, 8)] * 2
    torch.testing.assert_close(vectors[1].norm(dim=2), torch.ones(2, 16))


def test_a_batch_of_one_has_the_gradient_of_two_equal_images() -> None:
    """PyTorch's instance norm is wrong for gradients laid out channels last in a batch of one."""
    net = randomise(ResnetGenerator(width=8, blocks=3, antialias=True), 0.1)
    taps = encoder_taps(3)
    projector = randomise(PatchProjector(tap_channels(taps, width=8), out=8))
    places = draw_locations(1, tap_positions(taps, 32, 32), 16, seeded())
    gradients = []
    for number in (1, 2):
        x = images(1).repeat(number, 1, 1, 1)
        queries, keys = net.features(x, taps), net.features(x.flip(3), taps)
        loss = nce_loss(projector, queries, keys, places.repeat(number, 1, 1))
        gradients.append(torch.autograd.grad(loss, net.layers[1].weight)[0])
    torch.testing.assert_close(gradients[0], gradients[1], atol=1e-4, rtol=1e-3)


def spread(net: BridgeGenerator, indices: list[int], zs: Tensor) -> float:
    """Largest difference between outputs for one image at these indices and z."""
    x = images(1).repeat(len(indices), 1, 1, 1)
    outputs = net(x, torch.tensor(indices), zs)
    return (outputs - outputs[:1]).abs().max().item()


def test_only_the_fixed_generator_sees_the_time() -> None:
    z = torch.randn(1, 32, generator=seeded()).repeat(2, 1)
    nets = [BridgeGenerator(width=8, blocks=3, official=official) for official in (True, False)]
    for net in nets:
        torch.manual_seed(0)
        net.initialise()
    assert spread(nets[0], [0, 4], z) == 0
    assert spread(nets[1], [0, 4], z) > 1e-3


def test_the_official_start_erases_z_and_the_fixed_one_does_not() -> None:
    zs = torch.randn(2, 32, generator=seeded())
    torch.manual_seed(0)
    official, fixed = (BridgeGenerator(width=8, blocks=3, official=o) for o in (True, False))
    official.initialise()
    fixed.initialise()
    assert spread(official, [0, 0], zs) < 1e-5
    assert spread(fixed, [0, 0], zs) > 1e-3
    block = fixed.blocks[0]
    assert torch.equal(block.affine.bias, torch.cat([torch.ones(32), torch.zeros(32)]))


@pytest.mark.parametrize("official", [True, False])
def test_gradients_reach_every_weight_that_is_not_frozen(official: bool) -> None:
    net = randomise(BridgeGenerator(width=8, blocks=2, official=official))
    index, z = torch.tensor([3]), torch.randn(1, 32, generator=seeded())
    net(images(1), index, z).square().mean().backward()
    for name, weight in net.named_parameters():
        assert (weight.grad is not None) == weight.requires_grad, name


def test_an_official_discriminator_has_the_time_in_its_first_layer_only() -> None:
    x, indices = images(1).repeat(2, 1, 1, 1), torch.tensor([0, 4])
    for official in (True, False):
        net = randomise(TimedDiscriminator(width=8, layers=2, official=official), 0.1)
        with torch.no_grad():
            net.layers[0].time.weight.zero_()
            scores = net(x, indices)
        differs = bool((scores[0] - scores[1]).abs().max() > 1e-3)
        assert differs == (not official)
