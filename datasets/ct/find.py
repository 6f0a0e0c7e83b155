"""Finds the volumes below a folder: NIfTI, NRRD and MetaImage files, and series of DICOM files."""

import os
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from xbench.core.errors import UserError
from xbench.datasets.ct.toolkit import element, header, quiet
from xbench.datasets.walk import walk

#: Endings of files that hold one volume each, in lower case.
SUFFIXES = (".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd")
#: Endings of text headers whose voxels are in a file of their own.
HEADERS = (".mhd", ".nhdr")
#: DICOM series of fewer slices are scouts and reports, not volumes.
LEAST_SLICES = 3
#: DICOM elements.
MODALITY, DESCRIPTION, STUDY = "0008|0060", "0008|103e", "0020|000d"


@dataclass(frozen=True)
class Source:
    """A stored volume.

    Attributes:
        name: unique below the folder, fit for a file name.
        files: the file, or the slices of a DICOM series (in no order).
        dicom: whether the files are DICOM.
        study: UID of the DICOM study, else empty.
    """

    name: str
    files: tuple[Path, ...]
    dicom: bool = False
    study: str = ""


@dataclass(frozen=True)
class Found:
    """The volumes of a folder, sorted by name, and reason → what was left out for it."""

    folder: Path
    sources: tuple[Source, ...]
    left_out: dict[str, list[str]]

    def lines(self) -> list[str]:
        """One line per reason for leaving files out, with their number and names."""
        return [
            f"left out: {len(names)} {reason}: {', '.join(names)}"
            for reason, names in self.left_out.items()
        ]


def find(folder: Path) -> Found:
    """List the volumes below a folder; voxels are not read.

    Raises:
        UserError: no such folder, no volumes, two series in one folder or of one study, two volumes
            of one name, or SimpleITK is not installed.
    """
    if not folder.is_dir():
        raise UserError(
            f"there is no folder {folder}",
            "expected: a folder of CT volumes of heads",
            "for example: --dataset ct:heads, with heads/a.nii.gz, heads/b.nrrd, heads/c/*.dcm",
        )
    sources: list[Source] = []
    left_out: dict[str, list[str]] = defaultdict(list)
    rest: dict[str, list[str]] = defaultdict(list)
    files = sorted(walk(folder, left_out))
    parts = set(_data_files(folder, files))
    for file in files:
        suffix = next((s for s in SUFFIXES if file.lower().endswith(s)), None)
        if suffix:
            name = file[: -len(suffix)].replace("/", "-")
            sources.append(Source(name, (folder / file,)))
        elif file not in parts:
            rest[os.path.dirname(file)].append(file)
    for place, names in rest.items():
        sources += _series(folder, place, names, left_out)
    sources.sort(key=lambda source: source.name)
    found = Found(folder, tuple(sources), dict(left_out))
    if not sources:
        raise UserError(
            f"{folder} holds no CT volumes",
            f"expected: {', '.join(SUFFIXES)} files, or folders of one DICOM series each",
            "; ".join(found.lines()) or "put volumes into it",
        )
    _check_distinct(found)
    return found


def _data_files(folder: Path, files: list[str]) -> Iterator[str]:
    """Files that the text headers of a folder name as holding their voxels."""
    for file in files:
        if not file.lower().endswith(HEADERS):
            continue
        with (folder / file).open(encoding="utf-8", errors="replace") as opened:
            text = opened.read(20_000)
        values = {line.partition("=")[2].partition(":")[0].strip() for line in text.splitlines()}
        values |= {line.partition(":")[2].strip() for line in text.splitlines()}
        beside = Path(file).parent
        yield from ((beside / value).as_posix() for value in values if value)


def _series(
    root: Path, place: str, files: list[str], left_out: dict[str, list[str]]
) -> Iterator[Source]:
    """The one CT series in a folder, if there is one; other files are added to `left_out`."""
    folder = root / place
    series: dict[str, tuple[Path, ...]] = {}
    with quiet() as sitk:
        reader = sitk.ImageSeriesReader
        for uid in reader.GetGDCMSeriesIDs(str(folder)):
            names = reader.GetGDCMSeriesFileNames(str(folder), uid)
            series[uid] = tuple(sorted(map(Path, names)))
        known = {path.name for paths in series.values() for path in paths}
        strange = [file for file in files if Path(file).name not in known]
        if strange:
            left_out["files that are no volumes"] += strange
        usable = []
        for paths in series.values():
            first = header(sitk, paths[0])
            kind, title = element(first, MODALITY), element(first, DESCRIPTION) or "no description"
            what = f"{place or '.'} ({title}, {_slices(len(paths))})"
            frames = first.GetSize()[2] if first.GetDimension() > 2 else 1
            if kind not in ("CT", ""):
                left_out[f"DICOM series of another kind than CT ({kind})"].append(what)
            elif max(len(paths), frames) < LEAST_SLICES:
                left_out[f"DICOM series of fewer than {LEAST_SLICES} slices"].append(what)
            else:
                usable.append((title, paths, element(first, STUDY)))
    if len(usable) > 1:
        titles = ", ".join(f"'{title}' ({_slices(len(paths))})" for title, paths, _ in usable)
        raise UserError(
            f"{folder} holds {len(usable)} DICOM series: {titles}",
            "expected: one series per folder, so that it is clear which one is meant",
            "put each series that you want into a folder of its own, the others elsewhere",
        )
    for _, paths, study in usable:
        name = place.replace("/", "-") or root.resolve().name
        yield Source(name, paths, dicom=True, study=study)


def _slices(count: int) -> str:
    return f"{count} {'file' if count == 1 else 'files'}"


def _check_distinct(found: Found) -> None:
    """Check that names are unique, and that no two series are of one study."""
    names: dict[str, Source] = {}
    studies: dict[str, Source] = {}
    for source in found.sources:
        if source.name in names:
            raise UserError(
                f"two volumes below {found.folder} have the name '{source.name}': "
                f"{names[source.name].files[0].name}, {source.files[0].name}",
                "expected: a name of its own for each head",
                "rename one of them, or take it out of the folder if it is the same head",
            )
        names[source.name] = source
        if source.study and source.study in studies:
            raise UserError(
                f"'{studies[source.study].name}' and '{source.name}' are series of one study: "
                "the same head twice",
                "expected: one series per head, as heads must not be shared between splits",
                f"take the folder {source.files[0].parent} out of {found.folder}",
            )
        studies[source.study] = source
