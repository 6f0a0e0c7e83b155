"""Records of earlier versions: one real file for every shape that was ever published.

`schemas/v1-first.json` is the earliest; `v1-costs.json` has what a method costs in training and
which settings were given; `v1-intervals.json` has intervals and reasons that may go away;
`v1-compact.json` leaves out what is not known. A new shape gets a file of its own, and these stay
as they are.
"""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from xbench.records.schema import Record

Xbench = Callable[..., Any]
SHAPES = sorted(Path(__file__).with_name("schemas").glob("*.json"))
PLACE = Path("runs/phantom/quick/records/medshift/seed0/real_low--real_normal.json")


def put(text: str, place: Path = PLACE) -> Path:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(text)
    return place


@pytest.mark.parametrize("shape", SHAPES, ids=[path.stem for path in SHAPES])
def test_a_record_of_every_shape_makes_tables(xbench: Xbench, shape: Path) -> None:
    put(shape.read_text())
    result = xbench("leaderboard")
    assert result.code == 0
    assert "warning" not in result.err
    with (PLACE.parents[3] / "pairs.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    metrics = json.loads(shape.read_text())["metrics"]
    assert row["method"] == "medshift"
    assert float(row["ssim_ref"]) == pytest.approx(metrics["ssim_ref"]["value"], rel=1e-5)


@pytest.mark.parametrize("shape", SHAPES, ids=[path.stem for path in SHAPES])
def test_a_published_record_says_the_same_in_today_s_layout(xbench: Xbench, shape: Path) -> None:
    text = shape.read_text()
    place = put(text)
    assert xbench("publish", "--to", "public").code == 0
    published = Path("public", *place.parts[1:]).read_text()
    assert Record.model_validate_json(published) == Record.model_validate_json(text)
    assert len(published) <= len(text)


def test_a_newer_schema_stays_where_it_is_and_is_told_once(xbench: Xbench) -> None:
    newer = json.loads(SHAPES[0].read_text()) | {"schema_version": 2, "colour": "blue"}
    places = [put(json.dumps(newer)), put(json.dumps(newer), PLACE.with_name("a--b.json"))]
    result = xbench("leaderboard")
    assert result.code == 0
    assert all(place.exists() for place in places)
    assert result.err.count("newer version of xbench (schema 2)") == 1


def test_a_truncated_record_is_set_aside(xbench: Xbench) -> None:
    place = put(SHAPES[0].read_text()[:3000])
    result = xbench("leaderboard")
    assert result.code == 0
    assert "damaged" in result.err
    assert not place.exists()
    assert place.with_name(place.name + ".corrupt").exists()
