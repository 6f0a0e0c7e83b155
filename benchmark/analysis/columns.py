"""The columns of tables from left to right: those of `core.columns` with the metrics among them."""

from collections.abc import Sequence

from xbench.core.columns import BACK, FRONT, RANKING, SPREADS, Column, crossed
from xbench.core.errors import unknown
from xbench.metrics.base import METRICS, Metric

#: What a narrow terminal leaves out, in this order.
DISPENSABLE = (
    *("train_seconds", "nfe", "psnr", "ssim", "cftd", "cfid", "nps", "train_images_total"),
    *("psnr_ref", "seconds_per_image", "params_total", "ssim_ref", "ftd"),
)


def columns(table: str = "leaderboard", metrics: Sequence[str] = ()) -> list[Column]:
    """The columns of a table (`Column.tables`) with some metrics in their order, or with all.

    Columns of intervals, deviations and extrapolations are not among them.
    """
    chosen = [of_metric(METRICS[name]) for name in metrics or METRICS]
    return [column for column in (*FRONT, *chosen, *BACK) if table in column.tables]


def column(name: str) -> Column:
    """A column of the leaderboard by its name."""
    return next(column for column in columns() if column.name == name)


def known_metric(name: str) -> Metric:
    """A metric by its name.

    Raises:
        UserError: there is none.
    """
    if name not in METRICS:
        raise unknown("metric", name, METRICS, "see: xbench list metrics")
    return METRICS[name]


def of_metric(metric: Metric) -> Column:
    """The column that a metric declares."""
    return Column(
        *(metric.name, metric.label, metric.text, ("leaderboard", "pairs")),
        decimals=metric.decimals,
        higher_is_better=metric.higher_is_better,
        in_tables=metric.in_tables,
    )


def for_people(metrics: Sequence[str] = (), ranks: str = "") -> list[Column]:
    """The columns of leaderboards for people.

    Args:
        metrics: those to show, or the usual ones.
        ranks: the metric whose mean over the pairs between groups of domains is shown in place of
            its mean over all pairs; without one, only means over the pairs of the table are shown.
    """
    usual = [name for name, metric in METRICS.items() if metric.in_tables and name != ranks]
    hidden = {crossed(name) for name in RANKING if name != ranks}
    everything = [c for c in columns(metrics=metrics or usual) if c.name not in hidden]
    return [c for c in everything if c.label and (c.in_tables or c.name in metrics)]


def spreads(*names: str) -> list[str]:
    """Names of the columns that say how far to trust the means of some columns.

    >>> spreads("ssim")
    ['ssim_ci_low', 'ssim_ci_high', 'ssim_sd_seeds']
    """
    return [f"{name}_{kind}" for name in names for kind in SPREADS]
