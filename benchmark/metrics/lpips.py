"""LPIPS: learned perceptual image patch similarity, version 0.1 on AlexNet.

Zhang et al., "The unreasonable effectiveness of deep features as a perceptual metric" (2018). The
backbone is torchvision's AlexNet, the heads are the authors' `weights/v0.1/alex.pth`. Both files
are read as plain tensors.
"""

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from xbench.core.errors import Unavailable
from xbench.core.weights import obtain, path_of
from xbench.metrics.images import check_images

#: The least side for which all taps have a pixel.
MIN_SIZE = 31
#: Channels of the five taps.
CHANNELS = (64, 192, 384, 256, 256)
SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
_EPSILON = 1e-10
_FILES = ("alexnet-owt-7be5be79.pth", "alex.pth")


class Lpips(nn.Module):
    """Distance of image pairs: float32 [B, 1, H, W] in [0, 1] each to [B]."""

    shift: Tensor
    scale: Tensor

    def __init__(self, backbone: Mapping[str, Tensor], heads: Mapping[str, Tensor]) -> None:
        """Build the network around the tensors of the two files.

        Raises:
            KeyError, RuntimeError: they hold other tensors.
        """
        super().__init__()
        self.stages = nn.ModuleList(
            nn.Sequential(*stage)
            for stage in (
                (nn.Conv2d(3, 64, 11, stride=4, padding=2), nn.ReLU()),
                (nn.MaxPool2d(3, stride=2), nn.Conv2d(64, 192, 5, padding=2), nn.ReLU()),
                (nn.MaxPool2d(3, stride=2), nn.Conv2d(192, 384, 3, padding=1), nn.ReLU()),
                (nn.Conv2d(384, 256, 3, padding=1), nn.ReLU()),
                (nn.Conv2d(256, 256, 3, padding=1), nn.ReLU()),
            )
        )
        convolutions = [layer for layer in self.modules() if isinstance(layer, nn.Conv2d)]
        for layer, number in zip(convolutions, (0, 3, 6, 8, 10), strict=True):
            layer.load_state_dict(
                {kind: backbone[f"features.{number}.{kind}"] for kind in ("weight", "bias")}
            )
        for place, channels in enumerate(CHANNELS):
            head = heads[f"lin{place}.model.1.weight"].reshape(1, channels, 1, 1)
            self.register_buffer(f"head{place}", head)
        self.register_buffer("shift", torch.tensor(SHIFT)[:, None, None])
        self.register_buffer("scale", torch.tensor(SCALE)[:, None, None])

    def taps(self, images: Tensor) -> list[Tensor]:
        """Activations of the five stages, of length 1 in every pixel."""
        x = ((2 * images - 1).expand(-1, 3, -1, -1) - self.shift) / self.scale
        found = []
        for stage in self.stages:
            x = stage(x)
            found.append(x / (x.square().sum(1, keepdim=True).sqrt() + _EPSILON))
        return found

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Weighted squared differences of the taps, averaged over pixels, summed over stages."""
        total = torch.zeros(len(a), device=a.device)
        for place, (x, y) in enumerate(zip(self.taps(a), self.taps(b), strict=True)):
            head: Any = getattr(self, f"head{place}")
            total = total + ((x - y).square() * head).sum(1).mean((1, 2))
        return total


def lpips(a: Tensor, b: Tensor) -> Tensor:
    """LPIPS 0.1 of image pairs on AlexNet; grey is tripled.

    Args:
        a: images [B, 1, H, W] in [0, 1], H and W at least 31. The patches that the metric was
            trained on had 64 px.
        b: images of the same shape.

    Returns:
        [B], float64 on the CPU, at least 0; 0 for equal images.

    Raises:
        Unavailable: the weights are missing and not fetched, or other ones.
        ValueError: wrong shapes, or values outside [0, 1] or not finite.
    """
    if a.shape != b.shape:
        raise ValueError(f"expected pairs of images, got {list(a.shape)} and {list(b.shape)}")
    for images in (a, b):
        check_images(images, MIN_SIZE, "LPIPS")
    network = load()
    with torch.no_grad():
        distances: Tensor = network(a.float().cpu(), b.float().cpu())
    return distances.double()


def load() -> Lpips:
    """The network from the weights folder, fetching its files once where they are missing.

    Raises:
        Unavailable: a file is missing and not fetched, or another one.
    """
    return _load(path_of("lpips"))


@lru_cache(maxsize=1)
def _load(folder: Path) -> Lpips:
    obtain("lpips")  # once in a process: it reads all of both files for their hashes
    try:
        backbone, heads = (
            torch.load(folder / name, map_location="cpu", weights_only=True) for name in _FILES
        )
        return Lpips(backbone, heads).eval().requires_grad_(False)
    except (RuntimeError, KeyError, TypeError, AttributeError) as error:
        raise Unavailable(f"{folder.name} holds no AlexNet and heads of LPIPS 0.1") from error
