"""What differs from the official code stands on a page, all of it and with a reason.

`XBENCH_REWRITE=1 pytest tests/test_official.py` rewrites `methods/official/README.md`.
"""

import json
import runpy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from xbench.core.profiles import get_profile
from xbench.methods import official, registry
from xbench.methods.base import Method, MethodConfig, setting
from xbench.methods.official import Official, Ours, sheet

README = Path(__file__).parents[1] / "methods" / "official" / "README.md"
same = runpy.run_path(str(Path(__file__).with_name("generated.py")))["same"]
TRAINED = {
    name: method
    for name, method in registry.available().items()
    if name in registry.BUILT_IN and method.needs_training and name not in registry.REFERENCES
}


@pytest.mark.parametrize("name", TRAINED)
def test_every_setting_has_its_official_value_or_a_word_why_not(name: str) -> None:
    assert official.faults(TRAINED[name]) == []


class SharpConfig(MethodConfig):
    width: int = setting(64, "train", "of the network")
    steps: int = setting(5, "infer", "of the solver")
    chunks: int = setting(1, "resources", "images at once")


class Sharp(Method):
    name, Config = "sharp", SharpConfig
    by_profile: ClassVar = {"quick": {"width": 16}}

    def translate(self, images: Any, *domains: str, generators: Any) -> Any:
        return images


def test_a_difference_without_a_reason_is_found_and_so_is_a_reason_without_a_difference() -> None:
    good = {"width": Official(64, "theirs", quick="small"), "steps": Ours("of our solver")}
    assert sheet.faults(Sharp, good) == []
    assert sheet.differences(Sharp, good, get_profile("quick")) == [
        ("width", 16, 64, "theirs", "small")
    ]
    assert sheet.differences(Sharp, good, get_profile("paper")) == []
    for changed, fault in (
        ({"width": Official(64, "theirs")}, "sharp.width differs at quick: give a reason"),
        (
            {"steps": Official(5, "theirs", paper="why")},
            "sharp.steps does not differ at paper: drop the reason",
        ),
        ({"depth": Ours("gone")}, "sharp.depth is no setting"),
    ):
        assert sheet.faults(Sharp, good | changed) == [fault]
    (fault,) = sheet.faults(Sharp, {"width": good["width"]})
    assert fault.startswith("sharp.steps has no entry")


def test_programs_see_what_differs(xbench: Callable[..., Any]) -> None:
    rows = json.loads(xbench("list", "methods", "--no-counts", "--json").out)
    found = {row["name"]: {d["setting"]: d for d in row["differs"]} for row in rows}
    assert found["cut"]["width"]["here"] == 16
    assert found["cut"]["width"]["official"] == 64
    assert all(d["why"] and d["source"] for of in found.values() for d in of.values())
    assert found["identity"] == {}


@pytest.mark.parametrize("group", ["quick", "standard", "paper"])
def test_the_page_has_everything_that_differs(group: str) -> None:
    rows = [(d.why, item, name) for name in TRAINED for d, item in differing(name, group)]
    assert same(README, f"differs at {group}", table("here (official)", rows))


def test_the_page_has_the_settings_without_an_official_value() -> None:
    rows = [(e.why, f"`{s}`", n) for n, s, e in entries() if isinstance(e, Ours)]
    assert same(README, "ours", table("settings", rows))


def test_the_page_has_the_sources() -> None:
    named = [(e.source, f"`{n}`") for n, _, e in entries() if isinstance(e, Official)]
    by_methods = [(names, source) for source, names in joined(named).items()]
    lines = [f"| {names} | {of} |" for names, of in joined(by_methods, "; ").items()]
    assert same(README, "sources", "\n".join(["| methods | source |", "|---|---|", *lines]))


def entries() -> list[tuple[str, str, Official | Ours]]:
    """Method, setting and entry of all sheets."""
    return [(n, s, e) for n in TRAINED for s, e in official.SHEETS.get(n, {}).items()]


def differing(name: str, group: str) -> Iterator[tuple[official.Difference, str]]:
    """The differences of a method at a group of profiles, and their texts for the page."""
    method = TRAINED[name]
    profiles = [get_profile(p) for p, its in official.GROUPS.items() if its == group]
    found = {d.setting: d for p in profiles for d in official.differences(method, p)}
    for key, difference in found.items():
        values = {p.name: text(getattr(method.configure(p), key)) for p in profiles}
        first, *_ = values.values()
        others = [f"`{p}`: {value}" for p, value in values.items() if value != first]
        yield difference, f"`{key}` {', '.join([first, *others])} ({text(difference.official)})"


def table(heading: str, rows: list[tuple[str, str, str]]) -> str:
    """A table of (reason, item, method): items of the same methods and reason share a row."""
    names = joined([((why, item), f"`{name}`") for why, item, name in rows])
    items = joined([((of, why), item) for (why, item), of in names.items()])
    lines = [f"| {of} | {its} | {why} |" for (of, why), its in items.items()]
    return "\n".join([f"| methods | {heading} | why |", "|---|---|---|", *lines])


def joined(pairs: list[tuple[Any, str]], between: str = ", ") -> dict[Any, str]:
    """Thing → all that goes with it, each once, in the order of the pairs."""
    together: dict[Any, dict[str, None]] = {}
    for thing, other in pairs:
        together.setdefault(thing, {})[other] = None
    return {thing: between.join(others) for thing, others in together.items()}


def text(value: Any) -> str:
    """A value of a setting."""
    if isinstance(value, tuple):
        return "/".join(map(text, value))
    if value is None or isinstance(value, bool):
        return {None: "none", True: "yes", False: "no"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value)
