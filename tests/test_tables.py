"""Tables of every kind: what is marked, what is left out, and that names are shown as text."""

import json
import re
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from xbench.metrics.base import METRICS
from xbench.records.schema import Provenance, Record, Value

made = runpy.run_path(str(Path(__file__).with_name("made_records.py")))
record, row, references, write = (made[n] for n in ("record", "row", "references", "write"))
PAIRS = made["PAIRS"]

Xbench = Callable[..., Any]

FOLDER = Path("runs/phantom/smoke")
SMOKE = ("--profile", "smoke")


def board(xbench: Xbench, *options: object) -> Any:
    """`xbench leaderboard`, which must go well."""
    result = xbench("leaderboard", *SMOKE, *options)
    assert result.code == 0, result.err
    return result


def rows_of(xbench: Xbench, *options: object) -> list[dict[str, Any]]:
    """The rows that `xbench leaderboard --json` prints."""
    rows: list[dict[str, Any]] = json.loads(board(xbench, *options, "--json").out)
    return rows


def test_the_best_is_marked_where_the_difference_is_no_chance(xbench: Xbench) -> None:
    write(
        FOLDER,
        [
            *references(),
            *row("good", {"ssim": 0.900, "ftd": 10.0}),
            *row("fair", {"ssim": 0.899, "ftd": 20.0}),
            # The heads of this one differ in another way, by more than the rows do in ssim.
            *row("poor", {"ssim": 0.898, "ftd": 30.0}, heads=made["HEADS"][::-1]),
        ],
    )
    board(xbench)
    text = (FOLDER / "leaderboard.md").read_text()
    good, fair, poor = (
        next(line for line in text.splitlines() if f"| {name} † |" in line)
        for name in ("good", "fair", "poor")
    )
    assert "| **10.00** ± " in good
    assert "| *20.00* ± " in fair
    assert "| 30.00 ± " in poor
    # In ssim good is ahead of fair on every head, yet not of poor: no lead, so no second either.
    assert "| 0.900 ± " in good
    assert "| 0.899 ± " in fair
    latex = (FOLDER / "tables" / "leaderboard.tex").read_text()
    assert r"\textbf{10.00} $\pm$" in latex
    assert r"\underline{20.00} $\pm$" in latex
    assert "**100" not in text


def test_heads_shared_by_all_rows_cancel_in_differences(xbench: Xbench) -> None:
    """The intervals of both overlap by far, that of their difference has no width."""
    write(FOLDER, [*row("one", {"ftd": 10.0}), *row("other", {"ftd": 10.1})])
    board(xbench)
    text = (FOLDER / "leaderboard.md").read_text()
    assert re.search(r"\| \*\*10.00\*\* ± 0.2\d \|", text)
    assert re.search(r"\| 10.10 ± 0.2\d \|", text)


def test_without_intervals_nothing_is_marked(xbench: Xbench) -> None:
    records = [*row("one", {"ftd": 10.0}), *row("other", {"ftd": 90.0})]
    for each in records:
        each.metrics["ftd"].left_out = None
    write(FOLDER, records)
    board(xbench)
    text = (FOLDER / "leaderboard.md").read_text()
    assert "| 10.00 |" in text
    assert "**" not in text


def test_several_seeds_show_their_deviation(xbench: Xbench) -> None:
    write(
        FOLDER,
        [
            *row("one", {"ftd": 40.0}, seed=0),
            *row("one", {"ftd": 42.0}, seed=1),
            *row("other", {"ftd": 90.0}),
        ],
    )
    board(xbench)
    text = (FOLDER / "leaderboard.md").read_text()
    # Half of the interval over two seeds is t(1) · 1.41 / √2 = 12.7; that over heads adds 0.0.
    assert re.search(r"\*\*41.00\*\* ± 12.7\d \(σ 1.41\)", text)
    assert "σ is the standard deviation over seeds" in text
    assert re.search(r"90.00 ± 0.2\d \|", text)


