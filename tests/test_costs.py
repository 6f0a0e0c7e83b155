"""Quality against cost: which rows are joined, on which pairs, at which cost; and the numbers."""

import base64
import re
import runpy
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

made = runpy.run_path(str(Path(__file__).with_name("made_records.py")))
record, row, write = (made[n] for n in ("record", "row", "write"))

Xbench = Callable[..., Any]

SMOKE = ("--profile", "smoke")
FOLDER = Path("runs/phantom/smoke")
THERE, BACK = ("sim", "real_a"), ("real_a", "sim")


def references() -> list[Any]:
    """Identity and floor with the distance that ranks."""
    none = {"params": 0, "params_total": 0, "train_images": 0, "nfe": 0}
    bounds = {"identity": 0.4, "floor": 0.0}
    return [r for name, ltd in bounds.items() for r in row(name, {"ltd": ltd}, **none)]


def plot(xbench: Xbench, figure: str, *options: object) -> pd.DataFrame:
    """Draw a figure, which must go well; its numbers by method."""
    result = xbench("plot", figure, *SMOKE, *options)
    assert result.code == 0, result.err
    files = [Path(line) for line in result.out.split()]
    assert [file.suffix for file in files] == [".png", ".svg", ".csv"]
    assert all(file.stat().st_size for file in files)
    return pd.read_csv(files[-1]).fillna({"knob": "", "refused": ""}).set_index("method")


def refused(xbench: Xbench, figure: str, *options: object) -> str:
    """What a figure that cannot be drawn says, in three lines."""
    result = xbench("plot", figure, *SMOKE, *options)
    assert result.code == 2
    assert len(result.err.strip().splitlines()) == 3
    return str(result.err)


def of_budget(name: str, images: int, usual: int, **changes: Any) -> dict[str, Any]:
    """Label and fields of a row of one budget."""
    other = [f"budget.images={images}"] if images != usual else []
    label = f"{name}[images={images}]" if other else name
    return {"label": label, "train_images": images, "assignments": other, **changes}


def budgets() -> list[Any]:
    """A network for all pairs at three budgets, and networks of pairs, where only two have all."""
    records = references()
    for images, ltd, seconds in ((640, 0.10, 100.0), (1280, 0.08, 200.0), (320, 0.14, 50.0)):
        facts = of_budget("whole", images, 640, train_seconds=seconds)
        label = facts.pop("label")
        records += row(label, {"ltd": ltd}, weights_sha256={f"w{images}": "0"}, **facts)
    for images, ltd in ((64, 0.3), (128, 0.2)):
        for pair in made["PAIRS"] if images == 64 else (THERE, BACK):
            facts = of_budget("pairwise", images, 64, train_seconds=images / 4)
            label, weights = facts.pop("label"), {f"p{images}{'-'.join(pair)}": "0"}
            records.append(record(label, pair, {"ltd": ltd}, weights_sha256=weights, **facts))
    return [*records, *row("alone", {"ltd": 0.5}, train_images=64)]


def test_budgets_are_compared_on_the_pairs_that_all_rows_have(xbench: Xbench) -> None:
    write(FOLDER, budgets())
    table = plot(xbench, "budget")
    assert table.curve.to_dict() == {
        **dict.fromkeys(("whole", "whole[images=1280]", "whole[images=320]"), "whole"),
        **dict.fromkeys(("pairwise", "pairwise[images=128]"), "pairwise"),
    }
    assert set(table.pairs) == {"sim:real_a real_a:sim"}
    own = table[table.curve == "whole"]
    assert own.value.tolist() == [320, 640, 1280]
    assert own.train_seconds.tolist() == [50, 100, 200], "one training serves both pairs"
    assert own.ltd.tolist() == pytest.approx([0.14, 0.10, 0.08])
    assert (table.ltd_ci_low < table.ltd).all()
    # Of six pairs two are shown, with a training each.
    assert table.train_seconds["pairwise"] == 2 * 64 / 4
    assert table.index[table.default].tolist() == ["pairwise", "whole"]

    board = xbench("leaderboard", *SMOKE, "--table", "budgets", "--to", "budgets.csv")
    assert board.code == 0
    lines = pd.read_csv("budgets.csv").set_index("method")
    assert lines.ltd[table.index].tolist() == pytest.approx(table.ltd.tolist())
    assert lines.train_seconds[table.index].tolist() == table.train_seconds.tolist()
    assert r"Pairs: sim → real\_a, real\_a → sim." in (FOLDER / "tables/budgets.md").read_text()


