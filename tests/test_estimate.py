"""How long a run will take: from the profile's seconds, on a machine of any speed."""

import json

import pytest

from xbench.harness import probe

from .conftest import Xbench

PLAN = ("run", "--method", "medshift", "--dry-run", "--json")


def minutes(xbench: Xbench, *more: str) -> float:
    estimate: float = json.loads(xbench(*PLAN, *more).out)["minutes"]
    return estimate


def test_a_machine_half_as_fast_is_expected_to_take_twice_as_long(
    xbench: Xbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    estimates = []
    for factor in (1, 2):
        monkeypatch.setattr("xbench.harness.estimate.slowness", lambda device, f=factor: float(f))
        estimates.append(minutes(xbench))
    assert estimates[1] == pytest.approx(2 * estimates[0])


@pytest.mark.parametrize("profile", ["smoke", "quick", "medium"])
def test_a_first_run_on_a_laptop_has_an_estimate(xbench: Xbench, profile: str) -> None:
    """Of methods with one network for all pairs, with one for each, and with none."""
    assert minutes(xbench, "--method", "medshift,cyclegan,filter", "--profile", profile) > 0


def test_finished_units_say_more_than_the_probe(
    xbench: Xbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("xbench.harness.estimate.WORTH_A_PROBE", 0)
    monkeypatch.setattr("xbench.harness.estimate.slowness", lambda device: 1000.0)
    smoke = ("--profile", "smoke", "--pairs", "synthetic_low:real_normal")
    before = minutes(xbench, *smoke)
    assert xbench("run", "--method", "identity", *smoke).code == 0
    after = minutes(xbench, *smoke)
    assert 0 < after < before
    assert xbench("run", "--method", "medshift", *smoke).code == 0
    assert minutes(xbench, *smoke) == 0


def test_the_machine_is_not_probed_for_seconds_of_work(
    xbench: Xbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    estimates = []
    for factor in (1, 1000):
        monkeypatch.setattr("xbench.harness.estimate.slowness", lambda device, f=factor: float(f))
        estimates.append(minutes(xbench, "--profile", "smoke"))
    assert estimates[0] == estimates[1] > 0


def test_the_probe_compares_this_machine_with_another(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    here = probe.slowness(torch.device("cpu"))
    monkeypatch.setattr(probe, "REFERENCE_SECONDS", probe.REFERENCE_SECONDS / 4)
    assert probe.slowness(torch.device("cpu")) > 2 * here > 0
