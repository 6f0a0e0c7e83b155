"""`xbench report`: one file with the whole comparison, whatever the records hold."""

import base64
import hashlib
import json
import re
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from xbench import report
from xbench.analysis import families
from xbench.analysis.results import read
from xbench.core.settings import file_name
from xbench.records.schema import Failure
from xbench.records.store import Store

Xbench = Callable[..., Any]
Change = Callable[[dict[str, Any]], None]

VENDOR = Path(report.__file__).parent / "vendor"


class Page(HTMLParser):
    """A page read as a browser reads it: tags, visible text, and the contents of scripts by id."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.scripts: dict[str, str] = {}
        self._inside = ""
        self.feed(path.read_text("utf-8"))
        self.data = json.loads(self.scripts["data"], parse_constant=pytest.fail)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._inside = tag
        self._id = dict(attrs).get("id") or f"inline {len(self.tags)}"

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            self.scripts[self._id] = self.scripts.get(self._id, "") + data
        elif self._inside != "style":
            self.text += data

    def unit(self, label: str, source: str, target: str) -> dict[str, Any]:
        labels = [method["label"] for method in self.data["methods"]]
        place = [self.data["domains"].index(domain) for domain in (source, target)]
        wanted = [labels.index(label), *place]
        units: list[dict[str, Any]] = self.data["units"]
        return next(u for u in units if [u["method"], u["source"], u["target"]] == wanted)

    def picture(self, unit: dict[str, Any]) -> np.ndarray:
        """The views of a unit, uint8 `[views, H, W]`."""
        file = BytesIO(base64.b64decode(self.scripts[unit["picture"]["file"]]))
        pixels = np.asarray(Image.open(file))
        return np.stack(np.split(pixels, len(unit["picture"]["views"]), axis=1))


@pytest.fixture
def runs(finished: Path, tmp_path: Path) -> Path:
    """A copy of a finished run below `runs/`."""
    folder = tmp_path / "runs" / "phantom" / "smoke"
    shutil.copytree(finished, folder, ignore=shutil.ignore_patterns("trainings"))
    return folder


def edit(folder: Path, change: Change, unit: str = "histogram/seed0/*") -> None:
    """Change what is stored of some units."""
    for path in (folder / "records").glob(f"{unit}.json"):
        record = json.loads(path.read_text())
        change(record)
        path.write_text(json.dumps(record))


def test_one_file_holds_every_row_and_asks_for_nothing_else(xbench: Xbench, runs: Path) -> None:
    result = xbench("report", "--profile", "smoke")
    assert result.code == 0
    assert result.out.strip() == str(Path("runs/phantom/smoke/report.html"))
    page = Page(Path(result.out.strip()))
    for label in ("identity", "floor", "histogram", "medshift[images=64]"):
        assert label in page.text
    linked = [
        v for _, attributes in page.tags for n, v in attributes.items() if n in ("src", "href")
    ]
    assert all(link is None or link.startswith(("#", "data:")) for link in linked)
    policy = next(a["content"] for _, a in page.tags if "http-equiv" in a)
    assert policy is not None
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert "'unsafe-inline'" not in policy.partition("script-src")[2], "only the page's scripts run"
    assert "xbench run --method histogram" in page.text
    assert "ftd-v1" in page.text


def test_the_numbers_are_those_of_the_records(xbench: Xbench, runs: Path) -> None:
    page = Page(Path(xbench("report", "--profile", "smoke").out.strip()))
    for record in Store(runs).records():
        unit = page.unit(record.method.label, record.source, record.target)
        known = {name: v for name, v in record.metrics.items() if v.value is not None}
        assert unit["values"].keys() == known.keys()
        for name, value in known.items():
            shown = unit["values"][name]
            assert shown[:3] == pytest.approx([value.value, value.ci_low, value.ci_high], rel=1e-4)
            assert 0 <= shown[3] <= 1
        shown = np.frombuffer(base64.b64decode(unit["images"]["ssim"]), "<f4")
        assert shown == pytest.approx(record.metrics["ssim"].per_image, rel=1e-4)
        assert page.data["ids"][unit["ids"]] == record.data.ids


def test_equal_records_give_equal_bytes(xbench: Xbench, runs: Path) -> None:
    pages = [Path(f"{name}.html") for name in "ab"]
    for page in pages:
        assert xbench("report", "--profile", "smoke", "--to", page).code == 0
    assert pages[0].read_bytes() == pages[1].read_bytes()


def test_all_images_that_are_stored_are_shown(xbench: Xbench, runs: Path) -> None:
    page = Page(Path(xbench("report", "--profile", "smoke").out.strip()))
    for record in Store(runs).records():
        unit = page.unit(record.method.label, record.source, record.target)
        assert unit["picture"]["views"] == list(range(len(record.data.ids)))
        eight = (Store(runs).images_of(record) / 257).round()
        np.testing.assert_array_equal(page.picture(unit), eight)


def test_published_records_show_their_strips(xbench: Xbench, runs: Path) -> None:
    shutil.rmtree(runs / "images")
    page = Page(Path(xbench("report", "--profile", "smoke").out.strip()))
    for path in (runs / "strips").rglob("*.webp"):
        unit = page.unit(path.parts[-3], *path.stem.split("--"))
        strip = np.asarray(Image.open(path).convert("L"))
        views = np.stack(np.split(strip, strip.shape[1] // strip.shape[0], axis=1))
        np.testing.assert_array_equal(page.picture(unit), views)
        assert len(unit["picture"]["views"]) == len(views) < len(page.data["ids"][0])


def test_pictures_give_way_where_the_page_would_grow_too_large(xbench: Xbench, runs: Path) -> None:
    whole = Path(xbench("report", "--profile", "smoke").out.strip()).stat().st_size
    small = round(whole / 1e6 - 0.04, 2)
    page = Page(Path(xbench("report", "--profile", "smoke", "--max-mb", small).out.strip()))
    assert (runs / "report.html").stat().st_size <= small * 1e6
    views = [len(unit["picture"]["views"]) for unit in page.data["units"] if unit["picture"]]
    assert 0 < min(views) < len(page.data["ids"][0])
    assert "stored views of every pair fitted" in page.text


def test_the_best_and_worst_images_have_pictures_before_others(xbench: Xbench, runs: Path) -> None:
    def brighten(record: dict[str, Any]) -> None:
        record["metrics"]["ssim_ref"]["per_image"][3] = 0.999

    edit(runs, brighten, "histogram/seed0/real_low--real_normal")
    whole = Path(xbench("report", "--profile", "smoke").out.strip()).stat().st_size
    small = round(whole / 1e6 - 0.04, 2)
    page = Page(Path(xbench("report", "--profile", "smoke", "--max-mb", small).out.strip()))
    views = {
        name: page.unit(name, "real_low", "real_normal")["picture"]["views"]
        for name in ("histogram", "identity")
    }
    assert 3 in views["histogram"]
    assert 3 in views["identity"], "the source of that image is needed too"


def test_markup_in_names_is_shown_as_text(xbench: Xbench, runs: Path) -> None:
    label, given = "<script>alert(1)<&_\"'", "</script><img src=x onerror=alert(1)>"

    def rename(record: dict[str, Any]) -> None:
        record["method"] |= {"label": label, "name": label, "given": given}

    before = {tag for tag, _ in Page(report.write(runs)).tags}
    (runs / "records/histogram").rename(runs / "records" / file_name(label))
    edit(runs, rename, f"{file_name(label)}/seed0/*")
    page = Page(Path(xbench("report", "--profile", "smoke").out.strip()))
    assert {tag for tag, _ in page.tags} == before
    assert label in [method["label"] for method in page.data["methods"]]
    assert label in page.text
    assert given in page.text


def test_what_is_missing_stays_empty(xbench: Xbench, runs: Path) -> None:
    """No pairs but one, metrics without values, a number that is none, a failed unit."""

    def spoil(record: dict[str, Any]) -> None:
        for name in ("ftd", "cftd"):
            record["metrics"][name] |= {"value": None, "reason": "too few", "ci_low": None}
        del record["metrics"]["psnr"]

    for path in (runs / "records").rglob("*.json"):
        if path.stem != "real_low--real_normal" or "medshift" in str(path):
            path.unlink()
    edit(runs, spoil)
    edit(runs, lambda r: r["metrics"]["ssim"].update(value=float("nan")), "floor/seed0/*")
    failure = Failure(
        **{"key": "k", "label": "<b>broken</b>", "seed": 0, "source": "real_low"},
        **{
            "target": "real_normal",
            "traceback": "Traceback\nValueError: a <b> & c",
            "finished": "",
        },
    )
    (runs / "failed/broken/seed0").mkdir(parents=True)
    path = runs / "failed/broken/seed0/real_low--real_normal.json"
    path.write_text(failure.model_dump_json())
    page = Page(Path(xbench("report", "--profile", "smoke").out.strip()))
    assert "ftd" not in page.unit("histogram", "real_low", "real_normal")["values"]
    assert "ssim" in page.unit("histogram", "real_low", "real_normal")["values"]
    assert "pairs 1/20" in page.text
    assert "too few" in page.text
    assert "1 failed" in page.text
    assert "ValueError: a <b> & c" in page.text


def test_seeds_are_averaged_and_the_first_one_is_pictured(xbench: Xbench, runs: Path) -> None:
    for path in sorted((runs / "records/histogram/seed0").iterdir()):
        record = json.loads(path.read_text())
        record["seed"] = 1
        record["metrics"]["ssim"]["value"] -= 0.1
        target = runs / "records/histogram/seed1" / path.name
        target.parent.mkdir(exist_ok=True)
        target.write_text(json.dumps(record))
    first = next(r for r in Store(runs).records() if r.method.label == "histogram")
    page = Page(Path(xbench("report", "--profile", "smoke").out.strip()))
    unit = page.unit("histogram", first.source, first.target)
    value = first.metrics["ssim"].value
    assert value is not None
    assert unit["values"]["ssim"][0] == pytest.approx(value - 0.05, abs=1e-4)
    assert unit["picture"]["views"]


def test_rows_along_a_knob_make_a_curve(xbench: Xbench, runs: Path) -> None:
    folder = runs / "records"
    for tau in (0.05, 0.9):
        label = f"medshift[images=64,tau={tau}]"
        for path in sorted((folder / "medshift[images=64]/seed0").iterdir()):
            record = json.loads(path.read_text())
            record["method"]["label"] = label
            record["method"]["config"]["tau"] = tau
            target = folder / label / "seed0" / path.name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(json.dumps(record))
    page = Page(Path(xbench("report", "--profile", "smoke").out.strip()))
    (curve,) = page.data["curves"]
    knobs = [page.data["methods"][place]["knob"] for place in curve]
    assert knobs[0] == ["tau", 0.05]
    assert knobs[-1] == ["tau", 0.9]
    assert len(knobs) == 3


def test_the_page_has_the_looks_of_the_figures(xbench: Xbench, runs: Path) -> None:
    page = Page(Path(xbench("report", "--profile", "smoke").out.strip()))
    looks = families.looks(read(runs).by_label)
    rows = {method["label"]: method for method in page.data["methods"]}
    assert {label: rows[label]["colour"] for label in ("floor", "histogram")} == {
        name: looks[name].colour for name in ("floor", "histogram")
    }
    trained = rows["medshift[images=64]"]
    assert (trained["colour"], trained["shape"]) == (
        looks["medshift"].colour,
        looks["medshift"].shape,
    )
    assert [label for label, row in rows.items() if row["hollow"]] == ["medshift[images=64]"]


def test_no_records_are_explained_in_three_lines(xbench: Xbench) -> None:
    for prepare in (lambda: None, lambda: Path("runs/phantom/smoke/records").mkdir(parents=True)):
        prepare()
        result = xbench("report", "--profile", "smoke")
        assert result.code == 2
        assert result.out == ""
        assert len(result.err.strip().splitlines()) == 3
        assert "no finished units" in result.err


def test_the_libraries_are_the_ones_that_their_list_names() -> None:
    listed = dict(re.findall(r"^\| `([^`]+)` .*`([0-9a-f]{64})` \|$", _readme(), re.MULTILINE))
    files = {path.name for path in VENDOR.iterdir() if path.suffix in (".js", ".css")}
    assert listed.keys() == files
    for name, sha256 in listed.items():
        assert hashlib.sha256((VENDOR / name).read_bytes()).hexdigest() == sha256, name


def _readme() -> str:
    return (VENDOR / "README.md").read_text("utf-8")
