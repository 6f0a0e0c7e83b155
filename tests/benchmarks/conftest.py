"""What the page of speeds says of the machine: pytest-benchmark's own facts hold no versions."""

import os
import sys
from pathlib import Path
from typing import Any

import torch

from xbench.core.processes import cores
from xbench.records.provenance import cpu_name, package_version

# Benchmarks share modules, and pytest imports them without their folder on the path.
sys.path.append(str(Path(__file__).parent))

#: What counts in a comparison: what ours rests on, and the peers.
PACKAGES = (
    *("torch", "numpy", "scipy", "diffusers", "pillow", "scikit-image", "torchmetrics"),
    *("pytorch-msssim", "piq", "clean-fid", "torch-fidelity", "pytorch-fid", "typer"),
)
#: Where some benchmarks find what they need.
VARIABLES = ("XBENCH_RUNS", "XBENCH_PEERS")


def pytest_benchmark_update_machine_info(config: object, machine_info: dict[str, Any]) -> None:
    """Add processor, cores granted, threads asked for, and versions."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    machine_info["xbench"] = {
        "processor": cpu_name(),
        "gpu": gpu,
        "cores": cores(),
        "threads": os.environ.get("OMP_NUM_THREADS"),
        "variables": [name for name in VARIABLES if name in os.environ],
        "packages": {name: package_version(name) for name in PACKAGES},
    }
