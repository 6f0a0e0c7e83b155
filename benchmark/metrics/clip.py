"""CLIP features of images in memory: ViT-B/32 as clean-fid has them, ViT-L/14 at 336 px for CMMD.

Radford et al., "Learning transferable visual models from natural language supervision" (2021);
the image encoder is the vision transformer of Dosovitskiy et al. (2021) with a layer norm before
the blocks and x · sigmoid(1.702 x) as activation. OpenAI's TorchScript archive holds half-precision
code for one device; as in the package `clip`, only its parameters are read, and the encoder is
built around them in float32, which is what clean-fid computes with on a CPU (on CUDA it keeps half
precision).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from xbench.core.errors import Unavailable
from xbench.core.weights import obtain
from xbench.metrics.images import check_images
from xbench.metrics.inception import eight_bit
from xbench.metrics.torchscript import load_torchscript

#: Mean and standard deviation of red, green and blue in CLIP's training images.
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)

_BATCH = 32
_HEAD = 64
# What the archive calls the parts of a block → what they are called here.
_NAMES = {
    "transformer.resblocks.": "blocks.",
    ".mlp.c_fc.": ".mlp.0.",
    ".mlp.c_proj.": ".mlp.2.",
}


class Variant(NamedTuple):
    """A network of CLIP and how images are prepared for it.

    Attributes:
        weights: what `xbench fetch` calls it.
        prepare: 8-bit greys [H, W] to the square that the encoder takes.
        normalise: whether features get length 1.
    """

    weights: str
    prepare: Callable[[NDArray[np.uint8]], NDArray[np.uint8]]
    normalise: bool


@dataclass(frozen=True)
class ClipExtractor:
    """The image encoder, ready on a device."""

    encoder: nn.Module
    device: torch.device
    variant: Variant

    @classmethod
    def load(cls, device: torch.device | str = "cpu", variant: Variant | None = None) -> Self:
        """The extractor from the weights folder, fetching the archive once where it is missing.

        Args:
            device: where the encoder runs.
            variant: `CLEAN_FID` by default.

        Raises:
            Unavailable: the file is missing and not fetched, or is another one.
        """
        variant = variant or CLEAN_FID
        path = obtain(variant.weights)
        try:
            encoder = _encoder(load_torchscript(path, "cpu").state_dict())
        except (RuntimeError, KeyError, ValueError) as error:
            raise Unavailable(f"{path.name} is not the TorchScript archive of CLIP") from error
        return cls(encoder.to(device), torch.device(device), variant)

    @torch.no_grad()
    def features(self, images: Tensor) -> Tensor:
        """Features of images, as from 8-bit grey PNG files of these images.

        Args:
            images: [B, 1, H, W] in [0, 1].

        Returns:
            [B, 512] or, of ViT-L/14, [B, 768] of length 1, float64 on the CPU.

        Raises:
            ValueError: the shape is another, a value is not finite or outside [0, 1], or the
                encoder returned values that are not finite.
        """
        check_images(images, 1, "CLIP features")
        grey, prepare = eight_bit(images), self.variant.prepare
        mean, std = (torch.tensor(values)[:, None, None] for values in (MEAN, STD))
        parts = []
        for start in range(0, len(grey), _BATCH):
            batch = torch.from_numpy(np.stack([prepare(x) for x in grey[start : start + _BATCH]]))
            normalised = (batch[:, None].float() / 255 - mean) / std
            parts.append(self.encoder(normalised.to(self.device)).double().cpu())
        result = torch.cat(parts)
        if not result.isfinite().all():
            raise ValueError("the CLIP encoder returned values that are not finite")
        return functional.normalize(result, dim=1) if self.variant.normalise else result


class _Block(nn.Module):
    """Attention and a perceptron, each behind a layer norm and beside a skip connection."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(width)
        self.attn = nn.MultiheadAttention(width, width // _HEAD, batch_first=True)
        self.ln_2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), _QuickGelu(), nn.Linear(4 * width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        y = self.ln_1(x)
        x = x + self.attn(y, y, y, need_weights=False)[0]
        out: Tensor = x + self.mlp(self.ln_2(x))
        return out


class _QuickGelu(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(1.702 * x)


class _Encoder(nn.Module):
    """The vision transformer: patches and a class token in, the projected class token out."""

    def __init__(self, width: int, patch: int, tokens: int, blocks: int, size: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, patch, stride=patch, bias=False)
        self.class_embedding = nn.Parameter(torch.empty(width))
        self.positional_embedding = nn.Parameter(torch.empty(tokens, width))
        self.ln_pre = nn.LayerNorm(width)
        self.blocks = nn.Sequential(*(_Block(width) for _ in range(blocks)))
        self.ln_post = nn.LayerNorm(width)
        self.proj = nn.Parameter(torch.empty(width, size))

    def forward(self, images: Tensor) -> Tensor:
        patches = self.conv1(images).flatten(2).mT
        token = self.class_embedding.expand(len(images), 1, -1)
        x = self.ln_pre(torch.cat([token, patches], dim=1) + self.positional_embedding)
        out: Tensor = self.ln_post(self.blocks(x)[:, 0]) @ self.proj
        return out


def _encoder(state: Mapping[str, Tensor]) -> _Encoder:
    """The image encoder with the parameters of the archive, whose shapes say how large it is."""
    visual = {}
    for name, value in state.items():
        if name.startswith("visual."):
            own = name.removeprefix("visual.")
            for theirs, ours in _NAMES.items():
                own = own.replace(theirs, ours)
            visual[own] = value.float()
    width, _, patch, _ = visual["conv1.weight"].shape
    tokens, size = len(visual["positional_embedding"]), visual["proj"].shape[1]
    blocks = sum(name.endswith(".in_proj_weight") for name in visual)
    with torch.device("meta"):  # no memory and no random numbers for what is replaced at once
        encoder = _Encoder(width, patch, tokens, blocks, size)
    encoder.load_state_dict(visual, assign=True)
    return encoder.eval().requires_grad_(False)


def _resized(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """224 x 224 as `cleanfid.clip_features.img_preprocess_clip`: bicubic, rounded, centre cut."""
    side, short = 224, min(grey.shape)
    high, wide = (int(side * length / short) for length in grey.shape)
    image = Image.fromarray(grey).resize((wide, high), Image.Resampling.BICUBIC)
    top, left = round((high - side) / 2), round((wide - side) / 2)
    return np.asarray(image)[top : top + side, left : left + side]


def _square(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """336 x 336 as the reference code of CMMD: the square in the middle, bicubic, rounded."""
    height, width = grey.shape
    short = min(height, width)
    top, left = (height - short) // 2, (width - short) // 2
    image = Image.fromarray(grey[top : top + short, left : left + short])
    return np.asarray(image.resize((336, 336), Image.Resampling.BICUBIC))


CLEAN_FID = Variant("clip", _resized, normalise=False)
CMMD = Variant("clip_l336", _square, normalise=True)
