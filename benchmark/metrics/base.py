"""What a metric declares, the decorator that makes one, and the list of all of them.

Built-in metrics (`definitions`, `local`) and those of plug-ins are made alike. Importing this
module imports neither torch nor numpy.
"""

import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from inspect import cleandoc
from typing import Any, Literal, Protocol, TypeVar

from xbench.core import outside
from xbench.core.columns import NAMES
from xbench.core.errors import UserError
from xbench.core.registry import source_file

SpaceName = Literal["pixels", "texture", "inception", "clip", "clip_l336", "user"]
Kind = Literal["per image", "described", "measures", "features", "conditional"]
Against = Literal["source", "target", "anatomy", "masks", "training"]
#: Takes and returns what its kind says, see `Metric`.
Function = Callable[..., Any]
FunctionT = TypeVar("FunctionT", bound=Function)

#: What each kind may be compared with; others are of sets, and compared with the target's.
COMPARED = {
    "per image": ("source", "target", "masks"),
    "described": ("source", "target", "anatomy", "training"),
}
NAME = re.compile(r"[a-z][a-z0-9_]{0,39}(?<!_ci_low)(?<!_ci_high)(?<!_inf)(?<!_sd_seeds)")
LABEL = re.compile(r"[^|\x00-\x1f]{1,24}")
#: Other columns of the tables, and what `xbench score` adds.
TAKEN = NAMES | {"fd", "cfd", "kd"}


@dataclass(frozen=True)
class Metric:
    """One column of the tables.

    Images are float32 `[B, 1, H, W]` in [0, 1], features float64 `[n, d]`. The function of each
    kind:

    - `per image`: output and `against` (masks are bool `[B, H, W]`) → one value per image `[B]`.
    - `described`: descriptions `[n, …]` of outputs and of `against` (of training images batches of
      them), and a `Context` → one value per image `[n]`; `describe` makes descriptions of images
      and of where these are no padding.

    Where data have pixels that no source determines (`Dataset.unpredictable`), metrics that
    `leaves_out` are given images in which the nearest other pixels stand in their place. Built-in
    functions, or their `describe`, get one argument more: which pixels count, bool `[B, H, W]`.

    - `measures`: images → measures `[n, k]`; `gap` compares those of output and target.
    - `features`: features of output and target → a distance.
    - `conditional`: features of source, target and output, row by row → a distance.

    Attributes:
        name: what records, CSV columns and `--metrics` call it.
        label: how tables and plots head the column.
        identity: definition and version; two identities never share a table.
        about: one line for the user.
        definition: how it is computed, for the page of metrics.
        kind: what the function is given.
        against: what outputs are compared with: what they were made of (`source`), images of the
            target domain, the aligned target image or, without alignment, the source (`anatomy`),
            true bone masks, or training images of the target domain.
        space: where features come from; `pixels` where there are none.
        higher_is_better: which way the column is ranked.
        unit: unit of the value, empty for a pure number.
        span: least and greatest possible value; None where there is no end.
        decimals: digits after the point in tables.
        min_n: fewest images for which the value is computed; below, the field stays empty.
        min_groups: the same for groups of images.
        min_side: least height and width of images in pixels.
        weights: pretrained network that the function needs, as `xbench fetch` names it.
        scaled: whether descriptors are divided by their deviations over training images.
        extrapolates: whether the value falls with the number of images, so that its limit for
            endless images is reported too.
        in_tables: whether leaderboards for people have the column; CSV files have all.
        blind_to: perturbations of the true target whose value is not clearly worse than that of a
            second exposure, by the names in `tests/test_metrics_against_cheats.py`; empty for
            metrics on pretrained networks, which are not tried there.
        built_in: whether it is part of xbench.
        function: see above.
        gap: see above.
        describe: see above.
    """

    name: str
    label: str
    identity: str
    about: str
    definition: str = ""
    kind: Kind = "per image"
    against: Against = "target"
    space: SpaceName = "pixels"
    higher_is_better: bool = False
    unit: str = ""
    span: tuple[float | None, float | None] = (0, None)
    decimals: int = 2
    min_n: int = 1
    min_groups: int = 1
    min_side: int = 1
    weights: str = ""
    scaled: bool = False
    extrapolates: bool = False
    in_tables: bool = True
    blind_to: tuple[str, ...] = ()
    built_in: bool = True
    function: Function | None = field(default=None, repr=False, compare=False)
    gap: Function | None = field(default=None, repr=False, compare=False)
    describe: Function | None = field(default=None, repr=False, compare=False)

    @property
    def paired(self) -> bool:
        """Whether target images aligned with the sources are needed."""
        return self.against == "target" and self.kind in ("per image", "described", "conditional")

    @property
    def leaves_out(self) -> bool:
        """Whether pixels of the aligned target that no source determines are left out."""
        return self.per_image and self.against in ("target", "anatomy")

    @property
    def identities(self) -> tuple[str, ...]:
        """Of its present definition: for all data, then for those with pixels to leave out."""
        if not self.leaves_out:
            return (self.identity,)
        return self.identity, f"{self.identity.removesuffix('-v1')}-v2"

    @property
    def text(self) -> str:
        """What tables, lists and pages say of the column: `about`, and what it does not see."""
        blind = f" Blind to: {', '.join(self.blind_to)}." if self.blind_to else ""
        return f"{self.about}{'' if self.about.endswith(('.', '?')) else '.'}{blind}"

    @property
    def per_image(self) -> bool:
        """Whether every image has a value, and the set their mean."""
        return self.kind in ("per image", "described")

    @property
    def of_source(self) -> bool:
        """Whether the value needs no images of the target domain beside the outputs' own views."""
        return self.against != "target"


