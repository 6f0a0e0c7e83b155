"""The only recipe by which the network for tasks is trained, and its predictions.

Chosen on `val` images of the phantom; raise `VERSION` when anything here or in `network` changes.
"""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from xbench.core.compute import Compute
from xbench.core.hashing import seed_from
from xbench.datasets.base import Images
from xbench.datasets.labels import Labels
from xbench.methods.base import Progress as TrainProgress
from xbench.methods.training import Batch, Learner, train
from xbench.tasks.network import Predictions, TaskNet
from xbench.tasks.randomise import randomised

#: Part of the identity of every number.
VERSION = "utility-v1"
#: Images larger than this are averaged to it; predictions come back at their size.
LARGEST = 128
BATCH, RATE = 16, 2e-3
#: Profile → steps of training.
STEPS = {"smoke": 20, "quick": 300, "medium": 300, "standard": 2000, "paper": 2000}
#: Augmentation: shift in px at 64 px; deviations of log gamma, log contrast, brightness; noise.
SHIFT, GAMMA, CONTRAST, BRIGHTNESS, NOISE = 3, 0.15, 0.10, 0.03, 0.02
#: Width in px at 64 px of the spot that a landmark's heat map is to show, and reach of the centroid
#: around its maximum.
SPOT, REACH = 1.2, 2
#: Weights of the losses of landmarks and angles beside that of masks.
LANDMARKS, POSE = 0.2, 2.0


class Samples(NamedTuple):
    """Images and labels at the working size.

    Attributes:
        images: `[n, 1, S, S]`.
        masks: 0 or 1 `[n, structures, S, S]`.
        places: (row, column) px `[n, landmarks, 2]`; NaN where there is none.
        angles: radians `[n, angles]`.
    """

    images: Tensor
    masks: Tensor
    places: Tensor
    angles: Tensor


def samples(images: Images, labels: Labels) -> Samples:
    """Images and labels for training, averaged to the working size."""
    pixels = images[:]
    n, given = len(pixels), pixels.shape[-1]
    size = working_size(given)
    masks = [torch.from_numpy(mask).float() for mask in labels.masks.values()]
    stacked = torch.stack(masks, dim=1) if masks else torch.empty(n, 0, given, given)
    places = (
        np.stack([*labels.landmarks.values()], axis=1) if labels.landmarks else np.empty((n, 0, 2))
    )
    angles = labels.angles if labels.angles is not None else np.empty((n, 0))
    return Samples(
        functional.adaptive_avg_pool2d(pixels, size),
        (functional.adaptive_avg_pool2d(stacked, size) > 0.5).float()
        if masks
        else torch.empty(n, 0, size, size),
        torch.from_numpy((places + 0.5) * size / given - 0.5).float(),
        torch.from_numpy(angles).float().deg2rad(),
    )


def working_size(size: int) -> int:
    """Side at which the network works: a multiple of 8, at most `LARGEST`.

    >>> working_size(64), working_size(100), working_size(512)
    (64, 96, 128)
    """
    return min(size, LARGEST) // 8 * 8


class TaskLearner(Learner):
    """The network, and random batches of samples."""

    batch, clip, ema_decay = BATCH, 1.0, 0.98

    def __init__(
        self, known: Samples, seed: int, device: torch.device, *, randomise: bool = False
    ) -> None:
        self.known, self.device = known, device
        self.appearance = randomised if randomise else varied
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed_from(seed, "task"))
            net = network(known)
        average = copy.deepcopy(net).requires_grad_(False)
        self.networks, self.averages = {"net": net.to(device)}, {"net": average.to(device)}
        self.optimizers = {"net": torch.optim.AdamW(net.parameters(), lr=RATE, weight_decay=1e-4)}

    def draw(self, generator: torch.Generator) -> Batch:
        """Random samples, shifted and with another appearance."""
        size, device = self.known.images.shape[-1], generator.device
        rows = torch.randint(len(self.known.images), (BATCH,), generator=generator, device=device)
        images, masks, places, angles = (part[rows.cpu()].to(device) for part in self.known)
        most = round(SHIFT * size / 64)
        shift = torch.randint(-most, most + 1, (BATCH, 2), generator=generator, device=device)
        images, masks = shifted(images, shift, "replicate"), shifted(masks, shift, "constant")
        return {
            "images": self.appearance(images, generator),
            "masks": masks,
            "places": places + shift[:, None],
            "angles": angles,
        }

    def losses(self, batch: Batch) -> Iterator[tuple[str, dict[str, Tensor]]]:
        """The losses of what is known."""
        made = Predictions(*(part.float() for part in self.networks["net"](batch["images"])))
        parts = {}
        if made.masks.shape[1]:
            parts["masks"] = mask_loss(made.masks, batch["masks"])
        if made.heat.shape[1]:
            parts["landmarks"] = LANDMARKS * landmark_loss(made.heat, batch["places"])
        if made.angles.shape[1]:
            parts["angles"] = POSE * angle_loss(made.angles, batch["angles"])
        yield "net", parts


def varied(images: Tensor, generator: torch.Generator) -> Tensor:
    """Images `[B, 1, S, S]` with slightly other greys and noise, in [0, 1]."""
    device, number = generator.device, len(images)
    change = torch.randn(3, number, 1, 1, 1, generator=generator, device=device)
    images = images.clamp(0, 1) ** (GAMMA * change[0]).exp()
    images = 0.5 + (images - 0.5) * (CONTRAST * change[1]).exp() + BRIGHTNESS * change[2]
    noise = torch.rand(number, 1, 1, 1, generator=generator, device=device) * NOISE
    images = images + noise * torch.randn(images.shape, generator=generator, device=device)
    return images.clamp(0, 1)


