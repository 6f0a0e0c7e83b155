"""`xbench list …`: methods, data sets, metrics and settings."""

from itertools import permutations
from json import dumps
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xbench.cli.answers import listing
from xbench.cli.options import DatasetName, Json, ProfileName
from xbench.core.errors import UserError
from xbench.core.profiles import get_profile
from xbench.core.registry import warn
from xbench.metrics.base import METRICS

if TYPE_CHECKING:
    from pydantic import BaseModel

    from xbench.core.profiles import Profile
    from xbench.methods.base import Method

list_app = typer.Typer(help="List what there is.", no_args_is_help=True)

#: Columns of a method that only programs see.
DETAILS = (
    *("params_live", "params_training", "needs_training", "unavailable", "differs"),
    "shares_training_with",
)


@list_app.command("methods")
def list_methods(
    profile: ProfileName = "quick",
    counts: Annotated[
        bool, typer.Option(help="Count parameters and trainings, which takes seconds.")
    ] = True,
    json: Json = False,
) -> None:
    """Methods with their cost on the phantom's domains; --json has more columns."""
    rows = methods(profile, counts=counts)
    if not json:
        for row in rows:
            row["about"] += f"; cannot run: {row['unavailable']}" if row["unavailable"] else ""
        rows = [{name: x for name, x in row.items() if name not in DETAILS} for row in rows]
    listing(rows, json=json)


@list_app.command("datasets")
def list_datasets(profile: ProfileName = "quick", json: Json = False) -> None:
    """Data sets as a profile makes them."""
    listing(datasets(profile), json=json)


@list_app.command("settings")
def list_settings(
    method: Annotated[str, typer.Argument(help="NAME, or path/to/file.py:Class")] = "",
    dataset: DatasetName = "phantom",
    profile: ProfileName = "quick",
    json: Json = False,
) -> None:
    """What --set takes: the settings of a method, of the data, budgets and computing."""
    listing(settings(method, dataset, profile), json=json)


@list_app.command("metrics")
def list_metrics(profile: ProfileName = "quick", json: Json = False) -> None:
    """Metrics with the identity of their definition, the same in every profile."""
    get_profile(profile)
    listing(metrics(), json=json)


def methods(profile_name: str, *, counts: bool = True) -> list[dict[str, Any]]:
    """Every method; with `counts`, its cost under a profile on the phantom's domains."""
    from xbench.methods import registry
    from xbench.methods.official import differences

    profile = get_profile(profile_name)
    rows: list[dict[str, Any]] = []
    recipes: dict[str, set[str]] = {}
    for name, method in registry.available().items():
        try:
            cost, recipes[name] = _counted(method, profile) if counts else ({}, set())
            rows.append(
                {
                    "name": name,
                    **cost,
                    "knob": method.knob,
                    "stochastic": method.stochastic,
                    "needs_training": method.needs_training,
                    "train_images": method.budget(profile),
                    "needs": method.needs,
                    "unavailable": method.unavailable(),
                    "differs": [d._asdict() for d in differences(method, profile)],
                    **({"trainings": len(recipes[name])} if counts else {}),
                    "about": method.about,
                }
            )
        except Exception as error:
            if name in registry.BUILT_IN:
                raise
            warn(f"the plug-in method '{name}' cannot be listed: {type(error).__name__}: {error}")
    for row in rows if counts else []:
        own = recipes[row["name"]]
        row["shares_training_with"] = [
            name for name, other in recipes.items() if name != row["name"] and own & other
        ]
    return rows


def settings(method_name: str, dataset_name: str, profile_name: str) -> list[dict[str, Any]]:
    """What `--set` takes, with the values of a profile."""
    from xbench.core.compute import Compute
    from xbench.datasets import registry as datasets
    from xbench.harness.plan import BUDGETS
    from xbench.methods import registry as methods

    profile = get_profile(profile_name)
    sections: dict[str, BaseModel] = {}
    if method_name:
        method = methods.get(method_name)
        sections[method.name] = method.configure(profile)
    sections |= {
        "data": datasets.get(dataset_name).configure(profile),
        "compute": Compute(),
    }
    rows = []
    for section, config in sections.items():
        for name, value in config.model_dump(mode="json").items():
            field = type(config).model_fields[name]
            extra = field.json_schema_extra
            rows.append(
                {
                    "setting": f"{section}.{name}",
                    "value": value if isinstance(value, str) else dumps(value),
                    "stage": extra.get("stage") if isinstance(extra, dict) else None,
                    "about": field.description or "",
                }
            )
    budgets = [
        {"setting": f"budget.{name}", "value": None, "stage": "train", "about": about}
        for name, (about, _) in BUDGETS.items()
    ]
    return [*rows, *budgets]


def _counted(method: "type[Method]", profile: "Profile") -> tuple[dict[str, Any], set[str]]:
    """Parameters and network evaluations, and recipes of trainings; no weights are allocated."""
    import torch

    from xbench.core.hashing import digest
    from xbench.core.isolation import undisturbed
    from xbench.datasets.registry import get

    phantom = get("phantom")
    domains = phantom(phantom.configure(profile)).domains
    instance = method(method.configure(profile), domains, profile.size, torch.device("meta"))
    with undisturbed(), torch.device("meta"):
        cost = instance.cost()
    trainings = instance.trainings(list(permutations(domains, 2)))
    names = ("params", "params_live", "params_total", "params_training", "nfe")
    return {n: getattr(cost, n) for n in names}, {digest(t.recipe) for t in trainings}


def datasets(profile_name: str) -> list[dict[str, Any]]:
    """Every data set with its key under a profile and its domains."""
    from xbench.datasets import registry

    profile = get_profile(profile_name)
    rows = []
    for name in registry.names():
        row: dict[str, Any] = {"name": name, "key": None, "aligned": None, "domains": None}
        try:
            dataset = registry.get(name)
            instance = dataset(dataset.configure(profile))
            about = (dataset.__doc__ or "").splitlines()[0]
            row |= {"key": instance.key, "aligned": instance.aligned("test")}
            row |= {"domains": ", ".join(instance.domains), "about": about}
        except UserError as error:  # not fetched yet
            row["about"] = str(error).replace("\n", "; ")
        except Exception as error:
            if name in registry.BUILT_IN:
                raise
            row["about"] = f"the plug-in fails: {type(error).__name__}: {error}"
        rows.append(row)
    return rows


def metrics() -> list[dict[str, Any]]:
    """Every metric with what it declares about itself."""
    return [
        {
            "name": metric.name,
            "identity": metric.identity,
            "better": "higher" if metric.higher_is_better else "lower",
            "unit": metric.unit,
            "range": "…".join("" if end is None else f"{end:g}" for end in metric.span),
            "min_n": metric.min_n,
            "paired": metric.paired,
            "about": metric.text,
        }
        for metric in METRICS.values()
    ]
