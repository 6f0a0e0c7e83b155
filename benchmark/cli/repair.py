"""What became of a run, and how to mend it: status, verify, rerun, doctor, clean."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from xbench.cli.answers import answer, listing
from xbench.cli.options import DatasetName, Json, Out, ProfileName, SplitName, listed
from xbench.cli.run import Device, Pairs, Seeds, request_of
from xbench.core.errors import UserError, nothing_finished

if TYPE_CHECKING:
    from xbench.records.schema import Record

RecordPath = Annotated[Path, typer.Argument(help="A file below a folder `records`.")]
#: Code that a record names is run only if the user names it, too.
MethodOf = Annotated[str, typer.Option("--method", help="Its plug-in: path/to/file.py:Class")]
DatasetOf = Annotated[str, typer.Option("--dataset", help="Its data, if not built in.")]


def status(
    method: Annotated[str, typer.Option(help="Look at the plan of NAME[,NAME].")] = "",
    dataset: DatasetName = "phantom",
    profile: ProfileName = "quick",
    pairs: Pairs = "",
    split: SplitName = "test",
    seed: Seeds = "0",
    set_: Annotated[list[str] | None, typer.Option("--set", help="With --method.")] = None,
    out: Out = Path("runs"),
    failed: Annotated[bool, typer.Option(help="Show the tracebacks of failures.")] = False,
    json: Json = False,
) -> None:
    """Units done, failed, missing, stale and running; exit code 1 if one failed.

    Without --method: of what lies in the results folder. With it: of that plan.
    """
    from xbench.harness import status as states

    if method:
        from xbench.harness import plan

        todo = plan.make(
            request_of(method, dataset, profile, pairs, split, seed, set_, out, shard="1/1")
        )
        folder, found = todo.folder, states.of_plan(todo)
    else:
        folder = _results(dataset, profile, split, out)
        found = states.of_folder(folder, _own(dataset))
        if not found:
            raise nothing_finished(folder)
    if json:
        answer({"folder": str(folder), "rows": states.rows(found), "units": states.units(found)})
    else:
        listing(states.rows(found), json=False)
    if failed and not json:
        for unit in found:
            if unit.state == "failed":
                print(f"\n{unit.unit}\n{_plain(unit.traceback)}", file=sys.stderr)
    if any(unit.state == "failed" for unit in found):
        raise typer.Exit(1)


def rerun(
    record: RecordPath,
    run: Annotated[bool, typer.Option(help="Run the command, not only print it.")] = False,
    method: MethodOf = "",
    dataset: DatasetOf = "",
    out: Out = Path("runs"),
) -> None:
    """Print the command that makes a record again; --run runs it."""
    import shlex

    from xbench.analysis import reproduce as commands
    from xbench.records.store import Store

    found = _read(record)
    words = commands.command(found, method, dataset)
    if out != Path("runs"):
        words += ["--out", str(out)]
    if run:
        from xbench.harness import plan
        from xbench.harness.request import request

        todo = plan.make(request([found], out, method, dataset))
        if Store(todo.folder).record_path(found.unit).exists():
            words.append("--force")
    print(shlex.join(words), file=sys.stderr if run else sys.stdout)
    if run:
        from xbench.cli import main

        main(words[1:])


def verify(
    record: RecordPath,
    images: Annotated[int, typer.Option(min=1, help="How many to translate again.")] = 4,
    method: MethodOf = "",
    dataset: DatasetOf = "",
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Make some images of a record again, and its metrics, and compare.

    Exit code 0: what could be compared agrees; 1: something differs; 2: nothing could be compared.
    """
    from dataclasses import asdict

    from xbench.harness.runner import pick_device
    from xbench.harness.verify import verify_record

    found = _read(record)
    checks = verify_record(record, found, images, pick_device(device), method, dataset)
    if json:
        answer([asdict(check) for check in checks])
    else:
        listing([asdict(check) for check in checks], json=False)
    if any(check.outcome == "differs" for check in checks):
        raise typer.Exit(1)
    if not any(check.outcome == "same" for check in checks):
        raise UserError(
            f"nothing of {record} could be verified",
            "expected: its images, or its method, training and data",
            "the reasons stand above; to make it anew: xbench rerun RECORD --run",
        )


def doctor(
    out: Out = Path("runs"),
    json: Json = False,
) -> None:
    """Look at Python, torch, packages, weights, data, disks and plug-ins; 1 if something fails."""
    from dataclasses import asdict

    from xbench.cli.doctor import examine

    checks = examine(out)
    listing([asdict(check) for check in checks], json=json)
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
    were set aside), orphans (images and strips without a record).

    On demand: stale (records of other versions and data, with their images), failed (tracebacks),
    trainings (that no record names), caches (prepared data that no profile and no record needs).
    """
    from xbench.harness import clean as cleaning

    found = cleaning.find(out, cleaning.kinds(listed(what)))
    rows = cleaning.summary(found)
    if json:
        answer({"remove": rows, "paths": [str(item.path) for item in found]})
    elif rows:
        listing(rows, json=False)
    if not found:
        print(f"nothing to remove in {out}", file=sys.stderr)
        return
    if not (yes or _agreed(out)):
        return
    freed = cleaning.remove(found)
    print(f"removed {len(found)} files and folders, {freed / 1e6:.1f} MB", file=sys.stderr)


def _agreed(out: Path) -> bool:
    """Ask, where there is somebody to answer."""
    if not sys.stdin.isatty():
        raise UserError(
            "nothing was removed, as nobody could be asked",
            "expected: --yes where there is no terminal",
            f"if the list above may go: xbench clean --out {out} --yes (and --what as before)",
        )
    return typer.confirm("Remove all this?", err=True)


def _read(path: Path) -> "Record":
    """A record that the user named.

    Raises:
        UserError: it cannot be read.
    """
    from xbench.records.schema import Record, Unreadable, parse

    try:
        return parse(path.read_bytes(), Record)
    except Unreadable as error:
        raise UserError(
            f"{path} cannot be read: {error}",
            "expected: a record, as xbench writes it: <out>/<data>/<profile>/records/…/A--B.json",
            "see: xbench status",
        ) from error


def _results(dataset: str, profile: str, split: str, out: Path) -> Path:
    """A results folder; one that holds nothing but failures is one, too."""
    from xbench.records.folders import folder_of, results_folder

    folder = folder_of(out, dataset, profile, split)
    if (folder / "failed").is_dir():
        return folder
    return results_folder(dataset, profile, split, out)


def _own(dataset: str) -> str:
    """What the user said of data that are not built in."""
    from xbench.core.settings import name_of
    from xbench.datasets.registry import BUILT_IN

    return "" if name_of(dataset) in BUILT_IN else dataset


def _plain(text: str) -> str:
    """Text without the codes by which a terminal is steered."""
    import re

    return re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", "", text)
