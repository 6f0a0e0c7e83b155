"""For pytest: `check_method(Blur)` in your test looks at all promises of a method."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from xbench.core.checks import Check
    from xbench.methods.base import Method

CheckMethod = Callable[..., "list[Check]"]


@pytest.fixture
def check_method() -> CheckMethod:
    """A function that fails the test if a method breaks a promise, and skips it if it cannot run.

    It takes a class, or what `--method` takes (a name, or `path/to/file.py:Class`), and the name
    of a profile (`smoke` by default).
    """
    return _check_method


def _check_method(method: "type[Method] | str", profile: str = "smoke") -> "list[Check]":
    from xbench.core.profiles import get_profile
    from xbench.methods.registry import get
    from xbench.plugins.conformance import check
    from xbench.plugins.conformance.checks import ESSENTIAL

    checks = check(get(method) if isinstance(method, str) else method, get_profile(profile))
    failed = [f"{c.check}: {c.note}\n    {c.fix}" for c in checks if c.outcome == "fail"]
    if failed:
        pytest.fail("\n".join(["it breaks promises of its interface:", *failed]), pytrace=False)
    for look in checks:
        if look.check in ESSENTIAL and look.outcome == "skip":
            pytest.skip(look.note)
    return checks