def test_filters_change_what_is_shown_and_no_file(xbench: Xbench) -> None:
    records = [*references(), *row("one", {"ssim": 0.8, "ftd": 10.0})]
    for pair, ftd, ssim in ((("sim", "real_a"), 4.0, 0.9), (("sim", "real_b"), 6.0, 0.7)):
        records.append(record("some", pair, {"ftd": ftd, "ssim": ssim}))
    write(FOLDER, records)
    board(xbench)
    before = {path: path.read_bytes() for path in FOLDER.rglob("*") if path.is_file()}
    some = {row["method"]: row for row in rows_of(xbench)}["some"]
    assert some["pairs"] == "2/6"
    assert some["ftd"] is None
    there = rows_of(xbench, "--group", "synthetic:real")
    assert [(r["method"], r["rank"], r["ftd"]) for r in there] == [
        ("floor", None, 0.0),
        ("some", 1, 5.0),
        ("one", 2, 10.0),
        ("identity", None, 100.0),
    ]
    assert there[1]["gap_closed"] == pytest.approx(0.95)
    one_pair = ("--pairs", "sim:real_b")
    by_ssim = rows_of(xbench, *one_pair, "--sort", "ssim")
    assert [r["method"] for r in by_ssim] == ["identity", "one", "some", "floor"]
    shown = board(xbench, *one_pair, "--metrics", "ssim").out
    assert "SSIM ↑" in shown
    assert "FTD ↓" not in shown
    assert {path: path.read_bytes() for path in FOLDER.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("options", "wrong"),
    [
        (("--group", "syntetic:real"), "did you mean synthetic:real?"),
        (("--group", "within", "--pairs", "sim:real_a"), "none of these pairs"),
        (("--pairs", "sim:real_c"), "domain called 'real_c'"),
        (("--metrics", "simm"), "did you mean ssim?"),
        (("--sort", "param"), "did you mean params?"),
        (("--table", "pair"), "did you mean pairs?"),
        (("--table", "ablation"), "no method has finished in two configurations"),
        (("--to", "board.xls"), "expected: a file name that ends in .csv, .md or .tex"),
    ],
)
def test_mistakes_are_named(xbench: Xbench, options: tuple[str, ...], wrong: str) -> None:
    write(FOLDER, [*references(), *row("one", {"ssim": 0.8, "ftd": 10.0})])
    result = xbench("leaderboard", *SMOKE, *options)
    assert result.code == 2
    assert wrong in result.err
    assert len(result.err.strip().splitlines()) == 3


def test_groups_are_means_over_their_pairs(xbench: Xbench) -> None:
    values = dict(zip(made["PAIRS"], (1.0, 2.0, 3.0, 4.0, 5.0, 6.0), strict=True))
    write(FOLDER, [record("one", pair, {"ftd": value}) for pair, value in values.items()])
    board(xbench)
    table = pd.read_csv(FOLDER / "tables" / "by-group.csv").set_index("group").ftd
    assert table["synthetic → real"] == (1 + 2) / 2
    assert table["real → synthetic"] == (3 + 5) / 2
    assert table["within"] == (4 + 6) / 2
    by_pair = pd.read_csv(FOLDER / "tables" / "by-pair.csv").set_index("pair").ftd
    assert {f"{a} → {b}": value for (a, b), value in values.items()} == by_pair.to_dict()


