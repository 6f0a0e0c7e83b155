"""What the machine is, and what a large matrix product reaches on it: step a of `tests/gpu.sh`.

python tests/benchmarks/gpu_machine.py OUT/machine.json
"""

import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from xbench.core.processes import cores
from xbench.records.provenance import cpu_name, package_version

#: A rehearsal works on the CPU with tiny sizes, even where there is a GPU.
REHEARSAL = bool(os.environ.get("REHEARSE"))
DEVICE = torch.device("cpu" if REHEARSAL else "cuda")
#: Side of the matrices.
SIDE = 512 if REHEARSAL else 8192
PACKAGES = ("torch", "torchvision", "diffusers", "accelerate", "torchmetrics", "numpy", "triton")
QUERY = "name,driver_version,memory.total,memory.used,power.limit,clocks.max.sm,mig.mode.current"


def wait() -> None:
    """A GPU works on while Python goes ahead."""
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()


def peak(dtype: torch.dtype, *, tf32: bool = False) -> float:
    """Floating-point operations per second of a large matrix product, the best of ten."""
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = tf32
    a, b = (torch.rand(SIDE, SIDE, device=DEVICE).to(dtype) for _ in range(2))
    seconds = []
    for _ in range(11):  # the first one warms up
        wait()
        began = perf_counter()
        a @ b
        wait()
        seconds.append(perf_counter() - began)
    torch.backends.cuda.matmul.allow_tf32 = before
    return 2 * SIDE**3 / min(seconds[1:])


def said(*command: str) -> str:
    """What a command prints, or why it does not."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.SubprocessError) as error:
        return str(error)
    return (done.stdout or done.stderr).strip()


def card() -> dict[str, Any]:
    """What torch says of the card."""
    if DEVICE.type == "cpu":
        return {}
    facts = torch.cuda.get_device_properties(0)
    free, total = torch.cuda.mem_get_info()
    return {
        "name": facts.name,
        "capability": f"{facts.major}.{facts.minor}",
        "multiprocessors": facts.multi_processor_count,
        "memory_gb": total / 1e9,
        "free_gb": free / 1e9,
        "bf16": torch.cuda.is_bf16_supported(including_emulation=False),
        "cards": torch.cuda.device_count(),
    }


def main(path: Path) -> None:
    """Write everything; the peaks last, so that a broken card is described too."""
    found: dict[str, Any] = {
        "rehearsal": REHEARSAL,
        "device": DEVICE.type,
        "python": platform.python_version(),
        "processor": cpu_name(),
        "cores": cores(),
        "cuda_of_torch": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "packages": {name: package_version(name) for name in PACKAGES},
        "nvidia_smi": said("nvidia-smi", f"--query-gpu={QUERY}", "--format=csv,noheader"),
    }
    path.write_text(json.dumps(found, indent=1))
    found["card"] = card()
    path.write_text(json.dumps(found, indent=1))
    found["tflops"] = {
        "bfloat16": peak(torch.bfloat16) / 1e12,
        "float32": peak(torch.float32) / 1e12,
        "tf32": peak(torch.float32, tf32=True) / 1e12,
    }
    path.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