def network(known: Samples) -> TaskNet:
    """A network with fresh weights for what is known of some samples."""
    return TaskNet(known.masks.shape[1], known.places.shape[1], known.angles.shape[1])


def shifted(maps: Tensor, shift: Tensor, beyond: str) -> Tensor:
    """Maps `[B, C, S, S]`, each moved down and right by whole px `[B, 2]`."""
    size, most = maps.shape[-1], int(shift.abs().max())
    padded = functional.pad(maps, (most,) * 4, mode=beyond)
    parts = [
        part[:, most - down : most - down + size, most - right : most - right + size]
        for part, (down, right) in zip(padded, shift.tolist(), strict=True)
    ]
    return torch.stack(parts)


def mask_loss(logits: Tensor, masks: Tensor) -> Tensor:
    """Cross entropy plus soft Dice, `[B, structures, S, S]` each."""
    entropy = functional.binary_cross_entropy_with_logits(logits, masks)
    inside = logits.sigmoid()
    both, sum_ = (part.sum(dim=(0, 2, 3)) for part in (inside * masks, inside + masks))
    return entropy + 1 - ((2 * both + 1) / (sum_ + 1)).mean()


def landmark_loss(heat: Tensor, places: Tensor) -> Tensor:
    """Cross entropy of the heat maps `[B, n, S, S]`, as distributions, with Gaussian spots."""
    size = heat.shape[-1]
    known = places.isfinite().all(dim=2)
    steps = torch.arange(size, device=heat.device)
    gap = places.nan_to_num()[..., None] - steps  # [B, n, 2, S]
    spot = torch.exp(-(gap**2) / (2 * (SPOT * size / 64) ** 2))
    spots = spot[:, :, 0, :, None] * spot[:, :, 1, None, :]
    total = spots.sum(dim=(2, 3))
    # A landmark that the shift moved out of the image has no spot.
    counts = known & (total > 0.5)
    surprise = -(spots.flatten(2) * heat.flatten(2).log_softmax(dim=2)).sum(dim=2)
    return (surprise / total.clamp(min=0.5) * counts).sum() / counts.sum().clamp(min=1)


def angle_loss(vectors: Tensor, angles: Tensor) -> Tensor:
    """Squared distance of `[B, n, 2]` from the unit vectors of angles in radians `[B, n]`."""
    return functional.mse_loss(vectors, torch.stack([angles.cos(), angles.sin()], dim=2))


def learn(
    known: Samples,
    steps: int,
    seed: int,
    device: torch.device,
    checkpoint: Path,
    progress: TrainProgress,
    *,
    settings: Compute | None = None,
    randomise: bool = False,
) -> TaskNet:
    """Train a network, on randomised images if wanted, computed as the settings say.

    The same seed gives the same weights.
    """
    learner, _ = train(
        lambda: TaskLearner(known, seed, device, randomise=randomise),
        images=steps * BATCH,
        seed=seed,
        device=device,
        checkpoint=checkpoint,
        progress=progress,
        alone=True,
        settings=settings,
    )
    net = learner.averages["net"].eval()
    assert isinstance(net, TaskNet)
    return net


@torch.inference_mode()
def predict(net: TaskNet, images: Images, like: Labels) -> Labels:
    """What the network sees in images; names and kinds are those of the labels `like`."""
    device = next(net.parameters()).device
    pixels = images[:]
    given = pixels.shape[-1]
    small = functional.adaptive_avg_pool2d(pixels, working_size(given))
    parts = [net(part.to(device)) for part in small.split(64)]
    made = Predictions(*(torch.cat(part).float().cpu() for part in zip(*parts, strict=True)))
    masks = made.masks
    if masks.shape[1] and masks.shape[-1] != given:
        masks = functional.interpolate(masks, size=(given, given), mode="bilinear")
    places = (found_places(made.heat) + 0.5) * given / made.heat.shape[-1] - 0.5
    angles = torch.atan2(made.angles[..., 1], made.angles[..., 0]).rad2deg()
    return Labels(
        {name: (masks[:, k] > 0).numpy() for k, name in enumerate(like.masks)},
        {name: places[:, k].double().numpy() for k, name in enumerate(like.landmarks)},
        None if like.angles is None else angles.double().numpy(),
    )


def found_places(heat: Tensor) -> Tensor:
    """(row, column) `[B, n, 2]` of each map `[B, n, S, S]`: the centroid around its maximum."""
    size = heat.shape[-1]
    share = heat.flatten(2).softmax(dim=2)
    best = share.argmax(dim=2)
    places = torch.stack([best // size, best % size], dim=2)
    steps = torch.arange(size)
    near = ((steps - places[..., None]).abs() <= REACH).float()  # [B, n, 2, S]
    window = share.unflatten(2, (size, size)) * near[:, :, 0, :, None] * near[:, :, 1, None, :]
    total = window.sum(dim=(2, 3))
    rows, columns = window.sum(dim=3) @ steps.float(), window.sum(dim=2) @ steps.float()
    centroids: Tensor = torch.stack([rows, columns], dim=2) / total[..., None]
    return centroids
