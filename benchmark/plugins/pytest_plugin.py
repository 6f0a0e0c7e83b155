"""For pytest: `check_method(Blur)` in a test of yours looks at all promises of a method."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from xbench.methods.base import Method
    from xbench.plugins.conformance import Finding

CheckMethod = Callable[..., "list[Finding]"]


@pytest.fixture
def check_method() -> CheckMethod:
    """A function that fails where a method breaks a promise, and skips where it cannot run.

    It takes a class, or what `--method` takes (a name, or `path/to/file.py:Class`), and the name
    of a profile (`smoke`).
    """
    return _check_method


def _check_method(method: "type[Method] | str", profile: str = "smoke") -> "list[Finding]":
    from xbench.core.profiles import get_profile
    from xbench.methods.registry import get
    from xbench.plugins.conformance import check
    from xbench.plugins.conformance.checks import ESSENTIAL

    findings = check(get(method) if isinstance(method, str) else method, get_profile(profile))
    failed = [f"{f.check}: {f.reason}\n    {f.mend}" for f in findings if f.outcome == "fail"]
    if failed:
        pytest.fail("\n".join(["it breaks promises of its interface:", *failed]), pytrace=False)
    for finding in findings:
        if finding.check in ESSENTIAL and finding.outcome == "skip":
            pytest.skip(finding.reason)
    return findings
