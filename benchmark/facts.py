"""What a record says of its method and its data."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from xbench.methods.base import Cost
from xbench.plan import FLOOR, Entry, Plan
from xbench.store import DataFacts, MethodFacts
from xbench.trainings import TrainingLog


def now() -> str:
    """The time, to the second, in UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")


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
        stochastic=entry.name == FLOOR or bool(entry.method and entry.method.stochastic),
        train_images=entry.train_images,
        train_seconds=sum(log.seconds for log in logs.values()),
        weights_sha256={name: log.weights_sha256 for name, log in logs.items()},
        given=entry.given,
        assignments=list(entry.assignments),
    )


def data_facts(plan: Plan, domain: str, rows: Sequence[int] | None = None) -> DataFacts:
    """Facts of the data; ids and groups are those of a domain's images, or of some rows of them."""
    dataset, split = plan.dataset, plan.split
    ids, groups = dataset.ids(split, domain), dataset.groups(split, domain)
    chosen = range(len(ids)) if rows is None else rows
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
    )
