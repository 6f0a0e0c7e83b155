"""One run from plan to summary."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.table import Table

from xbench.analysis import footnotes, publish, rows, tables
from xbench.analysis import terminal as show
from xbench.analysis.leaderboard import (
    board_of,
    not_ranked,
    pairs_table,
    ranked,
    ranking_of,
    sweeps,
    with_published,
)
from xbench.analysis.results import read
from xbench.analysis.rows import Row
from xbench.core import processes, weights
from xbench.core.errors import UserError
from xbench.core.pairs import parse_pairs
from xbench.core.registry import warn
from xbench.core.settings import file_name
from xbench.harness import estimate, pending
from xbench.harness import workers as executors
from xbench.harness.blocks import Blocks
from xbench.harness.pending import Pending
from xbench.harness.plan import Plan, Unit
from xbench.harness.progress import Display
from xbench.harness.runner import Runner
from xbench.harness.workers import Team
from xbench.metrics.base import METRICS
from xbench.scoring.enough import advice


@dataclass(frozen=True)
class Options:
    """How a plan is run.

    Attributes:
        published: folder of the published records to rank with.
        force: redo finished units.
        retry_failed: only units that failed before.
        dry_run: show what is to be done, and stop.
        timeout: seconds that the translation of a source to one target may take.
        worker: this process is one of a team: it makes no tables and figures.
        team: workers that do the units.
        results: console for the plan of a dry run, tables and the closing card; by default that
            of the progress.
    """

    published: Path = Path("results")
    force: bool = False
    retry_failed: bool = False
    dry_run: bool = False
    timeout: float | None = None
    worker: bool = False
    team: Team | None = None
    results: Console | None = None

    def console(self, display: Display) -> Console:
        """Where the results of a run are printed."""
        return self.results or display.console


@dataclass(frozen=True)
class Outcome:
    """What a run did.

    Attributes:
        failed: units that failed, or that no worker did.
        board: the leaderboard with the published rows beside this run's; None if none was made.
        preview: of a dry run, what is to be done.
    """

    failed: Sequence[Unit] = ()
    board: pd.DataFrame | None = None
    preview: Mapping[str, object] | None = None


def execute(runner: Runner, out: Path, options: Options) -> Outcome:
    """Show what is to be done, do it, and sum it up.

    Raises:
        UserError: a mistake of the user, found before any work, or a full disk.
    """
    check_seconds(options.timeout)
    if not options.dry_run and processes.is_first():
        runner.store.probe()
    with processes.first_before_others(runner.device):
        todo = pending.find(
            runner.plan,
            runner.scorer,
            runner.device,
            force=options.force,
            fetch=not options.dry_run,
            failed_only=options.retry_failed,
        )
    if not processes.is_first():  # it helps to train and to translate
        return Outcome(() if options.dry_run else runner.run(todo, options.timeout))
    if options.worker:
        return Outcome(runner.run(todo, options.timeout))
    minutes = estimate.minutes(runner.plan, todo, runner.device)
    _warn_of_replacing(todo)
    display = runner.display
    console = options.console(display) if options.dry_run else display.console
    show_plan(console, runner.plan, todo, minutes)
    if options.dry_run:
        return Outcome(preview=preview(runner.plan, todo, minutes))
    if options.team:
        failed = delegate(runner, options.team, todo)
    else:
        with display:
            failed = runner.run(todo, options.timeout)
    return Outcome(failed, _sum_up(runner, out, options, failed))


def _warn_of_replacing(todo: Pending) -> None:
    """Say which earlier records a run replaces: nothing is lost without a word."""
    for label, reasons in todo.replaced.items():
        number = f"{len(reasons)} earlier record{'s' if len(reasons) > 1 else ''} of {label}"
        warn(f"replaced: {number}, {reasons[0]}; to keep them, choose another --out")


def check_seconds(timeout: float | None) -> None:
    """Refuse a timeout that is no number of seconds."""
    if timeout is not None and not 0 < timeout < float("inf"):
        raise UserError(
            f"the timeout {timeout:g} is not allowed",
            "expected: a number of seconds above 0",
            "for example: --timeout 600 (in Python: timeout=600)",
        )


def delegate(runner: Blocks, team: Team, todo: Pending) -> list[Unit]:
    """Let workers finish the plan; return the units that failed or that none of them did."""
    plan, console = runner.plan, runner.display.console
    wanted = [*todo.translate, *todo.rescore]
    if not wanted:
        return []
    logs = plan.folder / "logs"
    codes = executors.start(
        team,
        logs=logs,
        threads=plan.profile.threads,
        gpu=runner.device.type == "cuda",
        say=lambda line: console.print(line, soft_wrap=True),
    )
    left = [unit for unit in wanted if not pending.written(runner.store, unit, todo)]
    if left and 2 in codes:
        number = codes.index(2) + 1
        raise UserError(
            f"worker {number} could not continue; {len(left)} units are not done",
            "expected: what it says at the end of its log",
            f"see: {logs / f'worker-{number}.log'}",
        )
    return left


def preview(plan: Plan, todo: Pending, minutes: float | None) -> dict[str, object]:
    """The plan of a dry run, for programs."""
    done = {unit.key for unit in todo.done}
    return {
        "folder": str(plan.folder),
        "dataset": plan.dataset.key,
        "minutes": minutes,
        "trainings": [path.name for path in todo.trainings],
        "empty": todo.missing,
        "units": [
            {"name": unit.name, "key": unit.key, "done": unit.key in done} for unit in plan.units
        ],
    }


def _sum_up(runner: Runner, out: Path, options: Options, failed: list[Unit]) -> pd.DataFrame:
    """Make the views and print the leaderboard with published rows; the leaderboard."""
    plan, published = runner.plan, options.published
    console, aside = options.console(runner.display), runner.display.console
    # Of processes that end together, the last to write has read what all of them left.
    with runner.locks, runner.locks.hold("views"):
        results = read(plan.folder)
        files = publish.make_views(results)
    others = publish.matching(published, results.records[0]) if results.records else []
    records, marked = with_published(list(results.records), others)
    by_label = rows.make(records, results.utilities)
    board = board_of(by_label)
    board["published"] = board["method"].isin(marked)
    for table in _ablations(plan, by_label):
        show.table(console, table.text)
    shown = board[board["method"].isin(ranked(by_label))]
    ranks = ranking_of(ranked(by_label))
    show.board(console, shown, ranks, f"{plan.dataset_label}, {plan.profile.name}")
    if marked:
        console.print(f"rows marked (published) come from {published}; the files hold this run's")
    if len(plan.pairs) < len(parse_pairs((), plan.dataset.domains)):
        own = [record for record in records if (record.source, record.target) in plan.pairs]
        show.pairs(console, pairs_table(own))
    notes = [*results.notes, *footnotes.inverted(results.records), *not_ranked(by_label)]
    for note in notes:
        aside.print(note, soft_wrap=True)
    _closing(console, plan, files, out)
    for line in _failures(runner, failed):
        aside.print(line, style="red", markup=False, soft_wrap=True)
    return board


def _failures(runner: Runner, failed: Sequence[Unit]) -> list[str]:
    """How many units failed, where the first traceback is, and what to type."""
    stored = [unit for unit in failed if runner.store.failure_path(unit.id).exists()]
    lost, lines = len(failed) - len(stored), []
    if stored:
        path = runner.store.failure_path(stored[0].id)
        lines.append(f"{len(stored)} units failed; the first traceback: {path}")
    for given in dict.fromkeys(unit.entry.given for unit in stored if unit.entry.method.plugin):
        lines.append(f"which promise it breaks: xbench check {shlex.quote(given)}")
    if lost:
        lines.append(f"{lost} units were not done: give the same command again")
    return lines


def _closing(console: Console, plan: Plan, files: Sequence[Path], out: Path) -> None:
    """Print what to open, where the rest lies, and two commands to type next."""
    report = f"xbench report{_options(plan, plan.folder.parent.name, out)}"
    asked = {entry.name for entry in plan.entries if not entry.reference}
    rivals = [name for name in ("filter", "histogram") if name not in asked]
    changed = "".join(f" --set {shlex.quote(text)}" for text in plan.data_assignments)
    run = f"xbench run --method {','.join(rivals) or 'all'}"
    run += f"{_options(plan, plan.dataset_name, out)}{changed}{'' if rivals else ' --dry-run'}"
    why = "rivals without training beside it" if rivals else "how long all methods would take"
    pictures = [file for file in files if file.name == "samples.png"]
    last = "true target" if plan.dataset.aligned(plan.split) else "another image of the target"
    lines = [
        *(f"open:  {file}, source, translations and {last}" for file in pictures),
        f"files: {plan.folder / 'leaderboard.md'}, and more beside it",
        f"next:  {report}  # all on one page",
        f"       {run}  # {why}",
    ]
    for line in lines:
        console.print(line, markup=False, soft_wrap=True)


def _ablations(plan: Plan, by_label: Mapping[str, Row]) -> list[tables.Made]:
    """Of the plan's methods, the tables of those whose sweeps the leaderboard does not rank."""
    swept = sweeps(by_label).keys() & {entry.name for entry in plan.entries}
    own = {
        label: row
        for label, row in by_label.items()
        if row.reference or row.records[0].method.name in swept
    }
    return tables.ablations(own)


