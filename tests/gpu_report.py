"""The page of a GPU day, from what its steps wrote: step e of `tests/gpu.sh`.

    python tests/gpu_report.py OUT

Needs the standard library alone. What a step did not write is said to be missing, never guessed.
"""

import json
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from typing import Any

STEPS = {
    "a": "the machine",
    "b": "pytest -m gpu",
    "c": "timings",
    "d": "runs at `standard`, published",
}
#: Key of timings.json → what it is, how it is written, and what was aimed at.
ROWS = {
    "translate_ratio": ("MedShift, all pairs, against the plain loop", "{:.1f} ×", "10 ×"),
    "translate_ratio_true_float32": ("… with TF32 switched off in it", "{:.1f} ×", ""),
    "train_ratio": ("MedShift, training step, against the plain loop", "{:.1f} ×", "4 ×"),
    "train_ratio_true_float32": ("… with TF32 switched off in it", "{:.1f} ×", ""),
    "train_share_of_peak": ("training: share of the measured peak", "{:.1%}", "20 %"),
    "draw_share": ("drawing a batch: share of a step", "{:.1%}", "below 100 %"),
    "features_ratio": ("features of Inception's size, device against CPU", "{:.1f} ×", ""),
    "frechet_cpu_s": ("Fréchet distance as it is, on the CPU", "{:.2f} s", ""),
    "frechet_device_s": ("the same by two eigendecompositions on the device", "{:.2f} s", ""),
    "job_minutes": (
        "whole MedShift job, extrapolated (no data, no scores)",
        "{:.1f} min",
        "12 min",
    ),
}
WARNING = "**Rehearsal on a CPU: no number here means anything.**"
#: Columns of the table of runs: metrics that are found in a record.
METRICS = ("ltd", "ftd", "ssim", "psnr")


def read(path: Path) -> Any:
    """A JSON file; an empty dictionary if it is missing or was cut off."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def ended(step: Any) -> str:
    """How a step ended, in words."""
    if not step:
        return "not run"
    code, spent = step["code"], f"{step['seconds']} of {step['limit']} s"
    if code == 0:
        return f"done, {spent}"
    return f"**ran out of time**, {spent}" if code == 124 else f"**failed** (code {code}), {spent}"


def steps(out: Path) -> Iterator[str]:
    """A table of how the steps ended."""
    yield "| step | what | how it ended |"
    yield "| --- | --- | --- |"
    for name, about in STEPS.items():
        yield f"| {name} | {about} | {ended(read(out / f'{name}.json'))} |"


def machine(found: Any) -> Iterator[str]:
    """Card, driver, versions and peaks."""
    if not found:
        yield "Nothing is known of the machine."
        return
    card, packages = found.get("card", {}), found.get("packages", {})
    if card:
        bf16 = "bfloat16" if card["bf16"] else "no bfloat16"
        memory = f"{card['free_gb']:.0f} of {card['memory_gb']:.0f} GB free"
        yield f"- {card['name']}, capability {card['capability']}, {bf16}, {memory}"
    yield f"- nvidia-smi: {found.get('nvidia_smi')}"
    yield f"- {found.get('processor')}, {found.get('cores')} cores, Python {found.get('python')}"
    versions = ", ".join(f"{name} {version}" for name, version in packages.items())
    yield f"- CUDA {found.get('cuda_of_torch')}, cuDNN {found.get('cudnn')}; {versions}"
    if peaks := found.get("tflops"):
        yield "- matrix product: " + ", ".join(f"{n} {v:.3g} TFLOP/s" for n, v in peaks.items())


def tests(path: Path) -> Iterator[str]:
    """How many tests passed, and each one that did not."""
    try:
        suite = next(ET.parse(path).getroot().iter("testsuite"))
    except (OSError, ET.ParseError, StopIteration):
        yield "pytest wrote no result (it was stopped, or did not run)."
        return
    count = {name: int(suite.get(name, 0)) for name in ("tests", "failures", "errors", "skipped")}
    passed = count["tests"] - count["failures"] - count["errors"] - count["skipped"]
    others = ", ".join(f"{count[name]} {name}" for name in ("failures", "errors", "skipped"))
    yield f"{passed} of {count['tests']} passed; {others}."
    for case in suite.iter("testcase"):
        for kind in ("failure", "error"):
            if (bad := case.find(kind)) is not None:
                line = (bad.get("message") or "").splitlines()[:1]
                yield f"- **{kind}** {case.get('name')}: {''.join(line)[:160]}"


def timings(found: Any) -> Iterator[str]:
    """A table of ratios, what is missing included."""
    yield "| what | found | aim |"
    yield "| --- | --- | --- |"
    for key, (about, form, aim) in ROWS.items():
        value = form.format(found[key]) if key in found else "not measured"
        yield f"| {about} | {value} | {aim} |"
    yield from forms(found)
    if found.get("phantom_device_switch") is False:
        yield "| the phantom on the GPU against the CPU | the code has no device switch | |"
    yield ""
    for part, why in found.get("failed", {}).items():
        yield f"- **failed** {part}: {why}"
    yield "The plain loop: float32, eager, each pair by itself, both velocities of guidance."


def forms(found: Any) -> Iterator[str]:
    """Rows of how much faster other forms of the networks were, and what was kept."""
    for key, what in (("train", "training"), ("translate", "translating")):
        took = found.get(f"{key}_forms_s", {})
        gains = [f"{n} {took['plain'] / s:.2f} ×" for n, s in took.items() if "plain" in took]
        kept = found.get(f"{key}_kept")
        text = f"{', '.join(gains[1:])}; kept: {kept}" if kept else "not measured"
        yield f"| {what} in other forms of the network | {text} | |"


def runs(found: Any, out: Path) -> Iterator[str]:
    """A row per run; then the metrics of all records that were published."""
    yield "| methods | training images | seconds | how it ended |"
    yield "| --- | --- | --- | --- |"
    for name, run in found.get("runs", {}).items():
        how = {0: "done", 124: "**ran out of time**"}.get(run["code"], f"**code {run['code']}**")
        yield f"| {name} | {run.get('images') or '–'} | {run['seconds']} | {how} |"
    yield ""
    if found.get("publish", {}).get("code", 1):
        yield "**Nothing was published.**"
    rows = [read(path) for path in sorted((out / "results").glob("*/*/records/*/*/*.json"))]
    if not rows:
        return
    yield f"| method | {' | '.join(METRICS)} | device |"
    yield "| --- |" + " --- |" * (len(METRICS) + 1)
    for one in rows:
        values = [one["metrics"].get(name, {}).get("value") for name in METRICS]
        cells = " | ".join("–" if value is None else f"{value:.4g}" for value in values)
        yield f"| {one['method']['label']} | {cells} | {one['provenance']['device']} |"


def page(out: Path) -> str:
    """The page in Markdown."""
    found, timed, ran = (read(out / f"{n}.json") for n in ("machine", "timings", "runs"))
    rehearsal = any(part.get("rehearsal") for part in (found, timed, ran))
    profile = timed.get("profile", "standard")
    lines = [
        *("# xbench on a GPU", ""),
        *([WARNING, ""] if rehearsal else []),
        *steps(out),
        *("", "## The machine", *machine(found)),
        *("", "## Tests", *tests(out / "tests.xml")),
        *("", f"## Timings, profile `{profile}`, in one run", *timings(timed)),
        *("", "## Runs on one pair, a fixed time each", *runs(ran, out)),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    (folder / "gpu.md").write_text(page(folder), encoding="utf-8")
