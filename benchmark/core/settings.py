"""Settings of methods, data and budget: parsing, checking against the configurations, labels."""

import json
import re
from collections.abc import Collection, Iterable, Mapping
from difflib import get_close_matches
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from xbench.core.errors import UserError, unknown
from xbench.core.hashing import digest

#: Bytes of a file's name: 255 is what file systems take, and endings are added to it.
LONGEST_NAME = 180

Settings = dict[str, dict[str, Any]]
ConfigT = TypeVar("ConfigT", bound=BaseModel)


def parse(texts: Iterable[str]) -> Settings:
    """The settings that `--set` texts give; values are JSON, else text.

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
    """Settings by their full names as settings by section.

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
    """The value that a text stands for: JSON, else the text itself."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def merged(first: Settings, second: Settings) -> Settings:
    """Both settings; where they disagree, the second counts."""
    sections = {**first, **second}
    return {name: {**first.get(name, {}), **second.get(name, {})} for name in sections}


def texts(settings: Settings) -> list[str]:
    """The `--set` texts that give these settings: the inverse of `parse`."""
    return [t for section, values in settings.items() for t in differences(section, values, {})]


def _split(name: str, given: str = "") -> tuple[str, str]:
    """Section and key of a setting's full name; `given` is what the user wrote."""
    match = re.fullmatch(r"([\w-]+)\.([\w-]+)", name)
    if not match:
        raise UserError(
            f"--set {given or name} cannot be read",
            "expected: --set SECTION.KEY=VALUE (SECTION: a method, data or budget)",
            "for example: --set medshift.tau=0.3",
        )
    return match[1], match[2]


def check_sections(settings: Settings, sections: Iterable[str]) -> None:
    """Every section must belong to something in this run."""
    known = list(sections)
    for section in settings:
        if section not in known:
            raise unknown("--set section in this run", section, known, "see: xbench run --help")


def apply(config: ConfigT, changes: Mapping[str, Any], section: str) -> ConfigT:
    """The configuration with some fields changed, checked again as a whole."""
    fields = type(config).model_fields
    for key in changes:
        if key not in fields:
            known = [f"{section}.{name}" for name in fields]
            near = [*get_close_matches(f"{section}.{key}", known, n=1), *known]
            mend = f"for example: --set {near[0]}=VALUE" if near else "leave the --set out"
            raise unknown("setting", f"{section}.{key}", known, mend)
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
        raise UserError(
            f"{section}.{key}={value} is not allowed{description}",
            f"{hint}expected: {problem['msg'][0].lower()}{problem['msg'][1:]}",
            f"for example: --set {section}.{key}={_text(getattr(config, key, 'VALUE'))}",
        ) from error


def label(
    name: str,
    now: Mapping[str, Any],
    then: Mapping[str, Any],
    extra: Mapping[str, Any] | None = None,
    always: Collection[str] = (),
) -> str:
    """`medshift`, or `medshift[tau=0.6]` where something differs from the profile's default.

    Args:
        name: of the method or data set.
        now: the settings in use, JSON-able.
        then: the profile's.
        extra: more to show, as a budget.
        always: fields that are shown in any case.
    """
    shown = {key: value for key, value in now.items() if value != then[key] or key in always}
    shown |= dict(extra or {})
    inner = ",".join(f"{key}={_text(value)}" for key, value in shown.items())
    return f"{name}[{inner}]" if inner else name


def name_of(label: str) -> str:
    """The name in front of a label's brackets."""
    return label.partition("[")[0]


def differences(section: str, now: Mapping[str, Any], then: Mapping[str, Any]) -> tuple[str, ...]:
    """The `--set` texts that lead from the settings `then` to `now`."""
    return tuple(
        f"{section}.{key}={value if isinstance(value, str) else json.dumps(value)}"
        for key, value in now.items()
        if key not in then or value != then[key]
    )


def file_name(text: str) -> str:
    """A label as a file name: slashes and other unsafe characters become underscores.

    No text leads out of a folder: a name of dots alone is replaced, one too long for a file system
    is cut and told apart by a hash.
    """
    name = re.sub(r"[^\w.,=+\-\[\]]", "_", text)
    if not name.strip("."):
        return "_" * max(1, len(name))
    if len(name.encode()) > LONGEST_NAME:
        start = name.encode()[: LONGEST_NAME - 9].decode(errors="ignore")
        return f"{start}~{digest(text, 8)}"
    return name


def _text(value: object) -> str:
    """A value as a person would type it."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, list | tuple):
        return "x".join(_text(item) for item in value)
    return f"{value:g}" if isinstance(value, float) else str(value)
