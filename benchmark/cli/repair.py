"""Looking after runs: `xbench status`, `verify`, `rerun`, `doctor` and `clean`."""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from xbench.cli.answers import answer, listing, show_checks
from xbench.cli.options import Device, Json, Out, Part, Place, expanded, listed, own_dataset
from xbench.core.checks import Check
from xbench.core.errors import UserError, nothing_finished
from xbench.core.names import quoted

if TYPE_CHECKING:
    import torch

    from xbench.records.store import FinishedT

RecordPath = Annotated[Path, typer.Argument(help="A file below a folder `records`.")]
#: Code that a record names is run only if the user names it too.
MethodOf = Annotated[
    str, typer.Option("--method", help="The record's plug-in: path/to/file.py:Class")
]
DatasetOf = Annotated[
    str, typer.Option("--dataset", help="The record's data set, if it is not built in.")
]


@expanded
def status(
    *,
    method: Annotated[str, typer.Option(help="NAME[,NAME]: show the plan of these methods.")] = "",
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="SECTION.KEY=VALUE, with --method")
    ] = None,
    part: Part,
    failed: Annotated[bool, typer.Option(help="Show the tracebacks of failures.")] = False,
    json: Json = False,
) -> None:
    """Units done, failed, missing, stale and running; exit code 1 if one failed.

    Without --method: the rows in the results folder. With --method: the plan that xbench run would
    make of the same options. Rows of xbench utility are shown where the results folder has some.
    """
    from xbench.harness import status as states
    from xbench.harness.plan import make
    from xbench.harness.utility import states as utility_states

    if method:
        request = part.request(method, set_)
        plan = make(request)
        folder, units = plan.folder, [*states.of_plan(plan), *utility_states(plan, request)]
    else:
        folder = _results(part)
        units = [*states.of_folder(folder, own_dataset(part.dataset)), *states.of_utility(folder)]
        if not units:
            raise nothing_finished(folder)
    failures = [unit for unit in units if unit.state == "failed"]
    if json:
        answer({"folder": str(folder), "rows": states.rows(units), "units": states.units(units)})
    else:
        listing(states.rows(units), json=False)
        for unit in failures if failed else ():
            print(f"\n{unit.unit}\n{_plain(unit.traceback)}", file=sys.stderr)
    if failures:
        raise typer.Exit(1)


def rerun(
    record: RecordPath,
    run: Annotated[bool, typer.Option(help="Run the command, not only print it.")] = False,
    method: MethodOf = "",
    dataset: DatasetOf = "",
    out: Out = Path("runs"),
) -> None:
    """Print the command that recomputes a record; --run runs it."""
    import shlex

    from xbench.analysis.reproduce import absent, command, method_name
    from xbench.records.schema import Record
    from xbench.records.store import Store

    wanted = _read(record, Record)
    words = command(wanted, method, dataset)
    if out != Path("runs"):
        words += ["--out", str(out)]
    if run:
        from xbench.harness.plan import make
        from xbench.harness.request import request

        plan = make(request([wanted], out, method, dataset))
        if Store(plan.folder).record_path(wanted.unit).exists():
            words.append("--force")
    print(shlex.join(words), file=sys.stderr if run else sys.stdout)
    if note := absent(method or method_name(wanted)):
        print(note, file=sys.stderr)
    if run:
        from xbench.cli import main

        main(words[1:])


