"""Direct flow: from the source image straight to a target image, without noise between them.

The network learns the velocity of straight paths x_t = (1-t) x0 + t x1 between images x0 of the
source and x1 of the target: min E |v(x_t, t) - (x1 - x0)|² (rectified flow, 2209.03003, eq. 1;
with noise on them, I-CFM of 2302.00482). Which x0 goes with which x1 is the coupling:
independent, or optimal transport inside each batch (OT-CFM, same paper). One network for
all pairs with both labels is ours; the papers have one network for each.

Nothing in the objective asks for structure: only the distributions of images are learned.
"""

from collections.abc import Iterator, Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional

from xbench.methods import ode
from xbench.methods.base import TrainData, setting
from xbench.methods.bridges import (
    BridgeMethod,
    StagedLearner,
    draw_pairs,
    velocity,
    with_settings,
)
from xbench.methods.flow import TRIED_SOLVERS, FlowConfig, FlowMethod
from xbench.methods.medshift import TIME_SCALE
from xbench.methods.training import Batch

#: Solver, steps and grid by which a reflow makes its images: training knows no `infer` settings.
REFLOW_SOLVER: ode.Solver = "midpoint"
REFLOW_STEPS, REFLOW_GRID = 4, 1.5


class DirectFlowConfig(FlowConfig):
    """Coupling and solver."""

    coupling: Literal["independent", "ot"] = setting(
        "independent", "train", "pairs of images: at random, or by optimal transport in a batch"
    )
    groups: int = setting(
        2, "train", "pairs of domains in a batch of coupling=ot, which couples inside each", ge=1
    )
    sigma: float = setting(
        0.0, "train", "deviation of the noise on paths, image values from -1 to 1 (I-CFM)", ge=0
    )
    reflow: int = setting(
        0, "train", "1: after half the steps, learn from images that the flow has made", ge=0, le=1
    )
    stop: float = setting(
        1.0, "infer", "time at which to stop: 0 keeps the source, 1 is the target", ge=0, le=1
    )
    grid: float = setting(
        1.5, "infer", "times (k/steps)^grid: above 1, shorter steps near the source", gt=0
    )

    def identity(self) -> dict[str, object]:
        """Without `groups` where nothing is coupled."""
        values = super().identity()
        if self.coupling == "independent":
            del values["groups"]
        return values


class DirectFlow(BridgeMethod, FlowMethod):
    """Integrate the learned velocity from the source image at t = 0 to t = 1."""

    name = "directflow"
    about = "flow matching from source to target images, no noise between (arXiv 2302.00482)"
    Config = DirectFlowConfig
    config: DirectFlowConfig
    by_profile = with_settings(
        quick={"solver": "heun"},
        medium={"solver": "midpoint", "grid": 2.0},
        standard={"evaluations": 32},
        paper={"evaluations": 32},
    )
    knob = "stop"
    tuned: ClassVar = {"solver": TRIED_SOLVERS, "grid": (1.0, 1.5, 2.0)}
    objective = "direct-flow-v1"

    def make_learner(self, data: TrainData, seed: int) -> "DirectFlowLearner":
        """Flow matching between images."""
        return DirectFlowLearner(self, data, seed)

    def evaluations(self) -> int:
        """Those of the one way."""
        return (len(self.times()) - 1) * self.order

    def times(self) -> list[float]:
        """Solver times from 0 up to `stop`."""
        return rising(self.config.stop, self.steps(1), self.config.grid)

    def lead(
        self, x: Tensor, source: str, target: str, generators: Sequence[torch.Generator]
    ) -> Tensor:
        """Deterministic: the generators are not used."""
        return ode.integrate(self.field(source, target), x, self.times(), self.config.solver)


def rising(stop: float, steps: int, power: float) -> list[float]:
    """Times from 0 up to `stop`, dense near 0: what is left to 1 by MedShift's times.

    >>> rising(0.5, 2, 1.0), rising(0.0, 4, 1.0)
    ([0.0, 0.25, 0.5], [0.0])
    """
    return [1.0 - time for time in ode.times(1 - stop, steps, power)]


def transport(start: Tensor, end: Tensor) -> Tensor:
    """The order of `end` `[B]` that makes the sum of |start_i - end_order(i)|² least, exactly.

    A permutation: drawing from the plan with replacement would lose a third of the images.

    >>> transport(torch.tensor([[0.0], [5.0], [1.0]]), torch.tensor([[9.0], [2.0], [3.0]])).tolist()
    [1, 0, 2]
    """
    from scipy.optimize import linear_sum_assignment

    a, b = (images.flatten(1).double() for images in (start, end))
    # |a|² and |b|² are the same for every permutation.
    _, order = linear_sum_assignment((-a @ b.mT).cpu().numpy())
    return torch.from_numpy(order).to(end.device)


class DirectFlowLearner(StagedLearner):
    """Regression of the velocity: x_t = (1-t) x0 + t x1 + sigma noise, target x1 - x0.

    With `reflow` the second half of the steps continues the first with the pairs (x0, x1 = the
    flow's output on x0), made by the averaged network of that moment (arXiv 2209.03003, section 2).
    """

    config: DirectFlowConfig

    def later_stages(self) -> list[float]:
        """The reflow takes half of the steps."""
        return [0.5] * self.config.reflow

    def draw(self, generator: torch.Generator) -> Batch:
        """Pairs of domains, coupled images of them, noise and times."""
        config, device = self.config, self.method.device
        number = config.groups if config.coupling == "ot" else self.batch
        pairs = draw_pairs(len(self.method.domains), number, generator, device)
        # Group by group, so that what is coupled lies side by side.
        group = torch.arange(self.batch, device=device) * number // self.batch
        source, target = (domains[group] for domains in pairs)
        start, end = (self.images(domains, generator) for domains in (source, target))
        labels = self.labels(source, target)
        if self.stage:
            end = self.flowed(start, labels)
        elif config.coupling == "ot":
            end = torch.cat(
                [end[group == n][transport(start[group == n], end[group == n])]
                 for n in group.unique().tolist()]
            )  # fmt: skip
        noise = torch.randn(start.shape, generator=generator, device=device)
        time = torch.rand(self.batch, generator=generator, device=device)
        return {"labels": labels, "start": start, "end": end, "noise": noise, "time": time}

    @torch.no_grad()
    def flowed(self, start: Tensor, labels: Tensor) -> Tensor:
        """The images that the flow of the first stage makes of `start`."""

        def field(x: Tensor, t: float) -> Tensor:
            return velocity(self.networks["maker"], x, t, labels, self.method.computing)

        return ode.integrate(field, start, rising(1, REFLOW_STEPS, REFLOW_GRID), REFLOW_SOLVER)

    def losses(self, batch: Batch) -> Iterator[tuple[str, dict[str, Tensor]]]:
        """Mean squared error of the velocity."""
        start, end, time = batch["start"], batch["end"], batch["time"]
        t = time[:, None, None, None]
        point = (1 - t) * start + t * end + self.config.sigma * batch["noise"]
        net = self.networks["net"]
        predicted = net(point, time * TIME_SCALE, class_labels=batch["labels"]).sample
        yield "net", {"flow": functional.mse_loss(predicted.float(), end - start)}
