"""Base of the methods with one network for all domains, conditioned on a class label.

A child of `ConditionalMethod` says how the network learns (`objective`, `make_learner` with a child
of `ConditionalLearner`) and how it translates. Training, storing and resuming are done here. A
method with a network and optimisers of its own is a child of `JointMethod`.
"""

import copy
from abc import abstractmethod
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import torch
from pydantic import model_validator
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from xbench.core import compute
from xbench.core.hashing import seed_from
from xbench.core.pairs import Pair
from xbench.datasets.base import Images
from xbench.datasets.resident import Resident, resident
from xbench.methods import training
from xbench.methods.base import (
    Cost,
    Log,
    Method,
    MethodConfig,
    Progress,
    TrainData,
    Training,
    setting,
)
from xbench.methods.codecs import Codec, PixelCodec, crop_to, load_vae, pad_to, vae_digest
from xbench.methods.nets.unet import conditional_unet

#: A training image: the number of its domain, and its place among the images of that domain.
Place = tuple[int, int]


class ConditionalConfig(MethodConfig):
    """Codec, network and optimiser."""

    codec: Literal["pixel", "vae"] = setting("pixel", "train", "what the network works on")
    factor: int = setting(2, "train", "space-to-depth block of the pixel codec", ge=1)
    vae: str = setting("stabilityai/sd-vae-ft-mse", "train", "folder or hub name of the VAE")
    channels: tuple[int, ...] = setting((64, 128, 128), "train", "U-Net width per level")
    layers: int = setting(2, "train", "residual blocks per level", ge=1)
    attention: tuple[bool, ...] = setting((False, False, True), "train", "self-attention per level")
    batch: int = setting(32, "train", "images per step", ge=1)
    accumulate: int = setting(1, "resources", "chunks in which a batch is worked off", ge=1)
    learning_rate: float = setting(1e-3, "train", "peak of AdamW's", gt=0)
    weight_decay: float = setting(1e-5, "train", "AdamW's", ge=0)
    ema: float = setting(0.999, "train", "decay of the weight average", ge=0, lt=1)

    @model_validator(mode="after")
    def _levels_agree(self) -> Self:
        if len(self.channels) != len(self.attention):
            raise ValueError("channels and attention must have one value per level each")
        if any(width < 2 or width % 2 for width in self.channels):
            raise ValueError("channels must be even numbers")
        return self

    def always_shown(self) -> set[str]:
        """The codec, if the row rests on a pretrained VAE."""
        return {"codec"} if self.codec == "vae" else set()

    def identity(self) -> dict[str, Any]:
        """The settings of the codec in use, the VAE by its content."""
        values = self.shown()
        if self.codec == "pixel":
            del values["vae"]
        else:
            del values["factor"]
            values["vae"] = vae_digest(self.vae)
        return values


class JointMethod(Method):
    """One network for all pairs; a child says what it is, how it learns and how it translates."""

    needs_training = True
    #: Named in the recipe; raise its number when the training changes.
    objective: ClassVar[str]

    @abstractmethod
    def make_net(self, device: torch.device) -> nn.Module:
        """The network of this configuration with fresh weights."""

    @abstractmethod
    def make_learner(self, data: TrainData, seed: int) -> training.Learner:
        """What the training loop steps; its network `net`, or its average, translates."""

    @cached_property
    def net(self) -> nn.Module:
        """The network; after training, with its averaged weights if there are any."""
        with torch.random.fork_rng(devices=[]):  # its fresh weights are thrown away
            return self.make_net(self.device)

    def busy_networks(self) -> dict[str, nn.Module]:
        """The one network."""
        return {"net": self.net}

    def trainings(self, pairs: Sequence[Pair]) -> list[Training]:
        """One network for all domains and pairs."""
        return [ConditionalTraining(self)]

    def evaluations(self) -> int:
        """Network evaluations per translated image."""
        return 1

    def params(self) -> int:
        """Parameters that translating needs."""
        net = self.make_net(torch.device("meta"))
        return sum(p.numel() for p in net.parameters())

    def training_params(self) -> int:
        """Further parameters of the training: a discriminator's, say."""
        return 0

    def cost(self) -> Cost:
        """The same network for one pair and for all pairs."""
        params = self.params()
        return Cost(
            params=params,
            params_total=params,
            params_training=self.training_params(),
            nfe=self.evaluations(),
        )