class Context(Protocol):
    """What a `described` metric may ask for besides descriptions."""

    @property
    def groups(self) -> Sequence[str]:
        """Head, patient or acquisition of each output."""

    def deviations(self) -> Any:
        """Standard deviation of each descriptor over the descriptions of training images."""


#: All metrics by name, in the order of columns: built-in ones, then those of plug-ins. A plan is
#: made after plug-ins have been loaded; nothing may depend on this list when it is imported.
METRICS: dict[str, Metric] = {}


def metric(
    label: str,
    *,
    against: Against,
    kind: Kind = "per image",
    space: SpaceName = "pixels",
    gap: Function | None = None,
    higher_is_better: bool = False,
    unit: str = "",
    span: tuple[float | None, float | None] = (None, None),
    decimals: int = 3,
    min_n: int = 1,
    min_groups: int = 1,
    min_side: int = 1,
    weights: str = "",
    describe: Function | None = None,
    scaled: bool = False,
    extrapolates: bool = False,
    in_tables: bool = True,
    blind_to: tuple[str, ...] = (),
    name: str | None = None,
    version: str | None = None,
    identity: str | None = None,
) -> Callable[[FunctionT], FunctionT]:
    """Decorate a function, to make it a metric: a column with intervals over groups.

        @metric("mean error", against="target", span=(0, 1))
        def mean_error(output, target):
            '''Mean absolute difference from the true target.'''
            return (output - target).abs().mean(dim=(1, 2, 3))

    The first line of the docstring explains the column, the rest defines it. Arguments are those
    of `Metric`, and:

    Args:
        name: of the column in CSV files; the function's by default.
        version: part of the identity; by default the hash of the file that has the function.
        identity: the whole identity, in place of name and version.

    Raises:
        UserError: a name or label that cannot be a column, or no file and no version.
    """

    def add(function: FunctionT) -> FunctionT:
        called = name or str(getattr(function, "__name__", ""))
        about, _, definition = cleandoc(function.__doc__ or "").partition("\n")
        declared = Metric(
            name=called,
            label=label,
            identity=identity or f"{called}-{version or _version(function)}",
            about=about or "A metric of a plug-in.",
            definition=" ".join(definition.split()),
            kind=kind,
            against=against,
            space=space,
            higher_is_better=higher_is_better,
            unit=unit,
            span=span,
            decimals=decimals,
            min_n=min_n,
            min_groups=min_groups,
            min_side=min_side,
            weights=weights,
            describe=describe,
            scaled=scaled,
            extrapolates=extrapolates,
            in_tables=in_tables,
            blind_to=blind_to,
            built_in=str(getattr(function, "__module__", "")).startswith("xbench.metrics."),
            function=function,
            gap=gap,
        )
        _check(declared)
        function.metric = declared  # type: ignore[attr-defined]
        _register(declared)
        return function

    return add


def _check(declared: Metric) -> None:
    """Refuse names and labels that would not be unique, readable columns."""
    low, high = declared.span
    kinds = COMPARED.get(declared.kind, ("target",))
    wrong = {
        f"a metric may not be called '{declared.name}'": not NAME.fullmatch(declared.name)
        or declared.name in TAKEN,
        f"{declared.label!r} cannot head a column": not LABEL.fullmatch(declared.label),
        f"against='{declared.against}' is nothing for kind='{declared.kind}'": (
            declared.against not in kinds
        ),
        "kind='described' needs describe": declared.kind == "described" and not declared.describe,
        "kind='measures' needs gap": declared.kind == "measures" and not declared.gap,
        f"span={declared.span} is no range": None not in (low, high) and not low < high,  # type: ignore[operator]
        f"decimals={declared.decimals} cannot be shown": declared.decimals not in range(10),
    }
    for text in (text for text, is_wrong in wrong.items() if is_wrong):
        raise UserError(
            text,
            "expected: a name of a-z, 0-9 and _ that no other column has, a label of up to 24 "
            f"characters without |, against one of {', '.join(kinds)}, a span (low, high), "
            "decimals to 9",
            f"change @metric of '{declared.name}'",
        )


def _register(declared: Metric) -> None:
    """Built-ins win over namesakes; a metric that was changed and run again replaces itself."""
    earlier = METRICS.get(declared.name)
    labels = {m.label for n, m in METRICS.items() if n != declared.name}
    if earlier is not None and earlier.built_in:
        return warnings.warn(
            f"the plug-in metric '{declared.name}' is left out: that name is taken", stacklevel=1
        )
    again = earlier is None or _place(earlier.function) == _place(declared.function)
    if not again or declared.label in labels:
        raise UserError(
            f"two different metrics are called '{declared.name if not again else declared.label}'",
            "expected: one name and one label for one metric",
            "give one of the plug-ins another `name` or `label`",
        )
    METRICS[declared.name] = declared


def _version(function: Function) -> str:
    path = source_file(function)
    if path is None:
        raise UserError(
            "a metric that lies in no file has no version",
            'expected: @metric(…, version="1"), to be changed whenever its values do',
            "or write it into a file",
        )
    return outside.version(path)[:12]


def _place(function: Function | None) -> tuple[object, object]:
    """Where a function is defined: the same for one that was changed and run again."""
    return source_file(function), getattr(function, "__qualname__", None)
