"""Loading plug-ins: methods, data sets and metrics from outside xbench.

They come from an installed package (entry points), from a file (`--method FILE.py:Class`,
`--dataset FILE.py:Class`, `--plugin FILE.py`, the variable XBENCH_PLUGINS), or from a decorator in
Python (`register` on a class, `xbench.metrics.base.metric` on a function); all behave the same.
Built-ins win over namesakes. Importing this module imports neither torch nor pydantic.
"""

import os
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from xbench.core.errors import UserError
from xbench.core.outside import PREFIX
from xbench.core.registry import (
    REGISTERED,
    VARIABLE,
    Registry,
    T,
    describe,
    is_ours,
    load_file,
    load_point,
    one_line,
    warn,
)
from xbench.metrics.base import METRICS, Metric

METRICS_GROUP = "xbench.metrics"


def register(cls: type[T]) -> type[T]:
    """Decorate a child of `Method` or `Dataset` to make its name known.

    Raises:
        UserError: it is neither, it is not complete, or another class has its name.
    """
    from xbench.datasets.registry import REGISTRY as DATASETS
    from xbench.methods.registry import REGISTRY as METHODS

    registries: tuple[Registry[Any], ...] = (METHODS, DATASETS)
    for registry in registries:
        if isinstance(cls, type) and issubclass(cls, registry.base):
            registry.add(cls)
            return cls
    raise UserError(
        f"@register cannot be used on {cls!r}",
        "expected: a child of xbench.methods.base.Method or xbench.datasets.base.Dataset",
        "for a function that measures images: @metric",
    )


@contextmanager
def session(arguments: list[str]) -> Iterator[list[str]]:
    """Take every `--plugin FILE` out of a command line, and load the plug-ins inside.

    Raises:
        UserError: one of these files does not load.
    """
    rest, files = [], []
    left = iter(arguments)
    for argument in left:
        name, equals, value = argument.partition("=")
        if name == "--plugin":
            files.append(value if equals else next(left, ""))
        else:
            rest.append(argument)
    if "" in files:
        raise UserError(
            "--plugin has no file",
            "expected: --plugin path/to/file.py",
            "for example: xbench list methods --plugin mine.py",
        )
    if not rest or {"--help", "-h"} & set(rest):  # help is quick, and runs no plug-ins
        yield rest
        return
    with loaded(files):
        yield rest


@contextmanager
def loaded(files: Collection[str | Path] = ()) -> Iterator[None]:
    """Load the metrics of entry points, the files of XBENCH_PLUGINS, and `files` inside.

    Afterwards they are unloaded. Processes that are started inside load the same plug-ins.

    Raises:
        UserError: one of `files` does not load; other plug-ins that do not are warnings.
    """
    classes = {group: dict(by_name) for group, by_name in REGISTERED.items()}
    metrics, modules = dict(METRICS), set(sys.modules)
    variable = os.environ.get(VARIABLE)
    try:
        for point in entry_points(group=METRICS_GROUP):
            _warning(_add_metric_of, point)
        usual = [path for path in (variable or "").split(os.pathsep) if path]
        for path in usual:
            _warning(load_file, Path(path))
        for file in files:
            _warn_of_nameless(file, load_file(Path(file)))
        if files:
            added = [str(Path(file).resolve()) for file in files]
            os.environ[VARIABLE] = os.pathsep.join([*usual, *added])
        yield
    finally:
        if files:
            os.environ.pop(VARIABLE, None)
            os.environ |= {VARIABLE: variable} if variable is not None else {}
        REGISTERED.clear()
        REGISTERED.update(classes)
        METRICS.clear()
        METRICS.update(metrics)
        for name in [n for n in sys.modules if n.startswith(PREFIX) and n not in modules]:
            del sys.modules[name]


def _warn_of_nameless(file: str | Path, module: ModuleType) -> None:
    """Warn if a file has methods or data sets, and gives none of them a name, taken or not."""
    from xbench.datasets.registry import REGISTRY as DATASETS
    from xbench.methods.registry import REGISTRY as METHODS

    bases = {"xbench.methods.base.Method", "xbench.datasets.base.Dataset"}
    own = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and not is_ours(value)
        if bases & {f"{parent.__module__}.{parent.__name__}" for parent in value.__mro__}
    ]
    named = [cls for by_name in REGISTERED.values() for cls in by_name.values()]
    left_out = {*METHODS.reserved, *DATASETS.reserved}  # whose namesakes were warned of
    asked = {str(vars(cls).get("name", cls.__name__.lower())) for cls in own}
    if own and not (asked & left_out or any(cls in named for cls in own)):
        name = own[-1].__name__
        warn(
            f"{file} registers no name: write @xbench.register above the class {name}, "
            f"or name it {file}:{name} in place of --plugin"
        )


def _add_metric_of(point: EntryPoint) -> None:
    """Add the metric of an entry point: its module may be imported, its metric unloaded since."""
    facts = getattr(load_point(point), "metric", None)
    if not isinstance(facts, Metric):
        raise UserError(
            f"plug-in {describe(point)} is no metric",
            "expected: a function with the decorator @metric",
            f"look at the entry points in the group {METRICS_GROUP}",
        )
    METRICS.setdefault(facts.name, facts)


def _warning(load: Any, what: Any) -> None:
    try:
        load(what)
    except UserError as error:
        warn(one_line(error))
