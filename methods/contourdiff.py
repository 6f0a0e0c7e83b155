"""ContourDiff (arXiv 2403.10786): diffusion of the target's images, given the source's contours.

The network learns images of a domain given their own contours. At signal 0, the official way, a
translation starts from noise, and all that it sees of the source are its contours: no grey value,
nothing of its domain. With the domain as a label, one network makes all targets.
"""

import math
from collections.abc import Sequence
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import model_validator
from torch import Tensor, nn
from torch.nn import functional

from xbench.methods import ode, training
from xbench.methods.base import TrainData, setting
from xbench.methods.codecs import pad_to
from xbench.methods.conditional import Place
from xbench.methods.diffusion import SETTINGS, DenoisingLearner, endless_noise
from xbench.methods.flow import SIGNALS, TRIED_SOLVERS
from xbench.methods.nets.unet import conditional_unet
from xbench.methods.sdedit import SDEdit, SDEditConfig, sdedit

#: Image side that `sigma` is stated for.
SIDE = 64


class ContourDiffConfig(SDEditConfig):
    """Settings of ContourDiff: what the official code has, and quantiles as thresholds."""

    codec: Literal["pixel"] = setting("pixel", "train", "what the network works on")
    factor: int = setting(1, "train", "space-to-depth block of images and contours", ge=1)
    channels: tuple[int, ...] = setting(
        (128, 128, 256, 256, 512, 512), "train", "U-Net width per level"
    )
    attention: tuple[bool, ...] = setting(
        (False, False, False, False, True, False), "train", "self-attention per level"
    )
    batch: int = setting(4, "train", "images per step", ge=1)
    learning_rate: float = setting(1e-4, "train", "peak of AdamW's", gt=0)
    weight_decay: float = setting(1e-2, "train", "AdamW's", ge=0)
    ema: float = setting(0.0, "train", "decay of the weight average (official: none)", ge=0, lt=1)
    sigma: float = setting(
        2.0, "train", "blur before the edges, in pixels of a 64 px image (official: 0.8 px)", gt=0
    )
    low: float = setting(
        0.8, "train", "an edge continues where the slope is above this quantile of the image's "
        "(official: a fixed slope, which reveals the domain)",
        ge=0, le=1,
    )  # fmt: skip
    high: float = setting(0.9, "train", "an edge has a slope above this quantile", ge=0, le=1)
    contour_dropout: float = setting(
        0.0, "train", "share of training images without contour (official: none)", ge=0, lt=1
    )
    signal: float = setting(
        0.0, "infer", "signal a of the source at the start: 0 is noise (official), 1 the source",
        ge=0, le=1,
    )  # fmt: skip
    evaluations: int = setting(50, "infer", "network evaluations per image (official: 50)", ge=1)
    clip: bool = setting(
        True, "infer", "keep every predicted image in the range of images (official)"
    )

    @model_validator(mode="after")
    def _thresholds_agree(self) -> Self:
        if self.low > self.high:
            raise ValueError("low must not be above high")
        return self


#: What the small profiles change beside `SETTINGS`, as the other diffusion models have it.
FAMILY: dict[str, Any] = dict(factor=2, weight_decay=1e-5, ema=0.999)
#: Chosen on `val` at `quick`, and at `medium`.
QUICK: dict[str, Any] = FAMILY | dict(evaluations=16, signal=0.08, clip=False)
MEDIUM: dict[str, Any] = FAMILY | dict(evaluations=16, signal=0.9)
PROFILES: dict[str, dict[str, Any]] = {
    "smoke": FAMILY | dict(learning_rate=1e-3, evaluations=10) | SETTINGS["smoke"],
    "quick": QUICK | SETTINGS["quick"],
    "medium": MEDIUM | SETTINGS["medium"],
    "standard": dict(batch=32, ema=0.999) | SETTINGS["standard"],
}


def contour(image: NDArray[np.float64], sigma: float, low: float, high: float) -> NDArray[np.bool_]:
    """Canny's edges of an image `[H, W]`, blurred by `sigma` pixels, the thresholds as quantiles.

    Neither brightness, contrast nor inversion changes them. No edge lies on the border.
    """
    from skimage.feature import canny

    edges: NDArray[np.bool_] = canny(image, sigma, low, high, use_quantiles=True, mode="nearest")
    return edges


