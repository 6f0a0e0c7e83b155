"""Inception features as clean-fid computes them (mode `clean`), from images in memory."""

import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from xbench.files import home
from xbench.hashing import file_digest
from xbench.metrics.base import Unavailable
from xbench.metrics.images import check_images

FILE_NAME = "inception-2015-12-05.pt"
# The address in cleanfid/downloads_helper.py (also of StyleGAN2-ADA, which published the file).
URL = "https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained/metrics/inception-2015-12-05.pt"
# As pinned for that address by crowsonkb/k-diffusion (k_diffusion/evaluation.py) and others.
SHA256 = "f58cb9b6ec323ed63459aa4fb441fe750cfe39fafad6da5cb504a16f19e958f4"
SIZE = 2048

_SIDE = 299
_BATCH = 32
_CONNECT_SECONDS = 5
_READ_SECONDS = 30


@dataclass(frozen=True)
class InceptionExtractor:
    """The network, ready on a device."""

    layers: Any  # a TorchScript submodule, which has no static type
    device: torch.device

    @classmethod
    def load(
        cls,
        device: torch.device | str = "cpu",
        *,
        folder: Path | None = None,
        url: str = URL,
        sha256: str = SHA256,
    ) -> Self:
        """The extractor from the weights folder, fetching the file once where it is missing.

        Args:
            device: where the network runs.
            folder: where the weights lie; the default is `weights` in the cache folder.
            url: where a missing file is fetched.
            sha256: what the file must hash to, whether fetched or placed by hand.

        Raises:
            Unavailable: missing and not fetched (`XBENCH_OFFLINE=1`, no network), or the wrong
                file.
        """
        path = weights_file(folder or weights_path().parent, url, sha256)
        try:
            with warnings.catch_warnings():
                # TorchScript is deprecated, but the file exists in no other form.
                warnings.simplefilter("ignore", FutureWarning)
                network = torch.jit.load(path, map_location=device).eval()
            return cls(network.layers, torch.device(device))
        except (RuntimeError, AttributeError) as error:
            raise Unavailable(f"{FILE_NAME} is not the TorchScript Inception network") from error

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
        grey = (images[:, 0].detach().cpu().double() * 255).round().to(torch.uint8).numpy()
        parts = []
        for start in range(0, len(grey), _BATCH):
            batch = torch.from_numpy(np.stack([_resized(x) for x in grey[start : start + _BATCH]]))
            batch = batch[:, None].expand(-1, 3, -1, -1).to(self.device)
            parts.append(self.layers((batch - 128) / 128).view(len(batch), SIZE).float().cpu())
        result = torch.cat(parts)
        if not result.isfinite().all():
            raise ValueError("the Inception network returned values that are not finite")
        return result


def weights_path() -> Path:
    """Where the weights lie, or should."""
    return home() / "weights" / FILE_NAME


def weights_file(folder: Path, url: str = URL, sha256: str = SHA256) -> Path:
    """The checked weights file in a folder, fetched where it is missing.

    Raises:
        Unavailable: the reason in one line.
    """
    path = folder / FILE_NAME
    if path.exists():
        found = file_digest(path)
        if found != sha256:
            raise Unavailable(
                f"{FILE_NAME} in the weights folder is another file "
                f"(SHA-256 {found[:8]}… instead of {sha256[:8]}…); delete it to have it fetched"
            )
        return path
    if os.environ.get("XBENCH_OFFLINE") == "1":
        raise Unavailable(
            f"Inception weights missing and XBENCH_OFFLINE=1: place {FILE_NAME} in the folder "
            "'weights' of the cache"
        )
    _fetch(path, url, sha256)
    return path


def _fetch(path: Path, url: str, sha256: str) -> None:
    """Fetch a file with Pooch, which moves it into place only when its hash is right."""
    import pooch

    pooch.get_logger().setLevel("WARNING")  # the plan says what came of it
    downloader = pooch.HTTPDownloader(chunk_size=2**20, timeout=(_CONNECT_SECONDS, _READ_SECONDS))
    try:
        pooch.retrieve(
            url, f"sha256:{sha256}", fname=path.name, path=path.parent, downloader=downloader
        )
    except (OSError, ValueError) as error:
        # The texts of requests' errors, which are OSErrors, are long and differ from run to run.
        reason = type(error).__name__ if isinstance(error, OSError) else "wrong SHA-256"
        raise Unavailable(
            f"Inception weights not fetched ({reason}): place {FILE_NAME} in the folder "
            "'weights' of the cache"
        ) from error


def _resized(grey: np.ndarray[Any, np.dtype[np.uint8]]) -> np.ndarray[Any, np.dtype[np.float32]]:
    """One channel at 299 x 299 as `cleanfid.resize.build_resizer("clean")`: bicubic, unrounded."""
    image = Image.fromarray(grey.astype(np.float32))
    small = image.resize((_SIDE, _SIDE), Image.Resampling.BICUBIC)
    return np.asarray(small).clip(0, 255)
