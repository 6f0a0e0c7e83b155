"""Settings of methods, data and budget: read from text, checked, and shown in labels."""

import json
import re
from collections.abc import Collection, Iterable, Mapping
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, TypeVar

from xbench.core.errors import UserError, unknown
from xbench.core.hashing import digest
from xbench.core.names import quoted

if TYPE_CHECKING:
    from pydantic import BaseModel

#: Numbers as people write them; JSON has neither .5 nor +1.
NUMBER = re.compile(r"[+-]?(?:\d+\.\d*|\.\d+|[1-9]\d*)(?:[eE][-+]?\d+)?")
#: Bytes of a file's name: file systems take 255, and endings are added to it.
LONGEST_NAME = 180

#: Sections that are not of one method: `compute` is part of no key.
SHARED = ("data", "budget", "compute")
#: Section (a method's name, or one of `SHARED`) → key → value.
Settings = dict[str, dict[str, Any]]
ConfigT = TypeVar("ConfigT", bound="BaseModel")


def parse(texts: Iterable[str]) -> Settings:
    """The settings in `--set` texts; a value is JSON if it can be, else text.

    >>> parse(["medshift.tau=0.3", "medshift.solver=heun"])
    {'medshift': {'tau': 0.3, 'solver': 'heun'}}

    Raises:
        UserError: a text has another form.
    """
    settings: Settings = {}
    for text in texts:
        name, equals, value = text.partition("=")
        section, key = _split(name if equals else "", text)
        settings.setdefault(section, {})[key] = parse_value(value)
    return settings


def nested(values: Mapping[str, Any]) -> Settings:
    """Settings named `SECTION.KEY`, by section.

    >>> nested({"medshift.tau": 0.3})
    {'medshift': {'tau': 0.3}}

    Raises:
        UserError: a name has another form.
    """
    settings: Settings = {}
    for name, value in values.items():
        section, key = _split(name)
        settings.setdefault(section, {})[key] = value
    return settings


def parse_value(text: str) -> Any:
    """The value of a text: a number, JSON if it can be, else the text itself.

    >>> parse_value("0.3"), parse_value("[8, 16]"), parse_value("heun")
    (0.3, [8, 16], 'heun')
    >>> parse_value(".5"), parse_value("+2."), parse_value("1e3")
    (0.5, 2.0, 1000)
    """
    try:
        value = json.loads(text)
    except ValueError:
        value = float(text) if NUMBER.fullmatch(text.strip()) else text
    if isinstance(value, float) and "e" in text.lower() and value.is_integer():
        return int(value) if abs(value) < 2**53 else value  # 1e3 images are a whole number
    return value


def merged(first: Settings, second: Settings) -> Settings:
    """Both settings; where they differ, the second wins.

    >>> merged({"data": {"noise": "on", "size": 64}}, {"data": {"noise": "off"}})
    {'data': {'noise': 'off', 'size': 64}}
    """
    sections = {**first, **second}
    return {name: {**first.get(name, {}), **second.get(name, {})} for name in sections}


def texts(settings: Settings) -> list[str]:
    """The `--set` texts of some settings: the inverse of `parse`.

    >>> texts({"medshift": {"tau": 0.3}, "budget": {"images": 64}})
    ['medshift.tau=0.3', 'budget.images=64']
    """
    return [t for section, values in settings.items() for t in differences(section, values, {})]


def _split(name: str, given: str = "") -> tuple[str, str]:
    """Section and key of `SECTION.KEY`; `given` is what the user wrote, if it is more."""
    match = re.fullmatch(r"([\w-]+)\.([\w-]+)", name)
    if not match:
        raise UserError(
            f"the setting '{given or name}' cannot be read",
            "expected: SECTION.KEY=VALUE, where SECTION is a method, data, budget or compute",
            _example("medshift.tau", 0.3),
        )
    return match[1], match[2]


def check_sections(settings: Settings, sections: Iterable[str]) -> None:
    """Make sure that settings belong to the sections of a run.

    Raises:
        UserError: a section is not one of these.
    """
    known = list(sections)
    for section in settings:
        if section not in known:
            near = get_close_matches(section, known, n=1, cutoff=0.4)
            setting = (
                next(iter(settings[section].items()), ("factor", 2)) if near else ("factor", 2)
            )
            name = f"{near[0] if near else 'budget'}.{setting[0]}"
            raise unknown(
                "section of settings in this run", section, known, _example(name, setting[1])
            )


