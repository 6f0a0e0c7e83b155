"""The page: template, styles, scripts, data and pictures in one file."""

import base64
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from xbench.analysis.reproduce import commands
from xbench.analysis.tradeoffs import PLANES
from xbench.analysis.typeset import LEGEND, MARKED, TRAINED_ONCE
from xbench.core.files import write_text
from xbench.report.gather import Content, extremes, gather
from xbench.report.origin import data_facts, definitions, origins
from xbench.report.pictures import Album, album

HERE = Path(__file__).parent
#: Libraries of other authors, unchanged; `vendor/README.md` has versions and hashes.
SCRIPTS = (
    "dataTables.min.js",
    "dataTables.columnControl.min.js",
    "chart.umd.min.js",
    "chartjs-chart-error-bars.umd.min.js",
)
STYLES = ("dataTables.dataTables.min.css", "columnControl.dataTables.min.css")
LICENCES = (
    "LICENSE-datatables.txt",
    "LICENSE-lucide.txt",
    "LICENSE-chartjs.txt",
    "LICENSE-chartjs-chart-error-bars.txt",
)
#: Size of a page, in millions of bytes, that still goes by mail.
LIMIT_MB = 15.0


def write(
    folder: Path, to: Path | None = None, limit_mb: float = LIMIT_MB, dataset: str = ""
) -> Path:
    """Write the report of a folder's records; equal records give equal bytes.

    Args:
        folder: `<out>/<dataset>/<profile>`.
        to: the file; by default `report.html` in the folder.
        limit_mb: millions of bytes that the page may have; pictures beyond that are left out.
        dataset: what the user gives to `--dataset`; for predictions on data that are not built in.

    Raises:
        UserError: there are no records.
    """
    content = gather(folder, dataset)
    page = _Page(content)
    room = int(limit_mb * 1e6) - len(page.render(Album({}, {}, 0, 0)).encode())
    # Pictures differ in size, and each has a tag around it: 6 % are kept free.
    pictures = album(folder, content.first, extremes(content.first), int(room * 0.94))
    path = to or folder / "report.html"
    write_text(path, page.render(pictures))
    return path


class _Page:
    """The filled template without pictures."""

    def __init__(self, content: Content) -> None:
        self.content = content
        environment = Environment(
            loader=FileSystemLoader(HERE / "page"),
            autoescape=True,
            trim_blocks=True,
            lstrip_blocks=True,
            undefined=StrictUndefined,
        )
        environment.policies["json.dumps_kwargs"] = {
            "allow_nan": False,
            "ensure_ascii": False,
            "separators": (",", ":"),
        }
        self.template = environment.get_template("report.html.j2")
        records = content.records
        libraries = [_inlined(HERE / "vendor" / name) for name in SCRIPTS]
        script = _inlined(HERE / "page" / "report.js")
        self.values: dict[str, Any] = {
            "content": content,
            "first": records[0],
            "n": sorted({len(record.data.ids) for record in records}),
            "origins": origins(records),
            "data_facts": data_facts(records[0]),
            "definitions": definitions(records),
            "commands": commands(records),
            "signs": _signs(content),
            "libraries": libraries,
            "script": script,
            "scripts": [_allowed(text) for text in (*libraries, script)],
            "styles": [
                *(_inlined(HERE / "vendor" / name) for name in STYLES),
                _inlined(HERE / "page" / "report.css"),
            ],
            **_choices(content.data),
            "licences": [(HERE / "vendor" / name).read_text("utf-8") for name in LICENCES],
        }

    def render(self, pictures: Album) -> str:
        """The page with these pictures."""
        data = self.content.data
        labels, domains = [m["label"] for m in data["methods"]], data["domains"]
        units = []
        for unit in data["units"]:
            pair = (domains[unit["source"]], domains[unit["target"]])
            place = pictures.places.get((labels[unit["method"]], pair))
            units.append({**unit, "picture": place and {"file": place[0], "views": place[1]}})
        return self.template.render(**self.values, data={**data, "units": units}, pictures=pictures)


def _signs(content: Content) -> list[str]:
    """What the signs in the leaderboard mean."""
    looks = Markup("<b>Bold</b>"), Markup("<u>underlined</u>")
    once = any(line[3] for line in content.lines)
    return [LEGEND, Markup(MARKED).format(*looks), *[TRAINED_ONCE] * once]


def _choices(data: Mapping[str, Any]) -> dict[str, Any]:
    """The options of the page's lists as (value, text), and what is chosen at first."""
    facts = {metric["name"]: metric for metric in data["metrics"]}
    domains = list(enumerate(data["domains"]))
    pairs = sorted({(unit["source"], unit["target"]) for unit in data["units"]})
    arrow = " → "
    scopes = [
        (f"{s},{t}", arrow.join(data["domains"][place] for place in (s, t))) for s, t in pairs
    ]
    whole = [method for method in data["methods"] if method["means"]]
    # The floor of few images has no distances; they are still the axis of all other rows.
    complete = [m["means"] for m in whole if not m["reference"]] or [m["means"] for m in whole]
    if complete:
        scopes.insert(0, ("means", "the means over all pairs"))
    # One axis for all rows, so a metric that every row has.
    shared = [name for name in data["perPair"] if all(name in means for means in complete)]
    planes = [
        (plane.about, realism, plane.up, plane.anchors)
        for plane in PLANES.values()
        if (realism := next((name for name in plane.realism if name in shared), ""))
        and plane.up in shared
    ]
    return {
        "facts": facts,
        "methods": [(place, method["label"]) for place, method in enumerate(data["methods"])],
        "domains": domains,
        "scopes": scopes,
        "metrics": [(name, metric["label"]) for name, metric in facts.items()],
        "pair_metrics": [(name, facts[name]["label"]) for name in data["perPair"]],
        "image_metrics": [(name, facts[name]["label"]) for name in data["perImage"]],
        "planes": planes,
        "across": planes[0][1] if planes else "",
        "up": planes[0][2] if planes else "",
    }


def _inlined(path: Path) -> Markup:
    """A style or script without its pointer to a source map, which the page has not."""
    lines = path.read_text("utf-8").splitlines()
    return Markup("\n".join(line for line in lines if not line.startswith("//# sourceMapping")))


def _allowed(script: str) -> Markup:
    """What a page's policy says of a script that may run; no other one does."""
    digest = hashlib.sha256(script.encode()).digest()
    return Markup("'sha256-{}'").format(base64.b64encode(digest).decode())
