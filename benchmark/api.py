"""Commands as Python functions: `xbench.run`, `utility`, `leaderboard`, `pairs` and `score`.

Plain values in, pandas frames out, with the names, defaults and errors
(`xbench.core.errors.UserError`) of the command line. May import every room but `report` and `cli`.
"""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd

from xbench.analysis import tables
from xbench.analysis.leaderboard import board_of, pairs_table
from xbench.analysis.results import read
from xbench.analysis.selection import Selection, chosen_pairs, sort_column
from xbench.core.settings import nested
from xbench.harness.blocks import Blocks
from xbench.harness.plan import Request, make
from xbench.harness.progress import Display
from xbench.harness.runner import Runner, pick_device
from xbench.harness.session import Options, Outcome, execute
from xbench.harness.utility import UtilityRunner
from xbench.harness.utility import execute as learn_and_test
from xbench.harness.utility import make as plan_utility
from xbench.methods import registry
from xbench.methods.base import Method
from xbench.plugins import loading as plugins
from xbench.records.folders import results_folder
from xbench.scoring.folders import score_folders
from xbench.scoring.image_files import Location

Name = TypeVar("Name")


@plugins.loaded()
def run(
    methods: str | type[Method] | Sequence[str | type[Method]],
    dataset: str = "phantom",
    profile: str = "quick",
    *,
    pairs: str | Sequence[str] = (),
    split: str = "test",
    seeds: int | Sequence[int] = 0,
    settings: Mapping[str, Any] | None = None,
    out: Location = "runs",
    device: str = "auto",
    force: bool = False,
    timeout: float | None = None,
    quiet: bool = False,
) -> pd.DataFrame:
    """Train, translate and score; what is done already is skipped.

    For example:

        board = xbench.run("medshift", profile="smoke", settings={"medshift.tau": 0.3})
        board = xbench.run(["histogram", MyMethod], pairs=["synthetic_low:real_normal"])

    Args:
        methods: names, `path/to/file.py:Class`, or classes; one or several.
        dataset: a name, or a folder of images.
        profile: `smoke`, `quick`, `medium`, `standard` or `paper`.
        pairs: `SRC:TGT`, one or several; all by default.
        split: `test`, or `val` to choose settings on.
        seeds: one or several, for trainings and random numbers.
        settings: `SECTION.KEY` → value, as for `--set`.
        out: folder of the results.
        device: `auto`, `cpu`, `cuda`, `cuda:1`, …
        force: redo finished units.
        timeout: seconds that a unit's translation may take.
        quiet: show no progress.

    Returns:
        The leaderboard of the run's folder, as `leaderboard` returns it. `attrs["failed"]` names
        the units that failed; there is a warning, too.

    Raises:
        UserError: a mistake in the arguments; nothing is done then.
    """
    plan = make(_request(methods, dataset, profile, pairs, split, seeds, settings, out))
    runner = Runner(plan, pick_device(device), Display(plan.dataset.domains))
    runner.display.console.quiet |= quiet
    outcome = execute(runner, Path(out).expanduser(), Options(force=force, timeout=timeout))
    failed = _failed(outcome, runner)
    board = _board(plan.folder)
    board.attrs["failed"] = failed
    return board


@plugins.loaded()
def utility(
    methods: str | type[Method] | Sequence[str | type[Method]],
    dataset: str = "phantom",
    profile: str = "quick",
    *,
    pairs: str | Sequence[str] = (),
    seeds: int | Sequence[int] = 0,
    settings: Mapping[str, Any] | None = None,
    tasks: str | Sequence[str] = (),
    out: Location = "runs",
    device: str = "auto",
    force: bool = False,
    quiet: bool = False,
) -> pd.DataFrame:
    """Train networks on translated images and test them on true ones; what is done is skipped.

    For example:

        xbench.utility(["medshift", "histogram"]).set_index("method").utility

    Args:
        methods: as for `run`, which must have trained them.
        dataset: a name, or a folder of images, with labels.
        profile: of the run.
        pairs: `SRC:TGT`, one or several, between two groups of domains; by default those from the
            first domain.
        seeds: one or several, of the run's trainings.
        settings: `SECTION.KEY` → value, as for the run.
        tasks: those that count, of `segmentation`, `landmarks` and `pose`; all by default.
        out: folder of the results.
        device: `auto`, `cpu`, `cuda`, `cuda:1`, …
        force: redo finished units.
        quiet: show no progress.

    Returns:
        The columns of `tables/utility.csv` and `reference`: a row for each method and each of the
        references, with utility and score of each task, and ends of 95 % intervals.
        `attrs["failed"]` names the units that failed; there is a warning, too.

    Raises:
        UserError: a mistake in the arguments, or a method was not trained; nothing is done then.
    """
    wanted = tables.wanted_tasks(_names(tasks))
    asked = _request(methods, dataset, profile, pairs, "test", seeds, settings, out)
    plan = plan_utility(asked)
    runner = UtilityRunner(plan, pick_device(device), Display(plan.dataset.domains))
    runner.display.console.quiet |= quiet
    failed = _failed(learn_and_test(runner, asked, Options(force=force)), runner)
    tables.write_utility(plan.folder)
    frame = tables.utility(plan.folder, wanted).frame
    frame.attrs["failed"] = failed
    return frame


