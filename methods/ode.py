"""Fixed-step solvers of dx/dt = field(x, t), forward or backward in time.

Four short formulas: a library for them (torchdiffeq) would only be one more dependency.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Literal

from torch import Tensor

Field = Callable[[Tensor, float], Tensor]
Step = Callable[[Field, Tensor, float, float], Tensor]
#: Names of the solvers below.
Solver = Literal["euler", "midpoint", "heun", "rk4"]


def euler(field: Field, x: Tensor, t: float, h: float) -> Tensor:
    """First order, one evaluation."""
    return x + h * field(x, t)


def midpoint(field: Field, x: Tensor, t: float, h: float) -> Tensor:
    """Second order, two evaluations."""
    return x + h * field(x + h / 2 * field(x, t), t + h / 2)


def heun(field: Field, x: Tensor, t: float, h: float) -> Tensor:
    """Second order (trapezoid), two evaluations."""
    slope = field(x, t)
    return x + h / 2 * (slope + field(x + h * slope, t + h))


def rk4(field: Field, x: Tensor, t: float, h: float) -> Tensor:
    """The classic Runge-Kutta step: fourth order, four evaluations."""
    k1 = field(x, t)
    k2 = field(x + h / 2 * k1, t + h / 2)
    k3 = field(x + h / 2 * k2, t + h / 2)
    k4 = field(x + h * k3, t + h)
    return x + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)


#: Name → one step, and its evaluations of the field.
SOLVERS: dict[Solver, tuple[Step, int]] = {
    "euler": (euler, 1),
    "midpoint": (midpoint, 2),
    "heun": (heun, 2),
    "rk4": (rk4, 4),
}


def times(tau: float, steps: int, power: float = 1.0) -> list[float]:
    """The times from 1 down to tau, `1 - (1 - tau) (k / steps) ** power`.

    A power above 1 makes the steps near t = 1 shorter, where the field of a flow between noise
    and data changes fastest. `tau = 1` gives one time and no step.

    >>> times(0.0, 4)
    [1.0, 0.75, 0.5, 0.25, 0.0]
    """
    if tau == 1:
        return [1.0]
    return [1 - (1 - tau) * (k / steps) ** power for k in range(steps)] + [tau]


def integrate(field: Field, x: Tensor, grid: list[float], solver: Solver) -> Tensor:
    """Return x at the last time of `grid`."""
    step, _ = SOLVERS[solver]
    for t, later in pairwise(grid):
        x = step(field, x, t, later - t)
    return x
