"""Requests that plan the units of records again."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from xbench.analysis.reproduce import method_name
from xbench.core.errors import UserError
from xbench.core.settings import parse
from xbench.datasets import registry as datasets
from xbench.harness.plan import Request
from xbench.methods import registry as methods
from xbench.records.schema import EXTERNAL, Record


def request(records: Sequence[Record], out: Path, method: str = "", dataset: str = "") -> Request:
    """The request whose plan has the units of records that differ only in seed and pair.

    Args:
        records: of one label, data set and profile.
        out: folder of the results.
        method: as the user names it; needed for anything that is not built in.
        dataset: the same.

    Raises:
        UserError: the record needs a plug-in that the user did not name, or another program.
    """
    first = records[0]
    if first.method.version == EXTERNAL and not method:
        raise UserError(
            f"the row '{first.method.label}' was made by another program",
            "expected: a record of a method of xbench",
            "score its images again: xbench score --as NAME --translated FOLDER",
        )
    named = method or method_name(first)
    if not method and named not in methods.BUILT_IN:
        raise _unnamed("method", named)
    place = dataset or first.data.name
    if not dataset and place not in datasets.BUILT_IN:
        raise _unnamed("dataset", place)
    split: Any = first.data.split
    return Request(
        methods=[named],
        dataset=place,
        profile=first.profile,
        pairs=[*dict.fromkeys(f"{record.source}:{record.target}" for record in records)],
        split=split,
        seeds=sorted({record.seed for record in records}),
        settings=parse([*first.data.assignments, *first.method.assignments]),
        out=out,
    )


def _unnamed(kind: str, name: str) -> UserError:
    return UserError(
        f"the record names the {kind} '{name}', which is not built in",
        f"expected: --{kind} from you, as code that a record names is never run",
        f"if you trust it: --{kind} {shlex.quote(name)}, or where it lies here",
    )
