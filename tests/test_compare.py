"""`xbench compare A B`: who is better, on which pairs, and whether it may be chance."""

import json
import runpy
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations, permutations, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy import stats

from xbench.analysis import compare as comparing
from xbench.analysis.compare import Comparison, compare
from xbench.cli.compare import sentences
from xbench.core.errors import UserError
from xbench.metrics.base import METRICS
from xbench.metrics.uncertainty import left_out
from xbench.records.schema import DataFacts, MethodFacts, Provenance, Record, Value
from xbench.records.store import Store
from xbench.records.units import UnitId

Xbench = Callable[..., Any]
Pair = tuple[str, str]
#: Pair → value of each image.
Numbers = Mapping[Pair, np.ndarray]

made = runpy.run_path(str(Path(__file__).with_name("made_records.py")))
DOMAINS = ("low", "normal", "high")
PAIRS = list(permutations(DOMAINS, 2))
GROUPS = [f"head{image // 2:02}" for image in range(24)]
IDS = [f"view{image:02}" for image in range(24)]


def numbers(seed: int, shift: float = 0.0) -> dict[Pair, np.ndarray]:
    """Values around 0.7 + shift whose scatter is the seed's, six digits as records have them."""
    rng = np.random.default_rng(seed)
    return {pair: np.round(0.7 + shift + 0.02 * rng.standard_normal(24), 6) for pair in PAIRS}


def distance(values: np.ndarray) -> Callable[[np.ndarray], float]:
    """A statistic of a set that is no mean of its images: 100 · mean²."""
    return lambda rows: float(100 * values[rows].mean() ** 2)


def write_row(
    folder: Path,
    label: str,
    values: Numbers,
    *,
    seed: int = 0,
    ids: Sequence[str] = IDS,
    groups: Sequence[str] = GROUPS,
    reference: bool = False,
    key: str = "made-up-v1",
) -> None:
    """Records of one row: `ssim_ref` is the mean of the numbers, `ftd` 100 · mean²."""
    for source, target in values:
        own = values[source, target]
        unit = UnitId(label, seed, source, target)
        everything = np.arange(len(own))
        blocks = left_out(distance(own), groups) if len(set(groups)) > 2 else None
        metrics = {
            "ssim_ref": Value(
                identity=METRICS["ssim_ref"].identity,
                value=float(own.mean()),
                per_image=own.tolist(),
            ),
            "ftd": Value(
                identity=METRICS["ftd"].identity,
                value=distance(own)(everything),
                left_out=None if blocks is None else blocks.tolist(),
            ),
            "fid": Value(identity=METRICS["fid"].identity, value=None, reason="no weights"),
        }
        Store(folder).write_record(
            unit,
            Record(
                key="".join(map(str, unit)),
                method=_method(label, reference),
                data=_data(key, ids, groups),
                profile="smoke",
                seed=seed,
                source=source,
                target=target,
                metrics=metrics,
                images_sha256="0",
                seconds={},
                provenance=Provenance(),
                finished="2030-01-01T00:00:00+00:00" if key == "made-up-v1" else "1999-01-01",
            ),
        )


def _method(label: str, reference: bool) -> MethodFacts:
    return MethodFacts(
        name=label,
        label=label,
        version="1",
        reference=reference,
        config={},
        params=None,
        params_total=None,
        params_training=None,
        nfe=None,
        stochastic=False,
        train_images=None,
        train_seconds=None,
        weights_sha256={},
    )


def _data(key: str, ids: Sequence[str], groups: Sequence[str]) -> DataFacts:
    return DataFacts(
        name="phantom",
        label="phantom",
        key=key,
        config={},
        split="test",
        domains=list(DOMAINS),
        domain_groups=dict.fromkeys(DOMAINS, "all"),
        ids=list(ids),
        groups=list(groups),
    )


