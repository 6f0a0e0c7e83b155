"""Small networks in place of the pretrained ones, of the same interfaces; no test downloads any.

Their weights come from NumPy's generator, so that they are the same for every version of torch.
"""

import hashlib
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

Array = np.ndarray[Any, Any]
Network = TypeVar("Network", bound=nn.Module)


class Layers(nn.Module):
    """2048 numbers that depend on every pixel and on the channel."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = nn.AvgPool2d(23)
        self.mix = nn.Linear(3 * 13 * 13, 2048)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.mix(self.pool(x).flatten(1)))[:, :, None, None]


class Inception(nn.Module):
    """The interface of the TorchScript file of the Inception network."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = Layers()

    def forward(self, x: Tensor, return_features: bool = False) -> Tensor:
        features: Tensor = self.layers((x - 128) / 128).flatten(1)
        return features


class Attention(nn.Module):
    """Two heads of 64, written out; parameters named as in CLIP's archive."""

    def __init__(self) -> None:
        super().__init__()
        self.in_proj_weight = nn.Parameter(torch.zeros(384, 128))
        self.in_proj_bias = nn.Parameter(torch.zeros(384))
        self.out_proj = nn.Linear(128, 128)

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, _ = x.shape
        parts = (x @ self.in_proj_weight.t() + self.in_proj_bias).view(batch, tokens, 3, 2, 64)
        heads = parts.permute(2, 0, 3, 1, 4)  # queries, keys, values
        weights = torch.softmax(heads[0] @ heads[1].transpose(-1, -2) / 8.0, dim=-1)
        mixed = (weights @ heads[2]).permute(0, 2, 1, 3).reshape(batch, tokens, 128)
        out: Tensor = self.out_proj(mixed)
        return out


class Perceptron(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.c_fc = nn.Linear(128, 512)
        self.c_proj = nn.Linear(512, 128)

    def forward(self, x: Tensor) -> Tensor:
        x = self.c_fc(x)
        out: Tensor = self.c_proj(x * torch.sigmoid(1.702 * x))
        return out


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attn, self.mlp = Attention(), Perceptron()
        self.ln_1, self.ln_2 = nn.LayerNorm(128), nn.LayerNorm(128)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.ln_1(x))
        out: Tensor = x + self.mlp(self.ln_2(x))
        return out


class Transformer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.resblocks = nn.Sequential(Block(), Block())

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.resblocks(x)
        return out


class Visual(nn.Module):
    """The image encoder with 128 channels and 2 blocks instead of 768 and 12, or 1024 and 24."""

    def __init__(self, patch: int, tokens: int, features: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 128, patch, stride=patch, bias=False)
        self.class_embedding = nn.Parameter(torch.zeros(128))
        self.positional_embedding = nn.Parameter(torch.zeros(tokens, 128))
        self.ln_pre, self.ln_post = nn.LayerNorm(128), nn.LayerNorm(128)
        self.transformer = Transformer()
        self.proj = nn.Parameter(torch.zeros(128, features))

    def forward(self, x: Tensor) -> Tensor:
        patches = self.conv1(x).flatten(2).permute(0, 2, 1)
        token = self.class_embedding + torch.zeros(len(x), 1, 128)
        x = self.transformer(
            self.ln_pre(torch.cat([token, patches], 1) + self.positional_embedding)
        )
        out: Tensor = self.ln_post(x[:, 0]) @ self.proj
        return out


