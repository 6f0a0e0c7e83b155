"""Classes by name: built in, registered by a decorator, from entry points or from files."""

import importlib
import inspect
import re
import shlex
import sys
import warnings
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, Generic, TypeVar

from xbench.core import outside
from xbench.core.errors import UserError, unknown

#: Paths of plug-in files, separated as those of PATH are.
VARIABLE = "XBENCH_PLUGINS"
#: Names become folders, sections of `--set` and cells of tables.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,59}")
#: Entry-point group → name → class, for classes that decorators have registered.
REGISTERED: dict[str, dict[str, Any]] = {}

T = TypeVar("T")


class Registry(Generic[T]):
    """Classes of one kind by name: built in, registered by a decorator, from entry points."""

    def __init__(
        self, kind: str, base: str, group: str, built_in: Mapping[str, str], reserved: set[str]
    ) -> None:
        """A registry.

        Args:
            kind: `method` or `dataset`, the option that takes a name.
            base: "module:attribute" of the base class, imported when it is needed.
            group: of entry points.
            built_in: name → "module:attribute" of a class, or of a function that returns one.
            reserved: other names that a plug-in may not have.
        """
        self.kind, self.group, self.built_in, self._base = kind, group, built_in, base
        self.reserved = {*built_in, *reserved}
        self.fix = f"see: xbench list {kind}s"

    @property
    def base(self) -> type[T]:
        """The base class of this kind."""
        base: type[T] = _imported(self._base)
        return base

    @property
    def registered(self) -> dict[str, type[T]]:
        """Classes that decorators have registered."""
        return REGISTERED.setdefault(self.group, {})

    def names(self) -> list[str]:
        """All names: built-ins first, then registered classes, then entry points."""
        points = sorted(point.name for point in entry_points(group=self.group))
        return list(dict.fromkeys([*self.built_in, *self.registered, *points]))

    def get(self, name: str) -> type[T]:
        """The class called `name`, or that of `path/to/file.py:ClassName`.

        Raises:
            UserError: there is none, or the plug-in cannot be loaded.
        """
        if ".py:" in name:
            return self.from_file(name)
        if name in self.built_in:
            made = _imported(self.built_in[name])
            built: type[T] = made if isinstance(made, type) else made()
            return built
        if name in self.registered:
            return self.registered[name]
        for point in entry_points(group=self.group):
            if point.name == name:
                return self.checked(load_point(point), name)
        if name.endswith(".py"):
            raise UserError(
                f"{name} does not say which class is the {self.kind}",
                "expected: path/to/file.py:ClassName",
                f"for example: {name}:{Path(name).stem.title().replace('_', '')}",
            )
        file, colon, attribute = name.rpartition(":")
        if colon:
            raise UserError(
                f"there is no {self.kind} called '{name}'",
                "expected: a name, or path/to/file.py:ClassName",
                f"try: --{self.kind} {file}.py:{attribute}",
            )
        raise unknown(self.kind, name, self.names(), self.fix)

    def available(self) -> dict[str, type[T]]:
        """Every class that loads; plug-ins that do not are named in warnings."""
        classes = {}
        for name in self.names():
            try:
                classes[name] = self.get(name)
            except UserError as error:
                warn(one_line(error))
        for point in entry_points(group=self.group):
            if point.name in self.built_in:
                warn(f"{describe(point)} is left out: '{point.name}' is built in")
        return classes

    def from_file(self, target: str) -> type[T]:
        """Load `path/to/file.py:ClassName`; its version is `outside.version`."""
        location, attribute = target.rsplit(":", 1)
        path = Path(location).expanduser().resolve()
        if not path.is_file():
            raise UserError(
                f"there is no file {location}",
                f"expected: --{self.kind} path/to/file.py:ClassName",
                self.fix,
            )
        classes = {
            name: value
            for name, value in vars(load_file(path)).items()
            if isinstance(value, type) and issubclass(value, self.base) and not is_ours(value)
        }
        if attribute not in classes:
            found = getattr(load_file(path), attribute, None)
            if isinstance(found, type) and not is_ours(found):
                self.checked(found, attribute)  # says which parent it lacks
            raise unknown(f"{self.kind} class", attribute, classes, f"look into {location}")
        cls = self.checked(classes[attribute], attribute)
        _sign(cls, path)
        return cls

    def add(self, cls: type[T]) -> None:
        """Register a class under its name; a namesake of a built-in is left out with a warning.

        Raises:
            UserError: it is not complete, or another class has its name.
        """
        name = str(vars(cls).get("name", cls.__name__.lower()))
        if name in self.reserved:
            return warn(f"the plug-in {self.kind} '{name}' is left out: that name is taken")
        checked = self.checked(cls, cls.__name__)
        earlier = self.registered.get(name)
        if earlier is not None and _place(earlier) != _place(checked):
            raise UserError(
                f"two different plug-ins are {self.kind}s called '{name}'",
                "expected: one name for one class, as rows are named after it",
                "give one of the classes another `name`",
            )
        _sign(checked, source_file(checked))
        self.registered[name] = checked

    def address(self, name: str) -> str:
        """A name that works in other processes too: `file.py:Class` for a registered class."""
        path = source_file(self.registered[name]) if name in self.registered else None
        if path is None:
            return name
        here = Path.cwd()
        path = path.relative_to(here) if path.is_relative_to(here) else path
        return f"{path}:{self.registered[name].__name__}"

    def checked(self, loaded: object, name: str) -> type[T]:
        """Check that what was loaded is a complete class; give a nameless one its name."""
        if not (isinstance(loaded, type) and issubclass(loaded, self.base)):
            base = f"{self.base.__module__}.{self.base.__name__}"
            raise UserError(
                f"'{name}' is no {self.kind}",
                f"expected: a child of {base}",
                f"write: class {name}({self.base.__name__})",
            )
        cls: Any = loaded
        if inspect.isabstract(cls):
            raise UserError(
                f"{self.kind} '{name}' is not complete",
                f"expected: it defines {', '.join(sorted(cls.__abstractmethods__))}",
                f"add this to the class {cls.__name__}",
            )
        if "name" not in vars(cls):
            # A parent's name will not do: a child of MedShift is another method.
            cls.name = name.lower()
        if not isinstance(cls.name, str) or not NAME.fullmatch(cls.name):
            raise UserError(
                f"a {self.kind} may not be called {cls.name!r}",
                "expected: letters from a to z, digits, - and _, as it becomes a folder",
                "give the class another `name`",
            )
        if cls.name in self.reserved and not is_ours(cls):
            others = self.reserved - {*self.built_in}
            raise UserError(
                f"a plug-in may not be called '{cls.name}'",
                "expected: another name than "
                + ", ".join([f"those of xbench list {self.kind}s", *sorted(others)]),
                "give the class another `name`",
            )
        complete: type[T] = cls
        return complete


