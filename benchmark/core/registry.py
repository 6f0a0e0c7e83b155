"""Registries: classes by name, built in, registered by a decorator, from entry points or files."""

import importlib.util
import inspect
import re
import sys
import warnings
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, Generic, TypeVar

from xbench.core import hashing
from xbench.core.errors import UserError, unknown
from xbench.core.hashing import digest, file_digest

#: Paths of plug-in files, separated as those of PATH are.
VARIABLE = "XBENCH_PLUGINS"
#: Names become folders, sections of `--set` and cells of tables.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,59}")


#: Entry-point group → name → class, for what decorators have registered.
REGISTERED: dict[str, dict[str, Any]] = {}


#: In front of the names of modules that were loaded from files.
PREFIX = "xbench_plugin_"


T = TypeVar("T")


class Registry(Generic[T]):
    """Classes of one kind by name: built in, registered by a decorator, from entry points."""

    def __init__(
        self, kind: str, base: str, group: str, built_in: Mapping[str, str], reserved: set[str]
    ) -> None:
        """A registry.

        Args:
            kind: `method` or `dataset`, as the option is called that takes a name.
            base: "module:attribute" of the base of all its classes, imported when it is needed.
            group: of entry points.
            built_in: name → "module:attribute" of a class, or of a function that returns one.
            reserved: other names that a plug-in may not have.
        """
        self.kind, self.group, self.built_in, self._base = kind, group, built_in, base
        self.reserved = {*built_in, *reserved}
        self.mend = f"see: xbench list {kind}s"

    @property
    def base(self) -> type[T]:
        """What every class of this kind is a child of."""
        base: type[T] = _imported(self._base)
        return base

    @property
    def registered(self) -> dict[str, type[T]]:
        """Classes that decorators have registered."""
        return REGISTERED.setdefault(self.group, {})

    def names(self) -> list[str]:
        """All that can be named: built-ins first, then registered ones, then entry points."""
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
            found = _imported(self.built_in[name])
            built: type[T] = found if isinstance(found, type) else found()
            return built
        if name in self.registered:
            return self.registered[name]
        for point in entry_points(group=self.group):
            if point.name == name:
                return self.checked(load_point(point), name)
        raise unknown(self.kind, name, self.names(), self.mend)

    def available(self) -> dict[str, type[T]]:
        """Every class that loads; a broken plug-in is a warning that names it."""
        found = {}
        for name in self.names():
            try:
                found[name] = self.get(name)
            except UserError as error:
                warn(one_line(error))
        for point in entry_points(group=self.group):
            if point.name in self.built_in:
                warn(f"{describe(point)} is left out: '{point.name}' is built in")
        return found

    def from_file(self, target: str) -> type[T]:
        """Load `path/to/file.py:ClassName`; the file's hash stands for its version."""
        location, attribute = target.rsplit(":", 1)
        path = Path(location).expanduser()
        if not path.is_file():
            raise UserError(
                f"there is no file {location}",
                f"expected: --{self.kind} path/to/file.py:ClassName",
                self.mend,
            )
        module = load_file(path)
        classes = {
            name: kind
            for name, kind in vars(module).items()
            if isinstance(kind, type)
            and issubclass(kind, self.base)
            and not kind.__module__.startswith("xbench.")
        }
        if attribute not in classes:
            raise unknown(f"{self.kind} class", attribute, classes, f"look into {location}")
        found = self.checked(classes[attribute], attribute)
        self._sign(found, path)
        return found

    def add(self, found: type[T]) -> None:
        """Register a class under its name; built-ins win over namesakes, with a warning.

        Raises:
            UserError: it is not complete, or another class has its name.
        """
        plain = str(vars(found).get("name", found.__name__.lower()))
        if plain in self.reserved:
            return warn(f"the plug-in {self.kind} '{plain}' is left out: that name is taken")
        checked = self.checked(found, found.__name__)
        earlier = self.registered.get(plain)
        if earlier is not None and _place(earlier) != _place(checked):
            raise UserError(
                f"two different plug-ins are {self.kind}s called '{plain}'",
                "expected: one name for one class, its rows are told apart by it",
                "give one of the classes another `name`",
            )
        self._sign(checked, source_file(checked))
        self.registered[plain] = checked

    def address(self, name: str) -> str:
        """A name that works in other processes, too: `file.py:Class` for a registered class."""
        path = source_file(self.registered[name]) if name in self.registered else None
        if path is None:
            return name
        here = Path.cwd()
        path = path.relative_to(here) if path.is_relative_to(here) else path
        return f"{path}:{self.registered[name].__name__}"

    def checked(self, found: object, name: str) -> type[T]:
        """Make sure that what was loaded is complete; give a nameless class its name."""
        if not (isinstance(found, type) and issubclass(found, self.base)):
            base = f"{self.base.__module__}.{self.base.__name__}"
            raise UserError(
                f"'{name}' is no {self.kind}", f"expected: a child of {base}", self.mend
            )
        kind: Any = found
        if inspect.isabstract(found):
            raise UserError(
                f"{self.kind} '{name}' is not complete",
                f"expected: it defines {', '.join(sorted(kind.__abstractmethods__))}",
                "see the README, 'Plug-ins'",
            )
        if "name" not in vars(kind):
            # Not what a parent class is called: a child of MedShift is another method.
            kind.name = name.lower()
        if not isinstance(kind.name, str) or not NAME.fullmatch(kind.name):
            raise UserError(
                f"a {self.kind} may not be called {kind.name!r}",
                "expected: letters from a to z, digits, - and _, as it becomes a folder",
                "give the class another `name`",
            )
        if kind.name in self.reserved and not kind.__module__.startswith("xbench."):
            raise UserError(
                f"a plug-in may not be called '{kind.name}'",
                f"expected: another name than {', '.join(sorted(self.reserved))}",
                "give the class another `name`",
            )
        complete: type[T] = kind
        return complete

    def _sign(self, found: Any, path: Path | None) -> None:
        """The file's hash stands in for the version that nobody bumps."""
        found.plugin = file_digest(path) if path else None


