"""StarGAN: one generator for all domains, conditioned on the target's label (arXiv 1711.09020).

Version 1, as released: a critic of patches under WGAN-GP, which also names the domain, and the way
back to the source image. The released learning rate is constant: its decay over the second half
subtracts a thousandth of what was meant, 0.1 % in all.
"""

import copy
import math
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from xbench.core.hashing import seed_from
from xbench.datasets.resident import resident
from xbench.methods import training
from xbench.methods.base import MethodConfig, TrainData, setting
from xbench.methods.codecs import crop_to, pad_to
from xbench.methods.conditional import JointMethod, choose
from xbench.methods.cyclegan import distance
from xbench.methods.gan import frozen
from xbench.methods.nets.stargan import StarCritic, StarGenerator
from xbench.methods.pairwise import MULTIPLE, count


class StarGANConfig(MethodConfig):
    """Settings of StarGAN; defaults are the official ones."""

    width: int = setting(64, "train", "generator's first width (official: 64)", ge=1)
    blocks: int = setting(6, "train", "residual blocks (official: 6)", ge=0)
    inject: Literal["border", "adain"] = setting(
        "border", "train", "the label as maps beside the image (official), or in every norm"
    )
    critic_width: int = setting(64, "train", "critic's first width (official: 64)", ge=1)
    critic_layers: int = setting(6, "train", "critic's halving layers (official: 6)", ge=1)
    critic_steps: int = setting(
        5, "train", "critic steps, each on a batch of its own, per generator step (official: 5)",
        ge=1,
    )  # fmt: skip
    batch: int = setting(16, "train", "images per step (official: 16)", ge=1)
    accumulate: int = setting(1, "resources", "chunks in which a batch is worked off", ge=1)
    learning_rate: float = setting(1e-4, "train", "Adam's, constant (official: 1e-4)", gt=0)
    cycle: float = setting(10.0, "train", "weight of the way back (official: 10)", ge=0)
    classes: float = setting(1.0, "train", "weight of both class losses (official: 1)", ge=0)
    penalty: float = setting(10.0, "train", "weight of the gradient penalty (official: 10)", ge=0)
    ema: float = setting(
        0.0,
        "train",
        "decay of an average of the generator's weights; 0: none (official)",
        ge=0,
        lt=1,
    )
    strength: float = setting(
        1.0, "infer", "label: 0 the source's, 1 the target's, a blend between (our choice)",
        ge=0, le=1,
    )  # fmt: skip


#: Smaller networks for short runs, whose last weights alone leave streaks; `standard` and `paper`
#: are official.
QUICK: dict[str, Any] = dict(
    width=16, blocks=4, critic_width=16, critic_layers=4, critic_steps=2, batch=4,
    learning_rate=1e-3, ema=0.995,
)  # fmt: skip
SETTINGS: dict[str, dict[str, Any]] = {
    "smoke": dict(
        width=8, blocks=1, critic_width=8, critic_layers=3, critic_steps=2, batch=8,
        learning_rate=2e-3,
    ),
    "quick": QUICK,
    "medium": QUICK,
}  # fmt: skip


class StarGAN(JointMethod):
    """One call of the generator under the target's label."""

    name = "stargan"
    about = "one generator for all domains, WGAN-GP, class and cycle losses (arXiv 1711.09020)"
    Config = StarGANConfig
    config: StarGANConfig
    factors: ClassVar = {"quick": 2}
    by_profile = SETTINGS
    knob = "strength"
    objective = "stargan-v1"

    @property
    def multiple(self) -> int:
        """Of the sides that both networks can halve.

        Not the generator's alone in translating: the label acts through the border, which must lie
        as it did in training.
        """
        return math.lcm(MULTIPLE, 2**self.config.critic_layers)

    def make_net(self, device: torch.device) -> StarGenerator:
        """The generator."""
        config = self.config
        return StarGenerator(
            len(self.domains), width=config.width, blocks=config.blocks, inject=config.inject
        ).to(device)

    def make_critic(self, side: int) -> StarCritic:
        """The critic, whose layer for the classes is as large as images of this side demand."""
        config = self.config
        padded = math.ceil(side / self.multiple) * self.multiple
        return StarCritic(
            padded, len(self.domains), width=config.critic_width, layers=config.critic_layers
        )

    def make_learner(self, data: TrainData, seed: int) -> "StarLearner":
        """Generator and critic."""
        return StarLearner(self, data, seed)

    def training_params(self) -> int:
        """The critic."""
        with torch.device("meta"):
            return count(self.make_critic(self.size))

    def label(self, source: str, target: str) -> Tensor:
        """The label `[1, domains]` at the set strength."""
        labels = torch.eye(len(self.domains), device=self.device)
        a, b = (labels[[self.domains.index(domain)]] for domain in (source, target))
        return torch.lerp(a, b, self.config.strength)

    @torch.inference_mode()
    def translate(
        self, images: Tensor, source: str, target: str, *, generators: Sequence[torch.Generator]
    ) -> Tensor:
        """Deterministic: the generators are not used."""
        label = self.label(source, target).expand(len(images), -1)
        # In float32, as the GANs of pairs: bfloat16 has 8 bits.
        result = self.net(pad_to(images, self.multiple) * 2 - 1, label)
        return crop_to(result / 2 + 0.5, *images.shape[-2:])


