"""Whether everything that xbench needs is here and whole; nothing is changed or fetched."""

import json
import os
import platform
import re
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import requires
from pathlib import Path
from typing import Any, Literal

import numpy as np

from xbench.core import weights
from xbench.core.errors import UserError
from xbench.core.files import home, leftover_parts
from xbench.core.hashing import file_digest
from xbench.records.provenance import package_version

Outcome = Literal["ok", "warn", "fail"]
#: Below the first a run may stop, below the second it soon will.
LITTLE_GB, LEAST_GB = 5.0, 0.5


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes:
        check: what.
        outcome: ok; warn: works, but not all of it; fail: does not work.
        note: what was found, and what to do.
    """

    check: str
    outcome: Outcome
    note: str


def examine(out: Path) -> list[Check]:
    """Look at everything.

    Args:
        out: the folder of results.
    """
    parts: tuple[Callable[[], Iterator[Check]], ...] = (
        _python,
        _torch,
        _packages,
        _weights,
        _caches,
        lambda: _disks(out),
        _plugins,
        _network,
    )
    return [check for part in parts for check in part()]


def _python() -> Iterator[Check]:
    version = platform.python_version()
    ok = sys.version_info >= (3, 11)
    yield Check("python", "ok" if ok else "fail", version if ok else f"{version}: install 3.11")


def _torch() -> Iterator[Check]:
    """Torch, and each GPU with its memory."""
    try:
        import torch

        yield Check("torch", "ok", f"{torch.__version__}, CUDA {torch.version.cuda or 'none'}")
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        for index in range(count):
            free, total = torch.cuda.mem_get_info(index)
            name = torch.cuda.get_device_name(index)
            note = f"{name}, {free / 1e9:.1f} of {total / 1e9:.1f} GB free"
            yield Check(f"gpu {index}", "ok", note)
        if not count:
            yield Check("gpu", "warn", "none; profiles smoke and quick need none")
    except (ImportError, RuntimeError, OSError) as error:
        yield Check("torch", "fail", f"{_line(error)}; install torch anew")


def _packages() -> Iterator[Check]:
    """The packages that the installed xbench asks for, without those of extras."""
    try:
        wanted = [text for text in requires("xbench-xray") or [] if "extra ==" not in text]
    except ModuleNotFoundError:
        yield Check("packages", "warn", "xbench runs from a source tree: pip install -e .")
        return
    found: list[str] = []
    missing: list[str] = []
    for text in wanted:
        match = re.match(r"[\w.-]+", text)
        name = match.group() if match else text
        version = package_version(name)
        (found if version else missing).append(f"{name} {version or ''}".strip())
    yield Check("packages", "ok", ", ".join(found))
    if missing:
        yield Check("packages", "fail", f"missing: pip install {' '.join(missing)}")


def _weights() -> Iterator[Check]:
    """Weights of pretrained networks, with the start of their hashes."""
    for name in weights.WEIGHTS:
        state = weights.status(name)
        if state["state"] == "ready":
            hashes = ", ".join(file["sha256"][:12] for file in state["files"])
            yield Check(f"weights {name}", "ok", f"{state['bytes'] / 1e6:.0f} MB, {hashes}")
        else:
            yield Check(f"weights {name}", "warn", str(state["reason"]))


def _caches() -> Iterator[Check]:
    """Prepared data by key: sizes, and whether they are what was written."""
    folders = [path for kind in ("phantom", "folders") for path in (home() / kind).glob("*-v*")]
    for folder in sorted(path for path in folders if path.is_dir()):
        damaged = damage(folder)
        size = sum(path.stat().st_size for path in folder.iterdir() if path.is_file())
        note = f"{size / 1e6:.0f} MB"
        if damaged:
            note += f", damaged: {', '.join(damaged[:3])}; the next run makes them anew"
        yield Check(f"data {folder.name}", "warn" if damaged else "ok", note)
    aside = [*home().rglob("*.corrupt"), *leftover_parts(home())]
    if aside:
        note = f"{len(aside)} damaged or unfinished files in {home()}: xbench clean"
        yield Check("cache", "warn", note)


def damage(folder: Path) -> list[str]:
    """Names of the arrays in a cache folder that are not as their sidecars tell.

    An array without a sidecar is unfinished; that is no damage.
    """
    found = []
    for sidecar in sorted(folder.glob("[!.]*.json")):
        array = sidecar.with_suffix(".npy")
        try:
            facts: dict[str, Any] = json.loads(sidecar.read_text(encoding="utf-8"))
            shape = np.load(array, mmap_mode="r").shape
            whole = list(shape) == facts.get("shape", list(shape))
            whole &= "sha256" not in facts or file_digest(array) == facts["sha256"]
        except (OSError, ValueError, AttributeError):
            whole = False
        if not whole:
            found.append(array.name)
    return found


def _disks(out: Path) -> Iterator[Check]:
    """Free space, and whether one may write, where results and caches go."""
    for name, folder in (("results", out), ("cache", home())):
        there = next(
            path for path in (folder.absolute(), *folder.absolute().parents) if path.exists()
        )
        free = shutil.disk_usage(there).free / 1e9
        note = f"{free:.1f} GB free for {folder}"
        outcome: Outcome = "ok" if free > LITTLE_GB else "warn" if free > LEAST_GB else "fail"
        if not (there.is_dir() and os.access(there, os.W_OK)):
            outcome, note = "fail", f"{folder} cannot be written: choose another"
        yield Check(f"disk of {name}", outcome, note)


def _plugins() -> Iterator[Check]:
    """Methods and data sets that load, and plug-ins that do not."""
    from xbench.datasets import registry as datasets
    from xbench.methods import registry as methods

    yield from _registry("methods", methods.BUILT_IN, methods.names(), methods.get)
    own = [name for name in datasets.names() if name not in datasets.BUILT_IN]
    yield from _registry("data sets", dict.fromkeys(own), own, datasets.get)
    for path in filter(None, os.environ.get("XBENCH_PLUGINS", "").split(os.pathsep)):
        if not Path(path).is_file():
            yield Check("plug-ins", "fail", f"XBENCH_PLUGINS names {path}, which is not there")


def _registry(
    kind: str, built_in: Any, names: list[str], get: Callable[[str], Any]
) -> Iterator[Check]:
    """Load each name; what fails is told by name."""
    loaded = []
    for name in names:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                get(name)
            loaded.append(name)
        except UserError as error:
            outcome: Outcome = "fail" if name in built_in else "warn"
            yield Check(f"{kind[:-1]} {name}", outcome, _line(error))
    if loaded:
        yield Check(kind, "ok", ", ".join(loaded))


def _network() -> Iterator[Check]:
    offline = os.environ.get("XBENCH_OFFLINE") == "1"
    note = "XBENCH_OFFLINE=1: nothing is fetched" if offline else "weights are fetched when needed"
    yield Check("network", "ok", note)


def _line(error: Exception) -> str:
    """The first line of an error."""
    return (str(error).splitlines() or [type(error).__name__])[0]