def load_file(path: Path) -> ModuleType:
    """Run a plug-in file; once, until it changes.

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
    name = f"{PREFIX}{path.stem}_{digest([str(path), file_digest(path)])}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise broken(str(path), ImportError("it does not end in .py"))
    module = importlib.util.module_from_spec(spec)
    # Plug-ins of version 0.1 import this module by its earlier name.
    sys.modules.setdefault("xbench.hashing", hashing)
    sys.modules[name] = module  # pydantic resolves annotations through it
    try:
        with undisturbed():
            spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise broken(str(path), error) from error
    return module


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
    text = str(error).splitlines() or [""]
    mend = f"try: python {where}" if where.endswith(".py") else "try: pip check"
    return UserError(
        f"plug-in {where} does not load: {type(error).__name__}: {text[0]}",
        "expected: a module that imports" if len(text) < 2 else "; ".join(text[1:]),
        mend,
    )


def describe(point: EntryPoint) -> str:
    """An entry point and the package that has it."""
    return f"{point.value} ({point.dist.name if point.dist else 'unknown package'})"


def warn(text: str) -> None:
    """Warn in the name of this module, so that the command line shows it."""
    warnings.warn(text, stacklevel=1)


def one_line(error: UserError) -> str:
    """A user error as a line."""
    return str(error).replace("\n", "; ")


def source_file(found: object) -> Path | None:
    """The file that defines a class or function; None for what was typed in."""
    try:
        name = inspect.getsourcefile(found)  # type: ignore[arg-type]
    except TypeError:
        return None
    return Path(name).resolve() if name and Path(name).is_file() else None


def _imported(address: str) -> Any:
    """What `module:attribute` names."""
    module, attribute = address.split(":")
    return getattr(importlib.import_module(module), attribute)


def _place(found: type) -> tuple[Path | None, str]:
    """What tells a class that was changed and run again from another one of its name."""
    return source_file(found), found.__qualname__