def row_of(result: Comparison, pair: Pair) -> comparing.PairRow:
    return next(row for row in result.pairs if (row.source, row.target) == pair)


def group_means(values: np.ndarray) -> np.ndarray:
    return values.reshape(12, 2).mean(axis=1)


def test_a_better_method_wins_every_pair(tmp_path: Path) -> None:
    write_row(tmp_path, "good", numbers(1, shift=0.05))
    write_row(tmp_path, "poor", numbers(2))
    result = compare(tmp_path, "good", "poor")
    assert (result.wins, result.ties, result.losses) == (6, 0, 0)
    assert {row.better for row in result.pairs} == {"good"}
    assert result.ci_low is not None
    assert result.ci_high is not None
    assert 0 < result.ci_low < 0.05 < result.ci_high
    assert compare(tmp_path, "poor", "good").losses == 6
    text = sentences(result)
    assert len(text) == 3
    assert "good is better" in text[0]
    assert "good is better on 6 of 6 pairs, poor on 0" in text[1]


def test_of_a_distance_the_lower_row_is_better(tmp_path: Path) -> None:
    write_row(tmp_path, "far", numbers(1, shift=0.05))
    write_row(tmp_path, "near", numbers(2))
    result = compare(tmp_path, "far", "near", "ftd")
    assert (result.wins, result.losses) == (0, 6)
    assert {row.better for row in result.pairs} == {"near"}
    assert "near is better" in sentences(result)[0]


@pytest.mark.parametrize("metric", ["ssim_ref", "ftd"])
def test_equal_methods_do_not_differ(tmp_path: Path, metric: str) -> None:
    write_row(tmp_path, "one", numbers(1))
    write_row(tmp_path, "two", numbers(1))
    result = compare(tmp_path, "one", "two", metric)
    assert (result.wins, result.ties, result.losses) == (0, 6, 0)
    assert [row.p for row in result.pairs] == [1.0] * 6
    assert (result.difference, result.ci_low, result.ci_high) == (0, 0, 0)
    assert result.ranks is not None
    assert not result.ranks.differ
    assert result.ranks.ranks == {"one": 1.5, "two": 1.5}
    assert "may be chance" in sentences(result)[0]
    assert "the two do not differ" in sentences(result)[2]


def test_methods_that_differ_by_chance_alone_rarely_differ_significantly(tmp_path: Path) -> None:
    """At 5 % over all pairs of a comparison: of 20 comparisons, 4 would be too many."""
    significant = 0
    for trial in range(20):
        write_row(tmp_path, "one", numbers(100 + trial))
        write_row(tmp_path, "two", numbers(200 + trial))
        result = compare(tmp_path, "one", "two", "ftd" if trial % 2 else "ssim_ref")
        significant += result.wins + result.losses > 0
    assert significant < 4


def test_one_pair_that_differs_is_the_one_that_is_found(tmp_path: Path) -> None:
    first, second = numbers(1), numbers(2)
    first["low", "high"] = np.round(second["low", "high"] + 0.05, 6)
    write_row(tmp_path, "one", first)
    write_row(tmp_path, "two", second)
    result = compare(tmp_path, "one", "two")
    assert [(r.source, r.target) for r in result.pairs if r.better] == [("low", "high")]
    assert (result.wins, result.ties, result.losses) == (1, 5, 0)


def test_p_values_are_scipys_on_group_means(tmp_path: Path) -> None:
    one, two = numbers(1, shift=0.01), numbers(2)
    write_row(tmp_path, "one", one)
    write_row(tmp_path, "two", two)
    result = compare(tmp_path, "one", "two")
    for pair in PAIRS:
        expected = stats.wilcoxon(group_means(one[pair]), group_means(two[pair])).pvalue
        row = row_of(result, pair)
        assert row.p == pytest.approx(expected, abs=1e-12)
        assert row.difference == pytest.approx(one[pair].mean() - two[pair].mean(), abs=1e-9)
        assert row.ci_low is not None
        assert row.ci_high is not None
        assert row.ci_low < row.difference < row.ci_high
        assert (row.n, row.groups) == (24, 12)


