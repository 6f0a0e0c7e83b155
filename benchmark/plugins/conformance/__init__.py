"""The conformance kit: does a method keep the promises of its interface?

Every promise passes, fails, or is skipped with a reason; a failure says how to fix it. At the
smoke profile it takes seconds: tiny images made on the spot, trainings of one step.
"""

import torch

from xbench.core.checks import Check
from xbench.core.isolation import undisturbed
from xbench.core.profiles import Profile
from xbench.methods.base import Method
from xbench.plugins.conformance.bench import Bench, Broken, Look, Skipped
from xbench.plugins.conformance.checks import CHECKS, ESSENTIAL, raised


def check(kind: type[Method], profile: Profile, device: torch.device | None = None) -> list[Check]:
    """Look at all promises of a method.

    Args:
        kind: the method.
        profile: gives its settings and the size of images; `smoke` takes seconds.
        device: the CPU by default.

    Returns:
        A check for each promise, in the order of `CHECKS`: `pass`, `fail` or `skip`.
    """
    bench = Bench(kind, profile, device or torch.device("cpu"))
    checks: list[Check] = []
    stopped = ""
    for name, look in CHECKS.items():
        if stopped:
            checks.append(Check(name, "skip", f"see '{stopped}'"))
            continue
        checks.append(_check(name, look, bench))
        if name in ESSENTIAL and checks[-1].outcome != "pass":
            stopped = name
    return checks


def _check(name: str, look: Look, bench: Bench) -> Check:
    """Look at one promise, whatever the method does meanwhile."""
    try:
        with undisturbed():
            return Check(name, "pass", look(bench) or "")
    except Skipped as error:
        return Check(name, "skip", str(error))
    except Broken as error:
        return Check(name, "fail", str(error), error.fix)
    except Exception as error:
        return Check(name, "fail", *raised(error, bench.kind))