def test_pairs_and_rows_of_a_budget_figure_can_be_chosen(xbench: Xbench) -> None:
    write(FOLDER, budgets())
    table = plot(xbench, "budget", "--pairs", "real_a:real_b")
    assert set(table.curve) == {"whole"}, "the others lack this pair"
    assert set(table.pairs) == {"real_a:real_b"}
    both = ("--row", "whole", "--row", "whole[images=320]")
    table = plot(xbench, "budget", *both)
    assert set(table.index) == {"whole", "whole[images=320]"}
    assert table.pairs.iloc[0].split() == ["sim:real_a", "sim:real_b", "real_a:sim", "real_b:sim"]
    text = refused(xbench, "budget", "--row", "whole", "--row", "alone")
    assert "--set budget.factor=1,2,4" in text
    assert "domain called 'nowhere'" in refused(xbench, "budget", "--pairs", "sim:nowhere")


def test_rows_that_share_no_pair_are_no_figure(xbench: Xbench) -> None:
    for name in ("a", "b"):
        for images in (64, 128):
            facts = of_budget(name, images, 64)
            label, pair = facts.pop("label"), THERE if name == "a" else BACK
            write(FOLDER, [record(label, pair, {"ltd": 0.1}, **facts)])
    assert "on the same pairs" in refused(xbench, "budget")
    assert set(plot(xbench, "budget", "--pairs", "sim:real_a").curve) == {"a"}


def test_budgets_of_another_setting_are_a_line_of_their_own(xbench: Xbench) -> None:
    records = references()
    for width in (8, 16):
        for images in (64, 128):
            inner = [f"width={width}"] * (width != 8) + [f"images={images}"] * (images != 64)
            label = f"net[{','.join(inner)}]" if inner else "net"
            facts = of_budget("net", images, 64, config={"width": width}) | {"label": label}
            records += row(facts.pop("label"), {"ltd": 0.1}, **facts)
    write(FOLDER, records)
    curves = plot(xbench, "budget").groupby("curve").groups
    assert {name: set(labels) for name, labels in curves.items()} == {
        "net": {"net", "net[images=128]"},
        "net[width=16]": {"net[width=16]", "net[width=16,images=128]"},
    }


def steps(name: str, values: Mapping[int, float], usual: int, **changes: Any) -> list[Any]:
    """Rows of one method with numbers of steps and their distances."""
    records = []
    for count, ltd in values.items():
        inner = [f"{k}={v}" for k, v in changes.items()] + [f"evaluations={count}"] * (
            count != usual
        )
        label = f"{name}[{','.join(inner)}]" if inner else name
        config = {"evaluations": count, "solver": "midpoint", **changes}
        records += row(label, {"ltd": ltd}, config=config, nfe=4 * count)
    return records


def evaluated() -> list[Any]:
    """Two methods at several numbers of steps, with two solvers, and methods without steps."""
    return [
        *references(),
        *steps("flow", {1: 0.3, 2: 0.2, 4: 0.1, 8: 0.09}, usual=4),
        *steps("flow", {2: 0.25, 4: 0.15}, usual=4, solver="euler"),
        *row("filter", {"ltd": 0.12}, nfe=0, params=0, train_images=0),
        *row("gan", {"ltd": 0.2}, nfe=1),
        record("part", THERE, {"ltd": 0.2}, nfe=1),
    ]


def test_a_line_joins_rows_that_differ_in_their_number_of_steps(xbench: Xbench) -> None:
    write(FOLDER, evaluated())
    table = plot(xbench, "evaluations")
    line = table[table.curve == "flow"]
    assert line.index.tolist() == [
        "flow[evaluations=1]",
        "flow[evaluations=2]",
        "flow",
        "flow[evaluations=8]",
    ]
    assert line.nfe.tolist() == [4, 8, 16, 32]
    assert line.ltd.tolist() == pytest.approx([0.3, 0.2, 0.1, 0.09])
    assert line.default.tolist() == [False, False, True, False]
    other = table[table.curve == "flow[solver=euler]"]
    assert other.value.tolist() == [2, 4]
    single = table[table.knob == ""]
    assert single.nfe.to_dict() == {"filter": 0, "gan": 1}, "not the row without all pairs"
    assert table.pairs.iloc[0].split() == ["sim:real_a", "sim:real_b", "real_a:sim", "real_b:sim"]
    some = plot(xbench, "evaluations", "--row", "flow", "--row", "flow[evaluations=1]")
    assert set(some.index) == {"flow", "flow[evaluations=1]"}