class StarLearner(training.Learner):
    """Some steps of the critic, then one of the generator on the last batch of images.

    One counted image is one that the generator learns from; the critic sees `critic_steps` times as
    many. The curve of a critic's loss is the sum over its steps.
    """

    optimizers: dict[str, torch.optim.Optimizer]
    betas: ClassVar = (0.5, 0.999)
    #: Of the penalty's gradient of gradients.
    eager = ("critic",)

    def __init__(self, method: StarGAN, data: TrainData, seed: int) -> None:
        config = self.config = method.config
        self.method, self.device = method, method.device
        self.batch, self.accumulate = config.batch, config.accumulate
        self.images = [data.train(domain) for domain in method.domains]
        self.near = resident(self.images, method.computing, self.device) or self.images
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed_from(seed, "init"))
            made: dict[str, nn.Module] = {
                "net": method.make_net(torch.device("cpu")),
                "critic": method.make_critic(self.images[0][0].shape[-1]),
            }
        self.networks = {name: net.to(self.device) for name, net in made.items()}
        self.averages, self.ema_decay = {}, config.ema
        if config.ema:
            self.averages["net"] = copy.deepcopy(self.networks["net"]).requires_grad_(False)
        self.optimizers = {
            name: torch.optim.Adam(
                net.parameters(), lr=config.learning_rate, betas=self.betas, fused=True
            )
            for name, net in self.networks.items()
        }

    def schedule(self, step: int, steps: int) -> float:
        """Constant."""
        return 1.0

    def draw(self, generator: torch.Generator) -> training.Batch:
        """For each step of the critic (second dimension) images and their labels, wanted labels.

        As in the official code the wanted labels are those of the batch in another order, so some
        images are translated into their own domain. `mix` places the penalty between true and fake.
        """
        size, device = (self.batch, self.config.critic_steps), self.device
        labels = torch.randint(len(self.images), size, generator=generator, device=device)
        images = choose(self.near, labels.flatten(), generator)
        order = torch.rand(size, generator=generator, device=device).argsort(dim=0)
        return {
            "images": (pad_to(images, self.method.multiple) * 2 - 1).unflatten(0, labels.shape),
            "labels": labels,
            "wanted": labels.gather(0, order),
            "mix": torch.rand(size, generator=generator, device=device),
        }

    def losses(self, batch: training.Batch) -> Iterator[tuple[str, dict[str, Tensor]]]:
        """The critic's on each batch of images, then the generator's on the last one."""
        for step in range(self.config.critic_steps):
            part = {name: tensor[:, step] for name, tensor in batch.items()}
            yield "critic", self.critic_losses(part)
        yield "net", self.generator_losses(part)

    def critic_losses(self, batch: training.Batch) -> dict[str, Tensor]:
        """Wasserstein distance, gradient penalty, and the domains of true images."""
        real, critic = batch["images"], self.networks["critic"]
        with torch.no_grad():
            fake = self.networks["net"](real, self.one_hot(batch["wanted"])).to(real.dtype)
        right, logits = critic(real)
        wrong, _ = critic(fake)
        mix = batch["mix"][:, None, None, None]
        return {
            "critic": wrong.float().mean() - right.float().mean(),
            "penalty": self.config.penalty
            * gradient_penalty(critic, mix * real + (1 - mix) * fake),
            "true classes": self.config.classes
            * functional.cross_entropy(logits.float(), batch["labels"]),
        }

    def generator_losses(self, batch: training.Batch) -> dict[str, Tensor]:
        """The critic's approval, the wanted domain, and the way back."""
        real, net, critic = batch["images"], self.networks["net"], self.networks["critic"]
        fake = net(real, self.one_hot(batch["wanted"]))
        with frozen(critic):
            scores, logits = critic(fake)
        back = net(fake, self.one_hot(batch["labels"]))
        return {
            "gan": -scores.float().mean(),
            "classes": self.config.classes
            * functional.cross_entropy(logits.float(), batch["wanted"]),
            "cycle": self.config.cycle * distance(back, real),
        }

    def one_hot(self, labels: Tensor) -> Tensor:
        """Labels `[B]` to `[B, domains]`."""
        return functional.one_hot(labels, len(self.images)).float()


def gradient_penalty(critic: nn.Module, images: Tensor) -> Tensor:
    """Mean of (|gradient of the critic's scores| - 1)² over images `[B, C, H, W]`, in float32.

    The gradient of an image is that of the sum of its scores.
    """
    images = images.detach().requires_grad_()
    # Half precision is too coarse for gradients of gradients.
    with torch.autocast(images.device.type, enabled=False):
        scores, _ = critic(images.float())
        (gradient,) = torch.autograd.grad(scores.sum(), images, create_graph=True)
    penalty: Tensor = (gradient.flatten(1).norm(dim=1) - 1).square().mean()
    return penalty
