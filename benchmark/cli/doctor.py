"""Checks of everything that xbench needs; nothing is changed or fetched.

Outcomes: `ok`; `warn`: something that not every run needs is missing; `fail`: does not work.
"""

import os
import platform
import re
import shutil
import warnings
from collections.abc import Callable, Iterator
from importlib.metadata import requires
from pathlib import Path
from typing import Any

from xbench.core import weights
from xbench.core.checks import Check
from xbench.core.errors import UserError
from xbench.core.files import home, leftover_parts
from xbench.records.provenance import package_version

#: GB of free space below which a run will soon stop, and below which it may stop at once.
LITTLE_GB, LEAST_GB = 5.0, 0.5
#: GB of free memory of a GPU below which one image of 256 px may not fit beside a network.
LITTLE_MEMORY_GB = 1.5


def examine(out: Path) -> list[Check]:
    """All checks; `out` is the folder of the results."""
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
    yield Check("python", "ok", platform.python_version())


def _torch() -> Iterator[Check]:
    """Torch, and each GPU with its memory."""
    try:
        import torch
    except (ImportError, RuntimeError, OSError) as error:
        yield Check("torch", "fail", _line(error), "install torch again")
        return
    yield Check("torch", "ok", f"{torch.__version__}, CUDA {torch.version.cuda or 'none'}")
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    for index in range(count):
        try:
            yield _gpu(index)
        except RuntimeError as error:  # of a card that is gone, or too old for this torch
            fix = "run nvidia-smi; until it works: --device cpu"
            yield Check(f"gpu {index}", "fail", f"does not work: {_line(error)}", fix)
    if count:
        yield _compiler()
    if not count:
        yield _no_gpu(torch.version.cuda, [str(warning.message) for warning in said])


def _gpu(index: int) -> Check:
    """One card, on which something is computed.

    Raises:
        RuntimeError: nothing can be computed on it.
    """
    import torch

    name, (major, minor) = (
        torch.cuda.get_device_name(index),
        torch.cuda.get_device_capability(index),
    )
    free, total = torch.cuda.mem_get_info(index)
    torch.zeros(1, device=f"cuda:{index}").add(1).item()
    note = f"{name}, {free / 1e9:.1f} of {total / 1e9:.1f} GB free"
    if free < LITTLE_MEMORY_GB * 1e9:
        fix = "nvidia-smi shows what holds its memory; end that, or --device cpu"
        return Check(f"gpu {index}", "warn", f"{note}: too little for large images", fix)
    with torch.cuda.device(index):
        if not torch.cuda.is_bf16_supported(including_emulation=False):
            note += f", no bfloat16 (compute capability {major}.{minor}, 8.0 has it)"
            return Check(f"gpu {index}", "warn", f"{note}: float32 is used, which is slower")
    return Check(f"gpu {index}", "ok", note)


def _compiler() -> Check:
    """Whether torch.compile finds what it needs for a GPU: Triton, and a C compiler for it."""
    names = [os.environ.get("CC") or "gcc", "cc", "clang"]
    missing = ["triton"] * (package_version("triton") is None)
    missing += ["a C compiler (gcc, or CC)"] * (not any(map(shutil.which, names)))
    if not missing:
        return Check("compile", "ok", f"triton {package_version('triton')} and a C compiler")
    note = f"torch.compile lacks {' and '.join(missing)}: networks run as they are, slower"
    return Check("compile", "warn", note, "install it, or --set compute.compile=off")


def _no_gpu(cuda: str | None, said: list[str]) -> Check:
    """Why there is none: `cuda` is what torch is built for, `said` what it warned of."""
    if cuda is None:
        return Check("gpu", "warn", "none; profiles smoke, quick and medium need none")
    old = [line for line in said if "driver" in line and "too old" in line]
    if old:
        version = re.search(r"version (\d+)", old[0])  # 12040 is CUDA 12.4
        number = int(version[1]) if version else 0
        found = f" (made for CUDA {number // 1000}.{number % 1000 // 10})" if number else ""
        note = f"the NVIDIA driver{found} is too old for this torch (built for CUDA {cuda})"
        return Check("gpu", "fail", note, "update the driver, or install a torch for its CUDA")
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
    why = "" if hidden is None else f", CUDA_VISIBLE_DEVICES='{hidden}'"
    note = f"none seen, though torch is built for CUDA {cuda}{why}; the CPU is used"
    return Check("gpu", "warn", f"{note}: profiles smoke, quick and medium need no GPU")


