"""Which rows have a rank: those that show their own anatomy, and are made rather than pasted."""

import json
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from xbench.records.schema import Record

made = runpy.run_path(str(Path(__file__).with_name("made_records.py")))
record, row, write, PAIRS = (made[n] for n in ("record", "row", "write", "PAIRS"))

Xbench = Callable[..., Any]

FOLDER = Path("runs/phantom/smoke")
IDENTITY = {"ssim": 1.0, "ftd": 100.0, "ltd": 0.40}
FLOOR = {"ssim": 0.5, "ftd": 1.0, "ltd": 0.01}


def ranks(xbench: Xbench, *records: Record, **changed: Any) -> tuple[dict[str, int | None], str]:
    """Label → rank, from the best place down, and the notes under the table."""
    identity, floor = changed.get("identity", IDENTITY), changed.get("floor", FLOOR)
    label = changed.get("called", "floor")
    write(FOLDER, [*row("identity", identity), *row(label, floor, reference=True), *records])
    result = xbench("leaderboard", "--profile", "smoke", "--json")
    assert result.code == 0, result.err
    return {line["method"]: line["rank"] for line in json.loads(result.out)}, result.err


def test_the_least_local_texture_distance_is_first(xbench: Xbench) -> None:
    """Realism alone does not rank: `fair` has the smaller FTD."""
    found, _ = ranks(
        xbench,
        *row("good", {"ltd": 0.08, "ftd": 20.0}),
        *row("fair", {"ltd": 0.09, "ftd": 2.0}),
    )
    assert found == {"floor": None, "good": 1, "fair": 2, "identity": None}


@pytest.mark.parametrize(
    ("gate", "reason"),
    [
        ({"match": 0.66}, "anatomy not recognised on 6 pairs"),
        ({"copied": 0.71}, "pieces of training images (copied 0.71, allowed 0.70)"),
        ({"ngf": 0.35}, "structure of the source is not kept on 4 pairs"),
        ({"ltd": None}, "LTD is empty: not computed"),
        ({"match": None}, "match is empty: not computed"),
    ],
)
def test_a_row_that_fails_a_gate_stands_below_with_the_reason(
    xbench: Xbench, gate: dict[str, float], reason: str
) -> None:
    found, notes = ranks(
        xbench,
        *row("cheat", {"ltd": 0.02, "ftd": 1.5, **gate}),
        *row("honest", {"ltd": 0.09, "ftd": 20.0}),
    )
    assert found == {"floor": None, "honest": 1, "identity": None, "cheat": None}
    assert list(found)[-1] == "cheat"
    assert f"without a rank: cheat: {reason}" in notes


def test_values_at_the_bounds_pass(xbench: Xbench) -> None:
    found, _ = ranks(xbench, *row("edge", {"ltd": 0.09, "match": 0.9, "copied": 0.7, "ngf": 0.7}))
    assert found["edge"] == 1


def test_one_pair_that_fails_is_named(xbench: Xbench) -> None:
    records = row("one", {"ltd": 0.09})
    records[3] = record("one", PAIRS[3], {"ltd": 0.09, "match": 0.5})
    found, notes = ranks(xbench, *records)
    assert found["one"] is None
    source, target = PAIRS[3]
    assert f"on 1 pair (match 0.92, needed 0.90; {source} → {target}: 0.50)" in notes


def test_without_alignment_realism_ranks_what_passes_the_gates(xbench: Xbench) -> None:
    """No row has `ltd`: by FTD, since no row has FID; match is that of identity, not the floor."""
    no_ltd = {"identity": {"ftd": 100.0}, "called": "floor[n/2]"}
    found, notes = ranks(
        xbench,
        *row("real", {"ftd": 10.0}),
        *row("shuffle", {"ftd": 1.0, "match": 0.02}, reference=True),
        *row("cheat", {"ftd": 1.5, "match": 0.03}),
        floor={"ftd": 1.0, "match": 0.0},
        **no_ltd,
    )
    assert found == {
        **{"floor[n/2]": None, "real": 1, "identity": None, "shuffle": None, "cheat": None}
    }
    assert "without a rank: cheat: anatomy not recognised" in notes
    assert "ranked by FTD: LTD needs aligned targets" in notes


def test_with_too_few_images_for_any_distance_the_order_is_said(xbench: Xbench) -> None:
    found, notes = ranks(
        xbench,
        *row("zebra", {"ftd": None}),
        *row("apple", {"ftd": None}),
        identity={"ftd": None},
        floor={"ftd": None},
    )
    assert set(found.values()) == {None}
    assert [label for label in found if label in ("apple", "zebra")] == ["apple", "zebra"]
    assert "no row has a rank: FTD is empty" in notes
    assert "order of their names" in notes


def test_without_second_exposures_the_gap_ends_at_0(xbench: Xbench) -> None:
    ranks(xbench, *row("one", {"ltd": 0.1}), called="floor[n/2]", floor={"ltd": 0.5, "match": 0.1})
    board = json.loads(xbench("leaderboard", "--profile", "smoke", "--json").out)
    closed = {line["method"]: line["gap_closed"] for line in board}
    assert closed["one"] == pytest.approx((0.4 - 0.1) / 0.4)
    assert [line["rank"] for line in board if line["method"] == "one"] == [1]