def verify(
    record: Annotated[
        Path, typer.Argument(help="A file below a folder `records`, or a results folder.")
    ],
    sample: Annotated[
        int, typer.Option(min=1, help="How many records of a folder, chosen by their hash.")
    ] = 10,
    images: Annotated[int, typer.Option(min=1, help="How many images to translate again.")] = 4,
    method: MethodOf = "",
    dataset: DatasetOf = "",
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Recompute some images of a record, and its metrics, and compare them.

    For a record of xbench utility, recompute the measures of its stored predictions. Of a results
    folder, such as runs/phantom/quick, some records are checked, the same ones each time.

    Exit code 0: what could be compared agrees; 1: something differs; 2: neither images nor values
    of a record could be compared.
    """
    from xbench.harness.runner import pick_device

    whole, place = record.is_dir(), pick_device(device)
    found: dict[Path, list[Check]] = {}
    for path in _sampled(record, sample) if whole else [record]:
        found[path] = _checked(path, images, place, method, dataset)
        if whole and not json:
            print(f"\n{path}", flush=True)
        if not json:
            show_checks(found[path], json=False)
    if json and whole:
        answer([{"record": str(p), "checks": list(map(asdict, own))} for p, own in found.items()])
    elif json:
        show_checks(found[record], json=True)
    if any(check.outcome == "differs" for own in found.values() for check in own):
        raise typer.Exit(1)
    if empty := [path for path, own in found.items() if not any(map(_compares, own))]:
        raise UserError(
            f"nothing of {empty[0]} could be verified"
            + f", nor of {len(empty) - 1} others" * (len(empty) > 1),
            "expected: its images, or its method, training and data",
            "the reasons stand above; to recompute it: xbench rerun RECORD --run",
        )


def _checked(
    path: Path, images: int, place: "torch.device", method: str, dataset: str
) -> list[Check]:
    """The checks of one record, also of xbench utility."""
    from xbench.harness.verify import verify_record
    from xbench.harness.verify_utility import verify_utility
    from xbench.records.schema import Record, UtilityRecord
    from xbench.records.store import UtilityStore

    if UtilityStore.name in path.resolve().parts[-5:-4]:
        return verify_utility(path, _read(path, UtilityRecord), method, dataset)
    return verify_record(path, _read(path, Record), images, place, method, dataset)


def _compares(check: Check) -> bool:
    """Whether a check compared images or values, and they agreed."""
    return check.outcome == "same" and check.check not in ("method", "data", "training")


def _sampled(folder: Path, number: int) -> list[Path]:
    """The records of a results folder whose keys have the least hashes."""
    from xbench.core.hashing import seed_from
    from xbench.records.store import Store

    files = Store(folder).record_files()
    if not files:
        raise nothing_finished(folder, fix="try: xbench verify runs/phantom/quick")
    files.sort(key=lambda file: seed_from("verify", file[1].key))
    return [path for path, _ in files[:number]]


def doctor(out: Out = Path("runs"), json: Json = False) -> None:
    """Check Python, torch, packages, weights, data, disks and plug-ins; 1 if something fails."""
    from xbench.cli.doctor import examine

    checks = examine(out)
    show_checks(checks, json=json)
    if any(check.outcome == "fail" for check in checks):
        raise typer.Exit(1)


def clean(
    out: Out = Path("runs"),
    what: Annotated[str, typer.Option(help="KIND[,KIND], or all; see below")] = "",
    yes: Annotated[bool, typer.Option("--yes", help="Remove without asking.")] = False,
    json: Json = False,
) -> None:
    """Remove what nothing needs, after showing it.

    By default: parts (unfinished files of processes that are gone), corrupt (damaged files that
    were set aside), orphans (images, strips and masks without a record).

    On demand: stale (records of other versions and data, with their images), failed (tracebacks),
    trainings (that no record names), caches (prepared data that no profile and no record needs).
    """
    from xbench.harness import clean as cleaning

    leftovers = cleaning.find(out, cleaning.kinds(listed(what)))
    rows = cleaning.summary(leftovers)
    if json:
        answer({"remove": rows, "paths": [str(item.path) for item in leftovers]})
    elif rows:
        listing(rows, json=False)
    if not leftovers:
        print(f"nothing to remove in {out}", file=sys.stderr)
        return
    if not (yes or _agreed(out)):
        return
    freed = cleaning.remove(leftovers)
    print(f"removed {len(leftovers)} files and folders, {freed / 1e6:.1f} MB", file=sys.stderr)


def _agreed(out: Path) -> bool:
    """Ask the user, who must be at a terminal, or a UserError is raised."""
    if not sys.stdin.isatty():
        raise UserError(
            "nothing was removed, because there is no terminal to ask on",
            "expected: a terminal, or --yes",
            f"to remove the above: xbench clean --out {quoted(out)} --yes (and --what as before)",
        )
    return typer.confirm("Remove all this?", err=True)


def _read(path: Path, kind: "type[FinishedT]") -> "FinishedT":
    """A record that the user named; a UserError if it cannot be read."""
    from xbench.records.schema import Unreadable, parse

    try:
        return parse(path.read_bytes(), kind)
    except Unreadable as error:
        raise UserError(
            f"{path} cannot be read: {error}",
            "expected: a record, as xbench writes it: <out>/<data>/<profile>/records/…/A--B.json",
            "see: xbench status",
        ) from error


def _results(place: Place) -> Path:
    """A results folder, even if it holds only failures."""
    from xbench.records.folders import find_place

    folder = find_place(place.dataset, place.profile, place.split, place.out)
    some = any((folder / name).is_dir() for name in ("failed", "utility"))
    return folder if some else place.folder()


def _plain(text: str) -> str:
    """Text without control codes for terminals."""
    import re

    return re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", "", text)
