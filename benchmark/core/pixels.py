"""Pixels: 16-bit grey values, the one form in which images are stored, hashed and compared."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

#: Grey values `[n, H, W]`, air bright and bone dark; 0 is 0, `WHITE` is 1.
Pixels = NDArray[np.uint16]
WHITE = 65535
#: Of an image that was made without learning, more `cut_off` than this is a wrong scale, such as
#: [-1, 1] or [0, 255]; networks that have not learned yet overshoot more.
MOST_CUT, MOST_CUT_LEARNED = 0.02, 0.1


def to_pixels(images: "Tensor") -> Pixels:
    """Float images `[n, 1, H, W]` clamped to [0, 1] and rounded to uint16 `[n, H, W]`.

    Raises:
        ValueError: an image is not finite, or has another shape.
    """
    if images.ndim != 4 or images.shape[1] != 1:
        raise ValueError(f"expected images [n, 1, H, W], got {tuple(images.shape)}")
    if not images.isfinite().all():
        raise ValueError("the method returned values that are not finite")
    pixels = np.empty((len(images), *images.shape[2:]), np.uint16)
    # One by one, because float64 takes four times the room; on the CPU, because not every device
    # has float64.
    for place, image in enumerate(images.detach().cpu()[:, 0]):
        pixels[place] = (image.double().clamp(0, 1) * WHITE).round().numpy()
    return pixels


def cut_off(images: "Tensor") -> float:
    """How far values lie outside [0, 1], which `to_pixels` cuts off: the mean over all of them.

    >>> import torch
    >>> cut_off(torch.tensor([-1.0, 0.5, 1.0, 2.0]))
    0.5
    """
    values = images.detach().float()
    return float((values - values.clamp(0, 1)).abs().mean())


def from_pixels(pixels: Pixels) -> "Tensor":
    """uint16 `[n, H, W]` to float32 `[n, 1, H, W]` in [0, 1].

    >>> from_pixels(np.array([[[0, 65535]]], np.uint16))
    tensor([[[[0., 1.]]]])
    """
    import torch

    return torch.from_numpy(np.divide(pixels, WHITE, dtype=np.float32)).unsqueeze(1)


def bone_bright(polarity: object, domains: Sequence[str]) -> bool:
    """Whether the files of all domains show bone bright, so that pictures of them should, too.

    >>> bone_bright("bone-bright", ["ap"]), bone_bright({"ap": "bone-bright"}, ["ap", "pa"])
    (True, False)

    Args:
        polarity: of all files, or of each domain, as `dataset.toml` has it; None where it is not
            known: images have bone dark then.
        domains: names.
    """
    own = polarity if isinstance(polarity, Mapping) else dict.fromkeys(domains, polarity)
    return all(own.get(domain) == "bone-bright" for domain in domains)


def pixels_digest(pixels: Pixels) -> str:
    """SHA-256 of the values of uint16 images in order, in hex."""
    return hashlib.sha256(np.ascontiguousarray(pixels).astype("<u2").tobytes()).hexdigest()
