"""One `xbench run` from survey to summary."""

from pathlib import Path

from xbench import estimate, footnotes, processes, publish, show
from xbench.answers import answer, frame_rows
from xbench.leaderboard import board_table, comparable, pairs_table, with_published
from xbench.plan import Plan, Unit, parse_pairs
from xbench.runner import Runner, Survey
from xbench.store import Store


def execute(
    runner: Runner, out: Path, published: Path, *, force: bool, dry_run: bool, json: bool
) -> bool:
    """Say what is to be done, do it, and sum it up; whether a unit failed."""
    if not dry_run and processes.is_first():
        runner.store.probe()
    with processes.first_before_others(runner.device):
        survey = runner.survey(force, fetch=not dry_run)
    if not processes.is_first():  # it helps to train; the first process does the rest
        return False if dry_run else bool(runner.run(survey))
    minutes = estimate.minutes(runner.plan, survey)
    show.plan(runner.display.console, runner.plan, survey, minutes)
    if dry_run:
        if json:
            answer(_preview(runner.plan, survey, minutes))
        return False
    with runner.display:
        failed = runner.run(survey)
    _sum_up(runner, out, published, failed, json)
    return bool(failed)


def _preview(plan: Plan, survey: Survey, minutes: float | None) -> dict[str, object]:
    """What a dry run tells programs."""
    return {
        "folder": str(plan.folder),
        "dataset": plan.dataset.key,
        "minutes": minutes,
        "trainings": [path.name for path in survey.trainings],
        "units": [
            {"name": unit.name, "key": unit.key, "done": unit in survey.done} for unit in plan.units
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
    board = board_table(records)
    board["published"] = board["method"].isin(marked)
    show.board(console, board, f"{plan.dataset_label}, {plan.profile.name}")
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
        first = runner.store.failure_path(failed[0])
        console.print(
            f"{len(failed)} units failed; the traceback of the first: {first}",
            style="red",
            soft_wrap=True,
        )
    if json:
        answer(frame_rows(board))


def _options(plan: Plan, out: Path) -> str:
    """The options by which another command finds what this run wrote."""
    options = {
        "--dataset": (f"'{plan.dataset_label}'", "'phantom'"),
        "--profile": (plan.profile.name, "quick"),
        "--split": (plan.split, "test"),
        "--out": (str(out), "runs"),
    }
    return "".join(f" {name} {v}" for name, (v, default) in options.items() if v != default)