class ConditionalMethod(JointMethod):
    """One class-conditional U-Net for all pairs, in the space of a codec."""

    config: ConditionalConfig
    #: Whether the network has one more label, which stands for no domain in particular.
    null_label: ClassVar[bool] = False

    @classmethod
    def references(cls, config: MethodConfig) -> dict[str, dict[str, Any]]:
        """The VAE's round trip bounds what a network in its latents can reach."""
        assert isinstance(config, ConditionalConfig)
        return {"vae": {"vae": config.vae}} if config.codec == "vae" else {}

    def label_count(self) -> int:
        """Number of labels of the network: one for each domain, and the null label if there is."""
        return len(self.domains) + self.null_label

    @cached_property
    def codec(self) -> Codec:
        """Images to the tensors of the network."""
        config, pixel = self.config, PixelCodec(self.config.factor)
        return pixel if config.codec == "pixel" else load_vae(config.vae, self.device)

    def make_net(self, device: torch.device) -> nn.Module:
        """The network of this configuration with fresh weights."""
        config = self.config
        return conditional_unet(
            self.codec.channels,
            widths=config.channels,
            layers=config.layers,
            attention=config.attention,
            labels=self.label_count(),
            device=device,
        )

    @property
    def computes_in(self) -> torch.dtype:
        """That of the settings."""
        return compute.precision(self.computing, self.device)

    def predict(self, x: Tensor, time: Tensor, labels: Tensor) -> Tensor:
        """The network's output, computed in the precision of the settings.

        Args:
            x: what it works on, `[B, C, h, w]`.
            time: `[B]`, on the scale from 0 to 1000 that its embedding is made for.
            labels: indices of domains `[B]`.
        """
        with compute.autocast(self.computing, x.device):
            output: Tensor = self.net(x, time, class_labels=labels).sample
        return output.to(x.dtype)

    def check(self) -> None:
        """Load the codec: its weights may be missing."""
        _ = self.codec

    def params(self) -> int:
        """Parameters of network and codec."""
        return super().params() + self.codec.params()

    def encode(self, images: Tensor) -> Tensor:
        """Pad to sides that codec and network can halve, and encode."""
        multiple = self.codec.factor * 2 ** (len(self.config.channels) - 1)
        return self.codec.encode(pad_to(images, multiple))

    def decode(self, latents: Tensor, like: Tensor) -> Tensor:
        """Decode, and crop to the height and width of `like`."""
        return crop_to(self.codec.decode(latents), *like.shape[-2:])


class ConditionalTraining(Training):
    """The training of the one network."""

    def __init__(self, method: JointMethod) -> None:
        self.method = method
        self.recipe = {
            "objective": method.objective,
            "domains": list(method.domains),
            "size": method.size,
            **method.config.recipe(),
        }

    def make_learner(self, data: TrainData, seed: int) -> training.Learner:
        """What the training loop steps."""
        return self.method.make_learner(data, seed)

    def fit(
        self, data: TrainData, images: int, seed: int, checkpoint: Path, progress: Progress
    ) -> Log:
        """Train, and leave the weights, averaged if the learner does, in the method's network."""
        learner, log = training.train(
            lambda: self.make_learner(data, seed),
            images=images,
            seed=seed,
            device=self.method.device,
            checkpoint=checkpoint,
            progress=progress,
            settings=self.method.computing,
        )
        trained = learner.averages.get("net", learner.networks["net"])
        self.method.net.load_state_dict(trained.state_dict())
        self.method.net.eval()
        return log

    def save(self, folder: Path) -> None:
        """Write `weights.safetensors`."""
        tensors = {name: t.contiguous().cpu() for name, t in self.method.net.state_dict().items()}
        save_file(tensors, folder / "weights.safetensors")

    def load(self, folder: Path) -> None:
        """Read `weights.safetensors`."""
        self.method.net.load_state_dict(load_file(folder / "weights.safetensors"))
        self.method.net.eval()


