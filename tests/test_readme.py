"""The front page and the parts of the pages that are made from code and results.

`XBENCH_REWRITE=1 pytest tests/test_readme.py` rewrites them.
"""

import re
import runpy
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from xbench.core.profiles import PROFILES
from xbench.metrics.base import METRICS, Metric

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
BOARD = ROOT / "results" / "phantom" / "quick" / "leaderboard.csv"
ROOMS = ("benchmark", "methods", "datasets")
#: Pages written by hand; results/ also has tables, which are made with their figures.
PAGES = [
    *ROOT.glob("*.md"),
    *(
        page
        for room in ("benchmark", "methods", "datasets")
        for page in (ROOT / room).rglob("*.md")
    ),
    *(ROOT / "results").glob("*.md"),
]
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
same = runpy.run_path(str(Path(__file__).with_name("generated.py")))["same"]


def test_the_front_page_is_short_and_answers_five_questions() -> None:
    lines = README.read_text("utf-8").splitlines()
    assert len(lines) <= 130
    headings = [line.removeprefix("## ") for line in lines if line.startswith("## ")]
    assert {"What ranks", "Your own method", "What it needs", "How to cite"} <= set(headings)
    assert any(line.startswith("**The floor** is") for line in lines)


def test_the_front_page_has_the_best_rows_and_what_bounds_them() -> None:
    text = (
        "No results of phantom 2 are published yet: `xbench run --method medshift` makes your own."
    )
    if BOARD.exists():
        text = "\n".join(front_table(pd.read_csv(BOARD)))
    assert same(README, "leaderboard", text)


def front_table(board: pd.DataFrame) -> Iterator[str]:
    """The floor, the four best methods, the filter, and two that do nothing: Markdown lines."""
    ranked = board[board["rank"].notna()].sort_values("rank")
    four = ranked[ranked.method != "filter"].head(4).method
    best = ranked[ranked.method.isin([*four, "filter"])]
    by_name = board.set_index("method", drop=False)
    rows = [by_name.loc["floor"], *(row for _, row in best.iterrows())]
    rows += [by_name.loc[name] for name in ("identity", "shuffle") if name in by_name.index]
    columns = {
        "ltd_cross": "LTD cross ↓",
        "gap_closed": "gap closed ↑",
        "ftd_cross": "FTD cross ↓",
        "utility": "utility ↑",
        "params_total": "parameters, all pairs",
    }
    shown = [name for name in columns if name in board and board[name].notna().any()]
    yield f"| # | row | {' | '.join(columns[name] for name in shown)} |"
    yield f"|{'---|' * (len(shown) + 2)}"
    for row in rows:
        rank = "" if pd.isna(row["rank"]) else f"{row['rank']:.0f}"
        alone = " †" if row.seeds == 1 and row.train_images_total else ""
        cells = (value(row, name) for name in shown)
        yield f"| {rank} | {row.method}{alone} | {' | '.join(cells)} |"


def value(row: "pd.Series[object]", name: str) -> str:
    """A cell: with half of its 95 % interval where that is known."""
    number = row[name]
    if pd.isna(number):
        return ""
    if name == "params_total":
        return f"{number / 1e6:.2f} M" if number else "0"
    digits = (
        2 if name in ("utility", "gap_closed") else METRICS[name.removesuffix("_cross")].decimals
    )
    text = f"{number:.{digits}f}"
    low, high = (row.get(f"{name}_ci_{end}") for end in ("low", "high"))
    return text if pd.isna(low) or pd.isna(high) else f"{text} ± {(high - low) / 2:.{digits}f}"


def test_the_page_of_commands_has_all_profiles() -> None:
    rows = [f"| `{p.name}` | {p.size} px | {p.about} |" for p in PROFILES.values()]
    table = ["| profile | images | for |", "|---|---|---|", *rows]
    assert same(ROOT / "benchmark" / "README.md", "profiles", "\n".join(table))


def test_the_page_of_metrics_has_every_metric_with_its_definition() -> None:
    built_in = [metric for metric in METRICS.values() if metric.built_in]
    assert all(metric.definition for metric in built_in)
    page = ROOT / "benchmark" / "metrics" / "README.md"
    assert same(page, "metrics", "\n\n".join(map(described, built_in)))


def described(metric: Metric) -> str:
    """What the page says of a metric."""
    compared = {
        "source": "the source",
        "target": "the aligned target" if metric.paired else "the target's test images",
        "anatomy": "the aligned target, or without one the source",
        "masks": "true masks of dense bone",
        "training": "training images of the target",
    }
    least, greatest = ("" if end is None else f"{end:g}" for end in metric.span)
    facts = [
        f"identity `{'`, `'.join(metric.identities)}`",
        f"compared with {compared[metric.against]}",
        "a value per image" if metric.per_image else "a value per set",
        f"{least or '−∞'} to {greatest or '∞'}{f' {metric.unit}' * bool(metric.unit)}",
        *([f"at least {metric.min_n} images"] if metric.min_n > 1 else []),
        *([f"and {metric.min_groups} groups"] if metric.min_groups > 1 else []),
        *([f"of {metric.min_side} px"] if metric.min_side > 1 else []),
        *([f"needs `xbench fetch {weights}`"] if (weights := needed(metric)) else []),
    ]
    head = f"**`{metric.name}`** {'↑' if metric.higher_is_better else '↓'} {metric.text}"
    return f"{head}\\\n{metric.definition}\\\n*{'; '.join(facts)}.*"


def needed(metric: Metric) -> str:
    """The weights without which a metric stays empty."""
    return metric.weights or (metric.space if metric.space not in ("pixels", "texture") else "")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files_and_headings(page: Path) -> None:
    for link in LINK.findall(without_code(page.read_text("utf-8"))):
        file, _, heading = link.partition("#")
        if "://" in link:
            continue
        target = (page.parent / file) if file else page
        assert target.exists(), link
        if heading:
            lines = without_code(target.read_text("utf-8")).splitlines()
            assert heading in {anchor(line) for line in lines if line.startswith("#")}, link


def without_code(text: str) -> str:
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


def anchor(line: str) -> str:
    """What a host of Markdown calls a heading in links."""
    return re.sub(r"[^\w\- ]", "", line.lstrip("# ").lower()).replace(" ", "-")


def test_pages_name_extras_and_versions_that_exist() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    for page in PAGES:
        for extras in re.findall(r"\.\[([\w,]+)\]", page.read_text("utf-8")):
            assert set(extras.split(",")) <= set(project["optional-dependencies"]), page
    version = f"version: {project['version']}\n"
    assert version in (ROOT / "CITATION.cff").read_text("utf-8")
    assert f"version {project['version']}, software" in README.read_text("utf-8")
    assert f"\n## {project['version']}\n" in (ROOT / "CHANGELOG.md").read_text("utf-8")
