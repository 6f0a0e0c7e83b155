"""`xbench report`: the whole comparison as one HTML file."""

from pathlib import Path
from typing import Annotated

import typer

from xbench.cli.options import DatasetName, Out, ProfileName, SplitName, To, own_dataset
from xbench.records.folders import results_folder


def report(
    dataset: DatasetName = "phantom",
    profile: ProfileName = "quick",
    split: SplitName = "test",
    out: Out = Path("runs"),
    to: To = None,
    max_mb: Annotated[
        float,
        typer.Option(min=1, help="Size of the page in MB; pictures that do not fit are left out."),
    ] = 15,
) -> None:
    """Write one HTML file with tables, plot, images and provenance; it needs no network."""
    from xbench import report as reporting

    folder = results_folder(dataset, profile, split, out)
    print(reporting.write(folder, to, max_mb, own_dataset(dataset)))
