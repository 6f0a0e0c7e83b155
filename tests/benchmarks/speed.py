"""One page of speeds from the JSON files of pytest-benchmark.

    python tests/benchmarks/speed.py FILE.json … --to results/speed.md

A benchmark is shown if its `extra_info` names its `peer`: "xbench" for ours, else another program's
name. Those of one `group` did the same work in the same run. Further entries of `extra_info`:

- `ratio`: of a peer that took turns with ours, the median over the turns of theirs / ours;
- `asked`: of a peer, how many times as long as ours it is asked to take;
- `value`: a result that can be compared; `failure`: why a peer gave none;
- `note`: a few words; `figures`: name → number; `limits`: name → what a figure may be at most.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

OURS = "xbench"
#: Part of the file's name after `bench_` → heading, in the order of the page.
TITLES = {
    "translation": "Translation, all pairs",
    "training": "Training",
    "frechet": "Fréchet distance",
    "metrics": "SSIM and texture descriptors",
    "scoring": "The scoring stage of a run",
    "phantom": "The phantom",
    "loading": "Loading images",
    "startup": "Start-up",
    "workers": "Plan, overhead and workers",
    "growth": "Growth",
}
CLOCKS = {
    "process_time": "processor seconds",
    "perf_counter": "wall-clock seconds",
    "child_seconds": "processor seconds of the commands",
}
HEAD = ("case", "program", "seconds", "spread", "ratio", "asked", "note")
LEGEND = """\
Seconds are the median of the rounds, the spread goes from the fastest to the slowest one. A ratio
says how many times as long as ours a peer takes, by the fastest round of either, or by the median
over rounds taken by turns: above 1, ours is faster. *Asked* is the least ratio that was set as a
target beforehand. That the answers agree is checked by the benchmarks; *differs* is a peer's value
beside ours, relative."""


@dataclass(frozen=True)
class Entry:
    """One program in one case.

    Attributes:
        part: the benchmark file's name after `bench_`.
        case: what was done.
        program: what did it.
        rounds: seconds of each round.
        info: the benchmark's `extra_info`.
        own: our benchmark of the same case; None for ours itself and where there is none.
    """

    part: str
    case: str
    program: str
    rounds: tuple[float, ...]
    info: dict[str, Any]
    own: "Entry | None" = None

    @property
    def ratio(self) -> float | None:
        """The peer's fastest round / ours, unless both were measured by turns.

        None without ours, and of a peer that failed.
        """
        if self.own is None or "failure" in self.info:
            return None
        if "ratio" in self.info:
            return float(self.info["ratio"])
        return min(self.rounds) / min(self.own.rounds)

    @property
    def asked(self) -> float | None:
        """The ratio that was asked for."""
        return self.info.get("asked")

    @property
    def missed(self) -> bool:
        """Whether a ratio was asked for and is not there."""
        return self.asked is not None and (self.ratio is None or self.ratio < self.asked)


def entries(result: dict[str, Any]) -> list[Entry]:
    """The benchmarks of one file that name their program; ours first in each case."""
    cases: dict[tuple[str, str], list[Entry]] = {}
    for found in result["benchmarks"]:
        info = found["extra_info"]
        if "peer" in info:
            stem = Path(found["fullname"].partition("::")[0]).stem
            part, case = stem.removeprefix("bench_"), found["group"] or found["name"]
            entry = Entry(part, case, info["peer"], _rounds(found["stats"]), info)
            cases.setdefault((part, case), []).append(entry)
    return [entry for together in cases.values() for entry in _with_ours(together)]


def _rounds(stats: dict[str, Any]) -> tuple[float, ...]:
    """Fastest, median and slowest round: what the page needs of them."""
    return stats["min"], stats["median"], stats["max"]


def _with_ours(together: list[Entry]) -> list[Entry]:
    own = next((entry for entry in together if entry.program == OURS), None)
    peers = [
        Entry(e.part, e.case, e.program, e.rounds, e.info, own) for e in together if e is not own
    ]
    return [*([own] if own else []), *sorted(peers, key=lambda entry: min(entry.rounds))]


def page(results: dict[str, dict[str, Any]]) -> str:
    """The page.

    Args:
        results: contents of the JSON files by their names.
    """
    found = {name: entries(result) for name, result in results.items()}
    flat = [entry for several in found.values() for entry in several]
    machines = list(dict.fromkeys(_machine(result) for result in results.values()))
    lines = ["# Speed", "", LEGEND, "", "## Targets", "", *_targets(flat)]
    for number, machine in enumerate(machines, 1):
        lines += ["", f"## Machine{f' {number}' if len(machines) > 1 else ''}", "", machine]
    lines += ["", "## Commands", "", "```", 'pip install -e ".[bench]"']
    lines += [_command(name, result, found[name]) for name, result in results.items()]
    lines += [f"python tests/benchmarks/speed.py {' '.join(results)} --to results/speed.md", "```"]
    for name, part in sorted(_parts(found), key=lambda pair: _place(pair[1])):
        place = machines.index(_machine(results[name])) + 1
        where = f", machine {place}" if len(machines) > 1 else ""
        lines += ["", f"## {TITLES.get(part, part)}", "", _circumstances(results[name]) + where]
        lines += ["", *_table([entry for entry in found[name] if entry.part == part])]
    return "\n".join(lines) + "\n"


def _parts(found: dict[str, list[Entry]]) -> list[tuple[str, str]]:
    """JSON file and benchmark file of every section."""
    return list(dict.fromkeys((name, entry.part) for name in found for entry in found[name]))


def _place(part: str) -> tuple[int, str]:
    order = list(TITLES)
    return (order.index(part) if part in order else len(order)), part


def _targets(flat: Sequence[Entry]) -> Iterator[str]:
    """A line for every ratio that was asked for and every figure with a limit."""
    for entry in sorted(flat, key=lambda entry: _place(entry.part)):
        case = f"{entry.case}: {entry.program}"
        if entry.asked is not None:
            took = f"{_ratio(entry)} times as long as ours" if entry.ratio else "gives no ratio"
            verdict = "**missed**" if entry.missed else "reached"
            note = f" ({entry.info['note']})" if "note" in entry.info else ""
            yield f"- {verdict}: {case}: {took}, asked {entry.asked:g}{note}"
        for name, limit in entry.info.get("limits", {}).items():
            figure = entry.info["figures"][name]
            verdict = "**missed**" if not figure <= limit else "reached"
            yield f"- {verdict}: {case}, {name} {figure:.3g}, asked at most {limit:g}"


def _machine(result: dict[str, Any]) -> str:
    """Processor and versions, in one paragraph; never the machine's name."""
    info = result["machine_info"]
    ours = info.get("xbench", {})
    processor = ours.get("processor") or info.get("cpu", {}).get("brand_raw") or info["machine"]
    packages = {"Python": info["python_version"], **ours.get("packages", {})}
    versions = [f"{name} {version}" for name, version in packages.items() if version]
    return ". ".join([*filter(None, (processor, ours.get("gpu"))), ", ".join(versions)]) + "."


