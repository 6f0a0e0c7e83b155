"""Methods on one pair at `standard`, for a fixed time each: step d of `tests/gpu.sh`.

    python tests/benchmarks/gpu_runs.py OUT WORK SECONDS

A budget is the seconds of a training times the images per second that step c measured
(`OUT/timings.json`), so that schedules end where trainings end. Runs lie in WORK, with weights and
16-bit images; a compact copy without them is published to `OUT/results`. The phantom has fewer
heads than `standard` has: making all of them takes most of the time that there is.
"""

import json
import subprocess
import sys
from pathlib import Path
from time import monotonic
from typing import Any

from gpu_machine import DEVICE, REHEARSAL

PROFILE = "smoke" if REHEARSAL else "standard"
PAIR = "synthetic_low:real_normal"
#: Heads of each kind, where `standard` has 24 per domain, 8, 32 and 40.
FEW = 1 if REHEARSAL else 4
HEADS = {"train": FEW, "val": 1, "test": 4 if REHEARSAL else 8, "paired": 1}
#: Methods of one run, which share a training → whose speed step c measured, and seconds to train.
RUNS: dict[str, tuple[str, float]] = {
    **({} if REHEARSAL else {"identity,histogram": ("", 0)}),  # also makes the data
    "medshift": ("medshift", 0.2 if REHEARSAL else 35),
    "ddib,cyclediffusion": ("ddib", 0.2 if REHEARSAL else 25),
    "cyclegan": ("cyclegan", 0.2 if REHEARSAL else 15),
}
#: Seconds that are kept for publishing; images where step c measured nothing.
KEPT, FALLBACK = (6 if REHEARSAL else 15), 64


def command(methods: str, images: int, work: Path) -> list[str]:
    """The words after `xbench` of a run that anyone can repeat."""
    settings = [f"data.{kind}_heads={n}" for kind, n in HEADS.items()]
    settings += [f"budget.images={images}"] * bool(images)
    return [
        *("run", "--method", methods, "--profile", PROFILE),
        *("--pairs", PAIR, "--device", DEVICE.type, "--out", str(work)),
        *(word for setting in settings for word in ("--set", setting)),
    ]


def run(words: list[str], seconds: float) -> dict[str, Any]:
    """What came of a command; its last lines where it failed."""
    began = monotonic()
    # -P: libraries that look for a package `datasets` must not find our folder.
    program = [sys.executable, "-P", "-m", "xbench.cli"]
    try:
        done = subprocess.run(
            [*program, *words], capture_output=True, text=True, timeout=max(1, seconds), check=False
        )
        code, said = done.returncode, done.stderr
    except subprocess.TimeoutExpired as late:
        code, said = 124, (late.stderr or b"").decode(errors="replace")
    found: dict[str, Any] = {"command": " ".join(["xbench", *words]), "code": code}
    found["seconds"] = round(monotonic() - began, 1)
    return found | ({"said": said[-2000:]} if code else {})


def main(out: Path, work: Path, seconds: float) -> int:
    """Run all that fits, publish what is finished; 1 if something failed."""
    end = monotonic() + seconds
    try:
        speeds = json.loads((out / "timings.json").read_text())["images_per_second"]
    except (OSError, ValueError, KeyError):
        speeds = {}
    found: dict[str, Any] = {"rehearsal": REHEARSAL, "profile": PROFILE, "runs": {}}
    for methods, (measured, trained) in RUNS.items():
        images = max(FALLBACK, int(trained * speeds.get(measured, 0))) if measured else 0
        left = end - KEPT - monotonic()
        if left < KEPT:
            found["runs"][methods] = {"code": 124, "seconds": 0, "said": "no time was left"}
        else:
            found["runs"][methods] = run(command(methods, images, work), left)
        found["runs"][methods]["images"] = images
        (out / "runs.json").write_text(json.dumps(found, indent=1))
    words = ["publish", "--out", str(work), "--to", str(out / "results")]
    found["publish"] = run(words, end - monotonic())
    (out / "runs.json").write_text(json.dumps(found, indent=1))
    return int(any(one["code"] for one in (*found["runs"].values(), found["publish"])))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3])))