def test_data_whose_sources_do_not_resemble_their_targets_are_not_ranked(xbench: Xbench) -> None:
    found, notes = ranks(
        xbench,
        *row("one", {"ltd": 0.1}),
        identity={**IDENTITY, "match": 0.6},
        called="floor[n/2]",
    )
    assert set(found.values()) == {None}
    assert "no row has a rank" in notes
    assert "the data are not aligned" in notes


@pytest.mark.parametrize("absent", ["match", "copied"])
def test_without_the_bounds_no_row_has_a_rank(xbench: Xbench, absent: str) -> None:
    found, notes = ranks(xbench, *row("one", {"ltd": 0.1}), floor={**FLOOR, absent: None})
    assert set(found.values()) == {None}
    assert f"no row has a rank: of 'floor' {absent} is empty: not computed" in notes


def test_another_budget_has_a_table_of_its_own(xbench: Xbench) -> None:
    twice = {"assignments": ["budget.images=128"], "train_images": 128}
    found, notes = ranks(
        xbench,
        *row("net", {"ltd": 0.1}),
        *row("net[images=128]", {"ltd": 0.05}, **twice),
    )
    assert found["net"] == 1
    assert found["net[images=128]"] is None
    assert "--table budgets" in notes
    main = (FOLDER / "leaderboard.md").read_text()
    assert "| net † |" in main
    assert "net[images" not in main.partition("±")[0]
    budgets = (FOLDER / "tables" / "budgets.md").read_text()
    assert "images=128" in budgets


def test_intervals_contain_the_deviation_over_seeds(xbench: Xbench) -> None:
    """Two seeds: half the interval is t(1) · sd / √2 or more; with one seed it is over heads."""
    seeds = [*row("two", {"ltd": 0.10}, seed=0), *row("two", {"ltd": 0.12}, seed=1)]
    ranks(xbench, *seeds, *row("once", {"ltd": 0.11}))
    board = json.loads(xbench("leaderboard", "--profile", "smoke", "--json").out)
    lines = {line["method"]: line for line in board}
    sd = 0.02 / 2**0.5
    half = lines["two"]["ltd_cross_ci_high"] - lines["two"]["ltd_cross"]
    alone = lines["once"]["ltd_cross_ci_high"] - lines["once"]["ltd_cross"]
    assert half == pytest.approx((alone**2 + (12.706 * sd / 2**0.5) ** 2) ** 0.5, rel=1e-3)


def test_a_cheat_is_not_marked_as_the_best(xbench: Xbench) -> None:
    ranks(
        xbench,
        *row("cheat", {"ltd": 0.02, "copied": 0.9}),
        *row("good", {"ltd": 0.08}),
        *row("fair", {"ltd": 0.09}),
    )
    lines = (FOLDER / "leaderboard.md").read_text().splitlines()
    cheat, good = (next(x for x in lines if f"| {name} †" in x) for name in ("cheat", "good"))
    assert "**" not in cheat
    assert "**0.080**" in good


def test_a_row_on_some_pairs_has_no_rank_whatever_ranks(xbench: Xbench) -> None:
    part = record("part", PAIRS[0], {"ltd": 0.01}, seconds=0.001)
    ranks(xbench, part, *row("whole", {"ltd": 0.1}))
    by_time = xbench("leaderboard", "--profile", "smoke", "--json", "--sort", "seconds_per_image")
    found = {line["method"]: line["rank"] for line in json.loads(by_time.out)}
    assert (found["part"], found["whole"]) == (None, 1)


def test_a_row_that_fails_on_one_pair_has_no_rank_on_the_others(xbench: Xbench) -> None:
    records = row("one", {"ltd": 0.05})
    records[3] = record("one", PAIRS[3], {"ltd": 0.05, "match": 0.5})
    ranks(xbench, *records, *row("other", {"ltd": 0.1}))
    pairs = xbench("leaderboard", "--profile", "smoke", "--json", "--pairs", ":".join(PAIRS[0]))
    assert {r["method"]: r["rank"] for r in json.loads(pairs.out)}["one"] is None


def test_one_seed_that_fails_on_a_pair_is_enough(xbench: Xbench) -> None:
    good, bad = row("one", {"ltd": 0.05}, seed=0), row("one", {"ltd": 0.05}, seed=1)
    bad[3] = record("one", PAIRS[3], {"ltd": 0.05, "match": 0.3}, seed=1)
    found, notes = ranks(xbench, *good, *row("one", {"ltd": 0.05}, seed=2), *bad)
    assert found["one"] is None
    assert "anatomy not recognised on 1 pair" in notes


def test_rows_of_two_unusual_budgets_share_no_ranking(xbench: Xbench) -> None:
    twice = row("a[images=128]", {"ltd": 0.1}, assignments=["budget.images=128"])
    thrice = row("b[images=192]", {"ltd": 0.2}, assignments=["budget.images=192"])
    found, _ = ranks(xbench, *twice, *thrice)
    assert {found["a[images=128]"], found["b[images=192]"]} == {None}
