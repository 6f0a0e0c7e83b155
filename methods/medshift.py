"""MedShift: one class-conditional flow for all domains (arXiv 2508.21435).

Training regresses the velocity of straight paths from noise (t = 0) to data (t = 1), with the
domain as class label. A translation integrates the source-conditioned flow backward from the
image at t = 1 to the shared latent z_tau, then the target-conditioned flow forward to t = 1
(Figure 1). The authors' network and settings are not published: those here are our choice.
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self

import torch
from pydantic import model_validator
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from xbench.datasets.base import Images
from xbench.hashing import seed_from
from xbench.methods import ode, training
from xbench.methods.base import (
    Cost,
    Log,
    Method,
    MethodConfig,
    Pair,
    Progress,
    TrainData,
    Training,
    setting,
)
from xbench.methods.codecs import Codec, crop_to, make_codec, pad_to, vae_digest
from xbench.methods.nets.unet import conditional_unet, velocity
from xbench.profiles import Profile


class MedShiftConfig(MethodConfig):
    """Settings of MedShift; `quick` values chosen on the phantom's val split."""

    codec: Literal["pixel", "vae"] = setting("pixel", "train", "what the flow works on")
    factor: int = setting(2, "train", "space-to-depth block of the pixel codec", ge=1)
    vae: str = setting(
        "stabilityai/sd-vae-ft-mse", "train", "folder or hub name (as in the authors' other code)"
    )
    channels: tuple[int, ...] = setting((64, 128, 128), "train", "U-Net width per level")
    layers: int = setting(2, "train", "residual blocks per level", ge=1)
    attention: tuple[bool, ...] = setting((False, False, True), "train", "self-attention per level")
    batch: int = setting(32, "train", "images per step", ge=1)
    accumulate: int = setting(1, "resources", "chunks in which a batch is worked off", ge=1)
    learning_rate: float = setting(1e-3, "train", "peak of AdamW's (GenerativeZoo: 1e-3)", gt=0)
    weight_decay: float = setting(1e-5, "train", "AdamW's (GenerativeZoo: 1e-5)", ge=0)
    label_dropout: float = setting(
        0.1, "train", "chance of each sample to train the null label (our choice)", ge=0, le=1
    )
    ema: float = setting(0.999, "train", "decay of the weight average (GenerativeZoo)", ge=0, lt=1)
    sigma: float = setting(1e-4, "train", "noise left on data at t = 1 (GenerativeZoo)", ge=0)
    tau: float = setting(0.1, "infer", "time of the shared latent: 1 keeps, 0 renews", ge=0, le=1)
    guidance_source: float = setting(1.0, "infer", "guidance weight w while encoding", ge=0)
    guidance_target: float = setting(1.0, "infer", "guidance weight w while decoding", ge=0)
    solver: Literal["euler", "midpoint", "heun", "rk4"] = setting(
        "midpoint", "infer", "Euler's inversion error is large (methods compared at equal steps)"
    )
    steps: int = setting(4, "infer", "solver steps over the whole interval, each way", ge=1)
    grid: float = setting(
        1.5, "infer", "times 1 - (k/steps)^grid: above 1, shorter steps near the image", gt=0
    )

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


#: Network and optimiser by profile. `paper` has the widths of the authors' GenerativeZoo.
SETTINGS: dict[str, dict[str, Any]] = {
    "smoke": {"channels": (16, 32), "layers": 1, "attention": (False, False), "batch": 16},
    "quick": {
        "channels": (32, 64, 96),
        "layers": 1,
        "attention": (False, False, True),
        "batch": 16,
        "learning_rate": 2e-3,
    },
    "standard": {
        "factor": 4,
        "channels": (128, 256, 256, 256),
        "attention": (False, False, True, True),
        "learning_rate": 3e-4,
        "steps": 8,
    },
    "paper": {
        "codec": "vae",
        "batch": 256,
        "attention": (False, False, True),
        "label_dropout": 0.2,
        "steps": 10,
    },
}


