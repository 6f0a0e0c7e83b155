"""Plain training scripts beside which `bench_training.py` times ours: networks for all pairs.

The loss is written down as in the scripts of diffusers, or is the official code's own where one can
be called: github.com/atong01/conditional-flow-matching and github.com/yuyang-shi/dsbm-pytorch.
"""

import copy
from collections.abc import Callable
from typing import Any

import torch
from diffusers import DDPMScheduler
from diffusers.training_utils import EMAModel
from torch import Tensor, nn
from torch.nn import functional
from training_peers import DEVICE, checkout, drawn, imported_from

from xbench.methods.conditional import ConditionalConfig, ConditionalLearner
from xbench.methods.directflow import DirectFlowConfig
from xbench.methods.dsbm import CLIP, DsbmConfig
from xbench.methods.training import Batch

Loss = Callable[[nn.Module, Batch], Tensor]
SCHEDULER = DDPMScheduler(beta_schedule="squaredcos_cap_v2", prediction_type="v_prediction")


class PlainLoop:
    """What a script does: AdamW as it comes, gradients clipped, diffusers' average of weights."""

    def __init__(self, learner: ConditionalLearner, loss: Loss) -> None:
        self.learner, self.loss, config = learner, loss, learner.method.config
        assert isinstance(config, ConditionalConfig)
        self.net = copy.deepcopy(learner.networks["net"])
        self.average = EMAModel(self.net.parameters(), decay=config.ema)
        self.optimizer = torch.optim.AdamW(
            self.net.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
        )

    def step(self, batch: Batch) -> None:
        with torch.autocast("cuda", torch.bfloat16, enabled=DEVICE.type == "cuda"):
            loss = self.loss(self.net, batch)
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
        self.optimizer.step()
        self.average.step(self.net.parameters())

    def first(self, batch: Batch) -> tuple[float, float]:
        """The loss."""
        with torch.no_grad():
            (mine,) = next(self.learner.losses(batch))[1].values()
            return float(mine), float(self.loss(self.net, batch))


def flow(net: nn.Module, batch: Batch) -> Tensor:
    """Flow matching, with no noise left on the data."""
    data, noise, time = batch["data"], batch["noise"], batch["time"][:, None, None, None]
    point = (1 - time) * noise + time * data
    predicted = net(point, batch["time"] * 1000, class_labels=batch["labels"]).sample
    return functional.mse_loss(predicted.float(), data - noise)


def denoising(net: nn.Module, batch: Batch) -> Tensor:
    """DDPM's objective, for v, as in the scripts of diffusers, beside contours if there are any."""
    data, noise, level = batch["data"], batch["noise"], batch["level"]
    noisy = SCHEDULER.add_noise(data, noise, level)
    if "hint" in batch:
        noisy = torch.cat([noisy, batch["hint"]], dim=1)
    predicted = net(noisy, level, class_labels=batch["labels"]).sample
    return functional.mse_loss(predicted.float(), SCHEDULER.get_velocity(data, noise, level))


def direct_flow(config: DirectFlowConfig) -> Loss:
    """Flow matching between images, points and velocities by torchcfm."""
    with imported_from(checkout("conditional-flow-matching")):
        from torchcfm.conditional_flow_matching import (  # type: ignore[import-not-found]
            ConditionalFlowMatcher,
        )
    matcher = ConditionalFlowMatcher(sigma=config.sigma)

    def loss(net: nn.Module, batch: Batch) -> Tensor:
        with drawn(randn_like=[batch["noise"]]):
            time, point, wanted = matcher.sample_location_and_conditional_flow(
                batch["start"], batch["end"], batch["time"]
            )
        predicted = net(point, time * 1000, class_labels=batch["labels"]).sample
        return functional.mse_loss(predicted.float(), wanted)

    return loss


def bridge(config: DsbmConfig) -> Loss:
    """Bridge matching, points, drifts and weights by DSBM's code; less its factor sigma squared."""
    with imported_from(checkout("dsbm-pytorch")):
        from bridge.sde import DBDSB_VE  # type: ignore[import-not-found]
    whole = torch.ones(1, device=DEVICE)
    path: Any = DBDSB_VE(config.sigma, 1, whole, None, None, "ind", eps=CLIP)

    def loss(net: nn.Module, batch: Batch) -> Tensor:
        chance = (batch["time"] - CLIP) / (1 - 2 * CLIP)
        with drawn(rand=[chance], randn_like=[batch["noise"]]):
            pair = batch["start"], batch["end"]
            point, time, drift = path.get_train_tuple(*pair, fb="f", first_it=True)
        predicted = net(point, time.flatten() * 1000, class_labels=batch["labels"]).sample
        _, scale = path.marginal_prob(None, time, "b")
        return functional.mse_loss(scale * predicted.float(), scale * drift) / config.sigma**2

    return loss
