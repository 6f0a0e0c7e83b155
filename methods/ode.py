"""Fixed-step solvers for dx/dt = field(x, t), from one time to another, in either direction."""

import math
from collections.abc import Callable, Iterator
from itertools import pairwise

from torch import Tensor

Field = Callable[[Tensor, float], Tensor]
Step = Callable[[Field, Tensor, float, float], Tensor]


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


SOLVERS: dict[str, tuple[Step, int]] = {
    "euler": (euler, 1),
    "midpoint": (midpoint, 2),
    "heun": (heun, 2),
    "rk4": (rk4, 4),
}


def times(tau: float, steps: int) -> list[float]:
    """The times from 1 down to tau: the multiples of 1/steps above tau, then tau itself.

    All tau share the multiples, so one encoding trajectory serves every tau; only the last,
    shorter step is its own. `tau = 1` gives one time, an integration of zero length.
    """
    whole = math.floor((1 - tau) * steps + 1e-9)
    grid = [1 - k / steps for k in range(whole + 1)]
    if grid[-1] - tau > 1e-9:
        grid.append(tau)
    else:
        grid[-1] = tau
    return grid


def trajectory(field: Field, x: Tensor, grid: list[float], solver: str) -> Iterator[Tensor]:
    """Yield x at every time of the grid, the start included."""
    step, _ = SOLVERS[solver]
    yield x
    for t, later in pairwise(grid):
        x = step(field, x, t, later - t)
        yield x


def integrate(field: Field, x: Tensor, grid: list[float], solver: str) -> Tensor:
    """Return x at the last time of the grid."""
    for state in trajectory(field, x, grid, solver):
        x = state
    return x