def test_a_sweep_becomes_an_ablation_in_the_order_of_its_settings(xbench: Xbench) -> None:
    records = []
    for tau in (0.5, 0.1, 0.05, 1):
        label = "shift" if tau == 0.1 else f"shift[tau={tau:g}]"
        config = {"tau": tau, "solver": "euler", "widths": [1, 2]}
        records += row(label, {"ssim": 0.5 + tau / 4, "ftd": 90 * tau}, config=config)
    half = {"tau": 0.1, "solver": "euler", "widths": [1, 2]}
    records += row("shift[images=32]", {"ftd": 20.0}, config=half, train_images=32)
    write(FOLDER, [*references(), *records, *row("alone", {"ftd": 1.0})])
    board(xbench)
    table = pd.read_csv(FOLDER / "tables" / "ablation-shift.csv")
    assert table.tau.tolist() == [0.05, 0.1, 0.1, 0.5, 1]
    assert table.images.tolist() == [64, 32, 64, 64, 64]
    assert "solver" not in table
    assert table.ftd.tolist() == pytest.approx([4.5, 20, 9, 45, 90])
    assert not (FOLDER / "tables" / "ablation-alone.csv").exists()
    shown = board(xbench, "--table", "ablation", "--to", "taus.tex").out
    assert shown.index("0.05") < shown.index("0.5")
    assert r"tau & images & SSIM $\uparrow$" in Path("taus.tex").read_text()


def test_a_setting_may_be_called_like_a_column(xbench: Xbench) -> None:
    records = [
        one
        for nfe in (5, 1)
        for one in row(f"bridge[nfe={nfe}]", {"ftd": 9.0}, config={"nfe": nfe, "method": nfe})
    ]
    write(FOLDER, [*references(), *records])
    board(xbench)
    table = pd.read_csv(FOLDER / "tables" / "ablation-bridge.csv")
    assert table["bridge.nfe"].tolist() == table["bridge.method"].tolist() == [1, 5]
    assert table.nfe.tolist() == [1, 1], "what a record says that the method takes"


@pytest.mark.parametrize("settings", [2, 3])
def test_many_settings_of_one_training_are_shown_and_not_ranked(
    xbench: Xbench, settings: int
) -> None:
    same = {"weights_sha256": {"net": "0" * 64}}
    records = row("shift", {"ftd": 9.0}, config={"tau": 0.1}, **same)
    for number in range(1, 1 + settings):
        tau = 0.1 + number / 10
        label = f"shift[tau={tau:g}]"
        records += row(label, {"ftd": 9.0 - number}, config={"tau": tau}, **same)
    other = row("shift[width=32]", {"ftd": 8.5}, weights_sha256={"wider": "1" * 64})
    write(FOLDER, [*references(), *records, *other])
    ranks = {line["method"]: line["rank"] for line in rows_of(xbench)}
    lines = (FOLDER / "leaderboard.md").read_text()
    ablation = pd.read_csv(FOLDER / "tables" / "ablation-shift.csv")
    assert len(ablation) == settings + 2
    if settings == 3:
        assert ranks["shift[width=32]"] == 1
        assert ranks["shift"] == 2
        assert all(rank is None for label, rank in ranks.items() if "tau" in label)
        assert "| shift[tau=" not in lines
        assert "Not ranked: 3 rows of shift" in lines
        assert "tau" not in board(xbench, "--table", "pairs").out
        assert "tau" not in board(xbench).out
    else:
        assert ranks["shift[tau=0.3]"] == 1
        assert "shift[tau=0.3]" in board(xbench).out
        assert "| shift[tau=0.3] † |" in lines


def test_a_sweep_over_more_seeds_than_the_plain_row_is_one_too(xbench: Xbench) -> None:
    records = []
    for seed, settings in ((0, (0.1, 0.2, 0.3, 0.4)), (1, (0.2, 0.3, 0.4))):
        for tau in settings:
            label = "shift" if tau == 0.1 else f"shift[tau={tau}]"
            networks = {"weights_sha256": {f"net of seed {seed}": "0" * 64}, "seed": seed}
            records += row(label, {"ftd": 9.0 - tau}, config={"tau": tau}, **networks)
    write(FOLDER, [*references(), *records])
    ranks = {line["method"]: line["rank"] for line in rows_of(xbench)}
    assert [label for label, rank in ranks.items() if rank] == ["shift"]