class MedShift(Method):
    """Encode the source backward to a shared latent, decode it under the target's label."""

    name = "medshift"
    about = "one conditional flow, source encoded to a shared latent (arXiv 2508.21435)"
    Config = MedShiftConfig
    config: MedShiftConfig
    knob = "tau"
    needs_training = True

    @classmethod
    def configure(cls, profile: Profile) -> MedShiftConfig:
        """The profile's network; the class defaults for a profile unknown here."""
        return MedShiftConfig(**SETTINGS.get(profile.name, {}))

    @classmethod
    def references(cls, config: MethodConfig) -> dict[str, dict[str, Any]]:
        """The VAE's round trip bounds what a flow in its latents can reach."""
        assert isinstance(config, MedShiftConfig)
        return {"vae": {"vae": config.vae}} if config.codec == "vae" else {}

    @cached_property
    def codec(self) -> Codec:
        """Images to the tensors of the flow."""
        return make_codec(self.config.codec, self.config.factor, self.config.vae, self.device)

    @cached_property
    def net(self) -> nn.Module:
        """The velocity network; after training, its averaged weights."""
        return self.make_net(self.device)

    def make_net(self, device: torch.device) -> nn.Module:
        """The network of this configuration with fresh weights."""
        config = self.config
        return conditional_unet(
            self.codec.channels,
            widths=config.channels,
            layers=config.layers,
            attention=config.attention,
            labels=len(self.domains) + 1,  # the last one is the null label
            device=device,
        )

    def check(self) -> None:
        """Find out whether the VAE's weights are there."""
        _ = self.codec

    def trainings(self, pairs: Sequence[Pair]) -> list[Training]:
        """One network for all domains and pairs."""
        return [FlowMatching(self)]

    def cost(self) -> Cost:
        """One network serves one pair and all pairs alike."""
        config = self.config
        params = sum(p.numel() for p in self.net.parameters()) + self.codec.params()
        steps = len(self.times(config.tau)) - 1
        weights = (config.guidance_source, config.guidance_target)
        nfe = sum(steps * ode.SOLVERS[config.solver][1] * (1 + (w not in (0, 1))) for w in weights)
        return Cost(params=params, params_total=params, nfe=nfe)

    def times(self, tau: float) -> list[float]:
        """Solver times from 1 down to tau."""
        return ode.times(tau, self.config.steps, self.config.grid)

    def encode(self, images: Tensor) -> Tensor:
        """Pad to what codec and network can halve, and encode."""
        multiple = self.codec.factor * 2 ** (len(self.config.channels) - 1)
        return self.codec.encode(pad_to(images, multiple))

    def decode(self, latents: Tensor, like: Tensor) -> Tensor:
        """Decode and crop to the size of the images that came in."""
        return crop_to(self.codec.decode(latents), *like.shape[-2:])

    def field(self, domain: str, weight: float) -> ode.Field:
        """The guided velocity v = v_null + w (v_domain - v_null)."""
        label, null = self.domains.index(domain), len(self.domains)

        def guided(x: Tensor, t: float) -> Tensor:
            if weight in (0, 1):
                return self.evaluate(x, t, [label if weight else null] * len(x))
            both = self.evaluate(torch.cat([x, x]), t, [label] * len(x) + [null] * len(x))
            conditional, unconditional = both.chunk(2)
            return unconditional + weight * (conditional - unconditional)

        return guided

    def evaluate(self, x: Tensor, t: float, labels: list[int]) -> Tensor:
        """One evaluation of the network, at one time for the whole batch."""
        time = torch.full((len(x),), t, device=x.device)
        with torch.autocast("cuda", torch.bfloat16, enabled=x.device.type == "cuda"):
            return velocity(self.net, x, time, torch.tensor(labels, device=x.device)).to(x.dtype)

    @torch.inference_mode()
    def encodings(self, images: Tensor, source: str, taus: Sequence[float]) -> dict[float, Tensor]:
        """Latents z_tau of several tau from one trajectory."""
        field = self.field(source, self.config.guidance_source)
        full = self.times(min(taus))
        path = dict(
            zip(
                full,
                ode.trajectory(field, self.encode(images), full, self.config.solver),
                strict=True,
            )
        )
        latents = {}
        for tau in taus:
            grid = self.times(tau)
            # All times but the last lie on the common trajectory; the last step is tau's own.
            shared = [t for t in grid if t in path]
            tail = [shared[-1], *(t for t in grid if t not in path)]
            latents[tau] = ode.integrate(field, path[shared[-1]], tail, self.config.solver)
        return latents

    @torch.inference_mode()
    def render(self, latents: Tensor, target: str, tau: float, like: Tensor) -> Tensor:
        """Integrate from tau up to 1 under the target's label."""
        if tau == 1 and self.codec.lossless:
            return like.clone()
        grid = self.times(tau)[::-1]
        field = self.field(target, self.config.guidance_target)
        return self.decode(ode.integrate(field, latents, grid, self.config.solver), like)

    def translate(
        self, images: Tensor, source: str, target: str, *, generators: Sequence[torch.Generator]
    ) -> Tensor:
        """Deterministic: the generators are not used."""
        tau = self.config.tau
        latents = self.encodings(images, source, [tau])[tau]
        return self.render(latents, target, tau, images)

    def translate_all(
        self,
        images: Tensor,
        source: str,
        targets: Sequence[str],
        *,
        generators: Any,
    ) -> dict[str, Tensor]:
        """Encode once for all targets."""
        tau = self.config.tau
        latents = self.encodings(images, source, [tau])[tau]
        return {target: self.render(latents, target, tau, images) for target in targets}

    def translate_path(
        self,
        images: Tensor,
        source: str,
        target: str,
        values: Sequence[float],
        *,
        generators: Sequence[torch.Generator],
    ) -> dict[float, Tensor]:
        """One encoding trajectory for all tau."""
        latents = self.encodings(images, source, values)
        return {tau: self.render(latents[tau], target, tau, images) for tau in values}


