"""Requests that plan the units of records again."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from xbench.analysis.reproduce import absent, method_name
from xbench.core.errors import UserError, nothing_finished
from xbench.core.settings import in_short, name_of, parse
from xbench.datasets import registry as datasets
from xbench.harness.plan import Request
from xbench.methods import registry as methods
from xbench.records.schema import EXTERNAL, Finished
from xbench.records.store import Store


def request(records: Sequence[Finished], out: Path, method: str = "", dataset: str = "") -> Request:
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
        absent(name) or f"if you trust it: --{kind} {shlex.quote(name)}, or where it lies here",
    )


def request_of_run(run: Path, method: str, dataset: str | None = None) -> Request:
    """The request of an earlier run, from its records, for one of its methods.

    Args:
        run: a folder `<out>/<dataset>/<profile>` that `xbench run` wrote.
        method: a row's label, whose settings are taken over, or whatever names a method.
        dataset: the folder of the data set, where it has no name that is known here.

    Raises:
        UserError: the folder has no records, or they name no data set that is known here.
    """
    records = Store(run).records()
    if not records:
        raise nothing_finished(
            run,
            "a folder <out>/<dataset>/<profile> that xbench run wrote",
            "see: xbench translate --help",
        )
    last = max(records, key=lambda record: record.finished)
    if dataset is None and last.data.name not in datasets.names():
        raise UserError(
            f"{run} is of the data set '{last.data.name}', which is not known by its name",
            "expected: --dataset with the folder of its images",
            f"try: --dataset path/to/{last.data.name}",
        )
    labelled = [r.method for r in records if in_short(r.method.label) == in_short(method)]
    # Not `given` of the record: a record may come from someone else, and name any file.
    return Request(
        methods=[labelled[0].name if labelled else method],
        dataset=dataset or name_of(last.data.name),
        profile=last.profile,
        settings=parse([*last.data.assignments, *(labelled[0].assignments if labelled else [])]),
        out=run.resolve().parents[1],
    )
