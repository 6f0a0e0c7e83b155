"""Python files from outside xbench: imported with the modules beside them, and hashed with these.

The folder of a plug-in file is a package of its own here, one for each version of the file. What
lies beside the file can be imported as `python FILE.py` allows, but the folder is not on
`sys.path`: the `utils.py` or `datasets` of one plug-in hides no other. A class has the
same name in every process, so that a new one (of a DataLoader, say) finds it.
"""

import ast
import builtins
import importlib
import importlib.util
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from xbench.core.hashing import digest, file_digest

#: What the names of all these modules begin with; this module is their parent.
PREFIX = f"{__name__}."
#: Folders in a path that a plug-in puts together from texts.
DEEPEST = 3
#: Calls that write the file that they name.
WRITERS = frozenset({"write_text", "write_bytes", "touch", "savetxt", "to_csv"})
#: Import finds nothing here by itself: see `_Finder`.
__path__: list[str] = []


def load(path: Path, version: str) -> ModuleType:
    """Run a Python file, once for each version; raise what it raises."""
    importlib.invalidate_caches()  # a file may be younger than the list of its folder
    return importlib.import_module(
        f"{PREFIX}{version[:12]}%{_quoted(str(path.parent))}.{_quoted(path.stem)}"
    )


def folders() -> list[Path]:
    """The folders of the files that are loaded."""
    packages = [n for n in sys.modules if n.startswith(PREFIX) and "." not in n[len(PREFIX) :]]
    return [Path(_plain(name.partition("%")[2])) for name in packages]


def in_words(text: str) -> str:
    """A message without the long names of these modules."""
    return re.sub(re.escape(PREFIX) + r"[^.]*\.", "", text)


def version(path: Path) -> str:
    """Hash of a Python file and of the files in its folder that it needs.

    It needs the modules beside it that it imports, wherever an `import` stands, and the data files
    beside it whose names are strings in it or in these modules, but for those that it writes.
    Names that are put together at run time are not seen.
    """
    files = sorted(_needed(path))
    if files == [path]:
        return file_digest(path)
    names = [file.relative_to(path.parent).as_posix() for file in files]
    return digest([[n, file_digest(f)] for n, f in zip(names, files, strict=True)], 64)


def _needed(path: Path) -> set[Path]:
    """The file, the modules beside it that it imports, and the files that these name."""
    folder, found, left = path.parent, {path}, [path]
    while left:
        file = left.pop()
        try:
            tree = ast.parse(file.read_bytes())
        except (SyntaxError, ValueError, OSError):
            continue  # the import says why
        modules = {module for top in _imported(tree) for module in _modules(folder, top)}
        left += sorted(modules - found)
        texts = _texts(tree) - _written(tree)
        names = set(filter(_is_name, texts))
        found |= modules | _data(folder, names) | _data(file.parent, names)
    return found


def _imported(tree: ast.AST) -> Iterator[str]:
    """The first part of the name of every module that is imported."""
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module] if node.module else [alias.name for alias in node.names]
        yield from (name.partition(".")[0] for name in names)


def _texts(tree: ast.AST) -> set[str]:
    """All texts in code."""
    constants = (n.value for n in ast.walk(tree) if isinstance(n, ast.Constant))
    return {text for text in constants if isinstance(text, str)}


def _written(tree: ast.AST) -> set[str]:
    """Texts in calls that write a file: what a plug-in writes makes no other version of it."""
    found = set()
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        name = getattr(call.func, "attr", getattr(call.func, "id", ""))
        given = [*call.args, *(keyword.value for keyword in call.keywords)]
        modes = (text for part in given for text in _texts(part) if len(text) <= 3)
        opens = name == "open" and any(set(mode) & set("wax+") for mode in modes)
        if opens or name in WRITERS:
            found |= _texts(call)
    return found


def _modules(folder: Path, top: str) -> list[Path]:
    """The files of a module or package in a folder."""
    package = folder / top
    files = [*package.rglob("*.py")] if top and package.is_dir() else []
    return [file for file in (*files, folder / f"{top}.py") if file.is_file()]


def _is_name(text: str) -> bool:
    """Whether a text may name a file."""
    return 0 < len(text) < 256 and text.isprintable() and ".." not in Path(text).parts


def _data(folder: Path, names: set[str]) -> set[Path]:
    """The files below a folder whose paths are made of these names."""
    found, folders = set(), [folder]
    for _ in range(DEEPEST):
        paths = {place / name for place in folders for name in names} - {folder}
        paths = {path for path in paths if path.is_relative_to(folder)}
        found |= {path for path in paths if path.is_file()}
        folders = [path for path in paths if path.is_dir()]
    return found


def _quoted(text: str) -> str:
    """A text as a part of a module's name, which has no dots."""
    return text.replace("%", "%25").replace(".", "%2E")


def _plain(text: str) -> str:
    return text.replace("%2E", ".").replace("%25", "%")


class _Finder(MetaPathFinder):
    """Finds these modules by their names alone, in any process."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not name.startswith(PREFIX):
            return None
        package, _, inner = name.removeprefix(PREFIX).partition(".")
        folder = Path(_plain(package.partition("%")[2]))
        if not inner:
            spec = ModuleSpec(name, None, is_package=True)
            spec.submodule_search_locations = [str(folder)]
            return spec
        found = PathFinder.find_spec(name, path)
        if found is None and "%" in inner:
            found = importlib.util.spec_from_file_location(name, folder / f"{_plain(inner)}.py")
        if found is not None and isinstance(found.loader, SourceFileLoader):
            found.loader = _Loader(name, found.loader.path)
        return found


class _Loader(SourceFileLoader):
    """Runs a file with an `import` that looks beside the plug-in first."""

    def get_code(self, fullname: str) -> CodeType:
        """Compile what is in the file now.

        Bytecode that is kept beside it would pass for new if the file was changed within a second.
        """
        code: CodeType = self.source_to_code(self.get_data(self.path), self.path)
        return code

    def exec_module(self, module: ModuleType) -> None:
        """Run the file."""
        package = PREFIX + module.__name__.removeprefix(PREFIX).partition(".")[0]
        own = {**vars(builtins), "__import__": partial(_import, package)}
        module.__dict__["__builtins__"] = own
        super().exec_module(module)


def _import(
    package: str,
    name: str,
    globals: Mapping[str, Any] | None = None,
    locals: Mapping[str, Any] | None = None,
    fromlist: Sequence[str] | None = (),
    level: int = 0,
) -> ModuleType:
    """`__import__` of plug-ins: a module beside them if there is one, else any other."""
    top = name.partition(".")[0]
    if level or not _is_beside(package, top):
        return builtins.__import__(name, globals, locals, fromlist or (), level)
    if fromlist:
        return builtins.__import__(f"{package}.{name}", globals, locals, fromlist)
    importlib.import_module(f"{package}.{name}")
    return sys.modules[f"{package}.{top}"]


def _is_beside(package: str, top: str) -> bool:
    """Whether a module lies beside a plug-in; a folder without `__init__.py` comes last."""
    if top == "xbench":
        return False
    if f"{package}.{top}" in sys.modules:
        return True
    spec = PathFinder.find_spec(top, list(sys.modules[package].__path__))
    if spec is None:
        return False
    return spec.loader is not None or importlib.util.find_spec(top) is None


sys.meta_path.insert(0, _Finder())  # before the one that finds files in any package
