"""What `xbench list` shows."""

from itertools import permutations
from typing import Any

import torch

from xbench.core.errors import UserError
from xbench.core.hashing import digest
from xbench.core.isolation import undisturbed
from xbench.core.profiles import get_profile
from xbench.core.registry import warn
from xbench.datasets import registry as dataset_registry
from xbench.methods import registry
from xbench.metrics.base import METRICS

#: What people see of a method; programs get all.
METHOD_COLUMNS = (
    "name",
    "params",
    "params_total",
    "nfe",
    "knob",
    "stochastic",
    "train_images",
    "trainings",
    "about",
)


def methods(profile_name: str) -> list[dict[str, Any]]:
    """Every method with its cost under a profile, counted without allocating weights."""
    profile = get_profile(profile_name)
    dataset = dataset_registry.get("phantom")
    domains = dataset(dataset.configure(profile)).domains
    rows: list[dict[str, Any]] = []
    recipes: dict[str, set[str]] = {}
    pairs = list(permutations(domains, 2))
    for name, method in registry.available().items():
        try:
            config = method.configure(profile)
            instance = method(config, domains, profile.size, torch.device("meta"))
            with undisturbed(), torch.device("meta"):
                cost = instance.cost()
            recipes[name] = {digest(training.recipe) for training in instance.trainings(pairs)}
        except Exception as error:
            if name in registry.BUILT_IN:
                raise
            warn(f"the plug-in method '{name}' cannot be listed: {type(error).__name__}: {error}")
            continue
        rows.append(
            {
                "name": name,
                "params": cost.params,
                "params_live": cost.params_live,
                "params_total": cost.params_total,
                "params_training": cost.params_training,
                "nfe": cost.nfe,
                "knob": method.knob,
                "stochastic": method.stochastic,
                "needs_training": method.needs_training,
                "train_images": method.budget(profile),
                "trainings": len(recipes[name]),
                "about": method.about,
            }
        )
    for row in rows:
        own = recipes[row["name"]]
        row["shares_training_with"] = [
            name for name, other in recipes.items() if name != row["name"] and own & other
        ]
    return rows


def datasets(profile_name: str) -> list[dict[str, Any]]:
    """Every data set with its key under a profile and its domains."""
    profile = get_profile(profile_name)
    rows = []
    for name in dataset_registry.names():
        row: dict[str, Any] = {"name": name, "key": None, "aligned": None, "domains": None}
        try:
            dataset = dataset_registry.get(name)
            instance = dataset(dataset.configure(profile))
            about = (dataset.__doc__ or "").splitlines()[0]
            row |= {"key": instance.key, "aligned": instance.aligned("test")}
            row |= {"domains": ", ".join(instance.domains), "about": about}
        except UserError as error:  # not fetched yet
            row["about"] = str(error).replace("\n", "; ")
        except Exception as error:
            if name in dataset_registry.BUILT_IN:
                raise
            row["about"] = f"the plug-in fails: {type(error).__name__}: {error}"
        rows.append(row)
    return rows


def metrics() -> list[dict[str, Any]]:
    """Every metric with the facts that it declares."""
    return [
        {
            "name": metric.name,
            "identity": metric.identity,
            "better": "higher" if metric.higher_is_better else "lower",
            "unit": metric.unit,
            "range": _span(metric.span),
            "min_n": metric.min_n,
            "paired": metric.paired,
            "about": metric.about,
        }
        for metric in METRICS.values()
    ]


def _span(span: tuple[float | None, float | None]) -> str:
    """The least and greatest value, open where there is no end."""
    low, high = ("" if end is None else f"{end:g}" for end in span)
    return f"{low}…{high}"
