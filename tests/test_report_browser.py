"""The report in a real browser: it loads without an error or a request, and every control works."""

import json
import runpy
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from xbench import report
from xbench.analysis.columns import for_people
from xbench.metrics.base import METRICS

api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no chromium is installed")

#: Milliseconds until a page of this size must answer, on a slow machine too.
PATIENCE = 15_000


@pytest.fixture(scope="module")
def file(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return report.write(finished, tmp_path_factory.mktemp("report") / "report.html")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def visit(browser: Any, file: Path) -> Iterator[Callable[..., Any]]:
    """Opens the page without a network; in the end nothing was asked for and nothing went wrong."""
    wrong: list[str] = []
    contexts = []

    def open_page(path: Path = file, **settings: Any) -> Any:
        # Nothing scrolls smoothly: a click aims at a place that must not move before it lands.
        context = browser.new_context(offline=True, reduced_motion="reduce", **settings)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        page.on("console", lambda message: wrong.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on(
            "request", lambda r: None if r.url[:5] in ("file:", "data:") else wrong.append(r.url)
        )
        page.goto(path.as_uri())
        page.wait_for_selector("body[data-ready]")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not wrong


def settle(page: Any) -> None:
    """Wait for what a click set off: the table is sorted and filtered a moment later."""
    page.evaluate("new Promise((done) => setTimeout(() => requestAnimationFrame(done), 50))")


def rows(page: Any) -> list[str]:
    """Labels of the leaderboard from top to bottom."""
    settle(page)
    labels: list[str] = page.locator("#board tbody .pick").all_inner_texts()
    return labels


def column(page: Any, head: str) -> list[str]:
    """The cells below a heading of the leaderboard, from top to bottom."""
    settle(page)
    heads = page.locator("#board thead th").all_inner_texts()
    place = next(k for k, text in enumerate(heads) if " ".join(text.split()) == head)
    cells: list[str] = page.locator(f"#board tbody tr > :nth-child({place + 1})").all_inner_texts()
    return [text.split()[0] for text in cells]


def pixels(page: Any, canvas: str) -> list[int]:
    """Grey values of a canvas."""
    settle(page)
    script = """c => [...c.getContext("2d").getImageData(0, 0, c.width, c.height).data]"""
    values: list[int] = page.locator(canvas).evaluate(script)
    return values[::4]


def test_it_is_ready_soon(visit: Callable[..., Any]) -> None:
    page = visit()
    assert page.evaluate("performance.now()") < PATIENCE
    assert "phantom" in page.title()
    page.screenshot()


def test_the_leaderboard_sorts_both_ways_with_empty_cells_last(visit: Callable[..., Any]) -> None:
    page = visit()
    head = page.locator("#board thead th", has_text="SSIM ref").locator(".dt-column-title")
    head.click()
    values = [float(text) for text in column(page, "SSIM ref ↑")]
    assert values == sorted(values, reverse=True), "of a similarity, the best comes first"
    head.click()
    assert [float(text) for text in column(page, "SSIM ref ↑")] == values[::-1]
    for _ in range(2):
        page.locator("#board thead th", has_text="#").locator(".dt-column-title").click()
        assert column(page, "#")[-2:] == ["–", "–"]


def test_the_leaderboard_filters(visit: Callable[..., Any]) -> None:
    page = visit()
    everything = rows(page)
    page.get_by_label("filter rows").fill("medsh")
    assert rows(page) == ["medshift[images=64]"]
    page.get_by_label("filter rows").fill("")
    page.get_by_label("reference rows").uncheck()
    assert set(everything) - set(rows(page)) == {
        "identity",
        "floor",
        "expected",
        "shuffle",
        "nearest",
    }
    page.get_by_label("reference rows").check()
    page.locator("#board thead th", has_text="train images").locator("button").click()
    page.locator(".dtcc-dropdown select").first.select_option("greater")
    page.locator(".dtcc-dropdown input").first.fill("10")
    page.keyboard.press("Escape")
    assert rows(page) == ["medshift[images=64]"]


def test_sweeps_are_shown_on_demand(visit: Callable[..., Any], tmp_path: Path) -> None:
    made = runpy.run_path(str(Path(__file__).with_name("made_records.py")))
    records = made["references"]()
    for tau in (0.1, 0.2, 0.3, 0.4):
        label = "shift" if tau == 0.1 else f"shift[tau={tau}]"
        records += made["row"](label, {"ssim": tau, "ftd": 90 * tau}, config={"tau": tau, "s": 4})
    config = {"tau": 0.25, "s": 1}
    records += made["row"]("shift[s=1]", {"ssim": 0.0, "ftd": 1e4}, config=config)
    made["write"](tmp_path, records)
    page = visit(report.write(tmp_path, tmp_path / "report.html"))
    labels = "chart.data.datasets.map((one) => one.label).filter(Boolean)"
    lines = "chart.data.datasets.filter((one) => one.type === 'line').map((one) => one.data.length)"
    everything = ["floor", "shift", "identity"]
    assert rows(page) == everything
    assert sorted(page.evaluate(labels)) == ["floor (reference)", "identity (reference)", "shift"]
    assert page.evaluate(lines) == []
    page.get_by_label("sweeps").check()
    assert len(rows(page)) == 7
    assert column(page, "#").count("–") == 6, "they have no rank"
    assert "shift[s=1]" in page.evaluate(labels)
    assert page.evaluate(lines) == [4]
    colours = "[...new Set(chart.data.datasets.slice(1, 6).map((one) => one.borderColor))]"
    assert len(page.evaluate(colours)) == 2, "one for the method, grey for the references"
    page.get_by_label("sweeps").uncheck()
    assert rows(page) == everything
    assert page.evaluate(lines) == []


def test_all_usual_columns_fit_into_1300_pixels(visit: Callable[..., Any], tmp_path: Path) -> None:
    made = runpy.run_path(str(Path(__file__).with_name("made_records.py")))
    usual = [name for name, metric in METRICS.items() if metric.in_tables]
    values = dict.fromkeys([*usual, "ftd"], 107.4321)
    costs = {"params": 113_810_000, "params_total": 1_138_100_000, "train_images": 20_480}
    seconds = {"train_seconds": 1216.0, "seconds": 5.0}
    records = made["row"]("identity", values) + made["row"]("floor", dict.fromkeys(values, 1.0))
    labels = ("mine", "cyclediffusion[images=20480]", "unsb-official[images=1024]")
    for label in labels:
        records += made["row"](label, values, **costs, **seconds)
    for number, label in enumerate(("source", "target", *labels)):
        name = label if label in labels else "identity"
        like = next(record for record in records if record.method.label == name)
        records.append(made["tested"](like, label, 0.5 + 0.1234 * number))
    made["write"](tmp_path, records)
    page = visit(
        report.write(tmp_path, tmp_path / "report.html"), viewport={"width": 1300, "height": 900}
    )
    heads = page.locator("#board thead th").all_inner_texts()
    shown = {" ".join(text.split()) for text in heads}
    assert {column.head for column in for_people()} <= shown
    room = "(({ scrollWidth, clientWidth }) => clientWidth - scrollWidth)"
    assert page.evaluate(f"{room}(document.querySelector('#leaderboard .scroll'))") >= 0


def test_the_plot_changes_its_plane(visit: Callable[..., Any]) -> None:
    page = visit()
    axes = "['x', 'y'].map((name) => document.getElementById(`${name}-metric`).value)"
    assert page.evaluate(axes) == ["cftd", "ssim"]
    page.get_by_role("button", name="distortion and realism").click()
    assert page.evaluate(axes) == ["ftd", "psnr_ref"]
    assert "PSNR ref" in page.evaluate("chart.options.scales.y.title.text")
    texts = "chart.data.datasets.map((one) => one.data[0].text)"
    assert any("floor (anchor)" in text for text in page.evaluate(texts))
    page.get_by_role("button", name="structure and realism").click()
    assert page.evaluate(axes) == ["cftd", "ssim"]
    assert not any("anchor" in text for text in page.evaluate(texts))


def test_further_metrics_can_be_shown(visit: Callable[..., Any]) -> None:
    page = visit()
    head = page.locator("#board thead th", has_text="grey EMD")
    assert head.count() == 0
    page.get_by_label("all metrics").check()
    assert head.count() == 1


def test_the_plot_leads_to_the_pairs_by_mouse_and_by_keyboard(visit: Callable[..., Any]) -> None:
    page = visit()
    page.locator("#plot").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    said = page.locator("#point").inner_text()
    assert "SSIM" in said
    page.keyboard.press("Enter")
    assert page.locator("#method option:checked").inner_text() == said.split(";")[0]
    page.locator("#scope").select_option(label="real_low → synthetic_high")
    page.locator("#x-metric").select_option("psnr")
    page.locator("#y-metric").select_option("ssim_ref")
    place = page.evaluate(
        """() => {
          const k = chart.data.datasets.findIndex((d) => d.label === "histogram");
          const { x, y } = chart.getDatasetMeta(k).data[0];
          return { x, y };
        }"""
    )
    page.locator("#plot").hover(position=place)
    hovered = page.evaluate(
        "[chart.tooltip.title, chart.tooltip.body].flat(9).map((x) => x.lines ?? x)"
    )
    assert "histogram" in str(hovered)
    assert "95 % interval" in str(hovered)
    page.locator("#plot").click(position=place)
    head = page.locator("#pair-head")
    api.expect(head).to_have_text("real_low → synthetic_high", timeout=PATIENCE)
    assert page.locator("#method option:checked").inner_text() == "histogram"


def test_the_matrix_opens_a_pair(visit: Callable[..., Any]) -> None:
    page = visit()
    cell = page.locator("#matrix tbody tr").nth(3).locator("button").nth(1)
    cell.focus()
    page.keyboard.press("Enter")
    assert page.locator("#pair-head").inner_text() == "real_normal → synthetic_high"
    focused = "document.activeElement.closest('td.chosen') !== null"
    assert page.evaluate(focused), "the keyboard stays in the matrix"
    before = page.locator("#matrix").inner_text()
    page.locator("#matrix-metric").select_option("psnr")
    assert page.locator("#matrix").inner_text() != before
    page.locator("#pair .pick", has_text="histogram").click()
    assert page.locator("#method option:checked").inner_text() == "histogram"


def test_source_and_target_are_never_the_same(visit: Callable[..., Any]) -> None:
    page = visit()
    page.locator("#source").select_option("real_low")
    page.locator("#target").select_option("synthetic_low")
    page.locator("#source").select_option("synthetic_low")
    assert page.locator("#pair-head").inner_text() == "synthetic_low → real_low"


def test_the_viewer_shows_what_was_chosen(visit: Callable[..., Any]) -> None:
    page = visit()
    page.locator("#method").select_option("identity")
    page.locator("#against").select_option("source")
    caption = api.expect(page.locator("#difference-caption"))
    caption.to_contain_text(" 0.0 %", timeout=PATIENCE)
    assert set(pixels(page, "#difference")) == {255}
    source = pixels(page, "#before")
    assert source == pixels(page, "#after")
    page.locator("#against").select_option("true target")
    caption.not_to_contain_text(" 0.0 %", timeout=PATIENCE)
    page.locator("#thumbs button", has_text="histogram").click()
    slider = page.locator("#slider-caption")
    api.expect(slider).to_contain_text("histogram", timeout=PATIENCE)
    page.wait_for_timeout(100)
    assert pixels(page, "#after") != source
    assert pixels(page, "#before") == source
    view = page.locator("#view").input_value()
    page.get_by_label("Next view").click()
    assert page.locator("#view").input_value() != view
    page.get_by_label("Previous view").click()
    assert page.locator("#view").input_value() == view


def test_the_slider_and_the_zoom_move(visit: Callable[..., Any]) -> None:
    page = visit()
    clip = "getComputedStyle(document.getElementById('before')).clipPath"
    before = page.evaluate(clip)
    page.locator("#split").focus()
    page.keyboard.press("Home")
    assert page.evaluate(clip) != before
    box = page.locator("#split").bounding_box()
    page.locator("#split").click(position={"x": 0.75 * box["width"], "y": box["height"] / 2})
    assert 70 < float(page.locator("#split").input_value()) < 80
    page.locator("#zoom").fill("3")
    assert page.locator("#truth").bounding_box()["width"] == pytest.approx(
        3 * box["width"], rel=0.05
    )


def test_the_worst_images_come_first_and_open(visit: Callable[..., Any]) -> None:
    page = visit()
    page.locator("#extremes select[data-state]").select_option("histogram")
    page.locator("#extremes-metric").select_option("psnr")
    shown = page.locator("#worst button").all_inner_texts()
    values = [float(text.split("PSNR (dB) ")[1].split()[0]) for text in shown]
    assert len(values) == 6
    assert values == sorted(values)
    last = page.locator("#worst button").last
    pair, view = last.locator("span").nth(1).inner_text(), last.locator("span").nth(2).inner_text()
    last.click()
    assert page.locator("#pair-head").inner_text() == pair
    assert page.locator("#view").input_value() == view
    page.get_by_label("with pictures only").uncheck()
    assert page.locator("#worst button").count() == 6


def test_dark_and_light(visit: Callable[..., Any]) -> None:
    page = visit(color_scheme="dark")
    ground = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(ground)
    page.get_by_label("Switch between light and dark").click()
    assert page.evaluate(ground) != dark
    assert visit(color_scheme="light").evaluate(ground) == page.evaluate(ground)


def test_a_phone_scrolls_tables_and_never_the_page_sideways(visit: Callable[..., Any]) -> None:
    page = visit(viewport={"width": 360, "height": 740}, is_mobile=True, has_touch=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert page.evaluate("document.querySelector('#leaderboard .scroll').scrollWidth") > 360
    page.locator("#board .pick").first.tap()
    assert page.locator("#pair-head").inner_text()


def test_one_record_without_any_value_is_shown_too(
    visit: Callable[..., Any], finished: Path, tmp_path: Path
) -> None:
    name = "records/histogram/seed0/real_low--real_normal.json"
    record = json.loads((finished / name).read_text())
    for value in record["metrics"].values():
        value |= {"value": None, "per_image": None, "ci_low": None, "ci_high": None}
    (tmp_path / name).parent.mkdir(parents=True)
    (tmp_path / name).write_text(json.dumps(record))
    page = visit(report.write(tmp_path))
    assert rows(page) == ["histogram"]
    assert page.locator("#point").inner_text() == "No row has both values."
    assert page.locator("#matrix td.chosen").inner_text() == "–"
    assert "no picture" in page.locator("#slider-caption").inner_text()


def test_provenance_opens(visit: Callable[..., Any]) -> None:
    page = visit()
    details = page.locator("#provenance details", has_text="histogram")
    assert not details.locator("dl").is_visible()
    details.locator("summary").click()
    assert "torch" in details.locator("dl").inner_text()
    assert details.locator("tbody tr").count() == 20


def test_a_label_runs_no_script(visit: Callable[..., Any], tmp_path: Path) -> None:
    """The library of the table reads what it searches as HTML, and the page as text."""
    evil = "&<img src=x onerror=\"document.title='run'\">"
    folder = tmp_path / "phantom" / "smoke"
    made = runpy.run_path(str(Path(__file__).with_name("made_records.py")))
    rows = [*made["references"](), *made["row"](evil, {"ssim": 0.5, "ltd": 5.0})]
    page = visit(report.write(made["write"](folder, rows)))
    page.get_by_label("filter rows").fill("onerror")
    page.wait_for_timeout(300)
    assert page.locator("#board tbody tr").count() == 1
    assert page.locator("#board img").count() == 0
    assert page.title() != "run"
