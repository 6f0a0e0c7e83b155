"""The page of speeds: what it says of made-up benchmarks."""

import json
import subprocess
import sys
from pathlib import Path
from runpy import run_path
from typing import Any

SCRIPT = Path(__file__).parent / "benchmarks" / "speed.py"
SPEED = run_path(str(SCRIPT))


def entry(program: str | None, seconds: float, case: str = "sum", **info: Any) -> dict[str, Any]:
    """One benchmark, as far as the page looks at it."""
    extra = info if program is None else {"peer": program, **info}
    return {
        "fullname": "tests/benchmarks/bench_metrics.py::test",
        "name": "test",
        "group": case,
        "extra_info": extra,
        "options": {"timer": "process_time"},
        "stats": {"min": seconds, "median": 2 * seconds, "max": 3 * seconds},
    }


def page(*benchmarks: dict[str, Any], **machine: Any) -> str:
    """The page of one file, `made.json`."""
    text: str = SPEED["page"]({"made.json": result(*benchmarks, **machine)})
    return text


def result(*benchmarks: dict[str, Any], **machine: Any) -> dict[str, Any]:
    """What pytest-benchmark writes, as far as the page looks at it."""
    ours = {"processor": "Fast 9000", "cores": 2, "threads": "1", "packages": {}} | machine
    info = {
        "node": "secret-host",
        "machine": "x86_64",
        "python_version": "3.12.1",
        "xbench": ours,
    }
    return {"machine_info": info, "benchmarks": list(benchmarks)}


def test_targets_are_reached_or_missed_by_the_fastest_rounds() -> None:
    text = page(
        entry("slow", 6.0, asked=2),
        entry("xbench", 2.0),
        entry("quick", 3.0, asked=4, note="in C"),
        entry("other", 1.0),
    )
    assert "- reached: sum: slow: 3 times as long as ours, asked 2\n" in text
    assert "- **missed**: sum: quick: 1.5 times as long as ours, asked 4 (in C)\n" in text
    rows = [line for line in text.splitlines() if line.startswith("| sum")]
    assert rows == [
        "| sum | xbench | 4 | 2 – 6 |  |  |  |",
        "| sum | other | 2 | 1 – 3 | 0.5 |  |  |",
        "| sum | quick | 6 | 3 – 9 | **1.5** | 4, **missed** | in C |",
        "| sum | slow | 12 | 6 – 18 | 3 | 2 |  |",
    ]


def test_what_gave_no_answer_has_no_ratio() -> None:
    failed = entry("broken", 9.0, asked=2, failure="not a | number", value=None)
    text = page(entry("xbench", 1.0, value=2.0), failed)
    assert "- **missed**: sum: broken: gives no ratio, asked 2\n" in text
    assert "|  | 2, **missed** | no value: not a \\| number |" in text


def test_a_narrow_miss_is_not_rounded_away() -> None:
    text = page(entry("xbench", 1.0), entry("peer", 0.9999, asked=1))
    assert "- **missed**: sum: peer: 0.9999 times as long as ours, asked 1\n" in text


def test_values_notes_and_figures() -> None:
    text = page(
        entry("xbench", 1.0, value=2.0, figures={"share": 0.07}, limits={"share": 0.05}),
        entry("peer", 1.0, value=2.002, note="float32"),
        entry(None, 1.0, case="nobody's"),
    )
    assert "| 1 |  | float32; differs by 1e-03 |" in text
    assert "\n\n- sum, xbench: share 0.07\n" in text
    assert "- **missed**: sum: xbench, share 0.07, asked at most 0.05\n" in text
    assert "nobody's" not in text


def test_the_page_says_what_made_it_but_not_where() -> None:
    text = page(entry("xbench", 1.0), packages={"torch": "2.9", "piq": None})
    assert "Fast 9000. Python 3.12.1, torch 2.9." in text
    assert "processor seconds, cores: 2, threads: 1" in text
    command = "OMP_NUM_THREADS=1 python -m pytest tests/benchmarks/bench_metrics.py"
    assert f"{command} --benchmark-enable --benchmark-timer=time.process_time" in text
    assert "python tests/benchmarks/speed.py made.json --to results/speed.md" in text
    assert "secret-host" not in text


def test_files_become_one_page_without_their_folders(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps(result(entry("xbench", 1.0))))
    (tmp_path / "b.json").write_text(json.dumps(result(entry("peer", 1.0), threads=None)))
    files = [tmp_path / name for name in ("a.json", "b.json")]
    # -I: the checkout's own folders are no packages.
    subprocess.run([sys.executable, "-I", SCRIPT, *files, "--to", tmp_path / "page.md"], check=True)
    text = (tmp_path / "page.md").read_text()
    assert text.count("\n## SSIM and texture descriptors\n") == 2
    assert text.count("## Machine\n") == 1
    assert str(tmp_path) not in text