def _packages() -> Iterator[Check]:
    """The packages that the installed xbench asks for, without those of extras."""
    try:
        wanted = [text for text in requires("xbench-xray") or [] if "extra ==" not in text]
    except ModuleNotFoundError:
        yield Check("packages", "warn", "xbench runs from a source tree", "pip install -e .")
        return
    names = re.findall(r"^[\w.-]+", "\n".join(wanted), re.MULTILINE)
    versions = {name: package_version(name) for name in names}
    installed = (f"{name} {version}" for name, version in versions.items() if version)
    yield Check("packages", "ok", ", ".join(installed))
    missing = " ".join(name for name, version in versions.items() if not version)
    if missing:
        yield Check("packages", "fail", f"missing: {missing}", f"pip install {missing}")


def _weights() -> Iterator[Check]:
    """Weights of pretrained networks, with the start of their hashes."""
    for name, files in weights.WEIGHTS.items():
        size = sum(file.bytes for file in files) / 1e6
        hashes = ", ".join(file.sha256[:12] for file in files)
        problem = weights.problem(name)
        note = f"{files[-1].about}: {problem}" if problem else f"{size:.0f} MB, {hashes}"
        yield Check(f"weights {name}", "warn" if problem else "ok", note)


def _caches() -> Iterator[Check]:
    """Prepared data by key: sizes, and whether they are as they were written."""
    folders = [path for kind in ("phantom", "folders") for path in (home() / kind).glob("*-v*")]
    for folder in sorted(path for path in folders if path.is_dir()):
        damaged = damage(folder)
        size = sum(path.stat().st_size for path in folder.iterdir() if path.is_file())
        name, note = f"data {folder.name}", f"{size / 1e6:.0f} MB"
        if damaged:
            note += f", damaged: {', '.join(damaged[:3])}"
            yield Check(name, "warn", note, "nothing to do: the next run recomputes them")
        else:
            yield Check(name, "ok", note)
    aside = [*home().rglob("*.corrupt"), *leftover_parts(home())]
    if aside:
        note = f"{len(aside)} damaged or unfinished files in {home()}"
        yield Check("cache", "warn", note, "xbench clean")


def damage(folder: Path) -> list[str]:
    """Names of the files in a cache folder that differ from what was written.

    An array without a sidecar is unfinished, not damaged.
    """
    from xbench.datasets.cached import damage as of_array

    arrays = [sidecar.with_suffix(".npy") for sidecar in sorted(folder.glob("[!.]*.json"))]
    return [found.name for array in arrays if (found := of_array(array))]


def _disks(out: Path) -> Iterator[Check]:
    """Free space and permission to write, where results and caches go."""
    for name, folder in (("disk of results", out), ("disk of cache", home())):
        path = folder.absolute()
        there = next(parent for parent in (path, *path.parents) if parent.exists())
        free = shutil.disk_usage(there).free / 1e9
        if there.is_dir() and os.access(there, os.W_OK):
            outcome = "ok" if free > LITTLE_GB else "warn" if free > LEAST_GB else "fail"
            yield Check(name, outcome, f"{free:.1f} GB free for {folder}")
        else:
            yield Check(name, "fail", f"{folder} cannot be written", "choose another folder")


def _plugins() -> Iterator[Check]:
    """Methods and data sets that load, and plug-ins that do not load."""
    from xbench.datasets import registry as datasets
    from xbench.methods import registry as methods

    yield from _registry("methods", methods.BUILT_IN, methods.names(), methods.get)
    own = [name for name in datasets.names() if name not in datasets.BUILT_IN]
    yield from _registry("data sets", dict.fromkeys(own), own, datasets.get)
    for path in filter(None, os.environ.get("XBENCH_PLUGINS", "").split(os.pathsep)):
        if not Path(path).expanduser().is_file():
            yield Check("plug-ins", "fail", f"XBENCH_PLUGINS names {path}, which does not exist")


def _registry(
    kind: str, built_in: Any, names: list[str], get: Callable[[str], Any]
) -> Iterator[Check]:
    """Load each name; a failure is a check of its own."""
    loaded = []
    for name in names:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                get(name)
            loaded.append(name)
        except (UserError, ImportError) as error:  # torch itself may be missing
            yield Check(f"{kind[:-1]} {name}", "fail" if name in built_in else "warn", _line(error))
    if loaded:
        yield Check(kind, "ok", ", ".join(loaded))


def _network() -> Iterator[Check]:
    from xbench.core.weights import offline

    given = os.environ.get("XBENCH_OFFLINE")
    note = (
        f"XBENCH_OFFLINE={given}: nothing is fetched"
        if offline()
        else "weights are fetched when needed"
    )
    yield Check("network", "ok", note)


def _line(error: Exception) -> str:
    """The first line of an error."""
    return (str(error).splitlines() or [type(error).__name__])[0]