def apply(config: ConfigT, changes: Mapping[str, Any], section: str) -> ConfigT:
    """The configuration with some fields changed, checked as a whole.

    Args:
        config: what to change; it stays as it is.
        changes: field → value.
        section: what the settings call the configuration, for messages.

    Raises:
        UserError: an unknown field, or a value that is not allowed.
    """
    from pydantic import ValidationError

    fields = type(config).model_fields
    for key in changes:
        if key not in fields:
            known = [f"{section}.{name}" for name in fields]
            near = get_close_matches(f"{section}.{key}", known, n=1, cutoff=0.4)
            fix = "leave this setting out"
            if near:
                fix = _example(near[0], changes[key])
            elif known:
                fix = _example(known[0], getattr(config, next(iter(fields))))
            method = "" if section in SHARED else f" {section}"
            listing = f"xbench list settings{method}"
            raise unknown("setting", f"{section}.{key}", known, fix, listing)
    try:
        return type(config).model_validate({**config.model_dump(), **changes})
    except ValidationError as error:
        problem = error.errors()[0]
        key = str(problem["loc"][0]) if problem["loc"] else next(iter(changes))
        value = changes.get(key, problem["input"])
        options = re.findall(r"'([^']+)'", problem.get("ctx", {}).get("expected", ""))
        near = get_close_matches(str(value), options, n=1, cutoff=0.4)
        hint = f"did you mean {near[0]}? " if near else ""
        about = fields[key].description if key in fields else None
        description = f" ({about})" if about else ""
        expected = problem["msg"].removeprefix("Value error, ")
        example = _example(f"{section}.{key}", getattr(config, key, "VALUE"))
        raise UserError(
            f"{section}.{key}={value} is not allowed{description}",
            f"{hint}expected: {expected[0].lower()}{expected[1:]}",
            sweep_instead(f"{section}.{key}", value, section) or example,
        ) from error


def sweep_instead(name: str, value: object, method: str = "NAME") -> str:
    """The command that makes a row for each of several values; empty if they are not several.

    >>> sweep_instead("budget.factor", "1,2,4")
    'a row for each value: xbench sweep --method NAME --set budget.factor=1,2,4'
    >>> sweep_instead("medshift.tau", "0:1:0.1", "medshift"), sweep_instead("medshift.tau", "half")
    ('a row for each value: xbench sweep --method medshift --set medshift.tau=0:1:0.1', '')
    """
    several = isinstance(value, str) and re.fullmatch(r"[^,]+(,[^,]+)+,?|[^:]+:[^:]+:[^:]+", value)
    if not several or method == "data":  # a sweep compares rows on the same data
        return ""
    return f"a row for each value: xbench sweep --method {method} --set {name}={value}"


def label(
    name: str,
    now: Mapping[str, Any],
    then: Mapping[str, Any],
    extra: Mapping[str, Any] | None = None,
    always: Collection[str] = (),
    words: Mapping[str, str] | None = None,
) -> str:
    """A name with the settings that differ from the profile's defaults.

    >>> label("medshift", {"tau": 0.6, "steps": 4}, {"tau": 0.3, "steps": 4})
    'medshift[tau=0.6]'
    >>> label("medshift", {"tau": 0.6}, {"tau": 0.3}, words={"tau": "signal=0.692"})
    'medshift[tau=0.6~signal=0.692]'

    Args:
        name: of the method or data set.
        now: the settings in use, JSON-able.
        then: the profile's defaults.
        extra: more to show, such as a budget.
        always: fields to show even if they are the defaults.
        words: field → what its value means on another scale, shown beside it.
    """
    shown = {key: value for key, value in now.items() if value != then[key] or key in always}
    shown |= dict(extra or {})
    beside = {key: f"~{text}" for key, text in (words or {}).items()}
    inner = ",".join(f"{key}={_text(value)}{beside.get(key, '')}" for key, value in shown.items())
    return f"{name}[{inner}]" if inner else name


def name_of(label: str) -> str:
    """The name in front of a label's brackets.

    >>> name_of("medshift[tau=0.6]")
    'medshift'
    """
    return label.partition("[")[0]


def in_short(label: str) -> str:
    """A label without what its values mean on other scales.

    >>> in_short("medshift[tau=0.6~signal=0.692,images=32]")
    'medshift[tau=0.6,images=32]'
    """
    return re.sub(r"~[^,\]]*", "", label)


def differences(section: str, now: Mapping[str, Any], then: Mapping[str, Any]) -> tuple[str, ...]:
    """The `--set` texts that change the settings `then` into `now`.

    >>> differences("medshift", {"tau": 0.6, "steps": 4}, {"tau": 0.3, "steps": 4})
    ('medshift.tau=0.6',)
    """
    return tuple(
        f"{section}.{key}={value if isinstance(value, str) else json.dumps(value)}"
        for key, value in now.items()
        if key not in then or value != then[key]
    )


def file_name(text: str) -> str:
    """A label as a file name: slashes and other unsafe characters become underscores.

    The name never leads out of its folder. One that is too long for a file system is cut and ends
    in a hash.

    >>> file_name("fda/x[beta=0.1]"), file_name("..")
    ('fda_x[beta=0.1]', '__')
    """
    name = re.sub(r"[^\w.,=+~\-\[\]]", "_", text)
    if not name.strip("."):
        return "_" * max(1, len(name))
    if len(name.encode()) > LONGEST_NAME:
        start = name.encode()[: LONGEST_NAME - 9].decode(errors="ignore")
        return f"{start}~{digest(text, 8)}"
    return name


def _text(value: object) -> str:
    """A value as a person would write it: `on`, `8x16`, `0.3`."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, list | tuple):
        return "x".join(_text(item) for item in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _example(name: str = "medshift.tau", value: object = 0.3) -> str:
    text = value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
    setting = quoted(f"{name}={text}")
    return f"for example: --set {setting} (in Python: settings={{'{name}': {value!r}}})"