def test_a_seed_that_has_only_begun_costs_nothing_and_is_no_second_one(xbench: Xbench) -> None:
    def trained(seed: int) -> list[Record]:
        return [
            record("each", pair, {"ftd": 9.0}, seed=seed, weights_sha256={f"{seed} {pair}": "0"})
            for pair in PAIRS
        ]

    write(FOLDER, [*references(), *trained(0)])
    (whole,) = (line for line in rows_of(xbench) if line["method"] == "each")
    write(FOLDER, trained(1)[:1])
    (begun,) = (line for line in rows_of(xbench) if line["method"] == "each")
    costs = ("seeds", "train_images_total", "train_seconds", "seconds_per_image")
    assert [begun[name] for name in costs] == [whole[name] for name in costs]
    assert "| each † |" in (FOLDER / "leaderboard.md").read_text()


def test_rows_scored_by_todays_definition_stay_when_another_finished_later(xbench: Xbench) -> None:
    old = row("old", {"ftd": 9.0}, seed=5)
    for one in old:
        one.metrics["ftd"].identity = "ftd-of-yesterday"
    write(FOLDER, [*references(), *row("new", {"ftd": 8.0}), *old])
    assert {line["method"] for line in rows_of(xbench)} == {"identity", "floor", "new"}


def test_a_metric_that_is_not_loaded_keeps_no_row_out(xbench: Xbench) -> None:
    records = [*row("one", {"ftd": 9.0}), *row("two", {"ftd": 8.0}, seed=1)]
    for place, one in enumerate(records):
        identity = f"mine-{place // len(PAIRS)}"
        one.metrics["mine"] = one.metrics["ftd"].model_copy(update={"identity": identity})
    write(FOLDER, [*references(), *records])
    assert {"one", "two"} <= {line["method"] for line in rows_of(xbench)}


def test_a_long_table_is_set_on_several_pages(xbench: Xbench) -> None:
    methods = [f"m{number}" for number in range(20)]
    records = [r for place, name in enumerate(methods) for r in row(name, {"ftd": 1.0 + place})]
    write(FOLDER, [*references(), *records])
    board(xbench)
    text = (FOLDER / "tables" / "by-pair.tex").read_text()
    pages = text.split(r"\begin{table*}")[1:]
    assert len(pages) == 2
    assert "Part 2 of 2" in pages[1]
    for page in pages:
        assert page.count(r"\multicolumn") == 3, "of the six pairs"
        assert len(re.findall(r" & m\d+ & ", page)) == 60, "with all methods"


def test_parameters_are_shown_for_one_pair_and_for_all(xbench: Xbench) -> None:
    write(FOLDER, [*references(), *row("one", {"ftd": 1.0}, params_dead=500_000)])
    shown = board(xbench, "--table", "parameters").out
    assert "1.50 M (1.00 M live)" in shown
    (one,) = (r for r in rows_of(xbench, "--table", "parameters") if r["method"] == "one")
    assert (one["params"], one["params_total"], one["params_training"]) == (1.5e6, 3e6, 2.5e5)
    assert one["seconds_per_image"] == pytest.approx(0.002)


@pytest.mark.parametrize("what", ["key", "profile", "identity"])
def test_what_cannot_be_compared_is_named(xbench: Xbench, what: str) -> None:
    (other,) = [record("old", ("sim", "real_a"), {"ftd": 1.0})]
    other.finished = "1999-01-01T00:00:00+00:00"
    if what == "key":
        other.data.key = "phantom-v0-old"
    elif what == "profile":
        other.profile = "paper"
    else:
        other.metrics["ftd"].identity = "ftd-v0"
    write(FOLDER, [*row("one", {"ftd": 1.0}), other])
    result = board(xbench)
    assert "left out 1 record of another" in result.err
    named = {"key": "phantom-v0-old", "profile": "profile paper", "identity": "ftd-v0"}
    assert named[what] in result.err
    assert "old" not in set(pd.read_csv(FOLDER / "pairs.csv").method)


