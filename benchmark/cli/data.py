"""`xbench data …`: fetch, describe, show, check and export data sets."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from xbench.cli.answers import answer, listing
from xbench.cli.options import Json, ProfileName, To
from xbench.core.errors import UserError
from xbench.core.names import quoted

if TYPE_CHECKING:
    from xbench.datasets.base import Dataset, Split
    from xbench.datasets.folder import Folder
    from xbench.datasets.importers.recognise import Recognised

data_app = typer.Typer(
    help="Fetch, describe, show, check and export data sets.", no_args_is_help=True
)

Name = Annotated[str, typer.Argument(help="NAME, or a folder of your own images.")]
Root = Annotated[Path, typer.Argument(help="A folder with a sub-folder per domain.")]
Set = Annotated[list[str] | None, typer.Option("--set", help="data.KEY=VALUE")]


@data_app.command("list")
def data_list(profile: ProfileName = "quick", json: Json = False) -> None:
    """List the data sets with their sizes in a profile."""
    from xbench.cli.catalogue import datasets

    listing(datasets(profile), json=json)


@data_app.command("fetch")
def data_fetch(
    name: Annotated[str, typer.Argument(help="xdigiskull")],
    source: Annotated[
        Path | None, typer.Option("--from", help="A local archive or folder instead of a download.")
    ] = None,
    mapping: Annotated[
        list[str] | None, typer.Option("--map", help="PATTERN=DOMAIN, or PATTERN=skip")
    ] = None,
) -> None:
    """Download a data set and recognise its domains, for use as --dataset NAME."""
    from xbench.datasets.importers.recognise import summary
    from xbench.datasets.importers.xdigiskull import obtain
    from xbench.harness.progress import Display

    def say(recognised: "Recognised") -> None:
        listing(summary(recognised), json=False)

    with Display(()) as display:
        print(obtain(name, source, mapping or [], display.data, say))


@data_app.command("init")
def data_init(
    root: Root,
    to: To = None,
    force: Annotated[bool, typer.Option(help="Replace an existing dataset.toml.")] = False,
) -> None:
    """Write a dataset.toml for a folder of images, guessed from them, and a preview picture."""
    from xbench.analysis import figures as plots
    from xbench.datasets.describe import FILE
    from xbench.datasets.quality import check_framing
    from xbench.harness.progress import Display
    from xbench.scoring.enough import advice

    if (root / FILE).exists() and not force:
        raise UserError(
            f"{root / FILE} exists already",
            "expected: a folder without a dataset.toml",
            f"edit it, or replace it: xbench data init {quoted(root)} --force",
        )
    written, dataset, remarks = _described(root)
    try:
        with Display(dataset.domains) as display:
            dataset.prepare(display.data, ["test"])
    except (UserError, KeyboardInterrupt):
        if not force:  # so that the same command works once the images are repaired
            written.unlink()
        raise
    splits: tuple[Split, ...] = ("train", "val", "test")
    counts = [{"domain": d, **{s: len(dataset.ids(s, d)) for s in splits}} for d in dataset.domains]
    listing(counts, json=False)
    framing = [each.text for each in check_framing(dataset)]
    notes = [*framing, *dataset.notes(), *advice(dataset, "test")]
    for line in [dataset.layout.groups, *remarks, *notes]:
        typer.echo(line, err=True)
    print(written)
    print(plots.contact_sheet(dataset, to or Path(f"{dataset.name}-preview.png")))


def _described(root: Path) -> tuple[Path, "Folder", list[str]]:
    """Write a guessed description: the file, the data set so described, and what was guessed."""
    from xbench.datasets.describe import SplitRule, write_description
    from xbench.datasets.suggest import suggest
    from xbench.scoring.enough import better_share

    description, remarks = suggest(root)

    def write() -> tuple[Path, "Folder"]:
        about = ["Guessed by `xbench data init` from some of the images; please check:"]
        about += [f"- {remark}" for remark in remarks] or ["- nothing unusual was found"]
        written = write_description(root, description, "\n".join(about), defaults=True)
        return written, _folder(str(root.resolve()))

    written, dataset = write()
    share = better_share(dataset, "test")
    if share and description.split.test == SplitRule().test:  # which nobody chose
        split = description.split.model_copy(update={"test": share})
        description = description.model_copy(update={"split": split})
        remarks.append(f"test is {share:g} of the images, since metrics need as many test images")
        written, dataset = write()
    return written, dataset, remarks


@data_app.command("ct")
def data_ct(
    root: Annotated[Path, typer.Argument(help="A folder of CT volumes of heads.")],
    profile: ProfileName = "quick",
    set_: Set = None,
    preview: Annotated[bool, typer.Option(help="Draw a contact sheet.")] = False,
    to: To = None,
) -> None:
    """Render CT volumes of heads in the phantom's five domains, for use as --dataset ct:FOLDER."""
    from xbench.analysis import figures as plots

    dataset = _dataset(f"ct:{root}", profile, set_)
    listing(_counts(dataset), json=False)
    for line in dataset.notes():
        typer.echo(line, err=True)
    if preview:
        print(plots.contact_sheet(dataset, to or Path(f"{dataset.name}-{profile}.png")))


