"""`dataset.toml`: facts about a folder of images that xbench cannot read from the files."""

import json
import re
import tomllib
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

import regex
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from xbench.core.errors import UserError
from xbench.core.files import read_text, within, write_text
from xbench.core.names import plain, quoted

FILE = "dataset.toml"
#: Most bytes of a description, and most signs of an expression in it.
LARGEST, LONGEST = 1_000_000, 500
Polarity = Literal["bone-dark", "bone-bright"]
Window = tuple[float, float]


class SplitRule(BaseModel):
    """How a folder without `train` and `test` sub-folders is split.

    Attributes:
        val: share of the groups for val (also if the folder has only train and test).
        test: share of the groups for test.
        group: `auto`: the first folder below the domain, else what names begin with, else the
            PatientID of DICOM files (see `groups`). `folder`: that folder alone; a file without
            one is its own group. `stem`: every id is a group. Or a regular expression, whose
            first bracketed part is the group's name within the id; an id that does not match is
            its own group.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    val: float = Field(default=0.1, ge=0, lt=1)
    test: float = Field(default=0.2, gt=0, lt=1)
    group: str = "auto"

    @field_validator("group")
    @classmethod
    def _readable(cls, value: str) -> str:
        if value in ("auto", "folder", "stem"):
            return value
        if len(value) > LONGEST:
            raise ValueError(f"a regular expression of at most {LONGEST} signs")
        try:
            groups = regex.compile(value).groups
        except regex.error as error:
            raise ValueError(f"a regular expression ({error})") from error
        if groups < 1:
            raise ValueError("a regular expression with a bracketed part, the group's name")
        return value


class Description(BaseModel):
    """The keys of `dataset.toml`; all are optional.

    Attributes:
        name: shown in tables; the folder's name by default.
        domains: the domains in the order of tables and figures; alphabetical by default.
        domain_groups: domain → group of domains (such as synthetic and real).
        index: a table of the images (see `index.py`), used instead of the folders' names.
        polarity: whether bone is dark (as inside xbench) or bright in the files, for all domains
            or by domain.
        window: stored values that become 0 and 1, for all domains or by domain; by default the
            full range of the bit depth, or the window of the DICOM file.
        fit: `pad` to a square by reflection, `crop` its middle, `stretch`, or `align`: cut all
            domains to the part that all show, at the place and in the size of the first.
        alignment: `id` if equal ids of two domains show the same view, else `none`.
        ids: `names` of files, or `hashed` where these identify a patient: see `pseudonyms`.
        split: see `SplitRule`.
        mapping: the patterns by which an importer recognised domains.
        notes: how an importer chose ids and groups.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: str | None = None
    domains: tuple[str, ...] | None = None
    domain_groups: dict[str, str] = {}
    index: Annotated[str, Field(pattern=r"^[^\x00]+$")] | None = None
    polarity: Polarity | dict[str, Polarity] = "bone-dark"
    window: Window | dict[str, Window] | None = None
    fit: Literal["pad", "crop", "stretch", "align"] = "pad"
    alignment: Literal["id", "none"] = "id"
    ids: Literal["names", "hashed"] = "names"
    split: SplitRule = SplitRule()
    mapping: tuple[tuple[str, str], ...] = ()
    notes: str | None = None

    @field_validator("domains", mode="after")
    @classmethod
    def _composed(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        return None if value is None else tuple(map(plain, value))

    @field_validator("domain_groups", "polarity", "window", mode="after")
    @classmethod
    def _by_domain(cls, value: Any) -> Any:
        return by_domain(value)


def by_domain(value: Any) -> Any:
    """A value for all domains, or values by domain with the names that images have.

    Raises:
        ValueError: a window has no width.
    """
    for one in value.values() if isinstance(value, dict) else (value,):
        if isinstance(one, tuple) and not one[0] < one[1]:
            raise ValueError("a window [LOW, HIGH] with LOW below HIGH")
    return {plain(d): v for d, v in value.items()} if isinstance(value, dict) else value


def read_description(root: Path) -> Description | None:
    """The `dataset.toml` of a folder, or None.

    Raises:
        UserError: it cannot be read.
        OSError: it is a link, or no plain file.
    """
    path = root / FILE
    if not path.exists():
        return None
    within(root, path)
    try:
        if path.stat().st_size > LARGEST:
            raise ValueError(f"has more than {LARGEST} bytes")
        return Description.model_validate(tomllib.loads(read_text(path)))
    except ValidationError as error:
        raise _not_allowed(path, error) from error
    except (ValueError, RecursionError) as error:  # no text, no TOML, or nested without end
        expected = "a TOML file: texts in quotes, numbers such as 0.5"
        raise _wrong(path, str(error), expected) from error


def _not_allowed(path: Path, error: ValidationError) -> UserError:
    """The error of a file with a key or value that is not allowed."""
    first = error.errors()[0]
    keys = [part for part in first["loc"] if isinstance(part, str)]
    expected = re.sub(r"^(Value error, |Input should be )", "", first["msg"])
    if first["type"] == "extra_forbidden":
        owner = SplitRule if keys[:-1] == ["split"] else Description
        near = get_close_matches(keys[-1], owner.model_fields, n=1)
        expected = f"did you mean {near[0]}? " if near else ""
        expected += ", ".join(owner.model_fields)
        return _wrong(path, f"the key {'.'.join(keys[:2])} is not allowed", expected)
    key = ".".join(keys[: 2 if keys[0] == "split" else 1])  # after it stands what pydantic tried
    return _wrong(path, f"{key} = {first['input']!r:.80} is not allowed", expected)


def write_description(
    root: Path, description: Description, about: str = "", *, defaults: bool = False
) -> Path:
    """Write `dataset.toml` below comments; keys at their `defaults` only if asked for."""
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


def _key(text: str) -> str:
    return text if re.fullmatch(r"[A-Za-z0-9_-]+", text) else _toml(text)


def _toml(value: Any) -> str:
    """A JSON value in TOML, which has the same strings, numbers and lists."""
    return json.dumps(value, ensure_ascii=False)


def _wrong(path: Path, what: str, expected: str) -> UserError:
    return UserError(
        f"{path}: {what}",
        f"expected: {expected}",
        f"edit the line, or delete the file and run: xbench data init {quoted(path.parent)}",
    )
