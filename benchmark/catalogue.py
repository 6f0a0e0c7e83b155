"""What `xbench list` shows."""

from typing import Any

import torch

from xbench.datasets import registry as dataset_registry
from xbench.methods import registry
from xbench.metrics.base import METRICS
from xbench.profiles import get_profile


def methods(profile_name: str) -> list[dict[str, Any]]:
    """Every method with its cost under a profile, counted without allocating weights."""
    profile = get_profile(profile_name)
    dataset = dataset_registry.get("phantom")
    domains = dataset(dataset.configure(profile)).domains
    rows = []
    for name, method in registry.available().items():
        instance = method(method.configure(profile), domains, profile.size, torch.device("meta"))
        cost = instance.cost()
        rows.append(
            {
                "name": name,
                "params": cost.params,
                "params_total": cost.params_total,
                "params_training": cost.params_training,
                "nfe": cost.nfe,
                "knob": method.knob,
                "stochastic": method.stochastic,
                "needs_training": method.needs_training,
                "about": method.about,
            }
        )
    return rows


def datasets(profile_name: str) -> list[dict[str, Any]]:
    """Every data set with its key under a profile and its domains."""
    profile = get_profile(profile_name)
    rows = []
    for name in dataset_registry.names():
        dataset = dataset_registry.get(name)
        instance = dataset(dataset.configure(profile))
        rows.append(
            {
                "name": name,
                "key": instance.key,
                "aligned": instance.aligned,
                "domains": ", ".join(instance.domains),
                "about": (dataset.__doc__ or "").splitlines()[0],
            }
        )
    return rows


def metrics() -> list[dict[str, Any]]:
    """Every metric with the facts that it declares."""
    return [
        {
            "name": metric.name,
            "identity": metric.identity,
            "better": "higher" if metric.higher_is_better else "lower",
            "min_n": metric.min_n,
            "paired": metric.paired,
            "about": metric.about,
        }
        for metric in METRICS.values()
    ]