def test_distances_are_tested_on_pseudo_values(tmp_path: Path) -> None:
    """Against the jackknife written out: 12 groups of equal size, one block each."""
    one, two = numbers(1, shift=0.01), numbers(2)
    write_row(tmp_path, "one", one)
    write_row(tmp_path, "two", two)
    result = compare(tmp_path, "one", "two", "ftd")

    def pseudo(values: np.ndarray) -> np.ndarray:
        means = group_means(values)
        without = np.array([100 * np.delete(means, g).mean() ** 2 for g in range(12)])
        return 12 * 100 * means.mean() ** 2 - 11 * without

    reach = stats.t.ppf(0.975, 11) / np.sqrt(12)
    differences = {pair: pseudo(one[pair]) - pseudo(two[pair]) for pair in PAIRS}
    for pair, values in differences.items():
        row = row_of(result, pair)
        assert row.p == pytest.approx(stats.wilcoxon(values).pvalue, abs=1e-12)
        half = reach * values.std(ddof=1)
        assert row.ci_low == pytest.approx(row.difference - half, rel=1e-6)
        assert row.ci_high == pytest.approx(row.difference + half, rel=1e-6)
    # The pairs share their groups: what differs from group to group is their mean over pairs.
    mean = np.mean(list(differences.values()), axis=0)
    half = reach * mean.std(ddof=1)
    assert result.ci_low == pytest.approx(result.difference - half, rel=1e-6)
    assert result.ci_high == pytest.approx(result.difference + half, rel=1e-6)


def test_holm_is_the_closed_test_of_bonferroni() -> None:
    p = [0.01, 0.04, 0.03, 0.005, 0.9]
    sets = [s for size in range(1, 6) for s in combinations(range(5), size)]
    closed = [max(min(1, len(s) * min(p[j] for j in s)) for s in sets if i in s) for i in range(5)]
    assert comparing.holm(p) == pytest.approx(closed)
    assert comparing.holm([]) == []


def test_zeros_are_left_out_of_the_signed_rank_test() -> None:
    values = np.random.default_rng(0).standard_normal(18) + 0.5
    exact = stats.wilcoxon(values, method="exact").pvalue
    assert comparing.signed_rank(np.append(values, [0, 0])) == exact
    assert comparing.signed_rank(np.array([1e-17, 0.0])) == 1


def test_seeds_are_averaged_before_the_test(tmp_path: Path) -> None:
    two = numbers(2)
    for seed, change in enumerate((0.02, -0.02, 0.0)):
        write_row(tmp_path, "one", {p: v + change for p, v in two.items()}, seed=seed)
    write_row(tmp_path, "two", two)
    result = compare(tmp_path, "one", "two")
    assert [row.p for row in result.pairs] == [1.0] * 6
    assert result.difference == pytest.approx(0, abs=1e-12)


def test_ranks_are_those_of_friedman_and_nemenyi(tmp_path: Path) -> None:
    rows = {name: numbers(i, shift=i / 50) for i, name in enumerate(("c", "b", "a"))}
    for name, values in rows.items():
        write_row(tmp_path, name, values)
    write_row(tmp_path, "floor", numbers(9, shift=0.2), reference=True)
    write_row(tmp_path, "half", {pair: numbers(9)[pair] for pair in PAIRS[:3]})
    result = compare(tmp_path, "a", "c")
    means = [[rows[name][pair].mean() for pair in PAIRS] for name in rows]
    assert result.ranks is not None
    assert list(result.ranks.ranks) == ["a", "b", "c"]
    assert result.ranks.p == pytest.approx(stats.friedmanchisquare(*means).pvalue)
    assert result.ranks.pairs == 6
    assert result.ranks.differ
    neighbours = compare(tmp_path, "a", "b").ranks
    assert neighbours is not None
    assert not neighbours.differ
    with_floor = compare(tmp_path, "a", "floor").ranks
    assert with_floor is not None
    assert list(with_floor.ranks) == ["floor", "a", "b", "c"]
    few = compare(tmp_path, "a", "half")
    assert len(few.pairs) == 3
    assert any("left out 3 pairs: 'half' has not translated it" in note for note in few.notes)