@plugins.loaded()
def leaderboard(
    dataset: str = "phantom",
    profile: str = "quick",
    *,
    split: str = "test",
    out: Location = "runs",
    group: str = "",
    pairs: str | Sequence[str] = (),
    sort: str = "",
) -> pd.DataFrame:
    """One row per method, ranked, from the records of earlier runs; nothing is written.

    For example:

        xbench.leaderboard(profile="quick", out="results").set_index("method").ltd_cross

    Args:
        dataset: a name, a folder of images, or a label as `phantom[noise=off]`.
        profile: of the runs.
        split: `test` or `val`.
        out: folder of the results.
        group: pairs to average over: `cross`, `within`, or two groups as `synthetic:real`.
        pairs: pairs to average over, `SRC:TGT` each; all by default.
        sort: column to rank by.

    Returns:
        The columns of `leaderboard.csv` and `reference`; `attrs["notes"]` says what was left out.

    Raises:
        UserError: there are no records, or a name is not known.
    """
    return _board(
        results_folder(dataset, profile, split, Path(out).expanduser()), group, _names(pairs), sort
    )


@plugins.loaded()
def pairs(
    dataset: str = "phantom", profile: str = "quick", *, split: str = "test", out: Location = "runs"
) -> pd.DataFrame:
    """One row per method, seed and pair of domains, from the records of earlier runs.

    For example:

        xbench.pairs(out="results").query("method == 'medshift'").pivot(
            index="source", columns="target", values="ftd"
        )

    Args:
        dataset: a name, a folder of images, or a label as `phantom[noise=off]`.
        profile: of the runs.
        split: `test` or `val`.
        out: folder of the results.

    Returns:
        The columns of `pairs.csv`; `attrs["notes"]` says what was left out.

    Raises:
        UserError: there are no records, or a name is not known.
    """
    results = read(results_folder(dataset, profile, split, Path(out).expanduser()))
    frame = pairs_table(results.records)
    frame.attrs["notes"] = list(results.notes)
    return frame


@plugins.loaded()
def score(
    translated: Location,
    source: Location | None = None,
    target: Location | None = None,
    *,
    metrics: str | Sequence[str] | None = None,
    extractor: Location | None = None,
    stats: Location | None = None,
    group: str | None = None,
    device: str = "auto",
    train: Location | None = None,
) -> pd.DataFrame:
    """Metrics of a folder of translated images, whoever made them.

    For example:

        xbench.score("translated", source="sources", target="real").value["ftd"]

    Args:
        translated: folder of images.
        source: folder of the images that were translated, under the same names.
        target: folder of true images; the same names mean the same views.
        metrics: one name or several; all by default.
        extractor: `FILE.py:callable` or `FILE.pt`, for `fd`, `cfd` and `kd`.
        stats: statistics of training images, as a run keeps them: `texture-v1.safetensors`, and
            beside it `ltd-v1.safetensors`.
        group: regular expression; its first brackets name the group within a file's name.
        device: `auto`, `cpu`, `cuda`, …
        train: folder of training images of the target domain, for `copied`.

    Returns:
        A row per metric, indexed by its name: value, ends of the 95 % interval, n, identity of the
        definition, and the reason where there is no value; `attrs["notes"]` has remarks.

    Raises:
        UserError: a folder or file cannot be used, or a name is not known.
    """
    names = None if metrics is None else _names(metrics)
    scores = score_folders(
        translated, source, target, names, extractor, stats, group, pick_device(device), train
    )
    columns = ("value", "ci_low", "ci_high", "n", "identity", "reason")
    rows = {name: value.model_dump(include=set(columns)) for name, value in scores.values.items()}
    frame = pd.DataFrame.from_dict(rows, orient="index", columns=columns)
    frame = frame.astype({"value": float, "ci_low": float, "ci_high": float, "n": "Int64"})
    frame.attrs["notes"] = scores.notes
    return frame.rename_axis("metric")


def _request(
    methods: str | type[Method] | Sequence[str | type[Method]],
    dataset: str,
    profile: str,
    pairs: str | Sequence[str],
    split: str,
    seeds: int | Sequence[int],
    settings: Mapping[str, Any] | None,
    out: Location,
) -> Request:
    """The request that these arguments make."""
    given = [methods] if isinstance(methods, type) else _names(methods)
    return Request(
        methods=[_name(method) for method in given],
        dataset=dataset,
        profile=profile,
        pairs=_names(pairs),
        split=split,
        seeds=list(seeds) if isinstance(seeds, Iterable) else [seeds],
        settings=nested(settings or {}),
        out=Path(out).expanduser(),
    )


def _failed(outcome: Outcome, runner: Blocks) -> list[str]:
    """Names of the units that failed, about which there is a warning."""
    failed = [unit.name for unit in outcome.failed]
    if failed:
        folder = runner.store.folder / "failed"
        warnings.warn(f"{len(failed)} units failed; tracebacks: {folder}", stacklevel=4)
    return failed


def _names(given: str | Sequence[Name]) -> Sequence[str | Name]:
    """One or several, as several."""
    return [given] if isinstance(given, str) else given


def _board(
    folder: Path, group: str = "", wanted: Sequence[str] = (), sort: str = ""
) -> pd.DataFrame:
    """The leaderboard of a folder, over some pairs."""
    results, selection = read(folder), Selection()
    if results.records:
        selection = Selection(chosen_pairs(results.records[0], group, wanted), sort_column(sort))
    board = board_of(results.by_label, selection)
    board.attrs["notes"] = list(results.notes)
    return board


def _name(method: str | type[Method]) -> str:
    """A name by which the plan finds a method; a class that has none is registered."""
    if isinstance(method, str):
        return method
    name = str(vars(method).get("name", ""))
    if name not in registry.names() or registry.get(name) is not method:
        plugins.register(method)
    return method.name
