"""Records: what is stored of a finished unit."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from xbench.core.compute import dtype_name
from xbench.core.forms import Form
from xbench.core.pixels import Pixels, pixels_digest
from xbench.core.places import address
from xbench.harness.plan import Entry, Plan
from xbench.methods.base import Cost, Method
from xbench.records.provenance import provenance
from xbench.records.schema import (
    DataFacts,
    MethodFacts,
    Provenance,
    Record,
    TrainingLog,
    Value,
)
from xbench.records.units import UnitId


def now() -> str:
    """The time, to the second, in UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def make_record(
    plan: Plan,
    unit: UnitId,
    key: str,
    method: MethodFacts,
    data: DataFacts,
    pixels: Pixels,
    metrics: dict[str, Value],
    polarity: float | None,
    seconds: dict[str, float],
    device: str,
    compute: Mapping[str, str] | None = None,
) -> Record:
    """The record of a unit whose `pixels`, uint16 `[n, H, W]`, were just translated and scored."""
    return Record(
        key=key,
        method=method,
        data=data,
        profile=plan.profile.name,
        seed=unit.seed,
        source=unit.source,
        target=unit.target,
        metrics=metrics,
        polarity=polarity,
        images_sha256=pixels_digest(pixels),
        seconds=seconds,
        provenance=Provenance(**provenance(device), compute=dict(compute or {})),
        finished=now(),
    )


def compute_facts(method: Method, logs: Mapping[str, TrainingLog]) -> dict[str, str]:
    """How the networks of a method computed, in its trainings too; empty if it has none."""
    if not method.needs_training:
        return {}
    trained = {f"training {n}": v for log in logs.values() for n, v in log.compute.items()}
    return {
        "precision": dtype_name(method.computes_in),
        **(method.form or Form()).facts(),
        **trained,
    }


def method_facts(entry: Entry, logs: Mapping[str, TrainingLog], cost: Cost) -> MethodFacts:
    """Facts of a method whose trainings left these logs."""
    return MethodFacts(
        name=entry.name,
        label=entry.label,
        version=entry.version,
        reference=entry.reference,
        config=entry.config.shown(),
        params=cost.params,
        params_total=cost.params_total,
        params_training=cost.params_training,
        params_dead=cost.params_dead,
        nfe=cost.nfe,
        stochastic=entry.method.stochastic,
        train_images=entry.train_images,
        train_seconds=sum(log.seconds for log in logs.values()),
        weights_sha256={name: log.weights_sha256 for name, log in logs.items()},
        given=address(entry.given),
        assignments=list(entry.assignments),
    )


def data_facts(plan: Plan, domain: str, rows: Sequence[int] | None = None) -> DataFacts:
    """Facts of the data; ids and groups are those of a domain's images, or of some rows of them."""
    dataset, split = plan.dataset, plan.split
    ids, groups = dataset.ids(split, domain), dataset.groups(split, domain)
    chosen = range(len(ids)) if rows is None else rows
    content = dataset.content(split, domain)
    return DataFacts(
        name=dataset.name,
        label=plan.dataset_label,
        key=dataset.key,
        config=dataset.config.model_dump(mode="json"),
        split=split,
        assignments=list(plan.data_assignments),
        domains=list(dataset.domains),
        domain_groups=dataset.domain_groups,
        ids=[ids[row] for row in chosen],
        groups=[groups[row] for row in chosen],
        content=content and [content[row] for row in chosen],
    )