def test_the_critical_difference_is_that_of_demsars_tables() -> None:
    """Table 5(a): q of 2, 5 and 10 classifiers; and the example in 3.2.2: 4 on 14 data sets."""
    for rows, q in ((2, 1.960), (5, 2.728), (10, 3.164)):
        expected = q * np.sqrt(rows * (rows + 1) / (6 * 20))
        assert comparing.critical_difference(rows, 20) == pytest.approx(expected, abs=1e-3)
    assert comparing.critical_difference(4, 14) == pytest.approx(1.25, abs=0.01)


def test_few_groups_are_said_to_show_nothing(tmp_path: Path) -> None:
    groups = [f"head{image // 6}" for image in range(24)]
    write_row(tmp_path, "good", numbers(1, shift=0.5), groups=groups)
    write_row(tmp_path, "poor", numbers(2), groups=groups)
    result = compare(tmp_path, "good", "poor")
    assert result.wins == 0
    assert any("4 groups cannot show a difference on 6 pairs" in note for note in result.notes)


@pytest.mark.parametrize("metric", ["ssim_ref", "ftd"])
def test_two_groups_give_values_without_a_test(tmp_path: Path, metric: str) -> None:
    groups = [f"head{image // 12}" for image in range(24)]
    write_row(tmp_path, "good", numbers(1, shift=0.05), groups=groups)
    write_row(tmp_path, "poor", numbers(2), groups=groups)
    result = compare(tmp_path, "good", "poor", metric)
    assert (result.wins, result.ties, result.losses) == (0, 0, 0)
    assert {row.p for row in result.pairs} == {row.ci_low for row in result.pairs} == {None}
    assert {row.reason for row in result.pairs} == {"2 groups, an interval needs 3"}
    assert result.difference > 0
    assert "there is no interval" in sentences(result)[0]
    assert sentences(result)[1] == "No pair could be tested."


def test_rows_with_different_images_are_refused(tmp_path: Path) -> None:
    write_row(tmp_path, "one", numbers(1))
    write_row(tmp_path, "two", numbers(2), ids=[*IDS[:-1], "another"])
    with pytest.raises(UserError, match=r"low → normal \(2 ids are in one of them only\)"):
        compare(tmp_path, "one", "two")