class Clip(nn.Module):
    """The interface of OpenAI's archive: `visual.*`, `encode_image`, and a text side beside it."""

    def __init__(self, patch: int = 32, size: int = 224, features: int = 512) -> None:
        super().__init__()
        self.visual = Visual(patch, (size // patch) ** 2 + 1, features)
        self.token_embedding = nn.Embedding(10, features)
        self.register_buffer("input_resolution", torch.tensor(size))

    @torch.jit.export
    def encode_image(self, image: Tensor) -> Tensor:
        out: Tensor = self.visual(image)
        return out

    def forward(self, image: Tensor, text: Tensor) -> tuple[Tensor, Tensor]:
        similarity = self.encode_image(image) @ self.token_embedding(text).mean(1).t()
        return similarity, similarity.t()


def inception() -> Inception:
    """The same stand-in at every call."""
    return _filled(Inception())


def clip() -> Clip:
    """The same stand-in at every call, with the half precision that the archive has."""
    return _filled(Clip()).half()


def clip_l336() -> Clip:
    """The same stand-in for ViT-L/14 at 336 px at every call."""
    return _filled(Clip(14, 336, 768)).half()


def lpips_tensors() -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """What the two files of LPIPS hold: the features of AlexNet, and the heads."""
    network = _filled(alexnet_features())
    backbone = {f"features.{name}": value for name, value in network.state_dict().items()}
    rng = np.random.default_rng(1)
    heads = {
        f"lin{place}.model.1.weight": torch.from_numpy(rng.random((1, size, 1, 1), np.float32))
        for place, size in enumerate((64, 192, 384, 256, 256))
    }
    return backbone, heads


def alexnet_features() -> nn.Module:
    """The convolutions of torchvision's AlexNet, without the classifier (58 of 61 M parameters)."""
    from torchvision.models import AlexNet

    with torch.device("meta"):
        features: nn.Module = AlexNet().features
    return features.to_empty(device="cpu")


def _filled(network: Network) -> Network:
    """The network with weights of variance 1 / inputs; norms stay as they are."""
    rng = np.random.default_rng(0)
    for name, parameter in sorted(network.named_parameters()):
        if ".ln_" not in name:
            values = rng.standard_normal(parameter.shape) / parameter[0].numel() ** 0.5
            parameter.data = torch.from_numpy(values.astype(np.float32))
    return network.eval()


def place(name: str, network: nn.Module, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a network where the weights of that name belong, and its hash into the manifest."""
    from xbench.core.weights import path_of

    path_of(name).parent.mkdir(parents=True, exist_ok=True)
    torch.jit.script(network).save(str(path_of(name)))
    return place_bytes(name, path_of(name).read_bytes(), monkeypatch)


def place_bytes(name: str, data: bytes, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put any bytes there."""
    from xbench.core.weights import path_of

    path = path_of(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    keep_hashes(name, monkeypatch)
    return path


def place_lpips(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put both files of LPIPS where they belong, and their hashes into the manifest."""
    from xbench.core.weights import WEIGHTS

    for weight, tensors in zip(WEIGHTS["lpips"], lpips_tensors(), strict=True):
        weight.path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(tensors, weight.path)
    keep_hashes("lpips", monkeypatch)


def keep_hashes(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the hashes and sizes of the files that lie there into the manifest."""
    from xbench.core.weights import WEIGHTS

    found = [(weight, weight.path.read_bytes()) for weight in WEIGHTS[name]]
    monkeypatch.setitem(
        WEIGHTS,
        name,
        tuple(
            replace(weight, sha256=hashlib.sha256(data).hexdigest(), bytes=len(data))
            for weight, data in found
        ),
    )


def inception_features(images: Array, weights: Path, folder: Path) -> Array:
    """Features of images [n, H, W] by clean-fid itself, from 8-bit files.

    Args:
        images: values in [0, 1].
        weights: the folder of the TorchScript file.
        folder: where the images are written.
    """
    from cleanfid.fid import get_folder_features
    from cleanfid.inception_torchscript import InceptionV3W

    found: Array = get_folder_features(
        _as_files(images, folder),
        model=InceptionV3W(str(weights), download=False),
        num_workers=0,
        device="cpu",
        mode="clean",
        verbose=False,
    )
    return found


def clip_features(
    images: Array, network: nn.Module, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> Array:
    """Features of images [n, H, W] by clean-fid itself, with a network of its package `clip`."""
    from cleanfid.fid import get_folder_features

    package = ModuleType("clip")
    package.load = lambda name, device: (network, None)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "clip", package)
    from cleanfid import clip_features as theirs

    monkeypatch.setattr(theirs, "clip", package)
    found: Array = get_folder_features(
        _as_files(images, folder),
        model=theirs.CLIP_fx("ViT-B/32", device="cpu"),
        custom_fn_resize=theirs.img_preprocess_clip,
        num_workers=0,
        device="cpu",
        verbose=False,
    )
    return found


def cmmd_embeddings(images: Array, network: Any) -> Array:
    """Embeddings of images [n, H, W] of length 1, as the reference code of CMMD prepares them."""
    mean, std = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
    prepared = []
    for image in images:
        high, wide = image.shape
        side = min(high, wide)
        top, left = (high - side) // 2, (wide - side) // 2
        picture = Image.fromarray(_grey(image)).convert("RGB")
        square = picture.crop((left, top, left + side, top + side))
        pixels = np.asarray(square.resize((336, 336), Image.Resampling.BICUBIC)) / 255
        prepared.append(((pixels - mean) / std).transpose(2, 0, 1).astype(np.float32))
    with torch.no_grad():
        found = network.float().encode_image(torch.from_numpy(np.stack(prepared))).double()
    unit: Array = (found / found.norm(dim=1, keepdim=True)).numpy()
    return unit


def lpips_distances(images: Array, others: Array) -> Array:
    """LPIPS of image pairs [n, H, W] by the package `lpips`, with the tensors of the stand-in."""
    from lpips import LPIPS

    network = LPIPS(net="alex", pretrained=False, pnet_rand=True, verbose=False)
    backbone, heads = lpips_tensors()
    network.net.load_state_dict(
        {name: backbone["features." + name.partition(".")[2]] for name in network.net.state_dict()}
    )
    missing, unexpected = network.load_state_dict(heads, strict=False)
    assert not unexpected
    assert not any(name.startswith("lin") and name[3].isdigit() for name in missing)
    first, second = (
        torch.from_numpy(x).float()[:, None].expand(-1, 3, -1, -1) for x in (images, others)
    )
    with torch.no_grad():
        found: Array = network.eval()(first, second, normalize=True).double().flatten().numpy()
    return found


def _grey(image: Array) -> Array:
    """8-bit greys of an image in [0, 1]."""
    return np.round(image.astype(np.float64) * 255).astype(np.uint8)


def _as_files(images: Array, folder: Path) -> str:
    """Images as 8-bit PNGs whose names sort in their order."""
    folder.mkdir(parents=True)
    for index, image in enumerate(images):
        Image.fromarray(_grey(image)).save(folder / f"{index:03d}.png")
    return str(folder)
