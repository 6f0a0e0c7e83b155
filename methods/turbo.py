"""CycleGAN-Turbo: cycle losses on adapters of SD-Turbo, which translates in one step (2403.12036).

Losses and their order as in the official code (GaParmar/img2img-turbo), which compares images with
LPIPS on VGG and has discriminators on CLIP's features; here LPIPS on AlexNet, whose weights
`xbench fetch` has, and patch discriminators. Tested on small networks with random weights alone.
"""

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from xbench.core.errors import Unavailable, UserError
from xbench.core.pairs import Pair
from xbench.methods.base import Cost, MethodConfig, TrainData, Training, setting
from xbench.methods.cyclegan import distance
from xbench.methods.gan import frozen
from xbench.methods.nets.patch import PatchDiscriminator
from xbench.methods.nets.turbo import TurboNet
from xbench.methods.pairwise import PairLearner, PairTraining, PairwiseMethod, count
from xbench.methods.pretrained import SD_TURBO, unet, vae
from xbench.methods.training import Batch
from xbench.metrics import lpips


class TurboConfig(MethodConfig):
    """Settings of CycleGAN-Turbo; defaults are those of the official code and its page."""

    rank: int = setting(128, "train", "of the UNet's adapters (official: 128)", ge=1)
    vae_rank: int = setting(4, "train", "of the autoencoders' adapters (official: 4)", ge=1)
    caption: str = setting(
        "an X-ray image, {domain}", "train", "what the text encoder reads; {domain}: the target's"
    )
    critic_width: int = setting(64, "train", "discriminator's first width (our choice)", ge=1)
    critic_layers: int = setting(3, "train", "discriminator's halving layers (our choice)", ge=1)
    batch: int = setting(1, "train", "image pairs per step (official: 1 on each of 4 GPUs)", ge=1)
    accumulate: int = setting(1, "resources", "chunks in which a batch is worked off", ge=1)
    learning_rate: float = setting(1e-5, "train", "AdamW's, constant (official: 1e-5)", gt=0)
    gan: float = setting(0.5, "train", "weight of the discriminators (official: 0.5)", ge=0)
    cycle: float = setting(1.0, "train", "weight of the cycle's L1 (official: 1)", ge=0)
    cycle_lpips: float = setting(10.0, "train", "weight of the cycle's LPIPS (official: 10)", ge=0)
    same: float = setting(1.0, "train", "weight of the identity's L1 (official: 1)", ge=0)
    same_lpips: float = setting(1.0, "train", "weight of the identity's LPIPS (official: 1)", ge=0)
    gamma: float = setting(
        1.0, "infer", "weight of the autoencoder's skips (official: 1)", ge=0, le=1
    )

    def identity(self) -> dict[str, Any]:
        """All settings, and what stands for the pretrained weights."""
        return {**super().identity(), "weights": SD_TURBO.digest()}

    def recipe(self) -> dict[str, Any]:
        """The settings of training, and what stands for the pretrained weights."""
        return {**super().recipe(), "weights": SD_TURBO.digest()}


class CycleGANTurbo(PairwiseMethod):
    """One training per unordered pair, of one network for both directions."""

    name = "cyclegan-turbo"
    about = "SD-Turbo in one step, fine-tuned by adapters under cycle losses (arXiv 2403.12036)"
    Config = TurboConfig
    config: TurboConfig
    by_profile: ClassVar = {"smoke": dict(rank=4, critic_width=8, critic_layers=2)}
    knob = "gamma"
    objective = "cyclegan-turbo-v1"
    both_ways = True
    needs = SD_TURBO.name

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._pretrained: tuple[nn.Module, nn.Module] | None = None

    @classmethod
    def unavailable(cls) -> str:
        """The weights may be absent."""
        return f"the weights of {SD_TURBO.name} are absent" if SD_TURBO.missing() else ""

    def check(self) -> None:
        """Look for the weights.

        Raises:
            UserError: those of SD-Turbo or of LPIPS are missing.
        """
        if SD_TURBO.missing():
            raise SD_TURBO.absent(self.name, "that it fine-tunes")
        if self._compares():
            load_lpips(torch.device("cpu"))

    def make_generator(self) -> nn.Module:
        """SD-Turbo with fresh adapters; its weights are read once and shared."""
        if self._pretrained is None:
            self._pretrained = SD_TURBO.networks()
        return TurboNet(*self._pretrained, self.config.rank, self.config.vae_rank)

    def make_discriminator(self) -> nn.Module:
        """The patch discriminator of one domain."""
        return PatchDiscriminator(width=self.config.critic_width, layers=self.config.critic_layers)

    def make_learner(self, data: TrainData, pair: Pair, seed: int) -> "TurboLearner":
        """The network against two discriminators."""
        return TurboLearner(self, data, pair, seed)

    def trainings(self, pairs: Sequence[Pair]) -> list[Training]:
        """One for both directions of a pair."""
        unique = dict.fromkeys(self._trained_as(pair) for pair in pairs)
        return [TurboTraining(self, pair) for pair in unique]

    def adopt(self, pair: Pair, weights: Mapping[str, Tensor]) -> None:
        """Make the network of both directions from trained adapters."""
        super().adopt(pair, weights)
        self._nets[pair[::-1]] = Backward(self._nets[pair])

    def transform(
        self, net: nn.Module, images: Tensor, generators: Sequence[torch.Generator]
    ) -> Tensor:
        """Deterministic: the generators are not used."""
        made: Tensor = net(images, gamma=self.config.gamma)
        return made

    def cost(self) -> Cost:
        """UNet and autoencoder with the adapters of a direction; all pairs share what is frozen.

        The text encoder has made the captions once, before the training, and is not counted.
        """
        with torch.device("meta"):
            net = TurboNet(unet(SD_TURBO), vae(), self.config.rank, self.config.vae_rank)
            critics = 2 * count(self.make_discriminator())
        trained = [weight.numel() for weight in net.parameters() if weight.requires_grad]
        back = sum(w.numel() for w in net.vaes[1].parameters() if w.requires_grad)
        pairs = len(self.domains) * (len(self.domains) - 1) // 2
        return Cost(
            params=count(net) - back,
            params_total=count(net) + (pairs - 1) * sum(trained),
            params_training=back + critics,
            nfe=1,
        )

    def _compares(self) -> bool:
        """Whether its losses need LPIPS."""
        return self.config.cycle_lpips > 0 or self.config.same_lpips > 0


