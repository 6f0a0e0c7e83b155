"""`dataset.toml`: what xbench cannot see in a folder of images."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from xbench.core.errors import UserError
from xbench.core.files import write_text

FILE = "dataset.toml"
Polarity = Literal["bone-dark", "bone-bright"]
Window = tuple[float, float]


class SplitRule(BaseModel):
    """How a folder without `train` and `test` sub-folders is split.

    Attributes:
        val: share of the groups for val (also where there are only train and test).
        test: share of the groups for test.
        group: `folder` (the sub-folder below the domain; files without one are groups of their
            own), `stem` (every id is a group) or a regular expression whose first bracketed part
            is the group's name within the id; an id in which it finds none is a group of its own.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    val: float = Field(default=0.1, ge=0, lt=1)
    test: float = Field(default=0.2, gt=0, lt=1)
    group: str = "folder"

    @field_validator("group")
    @classmethod
    def _readable(cls, value: str) -> str:
        if value in ("folder", "stem"):
            return value
        try:
            groups = re.compile(value).groups
        except re.error as error:
            raise ValueError(f"no regular expression: {error}") from error
        if groups < 1:
            raise ValueError("a regular expression needs one bracketed part, the group's name")
        return value


class Description(BaseModel):
    """The keys of `dataset.toml`; all may be left out.

    Attributes:
        name: heads tables; the folder's name by default.
        domains: their order in tables and figures; alphabetical by default.
        domain_groups: domain → group of domains (as synthetic and real).
        index: a table of the images (see `index.py`) that replaces the search of the folder.
        polarity: whether bone is dark (as xbench has it) or bright in the files, for all domains
            or by domain.
        window: stored values that become 0 and 1, for all domains or by domain; by default the
            full range of the bit depth, or the window of a DICOM file.
        fit: `pad` to a square by reflection, `crop` its middle, or `stretch`.
        alignment: `id`: equal ids of two domains show the same view; `none`: they do not.
        split: see `SplitRule`.
        mapping: how an importer recognised domains.
        notes: how an importer found ids and groups.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: str | None = None
    domains: tuple[str, ...] | None = None
    domain_groups: dict[str, str] = {}
    index: str | None = None
    polarity: Polarity | dict[str, Polarity] = "bone-dark"
    window: Window | dict[str, Window] | None = None
    fit: Literal["pad", "crop", "stretch"] = "pad"
    alignment: Literal["id", "none"] = "id"
    split: SplitRule = SplitRule()
    mapping: tuple[tuple[str, str], ...] = ()
    notes: str | None = None

    @field_validator("window")
    @classmethod
    def _opens(cls, value: Window | dict[str, Window] | None) -> Window | dict[str, Window] | None:
        for low, high in value.values() if isinstance(value, dict) else [value] if value else []:
            if not low < high:
                raise ValueError("a window is [LOW, HIGH] with LOW below HIGH")
        return value


def read_description(root: Path) -> Description | None:
    """The description beside the images, None if there is none.

    Raises:
        UserError: it cannot be read.
    """
    path = root / FILE
    if not path.exists():
        return None
    try:
        return Description.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise _wrong(path, str(error), "a TOML file") from error
    except ValidationError as error:
        first = error.errors()[0]
        keys = [part for part in first["loc"] if isinstance(part, str)]
        known = ", ".join(_keys_at(keys[:-1]))
        expected = known if first["type"] == "extra_forbidden" else _sentence(first["msg"])
        raise _wrong(path, f"the key {'.'.join(keys[:2])} is not allowed", expected) from error


def write_description(
    root: Path, description: Description, about: str = "", *, defaults: bool = False
) -> Path:
    """Write the keys that are set, and those at their `defaults` too if wished, under comments."""
    given = description.model_dump(mode="json", exclude_none=True, exclude_defaults=not defaults)
    given = {key: value for key, value in given.items() if value not in ({}, [])}
    tables = {key: value for key, value in given.items() if isinstance(value, dict)}
    lines = [f"# {line}".rstrip() for line in about.splitlines()]
    lines += [f"{key} = {_toml(value)}" for key, value in given.items() if key not in tables]
    for name, table in tables.items():
        lines += ["", f"[{name}]"]
        lines += [f"{_key(key)} = {_toml(value)}" for key, value in table.items()]
    write_text(root / FILE, "\n".join(lines) + "\n")
    return root / FILE


def _keys_at(parents: list[str]) -> list[str]:
    return list((SplitRule if parents == ["split"] else Description).model_fields)


def _key(text: str) -> str:
    return text if re.fullmatch(r"[A-Za-z0-9_-]+", text) else _toml(text)


def _toml(value: Any) -> str:
    """A JSON-able value in TOML, which has the same strings, numbers and lists."""
    return json.dumps(value, ensure_ascii=False)


def _sentence(text: str) -> str:
    return text[:1].lower() + text[1:]


def _wrong(path: Path, what: str, expected: str) -> UserError:
    return UserError(
        f"{path}: {what}",
        f"expected: {expected}",
        f"mend the line, or delete the file and type: xbench data init {path.parent}",
    )