@data_app.command("show")
def data_show(
    name: Name = "phantom", profile: ProfileName = "quick", set_: Set = None, to: To = None
) -> None:
    """Draw a contact sheet: domains × views of the test split, with statistics."""
    from xbench.analysis import figures as plots

    dataset = _dataset(name, profile, set_)
    print(plots.contact_sheet(dataset, to or Path(f"{dataset.name}-{profile}.png")))


@data_app.command("stats")
def data_stats(
    name: Name = "phantom", profile: ProfileName = "quick", set_: Set = None, json: Json = False
) -> None:
    """Grey values and sharpness of every domain, beside those of the phantom and the paper."""
    from xbench.datasets import stats

    dataset = _dataset(name, profile, set_)
    references: dict[str, Sequence[stats.Row]] = {"published": stats.published()}
    if not set(dataset.domains) & set(stats.PUBLISHED):
        references = {}  # of another anatomy, perhaps: skulls say nothing of it
    elif dataset.name != "phantom":
        phantom = _dataset("phantom", profile, [f"data.size={dataset.config.size}"])
        references = {"phantom": stats.domain_statistics(phantom), **references}
    listing(stats.beside(stats.domain_statistics(dataset), references), json=json)
    for note in stats.notes(dataset.config.size, compared=bool(references)):
        typer.echo(note, err=True)


@data_app.command("verify")
def data_verify(root: Name, json: Json = False) -> None:
    """Find damaged, duplicate, inverted and misaligned images, and labels that cannot be used.

    Exit code 1 if there are errors.
    """
    from xbench.core.console import make_console
    from xbench.datasets.quality import check, check_framing, check_labels
    from xbench.harness.progress import Display
    from xbench.scoring.enough import advice

    folder = _folder(root)
    layout, said = folder.layout, list[str]()
    with Display(layout.domains) as display:
        aligned = layout.aligned["val"] or layout.aligned["test"]
        pads = folder.config.fit == "pad"
        problems = check(layout.items, folder.look, display.data, aligned, said.append, pads=pads)
    problems = [*check_labels(folder), *problems, *check_framing(folder)]
    errors = sum(problem.outcome == "error" for problem in problems)
    if json:
        answer([{"severity": p.outcome, **asdict(p), "text": p.text} for p in problems])
    else:
        console = make_console()
        for problem in problems:
            console.print(
                f"{problem.outcome}: {problem.check}: {problem.domain}: {problem.text}",
                soft_wrap=True,
                style="red" if problem.outcome == "error" else None,
            )
        for note in [*said, *folder.notes(), *advice(folder, "test")]:
            console.print(note, soft_wrap=True)
        console.print(
            f"{len(layout.items)} images, {errors} errors, {len(problems) - errors} warnings"
        )
    if errors:
        raise typer.Exit(1)


@data_app.command("export")
def data_export(
    name: Name,
    to: Annotated[Path, typer.Argument(help="A new folder.")],
    profile: ProfileName = "quick",
    size: Annotated[int | None, typer.Option(help="Pixels; by default the profile's.")] = None,
    set_: Set = None,
) -> None:
    """Write a data set as 16-bit PNG files, which --dataset FOLDER reads.

    What is known of the anatomy (masks, landmarks, angles) goes to labels/ in the folder.
    """
    from xbench.datasets.export import export
    from xbench.harness.progress import Display

    changes = [*(set_ or []), *([f"data.size={size}"] if size else [])]
    dataset = _dataset(name, profile, changes)
    with Display(dataset.domains) as display:
        export(dataset, to, display.data)
    print(to)


def _dataset(name: str, profile: str, changes: list[str] | None) -> "Dataset":
    """A data set with settings, prepared."""
    from xbench.core.settings import parse
    from xbench.harness.plan import Request, make

    request = Request(dataset=name, profile=profile, settings=parse(changes or []))
    return _prepared(make(request).dataset)


def _prepared(dataset: "Dataset") -> "Dataset":
    """The data set, after making its images."""
    from xbench.harness.progress import Display

    with Display(dataset.domains) as display:
        dataset.prepare(display.data)
    return dataset


def _folder(name: str) -> "Folder":
    """The data set in a folder, not decoded yet."""
    from xbench.core.profiles import get_profile
    from xbench.datasets import registry
    from xbench.datasets.folder import Folder

    kind = registry.get(name)
    if not issubclass(kind, Folder):
        raise UserError(
            f"the data set {name} is generated, not read from files",
            "expected: a folder of images, or xdigiskull",
            "for example: xbench data verify path/to/folder",
        )
    return kind(kind.configure(get_profile("quick")))


def _counts(dataset: "Dataset") -> list[dict[str, object]]:
    """Images of every domain and split."""
    return [
        {
            "domain": domain,
            "train": len(dataset.train(domain)),
            "val": len(dataset.ids("val", domain)),
            "test": len(dataset.ids("test", domain)),
        }
        for domain in dataset.domains
    ]
