"""Metrics of others: a function on images becomes a column of records and tables."""

import re
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from xbench.core.errors import Unavailable, UserError
from xbench.core.hashing import file_digest
from xbench.metrics.base import METRICS, Metric

if TYPE_CHECKING:
    from torch import Tensor

#: Output and target (or source), float32 `[B, 1, H, W]` in [0, 1], to one value per image `[B]`.
Function = Callable[["Tensor", "Tensor"], "Tensor"]

NAME = re.compile(r"[a-z][a-z0-9_]{0,39}(?<!_ci_low)(?<!_ci_high)(?<!_inf)(?<!_sd_seeds)")
LABEL = re.compile(r"[^|\x00-\x1f]{1,24}")
#: Other columns of the tables, and what `xbench score` adds.
TAKEN = {
    *("method", "pairs", "seeds", "seed", "source", "target", "n", "polarity", "rank"),
    *("reference", "published", "ftd_cross", "gap_closed", "params", "params_live", "nfe"),
    *("params_total", "params_training", "seconds_per_image", "train_images", "train_seconds"),
    *("fd", "cfd", "kd", "pair", "group", "images"),
}


def metric(
    label: str,
    *,
    against: Literal["source", "target"],
    higher_is_better: bool = False,
    unit: str = "",
    span: tuple[float | None, float | None] = (None, None),
    decimals: int = 3,
    name: str | None = None,
    version: str | None = None,
) -> Callable[[Function], Function]:
    """Decorate a function on images, to make it a metric: a column with intervals over groups.

        @metric("mean error", against="target", span=(0, 1))
        def mean_error(output, target):
            '''Mean absolute difference from the true target.'''
            return (output - target).abs().mean(dim=(1, 2, 3))

    Args:
        label: heads the column.
        against: what the second argument is: the image that was translated, or the aligned
            image of the target domain (without alignment the metric stays empty).
        higher_is_better: which way the column is ranked.
        unit: of the value, empty for a pure number.
        span: least and greatest possible value; None where there is no end.
        decimals: digits after the point in tables.
        name: of the column in CSV files; the function's by default.
        version: part of the identity; by default the hash of the file that has the function.

    Raises:
        UserError: a name or label that cannot be a column, or no file and no version.
    """

    def add(function: Function) -> Function:
        called = name or str(getattr(function, "__name__", ""))
        about = (function.__doc__ or "").strip().splitlines()
        facts = Metric(
            name=called,
            label=label,
            identity=f"{called}-{version or _version(function)}",
            about=about[0] if about else "a metric of a plug-in",
            higher_is_better=higher_is_better,
            unit=unit,
            span=span,
            decimals=decimals,
            of_source=against == "source",
            paired=against == "target",
            function=function,
        )
        _check(facts, against)
        function.metric = facts  # type: ignore[attr-defined]
        _register(facts)
        return function

    return add


def values_of(facts: Metric, output: "Tensor", other: "Tensor") -> "Tensor":
    """What a plug-in's function says of some images, float64 `[B]` on the CPU.

    Raises:
        Unavailable: it raised, or returned something else than a finite value per image.
    """
    import torch

    from xbench.core.isolation import undisturbed

    assert facts.function is not None
    try:
        with undisturbed(), torch.no_grad():
            result = facts.function(output.clone(), other.clone())
    except Exception as error:
        first = (str(error).splitlines() or [""])[0]
        raise _failed(facts, f"raised {type(error).__name__}: {first}") from error
    if not isinstance(result, torch.Tensor):
        raise _failed(facts, f"returned {type(result).__name__}, not a torch tensor")
    if result.shape != output.shape[:1]:
        shape = tuple(result.shape)
        raise _failed(facts, f"returned {shape} for {len(output)} images, not one value for each")
    if not torch.isfinite(result).all():
        raise _failed(facts, "returned values that are not finite")
    values = result.detach().cpu().double()
    low, high = facts.span
    below, above = low is not None and values.min() < low, high is not None and values.max() > high
    if below or above:
        found = f"{values.min():g} to {values.max():g}"
        raise _failed(facts, f"returned {found}, outside of its range {facts.span}")
    return values


def _failed(facts: Metric, what: str) -> Unavailable:
    """The footnote of an empty column; also said at once, as it is a mistake."""
    text = f"{facts.name} {what}"
    warnings.warn(f"the plug-in metric {text}", stacklevel=1)
    return Unavailable(text)


def _check(facts: Metric, against: str) -> None:
    """Columns must be told apart, by programs and by people."""
    low, high = facts.span
    wrong = {
        f"a metric may not be called '{facts.name}'": not NAME.fullmatch(facts.name)
        or facts.name in TAKEN,
        f"{facts.label!r} cannot head a column": not LABEL.fullmatch(facts.label),
        f"{against=} is unknown": against not in ("source", "target"),
        f"span={facts.span} is no range": None not in (low, high) and not low < high,  # type: ignore[operator]
        f"decimals={facts.decimals} cannot be shown": facts.decimals not in range(10),
    }
    for text in (text for text, is_wrong in wrong.items() if is_wrong):
        raise UserError(
            text,
            "expected: a name of a-z, 0-9 and _ that no other column has, a label of up to 24 "
            'characters without |, against="source" or "target", a span (low, high), decimals to 9',
            f"change @metric of '{facts.name}'",
        )


def _register(facts: Metric) -> None:
    """Built-ins win over namesakes; a metric that was changed and run again replaces itself."""
    earlier = METRICS.get(facts.name)
    labels = {m.label: n for n, m in METRICS.items() if n != facts.name}
    if earlier is not None and earlier.function is None:
        return warnings.warn(
            f"the plug-in metric '{facts.name}' is left out: that name is taken", stacklevel=1
        )
    again = earlier is None or _place(earlier.function) == _place(facts.function)
    if not again or facts.label in labels:
        raise UserError(
            f"two different metrics are called '{facts.name if not again else facts.label}'",
            "expected: one name and one label for one metric",
            "give one of the plug-ins another `name` or `label`",
        )
    METRICS[facts.name] = facts


def _version(function: Function) -> str:
    from xbench.core.registry import source_file

    path = source_file(function)
    if path is None:
        raise UserError(
            "a metric that lies in no file has no version",
            'expected: @metric(…, version="1"), to be changed whenever its values do',
            "or write it into a file",
        )
    return file_digest(path)[:12]


def _place(function: Function | None) -> tuple[object, object]:
    """What tells a function that was changed and run again from another one of its name."""
    from xbench.core.registry import source_file

    return source_file(function), getattr(function, "__qualname__", None)