def _options(plan: Plan, dataset: str, out: Path) -> str:
    """The options by which another command finds what this run wrote."""
    options = {
        "--dataset": (dataset, "phantom"),
        "--profile": (plan.profile.name, "quick"),
        "--split": (plan.split, "test"),
        "--out": (str(out), "runs"),
    }
    words = [word for name, (v, default) in options.items() if v != default for word in (name, v)]
    return f" {shlex.join(words)}" if words else ""


def show_plan(console: Console, plan: Plan, todo: Pending, minutes: float | None) -> None:
    """Print the plan, what of it is pending, and how long it will take."""
    console.print(
        f"data {plan.dataset.key}  profile {plan.profile.name}  split {plan.split}  "
        f"→ {plan.folder}",
        markup=False,
        soft_wrap=True,
    )
    if plan.folder.parent.name != file_name(plan.dataset_label):
        console.print(
            f"{plan.folder.parents[1]} has results of other images called '{plan.dataset_label}'; "
            f"these go to {plan.folder}",
            soft_wrap=True,
        )
    for note in [*plan.dataset.notes(), *advice(plan.dataset, plan.split)]:
        console.print(note, markup=False, soft_wrap=True)
    table = Table("method", "seeds", "units", "done", "to do", "train images")
    for entry in plan.entries:
        units = [unit for unit in plan.units if unit.entry is entry]
        done = sum(unit.entry is entry for unit in todo.done)
        table.add_row(
            entry.label + (" (reference)" if entry.reference else ""),
            ",".join(map(str, entry.seeds)),
            str(len(units)),
            str(done),
            str(len(units) - done),
            f"{entry.train_images:,}" if entry.train_images else "–",
        )
    console.print(table)
    left = len(todo.translate) + len(todo.rescore)
    trainings = f"{len(todo.trainings)} training{'' if len(todo.trainings) == 1 else 's'}"
    text = f"to do: {left} units, {trainings}"
    if todo.rescore:
        text += f" ({len(todo.rescore)} only to be scored again)"
    if left:
        text += f", estimated {minutes:.1f} min" if minutes is not None else ", time unknown yet"
    console.print(text)
    for line in _empty_columns(todo.missing):
        console.print(line, markup=False, soft_wrap=True)


def _empty_columns(missing: Mapping[str, str]) -> list[str]:
    """A line for each reason why columns stay empty; one for all weights that are just not here.

    Why these could not be fetched, file by file, stands under the leaderboard.
    """
    reasons: dict[str, list[str]] = {}
    absent: dict[str, list[str]] = {}
    for name, reason in missing.items():
        network = METRICS[name].weights or METRICS[name].space
        group, key = (absent, network) if _is_absent(network, reason) else (reasons, reason)
        group.setdefault(key, []).append(METRICS[name].label)
    lines = [f"empty columns {', '.join(labels)}: {reason}" for reason, labels in reasons.items()]
    if absent:
        labels = ", ".join(label for group in absent.values() for label in group)
        lines.append(
            f"empty columns {labels}: weights of {', '.join(absent)} are not here, and no other "
            f"column needs them; to have them: xbench fetch {next(iter(absent))}"
        )
    return lines


def _is_absent(network: str, reason: str) -> bool:
    """Whether a reason says that weights are missing, and none of them is there or damaged."""
    if network not in weights.WEIGHTS or not weights.absent(network):
        return False
    return reason.startswith((network, *(file.file for file in weights.WEIGHTS[network])))