class ConditionalLearner(training.Learner):
    """The network, the average of its weights, and AdamW; a child says what the losses are."""

    config: ConditionalConfig
    clip = 1.0

    def __init__(self, method: ConditionalMethod, data: TrainData, seed: int) -> None:
        config = self.config = method.config
        self.method = method
        self.batch, self.accumulate, self.ema_decay = config.batch, config.accumulate, config.ema
        self.images = TrainImages(method, data)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed_from(seed, "init"))
            net = method.make_net(torch.device("cpu"))
        average = copy.deepcopy(net).requires_grad_(False)
        self.networks = {"net": net.to(method.device)}
        self.averages = {"net": average.to(method.device)}
        self.optimizers = {
            "net": torch.optim.AdamW(
                net.parameters(),
                lr=config.learning_rate,
                weight_decay=config.weight_decay,
                fused=True,
            )
        }

    def draw(self, generator: torch.Generator) -> training.Batch:
        """Random domains (`labels`), encoded images of them (`data`), and as much noise."""
        domains, device = len(self.method.domains), self.method.device
        labels = torch.randint(domains, (self.batch,), generator=generator, device=device)
        batch = {"labels": labels, **self.examples(labels, generator)}
        batch["noise"] = torch.randn(batch["data"].shape, generator=generator, device=device)
        return batch

    def examples(self, labels: Tensor, generator: torch.Generator) -> training.Batch:
        """Encoded random images of these domains, and whatever a child adds to each of them."""
        return {"data": self.images(labels, generator)}


class TrainImages:
    """Encoded training images of all domains."""

    def __init__(self, method: ConditionalMethod, data: TrainData) -> None:
        self.method = method
        self.images = [data.train(domain) for domain in method.domains]
        # Encoding by a VAE takes longer than a training step, so it is done once.
        lossless = method.codec.lossless
        self.latents = None if lossless else [encode_images(method, i) for i in self.images]
        self.near = resident(self.images, method.computing, method.device) if lossless else None

    def choose(self, labels: Tensor, generator: torch.Generator) -> list[Place]:
        """The places of a random image of each of these domains."""
        return choose_places(self.images, labels, generator)

    def at(self, places: Sequence[Place]) -> Tensor:
        """The encoded images at these places."""
        method = self.method
        if self.latents is not None:
            return torch.stack([self.latents[d][i] for d, i in places]).to(method.device)
        return method.encode(torch.stack([self.images[d][i] for d, i in places]).to(method.device))

    def __call__(self, labels: Tensor, generator: torch.Generator) -> Tensor:
        """Encoded random images of the domains of these labels `[B]`."""
        if self.near is not None:
            return self.method.encode(choose(self.near, labels, generator))
        return self.at(self.choose(labels, generator))


def choose_places(
    images: Sequence[Images], labels: Tensor, generator: torch.Generator
) -> list[Place]:
    """The place of a random image of each label's domain; images of all domains, labels `[n]`."""
    chance = torch.rand(len(labels), generator=generator, device=labels.device).tolist()
    return [
        (label, int(c * len(images[label])))
        for label, c in zip(labels.tolist(), chance, strict=True)
    ]


def choose(
    images: Sequence[Images] | Resident, labels: Tensor, generator: torch.Generator
) -> Tensor:
    """A random image of each label's domain, `[n, 1, H, W]`, where the labels `[n]` lie."""
    if isinstance(images, Resident):
        chance = torch.rand(len(labels), generator=generator, device=labels.device)
        return images.choose(labels, chance)
    places = choose_places(images, labels, generator)
    return torch.stack([images[d][i] for d, i in places]).to(labels.device)


def encode_images(method: ConditionalMethod, images: Images, batch: int = 8) -> Tensor:
    """Latents `[n, C, h, w]` of all images, on the CPU."""
    return torch.cat(
        [
            method.encode(images[start : start + batch].to(method.device)).cpu()
            for start in range(0, len(images), batch)
        ]
    )