def test_rows_of_one_solver_each_are_points(xbench: Xbench) -> None:
    euler, heun = (
        {"config": {"evaluations": n, "solver": k}} for n, k in ((8, "euler"), (2, "heun"))
    )
    rows = [
        *steps("flow", {4: 0.1}, usual=4),
        *row("flow[solver=euler,evaluations=8]", {"ltd": 0.2}, nfe=16, **euler),
        *row("flow[solver=heun,evaluations=2]", {"ltd": 0.3}, nfe=8, **heun),
    ]
    write(FOLDER, [*references(), *rows])
    table = plot(xbench, "evaluations")
    assert table.nfe.sort_values().tolist() == [8, 16, 16]
    assert set(table.knob) == {""}
    assert table.index[table.default].tolist() == ["flow"]


def test_a_sweep_on_one_pair_is_shown_there(xbench: Xbench) -> None:
    write(FOLDER, [r for r in evaluated() if (r.source, r.target) == THERE])
    table = plot(xbench, "evaluations")
    assert set(table.pairs) == {"sim:real_a"}
    assert "part" in table.index


def test_a_row_under_two_labels_is_one_point(xbench: Xbench) -> None:
    """The default has changed since: the same settings were named in full before."""
    twin = row("flow[evaluations=4]", {"ltd": 0.1}, config={"evaluations": 4}, nfe=4)
    plain, more = (
        row(label, {"ltd": 0.1}, config={"evaluations": n}, nfe=n)
        for label, n in (("flow", 4), ("flow[evaluations=8]", 8))
    )
    write(FOLDER, [*references(), *twin, *plain, *more])
    table = plot(xbench, "evaluations")
    assert table[table.knob != ""].index.tolist() == ["flow", "flow[evaluations=8]"]


def test_a_row_that_fails_a_gate_is_marked(xbench: Xbench) -> None:
    bad = row(
        "flow[evaluations=16]", {"ltd": 0.05, "match": 0.4}, config={"evaluations": 16}, nfe=64
    )
    good = row("flow", {"ltd": 0.1}, config={"evaluations": 4}, nfe=16)
    write(FOLDER, [*references(), *good, *bad])
    table = plot(xbench, "evaluations")
    assert "anatomy not recognised" in table.refused["flow[evaluations=16]"]
    assert table.refused["flow"] == ""


def test_other_budgets_and_single_rows_make_no_figure_of_evaluations(xbench: Xbench) -> None:
    write(FOLDER, budgets())
    text = refused(xbench, "evaluations")
    assert "--set evaluations=4,8,16" in text


def test_both_work_on_the_split_where_settings_are_chosen(xbench: Xbench) -> None:
    val = FOLDER.with_name("smoke-val")
    records = [*budgets(), *steps("flow", {1: 0.3, 4: 0.1}, usual=4)]
    for one in records:
        one.data.split = "val"
    write(val, records)
    for figure in ("budget", "evaluations"):
        plot(xbench, figure, "--split", "val")
        assert (val / f"{figure}.png").exists()


def test_publishing_draws_both_where_there_are_rows(xbench: Xbench) -> None:
    write(FOLDER, [*references(), *row("alone", {"ltd": 0.5})])
    assert xbench("publish").code == 0
    assert not list(Path("results").rglob("budget.*"))
    write(FOLDER, [*budgets(), *steps("flow", {1: 0.3, 4: 0.1}, usual=4)])
    assert xbench("publish").code == 0
    published = Path("results/phantom/smoke")
    for figure in ("budget", "evaluations"):
        assert {f.suffix for f in published.glob(f"{figure}.*")} == {".png", ".svg", ".csv"}
    before = {file: file.read_bytes() for file in published.rglob("*") if file.is_file()}
    assert xbench("publish").code == 0
    assert {file: file.read_bytes() for file in before} == before


def test_the_report_has_the_figures_of_costs(xbench: Xbench) -> None:
    write(FOLDER, references())
    page = Path(xbench("report", *SMOKE).out.strip())
    assert "<img" not in page.read_text()
    write(FOLDER, budgets())
    plot(xbench, "budget")
    for ending in ("csv", "png"):
        shutil.copy(FOLDER / f"budget.{ending}", FOLDER / f"evaluations-val.{ending}")
        (FOLDER / f"budget.{ending}").rename(FOLDER / f"budget-val.{ending}")
    text = Path(xbench("report", *SMOKE).out.strip()).read_text()
    pictures = re.findall(r'<img src="data:image/png;base64,([^"]+)"', text)
    assert [base64.b64decode(picture)[:4] for picture in pictures] == [b"\x89PNG"] * 3
    named = re.findall(r"<code>([\w-]+)\.csv</code>", text)
    assert named == ["budget", "budget-val", "evaluations-val"]
