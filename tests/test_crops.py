"""Networks of pairs that train on random squares of images, and translate whole images."""

from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
import torch

from xbench.core.hashing import digest
from xbench.core.profiles import get_profile
from xbench.datasets.base import Images
from xbench.methods.cut import CUT, FastCUT
from xbench.methods.cyclegan import CycleGAN
from xbench.methods.pairwise import draw_images, random_squares
from xbench.methods.unsb import Unsb, UnsbOfficial

CPU = torch.device("cpu")
PAIR = ("a", "b")
KINDS = (CycleGAN, CUT, FastCUT, Unsb, UnsbOfficial)
SIZE = 40
#: Every pixel of an image differs from all others.
RAMP = torch.arange(SIZE * SIZE).reshape(1, 1, SIZE, SIZE).float()


class Noise:
    """Training images of 40 px."""

    def train(self, domain: str) -> Images:
        pixels = torch.rand(6, SIZE, SIZE, generator=torch.Generator().manual_seed(len(domain)))
        return Images([(pixels * 65535).numpy().astype("uint16")])


def make(kind: Any, **settings: object) -> Any:
    config = kind.configure(get_profile("smoke"))
    config = type(config).model_validate({**config.model_dump(), **settings})
    return kind(config, PAIR, SIZE, CPU)


def drawn(made: Any, seed: int = 0) -> dict[str, torch.Tensor]:
    learner = made.make_learner(Noise(), PAIR, seed=0)
    return learner.draw(torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("kind", KINDS)
def test_it_trains_on_squares_and_translates_whole_images(kind: Any, tmp_path: Path) -> None:
    made = make(kind, crop=16)
    batch = drawn(made)
    starts = batch["start"] if "start" in batch else batch["a"]
    assert starts.shape[-2:] == (16, 16)
    (training,) = made.trainings([PAIR])
    training.fit(Noise(), 8, 0, tmp_path, lambda *_: None)
    for height, width in ((SIZE, SIZE), (37, 42)):
        images = torch.rand(2, 1, height, width, generator=torch.Generator().manual_seed(1))
        generators = [torch.Generator().manual_seed(n) for n in range(2)]
        result = made.translate(images, *PAIR, generators=generators)
        assert result.shape == images.shape
        assert result.isfinite().all()
        assert result.std() > 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_draws_the_same_squares_again(kind: Any) -> None:
    one, same, other = (drawn(make(kind, crop=16), seed) for seed in (0, 0, 1))
    assert all(torch.equal(one[name], same[name]) for name in one)
    name = "start" if "start" in one else "a"
    assert not torch.equal(one[name], other[name])


def test_squares_lie_within_the_image_and_anywhere_in_it() -> None:
    generator = torch.Generator().manual_seed(0)
    squares = random_squares(RAMP.expand(4000, -1, -1, -1), 38, generator)
    corners = squares[:, 0, 0, 0].long()
    places = {(int(c) // SIZE, int(c) % SIZE) for c in corners}
    assert places == {(top, left) for top in range(3) for left in range(3)}
    for square, corner in zip(squares[:20], corners[:20].tolist(), strict=True):
        top, left = divmod(corner, SIZE)
        assert torch.equal(square, RAMP[0, :, top : top + 38, left : left + 38])


def test_a_square_as_large_as_the_image_is_the_image() -> None:
    assert torch.equal(random_squares(RAMP, 64, torch.Generator()), RAMP)
    assert drawn(make(CUT, crop=64))["a"].shape[-1] == make(CUT).drawn(SIZE) == SIZE


def test_without_a_crop_nothing_else_is_drawn() -> None:
    images, generator = Noise().train("a"), torch.Generator().manual_seed(3)
    result = draw_images(images, 2, generator, CPU)
    expected = torch.Generator().manual_seed(3)
    chosen = [int(c * len(images)) for c in torch.rand(2, generator=expected).tolist()]
    assert torch.equal(result, images[chosen] * 2 - 1)
    assert torch.equal(generator.get_state(), expected.get_state())


def test_without_crop_and_average_recipes_are_those_of_published_trainings() -> None:
    domains = ("a", "b", "c")
    recipes = []
    for kind in KINDS:
        made = kind(kind.configure(get_profile("quick")), domains, 64, CPU)
        recipes += [t.recipe for t in made.trainings(list(permutations(domains, 2)))]
        assert not {"crop", "ema"} & set(made.config.identity())
    assert digest(recipes, 12) == "5cf4fb72b9bf"
    for changed in ({"crop": 16}, {"ema": 0.9}):
        assert make(CUT, **changed).config.recipe() != make(CUT).config.recipe()
