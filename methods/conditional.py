"""Base of the methods with one network for all domains, conditioned on a class label."""

import copy
from abc import abstractmethod
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import torch
from pydantic import model_validator
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from xbench.core.hashing import seed_from
from xbench.core.pairs import Pair
from xbench.datasets.base import Images
from xbench.methods import training
from xbench.methods.base import Log, Method, MethodConfig, Progress, TrainData, Training, setting
from xbench.methods.codecs import Codec, crop_to, make_codec, pad_to, vae_digest
from xbench.methods.nets.unet import conditional_unet


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

    def labelled(self) -> set[str]:
        """A row says that it rests on a pretrained VAE."""
        return {"codec"} if self.codec == "vae" else set()

    def identity(self) -> dict[str, Any]:
        """The VAE stands in it by its content; what the other codec alone uses is left out."""
        values = self.shown()
        if self.codec == "pixel":
            del values["vae"]
        else:
            del values["factor"]
            values["vae"] = vae_digest(self.vae)
        return values


class ConditionalMethod(Method):
    """One class-conditional U-Net, learned once for all pairs, in the space of a codec."""

    config: ConditionalConfig
    needs_training = True
    #: Whether the network has a label more than there are domains, for "no domain in particular".
    null_label: ClassVar[bool] = False

    @classmethod
    def references(cls, config: MethodConfig) -> dict[str, dict[str, Any]]:
        """The VAE's round trip bounds what a network in its latents can reach."""
        assert isinstance(config, ConditionalConfig)
        return {"vae": {"vae": config.vae}} if config.codec == "vae" else {}

    @cached_property
    def codec(self) -> Codec:
        """Images to the tensors of the network."""
        return make_codec(self.config.codec, self.config.factor, self.config.vae, self.device)

    @cached_property
    def net(self) -> nn.Module:
        """The network; after training, its averaged weights."""
        with torch.random.fork_rng(devices=[]):  # its fresh weights are thrown away
            net = self.make_net(self.device)
        # Tensor cores take images with the channels last; of others they need copies.
        return net.to(memory_format=torch.channels_last) if self.device.type == "cuda" else net

    def make_net(self, device: torch.device) -> nn.Module:
        """The network of this configuration with fresh weights."""
        config = self.config
        return conditional_unet(
            self.codec.channels,
            widths=config.channels,
            layers=config.layers,
            attention=config.attention,
            labels=len(self.domains) + self.null_label,
            device=device,
        )

    def check(self) -> None:
        """Find out whether the VAE's weights are there."""
        _ = self.codec

    @abstractmethod
    def trainings(self, pairs: Sequence[Pair]) -> list[Training]:
        """One network for all domains and pairs."""

    def params(self) -> int:
        """Parameters of network and codec, for one pair as for all."""
        net = self.make_net(torch.device("meta"))
        return sum(p.numel() for p in net.parameters()) + self.codec.params()

    def encode(self, images: Tensor) -> Tensor:
        """Pad to what codec and network can halve, and encode."""
        multiple = self.codec.factor * 2 ** (len(self.config.channels) - 1)
        return self.codec.encode(pad_to(images, multiple))

    def decode(self, latents: Tensor, like: Tensor) -> Tensor:
        """Decode and crop to the size of the images that came in."""
        return crop_to(self.codec.decode(latents), *like.shape[-2:])


class ConditionalTraining(Training):
    """The training of the one network; a subclass says with which learner."""

    #: Named in the recipe; raise its number when training changes.
    objective: ClassVar[str]

    def __init__(self, method: ConditionalMethod) -> None:
        self.method = method
        self.recipe = {
            "objective": self.objective,
            "domains": list(method.domains),
            "size": method.size,
            **method.config.recipe(),
        }

    @abstractmethod
    def make_learner(self, data: TrainData, seed: int) -> "ConditionalLearner":
        """What learns the network."""

    def fit(
        self, data: TrainData, images: int, seed: int, checkpoint: Path, progress: Progress
    ) -> Log:
        """Train, and leave the averaged weights in the method's network."""
        learner, log = training.train(
            lambda: self.make_learner(data, seed),
            images=images,
            seed=seed,
            device=self.method.device,
            checkpoint=checkpoint,
            progress=progress,
        )
        self.method.net.load_state_dict(learner.averages["net"].state_dict())
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
    """Network, average and optimiser of one training."""

    clip = 1.0

    def __init__(self, method: ConditionalMethod, data: TrainData, seed: int) -> None:
        config = method.config
        self.method = method
        self.batch, self.accumulate, self.decay = config.batch, config.accumulate, config.ema
        self.images = make_draw(method, data)
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


def make_draw(
    method: ConditionalMethod, data: TrainData
) -> Callable[[Tensor, torch.Generator], Tensor]:
    """A function from labels `[B]` to latents of random training images of those domains."""
    images = [data.train(domain) for domain in method.domains]
    # A VAE costs more than a training step: its latents are made once.
    latents = None if method.codec.lossless else [encode_images(method, i) for i in images]

    def draw(labels: Tensor, generator: torch.Generator) -> Tensor:
        chance = torch.rand(len(labels), generator=generator, device=labels.device).tolist()
        chosen = [
            (label, int(c * len(images[label])))
            for label, c in zip(labels.tolist(), chance, strict=True)
        ]
        if latents is not None:
            return torch.stack([latents[d][i] for d, i in chosen]).to(method.device)
        return method.encode(torch.stack([images[d][i] for d, i in chosen]).to(method.device))

    return draw


def encode_images(method: ConditionalMethod, images: Images, batch: int = 8) -> Tensor:
    """Latents `[n, C, h, w]` of all images, on the CPU."""
    return torch.cat(
        [
            method.encode(images[start : start + batch].to(method.device)).cpu()
            for start in range(0, len(images), batch)
        ]
    )