@pytest.mark.parametrize(
    ("labels", "metric", "message"),
    [
        (("medshfit", "histogram"), "ssim_ref", "did you mean medshift"),
        (("medshift", "medshift"), "ssim_ref", "compared with itself"),
        (("medshift", "old"), "ssim_ref", "'old' has other data or metric definitions"),
        (("medshift", "histogram"), "sim_ref", "did you mean ssim_ref"),
        (("medshift", "histogram"), "fid", "fid of 'medshift' is empty: no weights"),
    ],
)
def test_mistakes_are_explained_in_three_lines(
    xbench: Xbench, runs: Path, labels: tuple[str, str], metric: str, message: str
) -> None:
    write_row(runs, "old", numbers(3), key="made-up-v0")
    result = xbench("compare", *labels, "--profile", "smoke", "--metric", metric)
    assert result.code == 2
    assert message in result.err
    assert len(result.err.strip().splitlines()) == 3
    assert "Traceback" not in result.err


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Two rows below `runs/`, where the command line looks for them."""
    folder = tmp_path / "runs" / "phantom" / "smoke"
    write_row(folder, "medshift", numbers(1, shift=0.05))
    write_row(folder, "histogram", numbers(2))
    return folder


def test_people_get_a_table_and_three_sentences(xbench: Xbench, runs: Path) -> None:
    result = xbench("compare", "medshift", "histogram", "--profile", "smoke")
    assert result.code == 0
    assert "low → normal" in result.out
    assert "medshift is better on 6 of 6 pairs" in result.out
    assert "are not shown" in result.err


def test_programs_get_finite_json(xbench: Xbench, runs: Path) -> None:
    result = xbench("compare", "medshift", "histogram", "--profile", "smoke", "--json")

    def refuse(name: str) -> None:
        pytest.fail(f"{name} in JSON")

    answer = json.loads(result.out, parse_constant=refuse)
    assert answer["wins"] == 6
    assert answer["pairs"][0]["better"] == "medshift"
    assert set(answer["ranks"]["ranks"]) == {"medshift", "histogram"}
    assert answer["picture"] is None
    assert len(answer["views"]) == 5


def test_the_images_that_differ_most_are_drawn(xbench: Xbench, tmp_path: Path) -> None:
    runs = tmp_path / "runs" / "phantom" / "smoke"
    values = {label: numbers(seed) for seed, label in enumerate(("medshift", "histogram"))}
    values["medshift"]["high", "low"][7] = 0.1
    values["medshift"]["low", "high"][3] = 0.2
    rng = np.random.default_rng(0)
    for label, row in values.items():
        write_row(runs, label, row)
    result = compare(runs, "medshift", "histogram")
    for label, (source, target) in product(("identity", "medshift", "histogram"), PAIRS):
        folder = runs / "images" / label / "seed0" / f"{source}--{target}"
        folder.mkdir(parents=True)
        for view in result.views:
            pixels = rng.integers(0, 65536, (16, 16)).astype(np.uint16)
            Image.fromarray(pixels).save(folder / f"{view.id}.png")
    assert [(v.source, v.target, v.id) for v in result.views[:2]] == [
        ("high", "low", "view07"),
        ("low", "high", "view03"),
    ]
    assert (result.views[0].a, result.views[0].b) == (0.1, values["histogram"]["high", "low"][7])
    call = ("compare", "medshift", "histogram", "--profile", "smoke", "--to", "differ.png")
    assert xbench(*call).out.strip().endswith("differ.png")
    whole = Image.open("differ.png").size
    (runs / "images" / "medshift" / "seed0" / "high--low" / "view07.png").write_bytes(b"broken")
    assert "1 of the 5 images that differ most are not shown" in xbench(*call).err
    assert Image.open("differ.png").height < whole[1]


def test_where_the_metric_has_sets_the_images_are_those_of_ssim(tmp_path: Path) -> None:
    one = numbers(1)
    one["low", "high"][3] = 0.2
    write_row(tmp_path, "one", one)
    write_row(tmp_path, "two", numbers(2))
    view = compare(tmp_path, "one", "two", "ftd").views[0]
    assert (view.metric, view.source, view.target, view.id) == ("ssim_ref", "low", "high", "view03")


def test_pairs_of_one_group_can_be_compared_alone(xbench: Xbench) -> None:
    across = [pair for pair in made["PAIRS"] if "sim" in pair]
    records = [
        made["record"]("a", pair, {"ftd": 9.0 if pair in across else 5.0}) for pair in made["PAIRS"]
    ]
    made["write"](Path("runs/phantom/smoke"), [*records, *made["row"]("b", {"ftd": 6.0})])
    place = ("compare", "a", "b", "--profile", "smoke", "--json")
    every, cross = (json.loads(xbench(*place, *more).out) for more in ((), ("--group", "cross")))
    assert [len(found["pairs"]) for found in (every, cross)] == [6, 4]
    assert every["difference"] == pytest.approx((4 * 3 - 2) / 6)
    assert cross["difference"] == pytest.approx(3)
    assert xbench(*place, "--group", "crossed").code == 2
