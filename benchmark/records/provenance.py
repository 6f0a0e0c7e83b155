"""Code, packages and machine behind a number. Never part of a key."""

import platform
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("torch", "torchvision", "diffusers", "numpy", "scipy", "scikit-image", "clean-fid")
#: Files that make the numbers; changes of others do not count.
CODE = ("benchmark", "methods", "datasets", "pyproject.toml")


@cache
def provenance(device: str) -> dict[str, Any]:
    """Versions, commit, and hardware."""
    import torch

    facts: dict[str, Any] = {
        "xbench": package_version("xbench-xray") or "0+unknown",
        **code_state(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": cpu_name(),
        "threads": torch.get_num_threads(),
        "device": device,
        "packages": {name: package_version(name) for name in PACKAGES},
    }
    if device.startswith("cuda"):
        facts["gpu"] = torch.cuda.get_device_name(device)
        facts["cuda"] = torch.version.cuda
    return facts


def code_state() -> dict[str, Any]:
    """Commit of xbench's own checkout, if it runs from one, and whether its code was changed."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return {"commit": None, "dirty": None}
    try:
        commit = _git(root, "rev-parse", "HEAD").strip()
        changes = _git(root, "status", "--porcelain", "--", *CODE)
        return {"commit": commit, "dirty": bool(changes)}
    except (OSError, subprocess.SubprocessError):
        return {"commit": None, "dirty": None}


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout


def package_version(name: str) -> str | None:
    """Installed version, or None."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def cpu_name() -> str:
    """The processor's name as the system gives it."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