class FlowMatching(Training):
    """The flow-matching regression: x_t = (1 - (1-s) t) z + t x, target x - (1-s) z."""

    def __init__(self, method: MedShift) -> None:
        self.method = method
        self.recipe = {
            "objective": "flow-matching-v1",
            "domains": list(method.domains),
            "size": method.size,
            **method.config.recipe(),
        }

    def fit(
        self, data: TrainData, images: int, seed: int, checkpoint: Path, progress: Progress
    ) -> Log:
        """Train, and leave the averaged weights in the method's network."""
        learner, log = training.train(
            lambda: FlowLearner(self.method, data, seed),
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


class FlowLearner(training.Learner):
    """Network and optimiser of one flow-matching training."""

    clip = 1.0

    def __init__(self, method: MedShift, data: TrainData, seed: int) -> None:
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
                net.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
            )
        }

    def draw(self, generator: torch.Generator) -> training.Batch:
        """Domains, images, noises and times."""
        config, device, count = self.method.config, self.method.device, self.batch
        null = len(self.method.domains)
        labels = torch.randint(null, (count,), generator=generator, device=device)
        data = self.images(labels, generator)
        noise = torch.randn(data.shape, generator=generator, device=device)
        time = torch.rand(count, generator=generator, device=device)
        # Dropped per sample: a share of the batch would never drop anything in a small one.
        dropped = torch.rand(count, generator=generator, device=device) < config.label_dropout
        return {
            "data": data,
            "noise": noise,
            "time": time,
            "labels": labels.masked_fill(dropped, null),
        }

    def losses(self, batch: training.Batch) -> Iterator[tuple[str, dict[str, Tensor]]]:
        """Regress the velocity."""
        data, noise, time = batch["data"], batch["noise"], batch["time"]
        t, keep = time[:, None, None, None], 1 - self.method.config.sigma
        point = (1 - keep * t) * noise + t * data
        predicted = velocity(self.networks["net"], point, time, batch["labels"])
        yield "net", {"flow": functional.mse_loss(predicted.float(), data - keep * noise)}


def make_draw(method: MedShift, data: TrainData) -> Callable[[Tensor, torch.Generator], Tensor]:
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


def encode_images(method: MedShift, images: Images, batch: int = 8) -> Tensor:
    """Latents `[n, C, h, w]` of all images, on the CPU."""
    return torch.cat(
        [
            method.encode(images[start : start + batch].to(method.device)).cpu()
            for start in range(0, len(images), batch)
        ]
    )