class Backward(nn.Module):
    """The other direction of a network."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: Tensor, gamma: float) -> Tensor:
        """Translate to the first domain."""
        made: Tensor = self.net(images, backward=True, gamma=gamma)
        return made


class TurboTraining(PairTraining):
    """The training of one network for both directions, stored once."""

    def __init__(self, method: CycleGANTurbo, pair: Pair) -> None:
        super().__init__(method, pair)
        self.generators = {"generator": pair}


class TurboLearner(PairLearner):
    """One network (`generator`) against the discriminators of its two targets."""

    method: CycleGANTurbo
    config: TurboConfig
    clip = 10.0
    eager = ("generator",)  # its adapters change weights in every call

    def __init__(self, method: CycleGANTurbo, data: TrainData, pair: Pair, seed: int) -> None:
        self.pair = pair
        super().__init__(method, data, pair, seed)
        self.accumulate = method.config.accumulate
        self.lpips = load_lpips(self.device) if method._compares() else None

    def make_networks(self) -> dict[str, nn.Module]:
        """The network with its captions, and both discriminators."""
        net = self.method.make_generator()
        targets = [domain.replace("_", " ") for domain in reversed(self.pair)]
        captions = [self.config.caption.replace("{domain}", target) for target in targets]
        net.get_buffer("captions").copy_(SD_TURBO.encode(captions))
        critics = {n: self.method.make_discriminator() for n in ("critic", "critic_back")}
        return {"generator": net, **critics}

    def make_optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """AdamW for the adapters, and for both discriminators."""
        nets, rate = self.networks, self.config.learning_rate
        weights = {
            "generator": [w for w in nets["generator"].parameters() if w.requires_grad],
            "critic": [*nets["critic"].parameters(), *nets["critic_back"].parameters()],
        }
        return {n: torch.optim.AdamW(of, lr=rate, weight_decay=0.01) for n, of in weights.items()}

    def schedule(self, step: int, steps: int) -> float:
        """Constant."""
        return 1.0

    def losses(self, batch: Batch) -> Iterator[tuple[str, dict[str, Tensor]]]:
        """A step each for the cycle, for the discriminators' verdict and for the identity.

        Then the discriminators step on fakes and on real images, as in the official code.
        """
        a, b, nets, config = batch["a"], batch["b"], self.networks, self.config
        net = nets["generator"]
        cycle = [(net(net(a), backward=True), a), (net(net(b, backward=True)), b)]
        yield "generator", self._differences("cycle", cycle, config.cycle, config.cycle_lpips)
        fakes = {"critic": net(a), "critic_back": net(b, backward=True)}
        with frozen(nets["critic"], nets["critic_back"]):
            fooled = [verdict(nets[name](fake), 1.0) for name, fake in fakes.items()]
        yield "generator", {"gan": config.gan * torch.stack(fooled).sum()}
        same = [(net(b), b), (net(a, backward=True), a)]
        yield "generator", self._differences("identity", same, config.same, config.same_lpips)
        half = config.gan / 2
        for kind, images, wanted in (
            ("fake", fakes, 0.0),
            ("real", {"critic": b, "critic_back": a}, 1.0),
        ):
            yield (
                "critic",
                {
                    f"{name}_{kind}": half * verdict(nets[name](seen.detach()), wanted)
                    for name, seen in images.items()
                },
            )

    def _differences(
        self, name: str, pairs: Sequence[tuple[Tensor, Tensor]], flat: float, perceptual: float
    ) -> dict[str, Tensor]:
        """L1 and LPIPS between images and what they should be, both directions together."""
        found = {name: flat * torch.stack([distance(*pair) for pair in pairs]).sum()}
        if self.lpips is not None:
            grey = [[image.float() / 2 + 0.5 for image in pair] for pair in pairs]
            far = torch.stack([self.lpips(*pair).mean() for pair in grey])
            found[f"{name}_lpips"] = perceptual * far.sum()
        return found


def verdict(scores: Tensor, wanted: float) -> Tensor:
    """Cross-entropy of a discriminator's scores of patches, in float32."""
    scores = scores.float()
    return functional.binary_cross_entropy_with_logits(scores, torch.full_like(scores, wanted))


def load_lpips(device: torch.device) -> nn.Module:
    """LPIPS on a device, frozen; its weights are fetched where they are missing.

    Raises:
        UserError: they cannot be had.
    """
    try:
        return copy.deepcopy(lpips.load()).to(device)
    except Unavailable as error:
        off = " ".join(f"--set {CycleGANTurbo.name}.{part}_lpips=0" for part in ("cycle", "same"))
        raise UserError(
            f"{CycleGANTurbo.name} cannot be trained: {error}",
            "expected: the weights of LPIPS, which its losses compare images with",
            f"try: xbench fetch lpips, or {off}",
        ) from error