def _command(name: str, result: dict[str, Any], found: Sequence[Entry]) -> str:
    """What makes a JSON file again."""
    ours = result["machine_info"].get("xbench", {})
    files = dict.fromkeys(f"tests/benchmarks/bench_{entry.part}.py" for entry in found)
    variables = [f"{variable}=…" for variable in ours.get("variables", ())]
    if ours.get("threads"):
        variables.append(f"OMP_NUM_THREADS={ours['threads']}")
    # Any other clock is pytest-benchmark's own, or that of the file.
    chosen = _clock(result) == "process_time"
    timer = ["--benchmark-timer=time.process_time"] if chosen else []
    program = ["python", "-m", "pytest", *files, "--benchmark-enable"]
    return " ".join([*variables, *program, *timer, f"--benchmark-json={name}"])


def _clock(result: dict[str, Any]) -> str:
    """The function of `time` that measured."""
    return next((str(b["options"]["timer"]) for b in result["benchmarks"]), "perf_counter")


def _circumstances(result: dict[str, Any]) -> str:
    ours = result["machine_info"].get("xbench", {})
    cores, threads, clock = ours.get("cores"), ours.get("threads"), _clock(result)
    known = [f"cores: {cores}"] if cores else []
    known += [f"threads: {threads}"] if threads else []
    return ", ".join([CLOCKS.get(clock, clock), *known])


def _table(found: Sequence[Entry]) -> Iterator[str]:
    """The table of a section, and its figures."""
    marks = tuple("--:" if name in ("seconds", "ratio", "asked") else ":--" for name in HEAD)
    for cells in (HEAD, marks, *map(_cells, found)):
        yield f"| {' | '.join(cells)} |"
    for number, entry in enumerate(e for e in found if e.info.get("figures")):
        figures = ", ".join(f"{name} {x:.3g}" for name, x in entry.info["figures"].items())
        yield from [""] if number == 0 else []
        yield f"- {entry.case}, {entry.program}: {figures}"


def _cells(entry: Entry) -> tuple[str, ...]:
    low, median, high = entry.rounds
    ratio = _ratio(entry)
    asked = "" if entry.asked is None else f"{entry.asked:g}"
    if entry.missed:
        ratio, asked = f"**{ratio}**" if ratio else "", f"{asked}, **missed**"
    spread = "one round" if low == high else f"{low:.3g} – {high:.3g}"
    cells = (entry.case, entry.program, f"{median:.3g}", spread, ratio, asked, _note(entry))
    return tuple(cell.replace("|", "\\|").replace("\n", " ") for cell in cells)


def _ratio(entry: Entry) -> str:
    """The ratio; one that misses by little is not rounded to what was asked."""
    if entry.ratio is None:
        return ""
    if entry.missed and float(f"{entry.ratio:.3g}") >= (entry.asked or 0):
        return f"{entry.ratio:.6g}"
    return f"{entry.ratio:.3g}" if entry.ratio < 999.5 else f"{entry.ratio:,.0f}"


def _note(entry: Entry) -> str:
    """What was noted, why there is no value, or how far it lies from ours."""
    info = entry.info
    parts = [info["note"]] if "note" in info else []
    if "failure" in info:
        parts.append(f"no value: {info['failure']}")
    own = entry.own.info.get("value") if entry.own else None
    if info.get("value") is not None and own:
        parts.append(f"differs by {abs(info['value'] - own) / abs(own):.0e}")
    return "; ".join(parts)


def script() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("files", type=Path, nargs="+", help="JSON files of pytest-benchmark")
    parser.add_argument("--to", type=Path, help="file to write; else it is printed")
    options = parser.parse_args()
    files: list[Path] = options.files
    text = page({file.name: json.loads(file.read_text(encoding="utf-8")) for file in files})
    if options.to:
        options.to.write_text(text, encoding="utf-8")
    else:
        print(text, end="")


if __name__ == "__main__":
    script()
