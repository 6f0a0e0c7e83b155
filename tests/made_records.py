"""Records with given values: tables and figures need no run to be tested."""

from collections.abc import Mapping, Sequence
from itertools import permutations
from pathlib import Path
from typing import Any

from xbench.metrics.base import METRICS
from xbench.records.schema import (
    DataFacts,
    Finished,
    MethodFacts,
    Provenance,
    Record,
    UtilityRecord,
    Value,
)
from xbench.records.store import Store, UtilityStore

DOMAINS = {"sim": "synthetic", "real_a": "real", "real_b": "real"}
PAIRS = tuple(permutations(DOMAINS, 2))
#: Eight heads of two views each.
GROUPS = [f"head{place // 2}" for place in range(16)]
#: How far each head lies from the mean, by default.
HEADS = (0.3, -0.2, 0.1, -0.4, 0.25, -0.15, 0.35, -0.25)
#: What a method has that translates: it passes the gates of the ranking.
GATES = {"match": 1.0, "copied": 0.6, "ngf": 0.95}


def record(
    label: str,
    pair: tuple[str, str],
    values: Mapping[str, float | None],
    *,
    heads: Sequence[float] = HEADS,
    seed: int = 0,
    **changes: Any,
) -> Record:
    """One record; `heads` are what each head adds, and `changes` are fields of the method.

    Metrics of the gates have passing values where none are given.

    Among the changes: `seconds` of the translation, and `provenance`.
    """
    name = label.partition("[")[0]
    provenance = changes.pop("provenance", Provenance())
    seconds = changes.pop("seconds", 0.032)
    facts: dict[str, Any] = {
        **{"name": name, "label": label, "version": "1", "config": {}, "given": name},
        **{"reference": name in ("identity", "floor"), "stochastic": False, "nfe": 1},
        **{"params": 1_500_000, "params_total": 3_000_000, "params_training": 250_000},
        **{"train_images": 64, "train_seconds": 5.0, "weights_sha256": {}},
    }
    return Record(
        key=f"{label}{seed}{pair}",
        method=MethodFacts(**{**facts, **changes}),
        data=DataFacts(
            **{"name": "phantom", "label": "phantom", "key": "phantom-v1-made", "config": {}},
            split="test",
            domains=list(DOMAINS),
            domain_groups=DOMAINS,
            ids=[f"{group}-{place % 2}" for place, group in enumerate(GROUPS)],
            groups=GROUPS,
        ),
        profile="smoke",
        seed=seed,
        source=pair[0],
        target=pair[1],
        metrics={
            metric: Value(
                identity=METRICS[metric].identity,
                value=value,
                reason="not computed" if value is None else None,
                left_out=None if value is None else [value - head / 7 for head in heads],
            )
            for metric, value in {
                **values,
                **{n: values.get(n, v) for n, v in GATES.items()},
            }.items()
        },
        images_sha256="0" * 64,
        seconds={"translate": seconds},
        provenance=provenance,
        finished=f"2026-01-01T00:00:{seed:02d}+00:00",
    )


def row(label: str, values: Mapping[str, float | None], **options: Any) -> list[Record]:
    """A record for every pair, all with the same values."""
    return [record(label, pair, values, **options) for pair in PAIRS]


def tested(like: Record, label: str, dice: float) -> UtilityRecord:
    """A record of `xbench utility` beside one of a run: networks found this Dice."""
    shared = like.model_dump(include=set(Finished.model_fields))
    shared["method"] |= {"label": label, "reference": label in ("source", "target")}
    one = [dice + head / 10 for head in HEADS for _ in range(2)]
    return UtilityRecord(
        **shared,
        **{"identity": "utility-v1", "labels": "made", "train_images": 64},
        measures={"dice_bone": [one, [value + 0.01 for value in one]]},
        **{"structures": ["bone"], "places": {}, "angles": [], "masks_sha256": "0" * 64},
    )


def references() -> list[Record]:
    """Identity and floor, as every results folder has them."""
    return [
        *row("identity", {"ssim": 1.0, "ftd": 100.0}, params=0, params_total=0, train_images=0),
        *row("floor", {"ssim": 0.5, "ftd": 0.0}, params=0, params_total=0, train_images=0),
    ]


def write(folder: Path, records: Sequence[Record | UtilityRecord]) -> Path:
    """Store records as a run does; returns the folder."""
    for one in records:
        store = Store(folder) if isinstance(one, Record) else UtilityStore(folder)
        path = store.record_path(one.unit)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(one.model_dump_json())
    return folder
