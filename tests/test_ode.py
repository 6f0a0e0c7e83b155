"""Solvers: order of accuracy, and the time grid that all tau share."""

import math

import pytest
import torch
from torch import Tensor

from xbench.methods.ode import SOLVERS, integrate, times


def field(x: Tensor, t: float) -> Tensor:
    """dx/dt = x cos t, solved by x(0) exp(sin t)."""
    return x * math.cos(t)


@pytest.mark.parametrize(
    ("solver", "order"), [("euler", 1), ("midpoint", 2), ("heun", 2), ("rk4", 4)]
)
def test_the_error_falls_with_the_order_of_the_solver(solver: str, order: int) -> None:
    exact = math.exp(math.sin(0.2) - math.sin(1.0))
    errors = [
        abs(
            float(integrate(field, torch.ones(1, dtype=torch.float64), times(0.2, n), solver))
            - exact
        )
        for n in (20, 40)
    ]
    assert math.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.15)


@pytest.mark.parametrize("solver", SOLVERS)
def test_declared_evaluations_are_those_made(solver: str) -> None:
    calls = []

    def counting(x: Tensor, t: float) -> Tensor:
        calls.append(t)
        return x

    integrate(counting, torch.ones(1), [1.0, 0.5], solver)
    assert len(calls) == SOLVERS[solver][1]


def test_times_run_from_one_to_tau() -> None:
    assert times(0.0, 4) == [1, 0.75, 0.5, 0.25, 0]
    assert times(0.6, 4) == pytest.approx([1, 0.9, 0.8, 0.7, 0.6])
    assert times(0.6, 4)[-1] == 0.6
    assert times(1.0, 4) == [1]
    assert times(0.0, 4, power=2) == [1, 0.9375, 0.75, 0.4375, 0]
