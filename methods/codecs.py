"""Codecs turn images `[B, 1, H, W]` in [0, 1] into the tensors `[B, C, H/f, W/f]` of a network.

Also here: padding and cropping, for networks that need sides of a certain multiple.
"""

import math
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from xbench.core.errors import Unavailable, UserError
from xbench.core.hashing import file_digest
from xbench.core.weights import WEIGHTS, obtain, offline

#: Stable Diffusion's factor that brings VAE latents to unit variance.
VAE_SCALE = 0.18215
#: The VAE that the manifest of weights pins to a revision; other names go to the hub.
SD_VAE_NAME = "stabilityai/sd-vae-ft-mse"


class PixelCodec:
    """Space-to-depth: blocks of f × f pixels become channels, values are scaled to [-1, 1]."""

    lossless = True

    def __init__(self, factor: int) -> None:
        self.factor = factor
        self.channels = factor**2

    def encode(self, images: Tensor) -> Tensor:
        """Images to latents."""
        return functional.pixel_unshuffle(images * 2 - 1, self.factor)

    def decode(self, latents: Tensor) -> Tensor:
        """Latents to images."""
        return functional.pixel_shuffle(latents, self.factor) / 2 + 0.5

    def params(self) -> int:
        """Parameters: a rearrangement has none."""
        return 0


class VaeCodec:
    """Stable Diffusion's autoencoder on grey images repeated to RGB; latents × 0.18215.

    The posterior's mean is used, not a sample, which would make a deterministic method stochastic.
    """

    channels = 4
    lossless = False

    def __init__(self, vae: Any, device: torch.device) -> None:
        self.vae = vae.to(device).eval().requires_grad_(False)
        # Each level except the last halves the size.
        self.factor = 2 ** (len(vae.config.block_out_channels) - 1)

    @torch.no_grad()
    def encode(self, images: Tensor) -> Tensor:
        """Images to latents."""
        posterior = self.vae.encode(images.expand(-1, 3, -1, -1) * 2 - 1).latent_dist
        latents: Tensor = posterior.mean * VAE_SCALE
        return latents

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """Latents to images, the mean of the three channels."""
        rgb: Tensor = self.vae.decode(latents / VAE_SCALE).sample
        return rgb.mean(1, keepdim=True) / 2 + 0.5

    def params(self) -> int:
        """Parameters, all frozen: 83,653,863 for sd-vae-ft-mse."""
        return sum(p.numel() for p in self.vae.parameters())


Codec = PixelCodec | VaeCodec


def load_vae(source: str, device: torch.device) -> VaeCodec:
    """Load an `AutoencoderKL` from a local folder, the weights folder, the hub's cache or the hub.

    Raises:
        UserError: the weights cannot be found or fetched.
    """
    from diffusers import AutoencoderKL

    if device.type == "meta":  # for counting: the architecture of sd-vae-ft-mse without weights
        with device:
            return VaeCodec(AutoencoderKL(**SD_VAE), device)
    known = source == SD_VAE_NAME and not Path(source).is_dir()
    local = known or offline()
    try:
        folder = str(obtain("vae")) if known else source
        vae = AutoencoderKL.from_pretrained(folder, use_safetensors=True, local_files_only=local)
    except Unavailable as error:
        raise UserError(
            str(error),
            f"expected: config.json and diffusion_pytorch_model.safetensors of {source}",
            "try: xbench fetch vae, or use --set METHOD.codec=pixel",
        ) from error
    except (OSError, ValueError) as error:
        raise UserError(
            f"no VAE could be loaded from {source} (as a folder, from the hub's cache or the hub)",
            "expected: config.json and diffusion_pytorch_model.safetensors of an AutoencoderKL",
            "name a local folder with --set METHOD.vae=FOLDER, or use --set METHOD.codec=pixel",
        ) from error
    return VaeCodec(vae, device)


def vae_digest(source: str) -> str:
    """What stands for a VAE in recipes: the SHA-256 of its weights in a local folder, or its name.

    The hub's cache is not looked at: the recipe would change when the model is fetched. The VAE of
    the manifest always has the hash of the manifest, and is checked against it.
    """
    return weights_digest(Path(source)) or (
        WEIGHTS["vae"][-1].sha256 if source == SD_VAE_NAME else source
    )


def weights_digest(folder: Path) -> str:
    """The SHA-256 of the weights that diffusers stored in a folder; empty if there are none."""
    path = folder / "diffusion_pytorch_model.safetensors"
    if not path.is_file():
        return ""
    facts = path.stat()
    return _digest(path.resolve(), facts.st_size, facts.st_mtime_ns)


@lru_cache(maxsize=8)
def _digest(path: Path, size: int, changed: int) -> str:
    """Hash of a file, kept while size and date stay the same: every unit of a plan needs it."""
    return file_digest(path)


#: Architecture of sd-vae-ft-mse.
SD_VAE: dict[str, object] = {
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "latent_channels": 4,
    "layers_per_block": 2,
    "sample_size": 256,
}


def pad_to(images: Tensor, multiple: int) -> Tensor:
    """Pad height and width by reflection to a multiple; half on each side, the odd one at the end.

    >>> pad_to(torch.zeros(1, 1, 30, 37), 4).shape
    torch.Size([1, 1, 32, 40])
    """
    height, width = images.shape[-2:]
    extra_h, extra_w = (math.ceil(n / multiple) * multiple - n for n in (height, width))
    if not extra_h and not extra_w:
        return images
    pads = (extra_w // 2, extra_w - extra_w // 2, extra_h // 2, extra_h - extra_h // 2)
    return functional.pad(images, pads, mode="reflect")


def crop_to(images: Tensor, height: int, width: int) -> Tensor:
    """Undo `pad_to`.

    >>> crop_to(torch.zeros(1, 1, 32, 40), 30, 37).shape
    torch.Size([1, 1, 30, 37])
    """
    top, left = (images.shape[-2] - height) // 2, (images.shape[-1] - width) // 2
    return images[..., top : top + height, left : left + width]
