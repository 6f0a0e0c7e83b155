"""Finding methods: built in, from entry points, or from a file."""

import importlib.util
import inspect
import sys
import warnings
from importlib.metadata import entry_points
from pathlib import Path

from xbench.errors import UserError, unknown
from xbench.hashing import file_digest
from xbench.methods.base import Method

GROUP = "xbench.methods"
#: Name → "module:class", imported on demand; the order of tables and lists.
BUILT_IN = {
    "identity": "xbench.methods.identity:Identity",
    "vae": "xbench.methods.vae:VaeRoundTrip",
    "histogram": "xbench.methods.histogram:Histogram",
    "fda": "xbench.methods.fda:FDA",
    "medshift": "xbench.methods.medshift:MedShift",
    "cyclegan": "xbench.methods.cyclegan:CycleGAN",
    "cut": "xbench.methods.cut:CUT",
    "fastcut": "xbench.methods.cut:FastCUT",
    "unsb": "xbench.methods.unsb:Unsb",
    "unsb-official": "xbench.methods.unsb:UnsbOfficial",
    "sdedit": "xbench.methods.sdedit:SDEdit",
    "ddib": "xbench.methods.ddib:DDIB",
    "cyclediffusion": "xbench.methods.cyclediffusion:CycleDiffusion",
}
#: Labels and `--set` sections that are taken.
RESERVED = {*BUILT_IN, "floor", "data", "budget"}


def names() -> list[str]:
    """All methods that can be named: built-ins first, then entry points."""
    found = {point.name for point in entry_points(group=GROUP)} - set(BUILT_IN)
    return [*BUILT_IN, *sorted(found)]


def get(name: str) -> type[Method]:
    """The method class called `name`, or `path/to/file.py:ClassName`.

    Raises:
        UserError: no such method, or the plug-in cannot be loaded.
    """
    if ".py:" in name:
        return from_file(name)
    if name in BUILT_IN:
        module, attribute = BUILT_IN[name].split(":")
        return checked(getattr(importlib.import_module(module), attribute), name)
    for point in entry_points(group=GROUP):
        if point.name == name:
            try:
                return checked(point.load(), name)
            except Exception as error:
                raise broken(f"{point.value} ({point.dist})", error) from error
    raise unknown("method", name, names(), "see: xbench list methods")


def available() -> dict[str, type[Method]]:
    """Every method that loads; a broken plug-in is a warning that names it."""
    methods = {}
    for name in names():
        try:
            methods[name] = get(name)
        except UserError as error:
            warnings.warn(str(error), stacklevel=2)
    return methods


def from_file(target: str) -> type[Method]:
    """Load `path/to/file.py:ClassName`; the file's hash stands for its version."""
    location, attribute = target.rsplit(":", 1)
    path = Path(location).resolve()
    if not path.is_file():
        raise UserError(
            f"there is no file {location}",
            "expected: --method path/to/file.py:ClassName",
            "see: xbench list methods",
        )
    key = file_digest(path)
    module_name = f"xbench_plugin_{path.stem}_{key[:12]}"
    spec = importlib.util.spec_from_file_location(module_name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module  # pydantic resolves annotations through it
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise broken(location, error) from error
    classes = [n for n, c in vars(module).items() if isinstance(c, type) and issubclass(c, Method)]
    if attribute not in classes:
        raise unknown("method class", attribute, classes, f"look into {location}")
    method = checked(getattr(module, attribute), attribute)
    method.plugin = key
    return method


def checked(method: object, name: str) -> type[Method]:
    """Make sure that what was loaded is a complete method; give a nameless one its name."""
    if not (isinstance(method, type) and issubclass(method, Method)):
        raise UserError(
            f"'{name}' is no method",
            "expected: a subclass of xbench.methods.base.Method",
            "see: xbench list methods",
        )
    missing = sorted(getattr(method, "__abstractmethods__", ()))
    if inspect.isabstract(method):
        raise UserError(
            f"method '{name}' is not complete",
            f"expected: it defines {', '.join(missing)}",
            "see the README, 'Add a method'",
        )
    if "name" not in vars(method):
        # Not what a parent class is called: a child of MedShift is another method.
        method.name = name.lower()
    if method.name in RESERVED and not method.__module__.startswith("xbench."):
        raise UserError(
            f"a plug-in may not be called '{method.name}'",
            f"expected: another name than {', '.join(sorted(RESERVED))}",
            "give the class another `name`",
        )
    return method


def broken(where: str, error: Exception) -> UserError:
    """The error for a plug-in that does not load."""
    return UserError(
        f"plug-in {where} does not load: {type(error).__name__}: {error}",
        "expected: a module that imports",
        f"try: python -c 'import {Path(where).stem}' in its folder",
    )
