"""Base of the methods with a network for each pair of domains.

A child of `PairwiseMethod` says what a generator is (`make_generator`), how it learns
(`make_learner`, `objective`) and, if that is more than one call of the generator, how it
translates (`transform`). Training, storing and resuming are done here.
"""

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from xbench.core.hashing import seed_from
from xbench.core.pairs import Pair
from xbench.core.profiles import Profile
from xbench.datasets.base import Images
from xbench.datasets.resident import Resident, resident
from xbench.methods import training
from xbench.methods.base import Cost, Log, Method, Progress, TrainData, Training
from xbench.methods.codecs import crop_to, pad_to

#: The networks see images whose sides are multiples of it; others are padded and cropped.
MULTIPLE = 4


class PairwiseMethod(Method):
    """A generator per ordered pair; each is trained, stored and resumed by itself."""

    needs_training = True
    #: Named in every recipe; raise its number when the training changes.
    objective: ClassVar[str]
    #: Whether one training yields the generators of both directions.
    both_ways: ClassVar[bool] = False

    @abstractmethod
    def make_generator(self) -> nn.Module:
        """The generator with fresh weights: `[B, 1, H, W]` in [-1, 1] to the same."""

    @abstractmethod
    def make_learner(self, data: TrainData, pair: Pair, seed: int) -> training.Learner:
        """What the training loop steps; its network `generator` translates the pair.

        With `both_ways`, its network `generator_back` translates in the other direction.
        """

    def transform(
        self, net: nn.Module, images: Tensor, generators: Sequence[torch.Generator]
    ) -> Tensor:
        """Translate images `[B, 1, H, W]` in [-1, 1], sides multiples of 4."""
        result: Tensor = net(images)
        return result

    @property
    def crop(self) -> int | None:
        """Side of the random squares to train on, from the setting `crop`; None: whole images."""
        crop: int | None = getattr(self.config, "crop", None)
        return crop

    def drawn(self, side: int) -> int:
        """Side of what is drawn from training images of a side: cropped and padded."""
        return math.ceil(min(self.crop or side, side) / MULTIPLE) * MULTIPLE

    @classmethod
    def profile_images(cls, profile: Profile) -> int:
        """The training images per training that a profile states."""
        return profile.pair_images

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._nets: dict[Pair, nn.Module] = {}

    def trainings(self, pairs: Sequence[Pair]) -> list[Training]:
        """One for each pair; with `both_ways`, one for both directions."""
        unique = dict.fromkeys(self._trained_as(pair) for pair in pairs)
        return [PairTraining(self, pair) for pair in unique]

    def generator(self, pair: Pair) -> nn.Module:
        """The trained generator of a pair.

        Raises:
            ValueError: the pair was not trained.
        """
        if pair not in self._nets:
            known = ", ".join(f"{source} → {target}" for source, target in self._nets) or "none"
            wanted = f"{pair[0]} → {pair[1]}"
            raise ValueError(f"{self.name} is not trained for {wanted}; pairs: {known}")
        return self._nets[pair]

    def adopt(self, pair: Pair, weights: Mapping[str, Tensor]) -> None:
        """Make the generator of a pair from trained weights."""
        with torch.random.fork_rng(devices=[]):  # its fresh weights are thrown away
            net = self.make_generator()
        net.load_state_dict(weights)
        self._nets[pair] = net.to(self.device).eval().requires_grad_(False)

    def cost(self) -> Cost:
        """One generator for each pair."""
        net = self.make_generator()
        params = count(net)
        # Exactly the weights without effect are made without gradients.
        dead = sum(weight.numel() for weight in net.parameters() if not weight.requires_grad)
        pairs = len(self.domains) * (len(self.domains) - 1)
        return Cost(
            params=params,
            params_total=params * pairs,
            params_training=self.training_params(),
            nfe=1,
            params_dead=dead,
        )

    def training_params(self) -> int:
        """Parameters of one training other than the generator's: a discriminator's, say."""
        return 0

    @torch.inference_mode()
    def translate(
        self, images: Tensor, source: str, target: str, *, generators: Sequence[torch.Generator]
    ) -> Tensor:
        """Pad, translate with the pair's generator, crop."""
        padded = pad_to(images, MULTIPLE) * 2 - 1
        # In float32: the output of these networks is the image, and bfloat16 has 8 bits.
        result = self.transform(self.generator((source, target)), padded, generators)
        return crop_to(result / 2 + 0.5, *images.shape[-2:])

    def _trained_as(self, pair: Pair) -> Pair:
        """The direction whose training serves a pair."""
        source, target = pair
        backward = self.domains.index(source) > self.domains.index(target)
        return (target, source) if self.both_ways and backward else pair


