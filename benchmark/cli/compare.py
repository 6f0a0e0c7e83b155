"""`xbench compare A B`: two rows compared, as a table, sentences and a picture."""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from xbench.cli.answers import answer
from xbench.cli.options import DatasetName, GroupName, Json, Out, ProfileName, SplitName, To
from xbench.metrics.base import METRICS
from xbench.records.folders import results_folder

if TYPE_CHECKING:
    from rich.table import Table

    from xbench.analysis.compare import Comparison, PairRow


def compare(
    a: Annotated[str, typer.Argument(help="Label of a finished row, as in the leaderboard.")],
    b: Annotated[str, typer.Argument(help="Label of the other row.")],
    metric: Annotated[
        str, typer.Option(help="By default ltd, or what both rows have; see: xbench list metrics")
    ] = "",
    group: GroupName = "",
    dataset: DatasetName = "phantom",
    profile: ProfileName = "quick",
    split: SplitName = "test",
    out: Out = Path("runs"),
    json: Json = False,
    to: To = None,
) -> None:
    """Test where two rows differ, rank them, and show the images on which they differ most."""
    from xbench.analysis import compare as comparing
    from xbench.analysis.differing import stored
    from xbench.core.console import make_console
    from xbench.core.files import unwritable
    from xbench.core.settings import file_name

    folder = results_folder(dataset, profile, split, out)
    result = comparing.compare(folder, a, b, metric, group)
    panels = stored(folder, (a, b), result.views, aligned=result.aligned)
    path, notes = None, result.notes
    if missing := len(result.views) - len(panels):
        notes.append(
            f"{missing} of the {len(result.views)} images that differ most are not shown: their "
            f"translations are not in {folder / 'images'} (published results have none)"
        )
    reason = "" if to else unwritable(folder)
    if panels and reason:
        notes.append(f"the images that differ most are not drawn: {reason}; draw them: --to FILE")
    elif panels:
        from xbench.analysis.figures import differences

        names = "--".join(map(file_name, (a, b)))
        path = differences(result, panels, to or folder / f"compare-{names}-{result.metric}.png")
    if json:
        answer({**asdict(result), "picture": str(path) if path else None})
    else:
        make_console().print(table(result))
        for line in sentences(result):
            print(line)
        if path:
            print(path)
    for note in notes:
        print(note, file=sys.stderr)


def table(result: "Comparison") -> "Table":
    """Values, difference and test, pair by pair."""
    from rich.table import Table

    digits = METRICS[result.metric].decimals + 1
    shown = Table(title=_head(result.metric), title_justify="left")
    shown.add_column("source → target", no_wrap=True)
    for head in (result.a, result.b, "difference", "95 % interval", "p", "p (Holm)"):
        shown.add_column(head, justify="right")
    shown.add_column("better")
    for row in result.pairs:
        shown.add_row(
            f"{row.source} → {row.target}",
            f"{row.a:.{digits}f}",
            f"{row.b:.{digits}f}",
            f"{row.difference:+.{digits}f}",
            _interval(row, digits),
            "" if row.p is None else f"{row.p:.2g}",
            "" if row.p_holm is None else f"{row.p_holm:.2g}",
            row.better or "",
        )
    return shown


def sentences(result: "Comparison") -> list[str]:
    """The answer in three sentences: on average, pair by pair, and in ranks."""
    return [_on_average(result), _by_pair(result), _by_rank(result)]


def _on_average(result: "Comparison") -> str:
    metric, digits = METRICS[result.metric], METRICS[result.metric].decimals + 1
    unit = f" {metric.unit}" if metric.unit else ""
    text = (
        f"On average over {_pairs(len(result.pairs))}, {metric.label} of {result.a} minus that of "
        f"{result.b} is {result.difference:+.{digits}f}{unit}"
    )
    if result.ci_low is None or result.ci_high is None:
        return f"{text}; there is no interval, so that this may be chance."
    text += f" (95 % interval over groups {_interval(result, digits)})"
    if result.ci_low <= 0 <= result.ci_high:
        return f"{text}, which may be chance."
    better = result.a if (result.difference > 0) == result.higher_is_better else result.b
    return f"{text}: {better} is better."


def _by_pair(result: "Comparison") -> str:
    tested = result.wins + result.ties + result.losses
    if not tested:
        return "No pair could be tested."
    text = (
        f"{result.a} is better on {result.wins} of {_pairs(tested)}, {result.b} on "
        f"{result.losses}; {result.ties} show no difference (Wilcoxon's signed-rank test of "
        "groups, Holm's correction, 5 %)"
    )
    left = len(result.pairs) - tested
    return f"{text}; {left} could not be tested." if left else f"{text}."


def _by_rank(result: "Comparison") -> str:
    ranks = result.ranks
    if ranks is None:
        return "There are no ranks over a single pair."
    own, other = ranks.ranks[result.a], ranks.ranks[result.b]
    return (
        f"Among {len(ranks.ranks)} rows ranked over {_pairs(ranks.pairs)}, {result.a} has mean "
        f"rank {own:.2f} and {result.b} {other:.2f}: the two {'' if ranks.differ else 'do not '}"
        f"differ (by {abs(own - other):.2f}, critical difference {ranks.critical_difference:.2f} "
        f"by Nemenyi; Friedman's test of all of them p = {ranks.p:.2g})."
    )


def _pairs(count: int) -> str:
    return "1 pair" if count == 1 else f"{count} pairs"


def _interval(row: "PairRow | Comparison", digits: int) -> str:
    if row.ci_low is None or row.ci_high is None:
        return ""
    return f"{row.ci_low:+.{digits}f} to {row.ci_high:+.{digits}f}"


def _head(name: str) -> str:
    metric = METRICS[name]
    arrow = "higher" if metric.higher_is_better else "lower"
    unit = f", {metric.unit}" if metric.unit else ""
    return f"{metric.label} ({arrow} is better{unit})"
