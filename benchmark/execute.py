"""One `xbench run` from survey to summary."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from xbench import estimate, executors, processes, publish, show, survey
from xbench.answers import answer, frame_rows
from xbench.errors import UserError
from xbench.executors import Team
from xbench.plan import Plan, Unit, parse_pairs
from xbench.runner import Runner
from xbench.store import Store
from xbench.survey import Survey
from xbench.views import footnotes, rows, tables
from xbench.views.leaderboard import (
    board_of,
    comparable,
    pairs_table,
    ranked,
    sweeps,
    with_published,
)
from xbench.views.rows import Row


@dataclass(frozen=True)
class Options:
    """How a plan is run, apart from what it is.

    Attributes:
        published: folder of the published records to rank with.
        force: redo finished units.
        retry_failed: do those units alone that failed before.
        dry_run: show what is to be done, and stop.
        timeout: seconds that the translation of a source to one target may take.
        json: answer with JSON.
        worker: be one of a team: do the units, and leave the views to who started it.
        team: let workers do the units.
    """

    published: Path = Path("results")
    force: bool = False
    retry_failed: bool = False
    dry_run: bool = False
    timeout: float | None = None
    json: bool = False
    worker: bool = False
    team: Team | None = None


def execute(runner: Runner, out: Path, options: Options) -> bool:
    """Say what is to be done, do it, and sum it up; whether a unit failed.

    Raises:
        UserError: a mistake of the user's, found before any work, or a disk that is full.
    """
    _check_seconds(options.timeout)
    if not options.dry_run and processes.is_first():
        runner.store.probe()
    with processes.first_before_others(runner.device):
        todo = survey.make(
            runner.plan,
            runner.scorer,
            runner.device,
            force=options.force,
            fetch=not options.dry_run,
            failed_only=options.retry_failed,
        )
    if not processes.is_first():  # it helps to train; the first process does the rest
        return False if options.dry_run else bool(runner.run(todo))
    if options.worker:
        return bool(runner.run(todo, options.timeout))
    minutes = estimate.minutes(runner.plan, todo)
    show.plan(runner.display.console, runner.plan, todo, minutes)
    if options.dry_run:
        if options.json:
            answer(_preview(runner.plan, todo, minutes))
        return False
    if options.team:
        failed = _delegate(runner, options.team, todo)
    else:
        with runner.display:
            failed = runner.run(todo, options.timeout)
    _sum_up(runner, out, options.published, failed, options.json)
    return bool(failed)


def _check_seconds(timeout: float | None) -> None:
    if timeout is not None and not 0 < timeout < float("inf"):
        raise UserError(
            f"--timeout {timeout:g} is no time",
            "expected: a number of seconds above 0",
            "for example: --timeout 600",
        )


def _delegate(runner: Runner, team: Team, todo: Survey) -> list[Unit]:
    """Let workers do what is left; the units that failed, or that nobody did.

    Raises:
        UserError: a worker met a user's mistake, or a full disk, and units are left.
    """
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
    left = [unit for unit in wanted if not survey.written(runner.store, unit, todo)]
    if left and 2 in codes:
        number = codes.index(2) + 1
        raise UserError(
            f"worker {number} could not go on; {len(left)} units are not done",
            "expected: what it says at the end of its log",
            f"see: {logs / f'worker-{number}.log'}",
        )
    return left


def _preview(plan: Plan, todo: Survey, minutes: float | None) -> dict[str, object]:
    """What a dry run tells programs."""
    done = {unit.key for unit in todo.done}
    return {
        "folder": str(plan.folder),
        "dataset": plan.dataset.key,
        "minutes": minutes,
        "trainings": [path.name for path in todo.trainings],
        "units": [
            {"name": unit.name, "key": unit.key, "done": unit.key in done} for unit in plan.units
        ],
    }


def _sum_up(runner: Runner, out: Path, published: Path, failed: list[Unit], json: bool) -> None:
    """Make the views, print the leaderboard with published rows, and say where things are."""
    plan, console = runner.plan, runner.display.console
    files = publish.make_views(plan.folder)
    records, notes = comparable(Store(plan.folder).records())
    notes += footnotes.inverted(records)
    others = publish.matching(published, records[0]) if records else []
    records, marked = with_published(records, others)
    by_label = rows.make(records)
    board = board_of(by_label)
    board["published"] = board["method"].isin(marked)
    for table in _ablations(plan, by_label):
        show.table(console, table.text)
    shown = board[board["method"].isin(ranked(by_label))]
    show.board(console, shown, f"{plan.dataset_label}, {plan.profile.name}")
    if marked:
        console.print(f"rows marked (published) come from {published}; the files hold this run's")
    if len(plan.pairs) < len(parse_pairs((), plan.dataset.domains)):
        own = [record for record in records if (record.source, record.target) in plan.pairs]
        show.pairs(console, pairs_table(own))
    for note in notes:
        console.print(note, soft_wrap=True)
    for file in files:
        console.print(f"  {file}", soft_wrap=True)
    console.print(f"look further: xbench plot pairs{_options(plan, out)}", soft_wrap=True)
    if failed:
        paths = [path for unit in failed if (path := runner.store.failure_path(unit)).exists()]
        told = f"{len(paths)} units failed; the traceback of the first: {paths[0]}" if paths else ""
        lost = len(failed) - len(paths)
        missing = f"{lost} units were not done: give the same command again" if lost else ""
        console.print("\n".join(filter(None, (told, missing))), style="red", soft_wrap=True)
    if json:
        answer(frame_rows(board))


def _ablations(plan: Plan, by_label: Mapping[str, Row]) -> list[tables.Made]:
    """Of the plan's methods, the tables of those whose sweeps the leaderboard does not rank."""
    swept = sweeps(by_label).keys() & {entry.name for entry in plan.entries}
    own = {
        label: row
        for label, row in by_label.items()
        if row.reference or row.records[0].method.name in swept
    }
    return tables.ablations(own)


def _options(plan: Plan, out: Path) -> str:
    """The options by which another command finds what this run wrote."""
    options = {
        "--dataset": (f"'{plan.dataset_label}'", "'phantom'"),
        "--profile": (plan.profile.name, "quick"),
        "--split": (plan.split, "test"),
        "--out": (str(out), "runs"),
    }
    return "".join(f" {name} {v}" for name, (v, default) in options.items() if v != default)