class PairTraining(Training):
    """The training of one pair, or of both of its directions."""

    def __init__(self, method: PairwiseMethod, pair: Pair) -> None:
        self.method = method
        self.pair = pair
        self.generators = {"generator": pair}
        if method.both_ways:
            self.generators["generator_back"] = (pair[1], pair[0])
        self.pairs = frozenset(self.generators.values())
        self.recipe = {
            "objective": method.objective,
            "pair": list(pair),
            "size": method.size,
            **method.config.recipe(),
        }

    def fit(
        self, data: TrainData, images: int, seed: int, checkpoint: Path, progress: Progress
    ) -> Log:
        """Train, and leave the weights in the method's generators: averages, if there are."""
        learner, log = training.train(
            lambda: self.method.make_learner(data, self.pair, seed),
            images=images,
            seed=seed,
            device=self.method.device,
            checkpoint=checkpoint,
            progress=progress,
            alone=True,
            settings=self.method.computing,
        )
        trained = {**learner.networks, **learner.averages}
        for name, pair in self.generators.items():
            self.method.adopt(pair, trained[name].state_dict())
        return log

    def save(self, folder: Path) -> None:
        """Write `weights.safetensors`."""
        tensors = {
            f"{name}.{key}": tensor.contiguous().cpu()
            for name, pair in self.generators.items()
            for key, tensor in self.method.generator(pair).state_dict().items()
        }
        save_file(tensors, folder / "weights.safetensors")

    def load(self, folder: Path) -> None:
        """Read what `save` wrote."""
        tensors = load_file(folder / "weights.safetensors")
        for name, pair in self.generators.items():
            prefix = name + "."
            own = {k.removeprefix(prefix): t for k, t in tensors.items() if k.startswith(prefix)}
            self.method.adopt(pair, own)


class PairLearner(training.Learner):
    """Images of both domains and fresh networks; a child adds optimisers and losses.

    `side` is that of the images that a step draws.
    """

    def __init__(self, method: Any, data: TrainData, pair: Pair, seed: int) -> None:
        self.method, self.config, self.device = method, method.config, method.device
        self.batch = method.config.batch
        self.images = [data.train(domain) for domain in pair]
        self.near = [resident([i], method.computing, self.device) or i for i in self.images]
        self.side = method.drawn(self.images[0][0].shape[-1])
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed_from(seed, "init"))
            networks = self.make_networks()
        self.networks = {name: net.to(self.device) for name, net in networks.items()}
        self.averages = self.make_averages()
        self.optimizers = self.make_optimizers()

    @abstractmethod
    def make_networks(self) -> dict[str, nn.Module]:
        """Networks with fresh weights, drawn from torch's generator; one is the `generator`."""

    def make_averages(self) -> dict[str, nn.Module]:
        """Copies of some of `self.networks`, which become their moving averages; none here."""
        return {}

    @abstractmethod
    def make_optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """Optimisers of `self.networks`, by the names that `losses` yields."""

    def draw(self, generator: torch.Generator) -> training.Batch:
        """Unpaired images of the source (`a`) and of the target (`b`), as `draw_images` does."""
        return {
            name: draw_images(images, self.batch, generator, self.device, self.method.crop)
            for name, images in zip("ab", self.near, strict=True)
        }


def count(*nets: nn.Module) -> int:
    """Parameters of networks."""
    return sum(weight.numel() for net in nets for weight in net.parameters())


def draw_images(
    images: Images | Resident,
    number: int,
    generator: torch.Generator,
    device: torch.device,
    crop: int | None = None,
) -> Tensor:
    """Random images `[number, 1, H, W]` in [-1, 1], drawn with replacement, cropped and padded."""
    chance = torch.rand(number, generator=generator, device=device)
    if isinstance(images, Resident):
        chosen = images.choose(torch.zeros_like(chance, dtype=torch.long), chance)
    else:
        chosen = images[[int(c * len(images)) for c in chance.tolist()]].to(device)
    if crop is not None:
        chosen = random_squares(chosen, crop, generator)
    return pad_to(chosen, MULTIPLE) * 2 - 1


def random_squares(images: Tensor, side: int, generator: torch.Generator) -> Tensor:
    """A random square of `side` px of each image `[B, 1, H, W]`; its whole length if shorter.

    >>> random_squares(torch.zeros(2, 1, 12, 6), 8, torch.Generator()).shape
    torch.Size([2, 1, 8, 6])
    """
    chance = torch.rand(len(images), 2, generator=generator, device=images.device)
    room = torch.tensor([max(0, length - side) + 1 for length in images.shape[-2:]])
    places = (chance.cpu() * room).long().tolist()
    squares = zip(images, places, strict=True)
    return torch.stack([i[:, top : top + side, left : left + side] for i, (top, left) in squares])