def load_file(path: Path) -> ModuleType:
    """Run a plug-in file; once, until it changes or what it needs of its folder.

    Raises:
        UserError: there is no such file, or it raises.
    """
    from xbench.core.isolation import undisturbed

    path = path.expanduser().resolve()
    if not path.is_file():
        raise UserError(
            f"there is no plug-in file {path}",
            "expected: a Python file",
            f"look at --plugin and {VARIABLE}",
        )
    try:
        with undisturbed():
            return outside.load(path, outside.version(path))
    except (Exception, SystemExit) as error:
        raise broken(str(path), error) from error


def load_point(point: EntryPoint) -> Any:
    """What an entry point names.

    Raises:
        UserError: it does not load.
    """
    from xbench.core.isolation import undisturbed

    try:
        with undisturbed():
            return point.load()
    except (Exception, SystemExit) as error:
        raise broken(describe(point), error) from error


def broken(where: str, error: BaseException) -> UserError:
    """The error for a plug-in that does not load."""
    text = outside.in_words(str(error)).splitlines() or [""]
    run = shlex.join([sys.executable, where])
    return UserError(
        f"plug-in {where} does not load: {type(error).__name__}: {text[0]}",
        "expected: a module that imports" if len(text) < 2 else "; ".join(text[1:]),
        f"try: {run}" if where.endswith(".py") else "try: pip check",
    )


def is_ours(defined: object) -> bool:
    """Whether a class or function is xbench's own, and none of a plug-in's."""
    module = str(getattr(defined, "__module__", ""))
    return module.startswith("xbench.") and not module.startswith(outside.PREFIX)


def describe(point: EntryPoint) -> str:
    """An entry point and its package, in words."""
    return f"{point.value} ({point.dist.name if point.dist else 'unknown package'})"


def warn(text: str) -> None:
    """Warn from this module, so that the command line shows the warning."""
    warnings.warn(text, stacklevel=1)


def one_line(error: UserError) -> str:
    """A user error as one line."""
    return str(error).replace("\n", "; ")


def source_file(defined: object) -> Path | None:
    """The file that defines a class or function; None if there is none (a notebook, say)."""
    try:
        name = inspect.getsourcefile(defined)  # type: ignore[arg-type]
    except TypeError:
        return None
    return Path(name).resolve() if name and Path(name).is_file() else None


def _imported(address: str) -> Any:
    """What `module:attribute` names."""
    module, attribute = address.split(":")
    return getattr(importlib.import_module(module), attribute)


def _sign(cls: Any, path: Path | None) -> None:
    """Make the hash of its file, and of what it needs beside it, the version of a class."""
    cls.plugin = outside.version(path) if path else None


def _place(cls: type) -> tuple[Path | None, str]:
    """Where a class is defined: the same for a class that was changed and run again."""
    return source_file(cls), cls.__qualname__
