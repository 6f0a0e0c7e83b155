"""Stable Diffusion's weights, which two rivals of MedShift's own table need, and one of these two.

The weights are placed in the weights folder by hand: their hashes are not known here. Networks are
counted on the `meta` device.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from xbench.core.errors import UserError
from xbench.core.files import home
from xbench.core.weights import FOLDER
from xbench.methods.base import Cost, Method
from xbench.methods.codecs import SD_VAE, weights_digest
from xbench.methods.pairwise import count

#: The files of a model.
FILES = (
    "unet/diffusion_pytorch_model.safetensors",
    "unet/config.json",
    "vae/diffusion_pytorch_model.safetensors",
    "vae/config.json",
    "text_encoder/model.safetensors",
    "text_encoder/config.json",
    "tokenizer/vocab.json",
    "tokenizer/merges.txt",
    "tokenizer/tokenizer_config.json",
    "tokenizer/special_tokens_map.json",
)


@dataclass(frozen=True)
class Model:
    """A published Stable Diffusion.

    Attributes:
        name: its folder in the weights folder, and what `needs` says.
        address: its name on the hub.
        licence: as far as known.
        text_width: channels of its text encoder.
        text_layers: layers of its text encoder.
    """

    name: str
    address: str
    licence: str
    text_width: int
    text_layers: int

    @property
    def folder(self) -> Path:
        """Where its files belong, laid out as on the hub."""
        return home() / FOLDER / self.name

    def missing(self) -> list[str]:
        """The files that are not in its folder."""
        return [file for file in FILES if not (self.folder / file).is_file()]

    def digest(self) -> str:
        """What stands for the weights in recipes: the SHA-256 of the UNet's file, or the name."""
        return weights_digest(self.folder / "unet") or self.name

    def absent(self, method: str, use: str) -> UserError:
        """The error of a method that needs the files that are missing.

        Args:
            method: its name.
            use: what it uses the model for.
        """
        size = 4 * sum(self.params().values()) / 1e9
        return UserError(
            f"{method} cannot run: {self.name}/{self.missing()[0]} is missing in the folder "
            f"'{FOLDER}' of the cache ({self.address}, about {size:.1f} GB, SHA-256 not known, "
            f"licence: {self.licence})",
            f"expected: the model {use}, laid out as on the hub",
            f"try: hf download {self.address} --local-dir '{self.folder}'",
        )

    def networks(self) -> tuple[nn.Module, nn.Module]:
        """UNet and autoencoder from the folder, frozen.

        Raises:
            UserError: the files hold something else.
        """
        from diffusers import AutoencoderKL, UNet2DConditionModel

        kinds = {"unet": UNet2DConditionModel, "vae": AutoencoderKL}
        unet, vae = (self._read(kind, part) for part, kind in kinds.items())
        return unet.requires_grad_(False), vae.requires_grad_(False)

    def encode(self, captions: Sequence[str]) -> Tensor:
        """Captions by the text encoder: float32 `[n, tokens, text_width]`.

        Raises:
            UserError: the files hold something else, or transformers is not installed.
        """
        try:
            from transformers import CLIPTextModel, CLIPTokenizer
        except ImportError as error:
            raise UserError(
                f"transformers is not installed, which reads the text encoder of {self.name}",
                "expected: the extra 'turbo'",
                "try: pip install 'xbench-xray[turbo]'",
            ) from error
        tokenizer = self._read(CLIPTokenizer, "tokenizer")
        encoder = self._read(CLIPTextModel, "text_encoder").float()
        length = encoder.config.max_position_embeddings
        padded = dict(padding="max_length", max_length=length, truncation=True)
        tokens = tokenizer(list(captions), return_tensors="pt", **padded)
        with torch.no_grad():
            encoded: Tensor = encoder(tokens.input_ids)[0]
        return encoded

    def _read(self, kind: Any, part: str) -> Any:
        """One part from the folder; nothing is fetched, nothing unpickled."""
        safely = {} if part == "tokenizer" else {"use_safetensors": True}
        try:
            return kind.from_pretrained(self.folder / part, local_files_only=True, **safely)
        except Exception as error:  # whatever damaged files make these libraries raise
            raise UserError(
                f"{self.name}/{part} in the folder '{FOLDER}' of the cache cannot be read "
                f"({type(error).__name__}: {str(error).splitlines()[0]})",
                f"expected: the files of {self.address}, laid out as on the hub",
                f"try: hf download {self.address} --local-dir '{self.folder}'",
            ) from error

    def params(self) -> dict[str, int]:
        """Part → its parameters."""
        with torch.device("meta"):
            layer = nn.TransformerEncoderLayer(self.text_width, 8, 4 * self.text_width)
        # CLIP: embeddings of 49,408 tokens and 77 places, and a last norm of two numbers each.
        text = (49_408 + 77 + 2) * self.text_width + self.text_layers * count(layer)
        return {"UNet": count(unet(self)), "autoencoder": count(vae()), "text encoder": text}


@cache
def unet(model: Model) -> nn.Module:
    """The denoising network without weights, for counting."""
    from diffusers import UNet2DConditionModel

    with torch.device("meta"):
        made: nn.Module = UNet2DConditionModel(
            block_out_channels=(320, 640, 1280, 1280),
            cross_attention_dim=model.text_width,
            use_linear_projection=model.text_width == 1024,  # from Stable Diffusion 2 on
        )
    return made


@cache
def vae() -> nn.Module:
    """The autoencoder without weights, for counting."""
    from diffusers import AutoencoderKL

    with torch.device("meta"):
        made: nn.Module = AutoencoderKL(**SD_VAE)
    return made


SD_TURBO = Model(
    name="sd-turbo",
    address="stabilityai/sd-turbo",
    licence="Stability AI's community licence, commercial use restricted",
    text_width=1024,
    text_layers=23,
)
SD_1_5 = Model(
    name="sd-1.5",
    address="stable-diffusion-v1-5/stable-diffusion-v1-5",
    licence="CreativeML OpenRAIL-M",
    text_width=768,
    text_layers=12,
)


class ZStar(Method):
    """Attention between a content and a style image while Stable Diffusion denoises both.

    Listed with what it costs; not implemented.
    """

    name = "zstar"
    about = "Stable Diffusion attends to a style image, no training (Z-STAR, arXiv 2311.16491)"
    needs = SD_1_5.name

    @classmethod
    def unavailable(cls) -> str:
        """It is not implemented; the weights may be absent too."""
        absent = f", and the weights of {SD_1_5.name} are absent" if SD_1_5.missing() else ""
        return f"not implemented yet{absent}"

    def check(self) -> None:
        """Refuse, before any work.

        Raises:
            UserError: always.
        """
        raise UserError(
            "zstar cannot run: it is not implemented yet",
            "expected: a later xbench; this one knows its cost",
            "try: --method cyclegan, or make images with github.com/HolmesShuan/"
            "Zero-shot-Style-Transfer-via-Attention-Rearrangement and score them: "
            "xbench score --translated DIR --source DIR --target DIR",
        )

    def cost(self) -> Cost:
        """UNet, VAE and text encoder; at most 600 evaluations, as read in the official code."""
        params = sum(SD_1_5.params().values())
        return Cost(params=params, params_total=params, nfe=600)

    def translate(
        self, images: Tensor, source: str, target: str, *, generators: Sequence[torch.Generator]
    ) -> Tensor:
        """Not implemented; `check` says so first."""
        raise NotImplementedError
