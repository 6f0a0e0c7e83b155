"""What the official code of each trained method sets, and why ours sets something else.

One dictionary per method, in the file of its family: `Official(value, source)` with a reason for
each group of profiles where ours differs, or `Ours(why)` for a setting that the official code does
not have. `tests/test_official.py` finds what is missing and writes the tables of the page.
"""

from xbench.core.profiles import Profile
from xbench.methods.base import Method
from xbench.methods.official import diffusion, flow, gan, sheet
from xbench.methods.official.sheet import GROUPS, Difference, Official, Ours, Sheet

__all__ = ["GROUPS", "SHEETS", "Difference", "Official", "Ours", "differences", "faults"]

#: Method → its official values.
SHEETS: dict[str, Sheet] = {**flow.SHEETS, **gan.SHEETS, **diffusion.SHEETS}


def differences(method: type[Method], profile: Profile) -> list[Difference]:
    """Settings of a method at a profile that are not the official ones; none without a sheet."""
    return sheet.differences(method, SHEETS.get(method.name, {}), profile)


def faults(method: type[Method]) -> list[str]:
    """What the sheet of a method lacks or has too much, one line each."""
    return sheet.faults(method, SHEETS.get(method.name, {}))
