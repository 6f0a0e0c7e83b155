"""An official value or a setting of our own, and the comparison with what a profile sets."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from xbench.core.profiles import Profile, get_profile
from xbench.methods.base import Method

#: Profile → the group whose reasons it has. `smoke` has none: its numbers mean nothing.
GROUPS = {"quick": "quick", "medium": "quick", "standard": "standard", "paper": "paper"}

#: Reasons that several methods have.
SMALL = "small networks: minutes on two cores"
SHORT = "for a short training"
FEWER = "fewer evaluations"
VALUE = "chosen on `val`"
UNEVEN = "short steps near the image, as there are few"


@dataclass(frozen=True)
class Official:
    """What the official code sets, and why a profile sets something else.

    Attributes:
        value: as our setting would have it.
        source: where it stands: a repository or a paper, and the place in it.
        quick: why it differs at `quick`, at `medium` or at both; empty if it does at neither.
        standard: why it differs at `standard`; empty if it does not.
        paper: why it differs at `paper`; empty if it does not.
    """

    value: Any
    source: str
    quick: str = ""
    standard: str = ""
    paper: str = ""

    def why(self, profile: str) -> str:
        """Why it differs at a profile."""
        if profile not in GROUPS:
            return "for tests"
        reason: str = getattr(self, GROUPS[profile])
        return reason


@dataclass(frozen=True)
class Ours:
    """A setting without an official value: `why` says what it is for, or that it is unpublished."""

    why: str


#: Setting → its official value, for all `train` and `infer` settings of a method.
Sheet = Mapping[str, Official | Ours]


class Difference(NamedTuple):
    """One setting of a profile that is not the official one."""

    setting: str
    here: Any
    official: Any
    source: str
    why: str


def differences(method: type[Method], sheet: Sheet, profile: Profile) -> list[Difference]:
    """What a method's settings at a profile change of the official ones."""
    config = method.configure(profile)
    return [
        Difference(name, here, entry.value, entry.source, entry.why(profile.name))
        for name, entry in sheet.items()
        if isinstance(entry, Official) and (here := getattr(config, name)) != entry.value
    ]


def faults(method: type[Method], sheet: Sheet) -> list[str]:
    """What a method's sheet lacks or has too much, one line each; empty if it is complete."""
    fields = method.Config.fields("train", "infer")
    missing = [name for name in fields if name not in sheet]
    found = [f"{method.name}.{name} has no entry: add Official(…) or Ours(…)" for name in missing]
    found += [f"{method.name}.{name} is no setting" for name in sheet if name not in fields]
    if found:
        return found
    differing: dict[str, set[str]] = {group: set() for group in GROUPS.values()}
    for profile, group in GROUPS.items():
        differing[group] |= {d.setting for d in differences(method, sheet, get_profile(profile))}
    for group, names in differing.items():
        for name, entry in sheet.items():
            reason = getattr(entry, group, "")
            if name in names and not reason:
                found.append(f"{method.name}.{name} differs at {group}: give a reason")
            if reason and name not in names:
                found.append(f"{method.name}.{name} does not differ at {group}: drop the reason")
    return found
