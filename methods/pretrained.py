"""Rivals on Stable Diffusion's weights: listed with what they cost, and refused when run.

Both stand in MedShift's own table. xbench has neither the weights nor the methods themselves yet;
what each row lacks is said before any work. Networks are counted on the `meta` device.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from xbench.core.errors import UserError
from xbench.core.files import home
from xbench.core.pairs import Pair
from xbench.core.weights import FOLDER
from xbench.methods.base import Cost, Method, TrainData
from xbench.methods.codecs import SD_VAE
from xbench.methods.pairwise import PairwiseMethod, count
from xbench.methods.training import Learner


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
    def files(self) -> dict[str, str]:
        """Part → path of its weights below the weights folder."""
        end = "diffusion_pytorch_model.safetensors"
        return {
            "UNet": f"{self.name}/unet/{end}",
            "autoencoder": f"{self.name}/vae/{end}",
            "text encoder": f"{self.name}/text_encoder/model.safetensors",
        }

    def params(self) -> dict[str, int]:
        """Part → its parameters."""
        with torch.device("meta"):
            layer = nn.TransformerEncoderLayer(self.text_width, 8, 4 * self.text_width)
        # CLIP: embeddings of 49,408 tokens and 77 places, and a last norm of two numbers each.
        text = (49_408 + 77 + 2) * self.text_width + self.text_layers * count(layer)
        return {"UNet": count(unet(self)), "autoencoder": count(vae()), "text encoder": text}


@cache
def unet(model: Model) -> nn.Module:
    """The denoising network without weights."""
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
    """The autoencoder without weights."""
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


class Listed(Method):
    """A method that is listed with its cost and cannot run yet."""

    model: ClassVar[Model]
    #: What the weights are for, and where the official code is.
    use: ClassVar[str]
    code: ClassVar[str]

    @classmethod
    def missing(cls) -> list[str]:
        """The parts of the model whose weights are not in the weights folder."""
        files = cls.model.files.items()
        return [part for part, file in files if not (home() / FOLDER / file).is_file()]

    @classmethod
    def unavailable(cls) -> str:
        """It is not implemented; the weights may be absent too."""
        absent = f", and the weights of {cls.model.name} are absent" if cls.missing() else ""
        return f"not implemented yet{absent}"

    def check(self) -> None:
        """Refuse, before any work.

        Raises:
            UserError: always; it names the first file that is missing.
        """
        model, missing = self.model, self.missing()
        wrong, expected = "it is not implemented yet", "a later xbench; this one knows its cost"
        if missing:
            size = 4 * model.params()[missing[0]] / 1e9
            wrong = (
                f"{model.files[missing[0]]} is missing ({model.address}, about {size:.1f} GB, "
                f"SHA-256 not known, licence: {model.licence})"
            )
            expected = f"this {self.use}; but the method itself is not implemented yet either"
        raise UserError(
            f"{self.name} cannot run: {wrong}",
            f"expected: {expected}",
            f"try: --method cyclegan, or make images with {self.code} and score them: "
            "xbench score --translated DIR --source DIR --target DIR",
        )


class CycleGANTurbo(Listed, PairwiseMethod):
    """Cycle losses on adapters of SD-Turbo, one step, one training for both directions."""

    name = "cyclegan-turbo"
    about = "SD-Turbo in one step, fine-tuned by adapters under cycle losses (arXiv 2403.12036)"
    objective = "cyclegan-turbo-unfinished"
    both_ways = True
    model = SD_TURBO
    needs = SD_TURBO.name
    use = "part of the model that it fine-tunes"
    code = "github.com/GaParmar/img2img-turbo"

    def cost(self) -> Cost:
        """UNet, the VAEs of both directions and text encoder, and beside them what is trained.

        All pairs share the pretrained networks. The discriminators are left out: they rest on a
        CLIP of another package.
        """
        params, trained = self.model.params(), self.training_params()
        pairs = len(self.domains) * (len(self.domains) - 1) // 2
        return Cost(
            params=sum(params.values()) + params["autoencoder"],
            params_total=sum(params.values()) + pairs * trained,
            params_training=trained,
            nfe=1,
        )

    def training_params(self) -> int:
        """Adapters of the UNet and its first layer; adapters and skips of two VAEs."""
        skips = [(512, 512), (256, 512), (128, 512), (128, 256)]
        skipping = sum(a * b + 4 * (a + b) for a, b in skips)
        return (
            adapter_params(unet(self.model), rank=128)
            + count(unet(self.model).get_submodule("conv_in"))
            + 2 * (adapter_params(vae(), rank=4) + skipping)
        )

    def make_generator(self) -> nn.Module:
        """Not implemented."""
        raise NotImplementedError

    def make_learner(self, data: TrainData, pair: Pair, seed: int) -> Learner:
        """Not implemented."""
        raise NotImplementedError


class ZStar(Listed):
    """Attention between a content and a style image while Stable Diffusion denoises both."""

    name = "zstar"
    about = "Stable Diffusion attends to a style image, no training (Z-STAR, arXiv 2311.16491)"
    model = SD_1_5
    needs = SD_1_5.name
    use = "part of the model whose attention it rearranges"
    code = "github.com/HolmesShuan/Zero-shot-Style-Transfer-via-Attention-Rearrangement"

    def cost(self) -> Cost:
        """UNet, VAE and text encoder; at most 600 evaluations, as read in the official code."""
        params = sum(self.model.params().values())
        return Cost(params=params, params_total=params, nfe=600)

    def translate(
        self, images: Tensor, source: str, target: str, *, generators: Sequence[torch.Generator]
    ) -> Tensor:
        """Not implemented."""
        raise NotImplementedError


def adapter_params(net: nn.Module, rank: int) -> int:
    """Parameters of adapters of a rank on the convolutions and linear layers of a network.

    As in the official code, layers of the time have none, nor those between the VAE's halves.
    """
    left_out = ("time_embedding", "time_emb_proj", "quant_conv")
    total = 0
    for name, layer in net.named_modules():
        if isinstance(layer, nn.Conv2d | nn.Linear) and not any(n in name for n in left_out):
            weight: Any = layer.weight
            total += rank * (weight[0].numel() + len(weight))
    return total
