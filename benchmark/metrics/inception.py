"""Inception features as clean-fid computes them (mode `clean`), from images in memory."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from xbench.core.errors import Unavailable
from xbench.core.weights import obtain
from xbench.metrics.images import check_images
from xbench.metrics.torchscript import load_torchscript

SIZE = 2048

_SIDE = 299
_BATCH = 32


@dataclass(frozen=True)
class InceptionExtractor:
    """The network, ready on a device."""

    layers: Any  # a TorchScript submodule, which has no static type
    device: torch.device

    @classmethod
    def load(cls, device: torch.device | str = "cpu") -> Self:
        """The extractor from the weights folder, fetching the file once where it is missing.

        Args:
            device: where the network runs.

        Raises:
            Unavailable: the file is missing and not fetched, or is another one.
        """
        path = obtain("inception")
        try:
            layers = load_torchscript(path, device).layers
        except (RuntimeError, AttributeError) as error:
            raise Unavailable(f"{path.name} is not the TorchScript Inception network") from error
        if torch.device(device).type == "cpu":
            # A fifth off the time, measured on torchvision's; features agree but for rounding.
            layers.to(memory_format=torch.channels_last)
        return cls(layers, torch.device(device))

    @torch.no_grad()
    def features(self, images: Tensor) -> Tensor:
        """Features of images, as clean-fid has them from 8-bit grey PNG files of these images.

        Args:
            images: [B, 1, H, W] in [0, 1].

        Returns:
            [B, 2048], float32 on the CPU.

        Raises:
            ValueError: the shape is another, a value is not finite or outside [0, 1], or the
                network returned values that are not finite.
        """
        check_images(images, 1, "Inception features")
        grey = eight_bit(images)
        parts = []
        for start in range(0, len(grey), _BATCH):
            batch = torch.from_numpy(np.stack([_resized(x) for x in grey[start : start + _BATCH]]))
            batch = batch[:, None].expand(-1, 3, -1, -1).to(self.device)
            parts.append(self.layers((batch - 128) / 128).view(len(batch), SIZE).float().cpu())
        result = torch.cat(parts)
        if not result.isfinite().all():
            raise ValueError("the Inception network returned values that are not finite")
        return result


def eight_bit(images: Tensor) -> NDArray[np.uint8]:
    """Images [B, 1, H, W] in [0, 1] as clean-fid reads them from 8-bit files: [B, H, W]."""
    rounded = (images[:, 0].detach().cpu().double() * 255).round()
    grey: NDArray[np.uint8] = rounded.to(torch.uint8).numpy()
    return grey


def _resized(grey: NDArray[np.uint8]) -> NDArray[np.float32]:
    """One channel at 299 x 299 as `cleanfid.resize.build_resizer("clean")`: bicubic, unrounded."""
    image = Image.fromarray(grey.astype(np.float32))
    small = image.resize((_SIDE, _SIDE), Image.Resampling.BICUBIC)
    return np.asarray(small).clip(0, 255)