def test_names_are_shown_as_text_whatever_is_in_them(xbench: Xbench) -> None:
    name = "<script>a_b&$x^2$|50%#{c}~\\"
    write(FOLDER, row(name, {"ftd": 1.0}, name="odd"))
    assert name in board(xbench).out
    markdown = (FOLDER / "leaderboard.md").read_text()
    assert "&lt;script&gt;a\\_b&amp;\\$x^2\\$\\|50%#{c}\\~\\\\ † |" in markdown
    latex = (FOLDER / "tables" / "leaderboard.tex").read_text()
    expected = (
        r"\textless{}script\textgreater{}a\_b\&\$x\textasciicircum{}2\$\textbar{}50\%\#\{c\}"
        r"\textasciitilde{}\textbackslash{} \textdagger{} &"
    )
    assert expected in latex


def test_one_method_on_one_pair_and_missing_metrics_make_tables(xbench: Xbench) -> None:
    write(FOLDER, [record("one", ("sim", "real_a"), {"ssim": 0.5, "ftd": None})])
    for table in ("leaderboard", "pairs", "groups", "parameters"):
        board(xbench, "--table", table)
    text = (FOLDER / "leaderboard.md").read_text()
    assert "| one † (pairs 1/6) |" in text
    assert "Empty: FTD: not computed" in text
    (pair,) = pd.read_csv(FOLDER / "tables" / "by-pair.csv").to_dict("records")
    assert pair["ssim"] == 0.5
    assert pd.isna(pair["ftd"])


def test_of_missing_weights_the_newest_record_gives_the_reason(xbench: Xbench) -> None:
    def waiting(seed: int, reason: str) -> list[Record]:
        value = Value(identity=METRICS["fid"].identity, value=None, reason=reason, pending=True)
        plain = row("one", {"ssim": 0.5, "kid": None}, seed=seed)
        return [r.model_copy(update={"metrics": r.metrics | {"fid": value}}) for r in plain]

    write(FOLDER, [*waiting(1, "weights not fetched"), *waiting(0, "weights are offline")])
    board(xbench)
    text = (FOLDER / "leaderboard.md").read_text()
    assert "Empty: FID: weights not fetched" in text
    assert "offline" not in text
    assert "Empty: KID: not computed" in text


def test_times_are_of_the_quickest_machine_of_a_row_and_machines_are_named(xbench: Xbench) -> None:
    one, two = ({"provenance": Provenance(threads=count)} for count in (1, 2))
    slow, quick = ({"seconds": s, "train_seconds": s} for s in (16.0, 1.6))
    values = {"ssim": 0.5, "ftd": 9.0}
    write(
        FOLDER,
        [
            *(record for r in references() for record in [r.model_copy(update=two)]),
            *row("mixed", values, seed=0, **two, **quick),
            *row("mixed", values, seed=1, **one, **slow),
            *row("slow", values, **one, **slow),
            *(part for k, r in enumerate(row("torn", values, **one, **slow)) for part in [r] if k),
            *row("torn", values, **two, **quick)[:1],
        ],
    )
    times = {
        line["method"]: (line["seconds_per_image"], line["train_seconds"])
        for line in rows_of(xbench)
    }
    assert times["mixed"] == pytest.approx((0.1, 1.6))  # of 16 images
    assert times["slow"] == pytest.approx((1.0, 16.0))
    assert times["torn"][0] == pytest.approx((5 * 1.0 + 0.1) / 6)  # of one seed nothing is left out
    text = (FOLDER / "leaderboard.md").read_text()
    assert "on 1 CPU thread: slow; " in text
    assert "on 2 CPU threads: all others" in text


def test_equal_records_make_equal_files(xbench: Xbench) -> None:
    write(FOLDER, [*references(), *row("one", {"ssim": 0.8, "ftd": 10.0})])
    board(xbench)
    before = {path: path.read_bytes() for path in FOLDER.rglob("*") if path.is_file()}
    for path in before:
        if "records" not in path.parts:
            path.unlink()
    board(xbench)
    assert {path: path.read_bytes() for path in FOLDER.rglob("*") if path.is_file()} == before
