"""CycleGAN-Turbo's network: SD-Turbo in one step, with low-rank adapters (arXiv 2403.12036).

Layers and counts are those of the official code (GaParmar/img2img-turbo).
"""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

#: The level of noise that SD-Turbo starts from, of 1000, and the share of signal in its square:
#: that of Stable Diffusion's schedule.
LEVEL = 999
SIGNAL = float((1 - torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.double) ** 2).prod())
#: Layers without adapters: those of the time, and those between the autoencoder's halves.
UNADAPTED = ("time_embedding", "time_emb_proj", "quant_conv")
#: What the weights of the autoencoder's adapters are multiplied with: 8, the default of the
#: library that the official code uses, over their rank of 4. The UNet's are not scaled.
VAE_SCALE = 2.0
#: First weights of the convolutions between encoder and decoder.
SKIP = 1e-5


class Adapter(nn.Module):
    """A layer with a change of low rank beside it (LoRA, arXiv 2106.09685); none at first.

    Not merged into the weight, which would cost more than the layer itself where images are small.
    """

    def __init__(self, layer: nn.Conv2d | nn.Linear, rank: int, scale: float) -> None:
        super().__init__()
        self.layer, self.scale = layer, scale
        if isinstance(layer, nn.Conv2d):
            window: Any = dict(
                kernel_size=layer.kernel_size, stride=layer.stride, padding=layer.padding
            )
            self.down: nn.Module = nn.Conv2d(layer.in_channels, rank, bias=False, **window)
            self.up: nn.Module = nn.Conv2d(rank, layer.out_channels, 1, bias=False)
        else:
            self.down = nn.Linear(layer.in_features, rank, bias=False)
            self.up = nn.Linear(rank, layer.out_features, bias=False)
        nn.init.normal_(self.down.get_parameter("weight"), std=1 / rank)
        nn.init.zeros_(self.up.get_parameter("weight"))

    def forward(self, x: Tensor) -> Tensor:
        """What the layer makes of `x`, and the change."""
        made: Tensor = self.layer(x) + self.scale * self.up(self.down(x))
        return made


def adapt(net: nn.Module, rank: int, scale: float) -> None:
    """Put adapters beside the convolutions and linear layers of a network."""
    for name, layer in list(net.named_modules()):
        if isinstance(layer, nn.Conv2d | nn.Linear) and not any(n in name for n in UNADAPTED):
            net.set_submodule(name, Adapter(layer, rank, scale))


def sharing(net: nn.Module) -> nn.Module:
    """A copy of a network that shares its weights, frozen: the base of one more set of adapters."""
    net.requires_grad_(False)
    return copy.deepcopy(net, {id(weight): weight for weight in net.parameters()})


class SkipVae(nn.Module):
    """Stable Diffusion's autoencoder with adapters and a skip before each block of its decoder."""

    def __init__(self, vae: Any, rank: int) -> None:
        super().__init__()
        self.vae: Any = sharing(vae)
        widths = list(vae.config.block_out_channels)
        ins = [widths[0], *widths[:-1]]  # of the encoder's blocks
        outs = [*widths[1:], widths[-1]]  # of the decoder's blocks, from its end
        pairs = [*zip(ins, outs, strict=True)]
        self.skips = nn.ModuleList(nn.Conv2d(a, b, 1, bias=False) for a, b in reversed(pairs))
        for skip in self.skips:
            nn.init.constant_(skip.get_parameter("weight"), SKIP)
        adapt(self, rank, VAE_SCALE)

    def encode(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Images `[B, 3, H, W]` in [-1, 1] to latents, and what each block of the encoder saw.

        The mean of the latents, where the official code draws a sample.
        """
        encoder, seen = self.vae.encoder, []
        x = encoder.conv_in(images)
        for block in encoder.down_blocks:
            seen.append(x)
            x = block(x)
        x = encoder.conv_out(encoder.conv_act(encoder.conv_norm_out(encoder.mid_block(x))))
        latents: Tensor = self.vae.quant_conv(x).chunk(2, dim=1)[0]
        return latents * self.vae.config.scaling_factor, seen

    def decode(self, latents: Tensor, seen: Sequence[Tensor], gamma: float) -> Tensor:
        """Latents to images; the skips count `gamma` times."""
        decoder = self.vae.decoder
        x = self.vae.post_quant_conv(latents / self.vae.config.scaling_factor)
        x = decoder.mid_block(decoder.conv_in(x))
        parts = zip(decoder.up_blocks, self.skips, reversed(seen), strict=True)
        for block, skip, old in parts:
            x = block(x + gamma * skip(old))
        images: Tensor = decoder.conv_out(decoder.conv_act(decoder.conv_norm_out(x)))
        return images


class TurboNet(nn.Module):
    """Both directions of a pair: one UNet; an autoencoder and a caption for each direction.

    `state_dict` holds what is trained, and the captions: the pretrained weights are SD-Turbo's.

    Args:
        unet: diffusers' `UNet2DConditionModel`; its weights are shared, not copied.
        vae: diffusers' `AutoencoderKL`; likewise.
        rank: of the UNet's adapters.
        vae_rank: of the autoencoders' adapters.
        tokens: of a caption.
    """

    captions: Tensor

    def __init__(self, unet: Any, vae: Any, rank: int, vae_rank: int, tokens: int = 77) -> None:
        super().__init__()
        self.unet: Any = sharing(unet)
        self.unet.conv_in = copy.deepcopy(unet.conv_in).requires_grad_(True)
        adapt(self.unet, rank, 1.0)
        self.vaes = nn.ModuleList(SkipVae(vae, vae_rank) for _ in range(2))
        width = unet.config.cross_attention_dim
        self.register_buffer("captions", torch.zeros(2, tokens, width))
        trained = {name for name, weight in self.named_parameters() if weight.requires_grad}
        self.own = {*trained, "captions"}
        nn.Module.register_state_dict_post_hook(self, _only_trained)
        nn.Module.register_load_state_dict_pre_hook(self, _with_pretrained)
        self.multiple = 2 ** (len(vae.config.block_out_channels) - 1)

    def forward(self, images: Tensor, backward: bool = False, gamma: float = 1.0) -> Tensor:
        """Translate grey images `[B, 1, H, W]` in [-1, 1]; padded to multiples of 8, and cropped.

        Args:
            images: of the first domain, or of the second if `backward`.
            backward: whether to translate to the first domain.
            gamma: weight of the autoencoder's skips.
        """
        height, width = images.shape[-2:]
        pads = (0, -width % self.multiple, 0, -height % self.multiple)
        rgb = functional.pad(images, pads, mode="reflect").expand(-1, 3, -1, -1)
        vae: Any = self.vaes[int(backward)]
        latents, seen = vae.encode(rgb)
        caption = self.captions[int(backward)].expand(len(images), -1, -1)
        noise = self.unet(latents, LEVEL, caption).sample
        clean = (latents - (1 - SIGNAL) ** 0.5 * noise) / SIGNAL**0.5
        made: Tensor = vae.decode(clean, seen, gamma).clamp(-1, 1)
        return made.mean(1, keepdim=True)[..., :height, :width]


def _only_trained(net: TurboNet, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Leave the pretrained weights out of a state."""
    for name in [name for name in state if name.removeprefix(prefix) not in net.own]:
        del state[name]


def _with_pretrained(net: TurboNet, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Add the pretrained weights to a state that is loaded."""
    for name, weight in net.named_parameters(remove_duplicate=False):
        if name not in net.own:
            state[prefix + name] = weight