class ContourDiff(SDEdit):
    """Uses the source's contours and the target's label, and at signal 0 no grey of the source."""

    name = "contourdiff"
    version = 1
    about = "diffusion under the target's label, given the source's contours (arXiv 2403.10786)"
    Config = ContourDiffConfig
    config: ContourDiffConfig
    objective = "contour-denoising-v1"
    stochastic = True
    factors: ClassVar = {"quick": 4}
    tuned: ClassVar = {
        "signal": SIGNALS,
        "eta": (0.0, 1.0),
        "solver": TRIED_SOLVERS,
        "clip": (True, False),
    }
    by_profile = PROFILES

    def make_net(self, device: torch.device) -> nn.Module:
        """The network of the family, with as many channels more as a contour has."""
        config = self.config
        return conditional_unet(
            self.codec.channels + config.factor**2,
            widths=config.channels,
            layers=config.layers,
            attention=config.attention,
            labels=self.label_count(),
            device=device,
            out_channels=self.codec.channels,
        )

    def make_learner(self, data: TrainData, seed: int) -> "ContourLearner":
        """Denoising, given the contour."""
        return ContourLearner(self, data, seed)

    def contours(self, images: Tensor) -> Tensor:
        """Contours `[B, 1, H, W]` of images, 0 or 1, on the CPU."""
        config = self.config
        sigma = config.sigma * self.size / SIDE
        found = [
            contour(image, sigma, config.low, config.high)
            for image in images[:, 0].double().cpu().numpy()
        ]
        return torch.from_numpy(np.stack(found))[:, None].float()

    def hints(self, contours: Tensor) -> Tensor:
        """Contours as the network sees them, padded and in blocks like the images."""
        multiple = self.config.factor * 2 ** (len(self.config.channels) - 1)
        padded = pad_to(contours.to(self.device), multiple)
        return functional.pixel_unshuffle(padded, self.config.factor)

    def field(self, domain: str, hint: Tensor | None = None) -> ode.Field:
        """The velocity; where images are clipped, the noise is what is left of x beside them."""
        velocity = super().field(domain, hint)

        def clipped(x: Tensor, t: float) -> Tensor:
            v = velocity(x, t)
            if t == 1:  # x is the image, and says nothing of the noise
                return v
            clean = (x + (1 - t) * v).clamp(-1, 1)
            return (clean - x) / (1 - t)

        return clipped if self.config.clip else velocity

    @torch.inference_mode()
    def translate(
        self, images: Tensor, source: str, target: str, *, generators: Sequence[torch.Generator]
    ) -> Tensor:
        """Start at the signal, by default at noise, and denoise beside the contours."""
        config, x = self.config, self.encode(images)
        noises = endless_noise(x, generators)
        field = self.field(target, self.hints(self.contours(images)))
        y = sdedit(field, config.solver, self.times(), x, config.eta, noises)
        return self.decode(y, images)


class ContourLearner(DenoisingLearner):
    """Denoising of images beside their own contours, which have no noise."""

    config: ContourDiffConfig
    method: ContourDiff

    def __init__(self, method: ContourDiff, data: TrainData, seed: int) -> None:
        super().__init__(method, data, seed)
        #: The contours found so far, eight pixels in a byte.
        self.found: dict[Place, NDArray[np.uint8]] = {}

    def examples(self, labels: Tensor, generator: torch.Generator) -> training.Batch:
        """Random images of these domains and their contours."""
        places = self.images.choose(labels, generator)
        hints = self.method.hints(torch.stack([self.contour(place) for place in places]))
        if self.config.contour_dropout:
            chance = torch.rand(len(labels), generator=generator, device=hints.device)
            hints = hints * (chance >= self.config.contour_dropout)[:, None, None, None]
        return {"data": self.images.at(places), "hint": hints}

    def contour(self, place: Place) -> Tensor:
        """The contour `[1, H, W]` of a training image, looked for once."""
        domain, number = place
        image = self.images.images[domain][number]
        if place not in self.found:
            self.found[place] = np.packbits(self.method.contours(image[None]).bool().numpy())
        shape = image.shape
        bits = np.unpackbits(self.found[place], count=math.prod(shape))
        return torch.from_numpy(bits.reshape(shape)).float()
