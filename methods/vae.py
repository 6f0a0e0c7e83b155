"""The VAE's round trip: encode and decode without translating. It bounds every latent method."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from xbench.methods.base import Cost, Method, MethodConfig, setting
from xbench.methods.codecs import VaeCodec, crop_to, load_vae, pad_to, vae_digest


class VaeConfig(MethodConfig):
    """Settings of the round trip."""

    vae: str = setting("stabilityai/sd-vae-ft-mse", "infer", "folder or hub name")

    def identity(self) -> dict[str, Any]:
        """The VAE by its content, not by its path."""
        return {"vae": vae_digest(self.vae)}


class VaeRoundTrip(Method):
    """What is left of the source image after the autoencoder."""

    name = "vae"
    about = "the VAE's round trip without translation (reference of latent methods)"
    needs = "vae"
    Config = VaeConfig
    config: VaeConfig

    @cached_property
    def codec(self) -> VaeCodec:
        """The frozen autoencoder."""
        return load_vae(self.config.vae, self.device)

    def check(self) -> None:
        """Load the autoencoder: its weights may be missing."""
        _ = self.codec

    def cost(self) -> Cost:
        """The autoencoder alone."""
        return Cost(params=self.codec.params(), params_total=self.codec.params())

    @torch.inference_mode()
    def translate(
        self, images: Tensor, source: str, target: str, *, generators: Sequence[torch.Generator]
    ) -> Tensor:
        """Encode and decode."""
        padded = pad_to(images, self.codec.factor)
        return crop_to(self.codec.decode(self.codec.encode(padded)), *images.shape[-2:])
