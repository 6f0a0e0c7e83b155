"""The conformance kit: does a method keep the promises of its interface?

Every promise passes, fails, or is skipped with the reason; a failure says what to do. Takes
seconds for a method at the smoke profile: tiny images made on the spot, hardly any training.
"""

import time
from dataclasses import dataclass
from typing import Literal

import torch

from xbench.core.isolation import undisturbed
from xbench.core.profiles import Profile
from xbench.methods.base import Method
from xbench.plugins.conformance.bench import Bench, Broken, Check, Skipped
from xbench.plugins.conformance.checks import CHECKS, ESSENTIAL, raised


@dataclass(frozen=True)
class Finding:
    """What came of one check.

    Attributes:
        check: its name.
        outcome: whether the promise is kept.
        reason: of a failure or a skip; a remark else.
        mend: what to do about a failure.
        seconds: that it took.
    """

    check: str
    outcome: Literal["pass", "fail", "skip"]
    reason: str = ""
    mend: str = ""
    seconds: float = 0.0


def check(
    kind: type[Method], profile: Profile, device: torch.device | None = None
) -> list[Finding]:
    """Look at all promises of a method.

    Args:
        kind: the method.
        profile: gives its settings and the size of images; `smoke` takes seconds.
        device: the CPU by default.

    Returns:
        A finding for each check, in the order of `CHECKS`.
    """
    bench = Bench(kind, profile, device or torch.device("cpu"))
    findings: list[Finding] = []
    stopped = ""
    for name, look in CHECKS.items():
        if stopped:
            findings.append(Finding(name, "skip", f"see '{stopped}'"))
            continue
        findings.append(_look(name, look, bench))
        if name in ESSENTIAL and findings[-1].outcome != "pass":
            stopped = name
    return findings


def _look(name: str, look: Check, bench: Bench) -> Finding:
    """One check, whatever the method does meanwhile."""
    began = time.perf_counter()
    outcome: Literal["pass", "fail", "skip"] = "pass"
    mend = ""
    try:
        with undisturbed():
            reason = look(bench) or ""
    except Skipped as error:
        outcome, reason = "skip", str(error)
    except Broken as error:
        outcome, reason, mend = "fail", str(error), error.mend
    except Exception as error:
        outcome = "fail"
        reason, mend = raised(error, bench.kind)
    return Finding(name, outcome, reason, mend, time.perf_counter() - began)
