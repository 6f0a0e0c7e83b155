"""`xbench verify`: is a record true?"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from xbench.cli import main

Xbench = Callable[..., Any]
NAME = "seed0/synthetic_low--real_normal"


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of one pair; tests work on copies."""
    out = tmp_path_factory.mktemp("done") / "runs"
    pair = "synthetic_low:real_normal"
    arguments = ("--profile", "smoke", "--pairs", pair, "--set", "budget.images=64")
    with pytest.raises(SystemExit):
        main(["run", "--method", "medshift", *arguments, "--out", str(out)])
    return out


@pytest.fixture
def record(done: Path, tmp_path: Path) -> Path:
    """The record in a copy, in the folder where commands are run."""
    shutil.copytree(done, tmp_path / "runs")
    (found,) = (tmp_path / "runs/phantom/smoke/records").glob(f"medshift*/{NAME}.json")
    return found


def outcomes(result: Any) -> dict[str, str]:
    return {check["check"]: check["outcome"] for check in json.loads(result.out)}


def edit(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))


def images_of(record: Path) -> Path:
    return Path(str(record).replace("/records/", "/images/")).with_suffix("")


def test_an_honest_record_is_verified(xbench: Xbench, record: Path) -> None:
    result = xbench("verify", record, "--json")
    assert result.code == 0
    found = outcomes(result)
    assert found.pop("times") == "not verified"
    assert {*found} == {"images", "translation", "metrics", "method", "data", "training"}
    assert {*found.values()} == {"same"}


@pytest.mark.parametrize("label", ["identity", "floor"])
def test_reference_rows_are_verified_too(xbench: Xbench, record: Path, label: str) -> None:
    place = record.parents[2] / label / "seed0" / record.name
    found = outcomes(xbench("verify", place, "--json"))
    assert found.pop("times") == "not verified"
    assert {*found.values()} == {"same"}


def test_an_edited_value_is_found(xbench: Xbench, record: Path) -> None:
    edit(record, lambda r: r["metrics"]["ftd"].update(value=0.1))
    result = xbench("verify", record, "--json")
    assert result.code == 1
    assert outcomes(result)["metrics"] == "differs"
    edit(record, lambda r: r["metrics"]["ssim"].update(value=0.99))
    assert outcomes(xbench("verify", record, "--json"))["values"] == "differs"


@pytest.mark.parametrize(
    ("check", "change"),
    [
        ("metrics", lambda r: r["metrics"]["ftd"].update(ci_low=0.0)),
        ("metrics", lambda r: r["metrics"]["ftd"].update(n=10_000)),
        ("metrics", lambda r: r["metrics"]["ftd"].update(left_out=[0.1] * 8)),
        ("metrics", lambda r: r["metrics"]["ssim"]["per_image"].sort()),
        ("metrics", lambda r: r["metrics"]["ltd"].update(value=None, reason="too few")),
        ("metrics", lambda r: r.update(polarity=0.99)),
        ("method", lambda r: r["method"].update(params=7)),
        ("method", lambda r: r["method"].update(params_total=7)),
        ("method", lambda r: r["method"].update(nfe=1)),
        ("method", lambda r: r["method"].update(stochastic=True)),
        ("method", lambda r: r["method"].update(reference=True)),
        ("data", lambda r: r["data"]["groups"].reverse()),
        ("data", lambda r: r["data"]["domain_groups"].update(real_low="synthetic")),
        ("training", lambda r: r["method"].update(train_seconds=0.1)),
        ("training", lambda r: r["method"].update(weights_sha256={})),
        ("times", lambda r: r["seconds"].update(translate=0)),
    ],
)
def test_every_number_that_a_table_shows_is_checked(
    xbench: Xbench, record: Path, check: str, change: Callable[[dict[str, Any]], None]
) -> None:
    edit(record, change)
    result = xbench("verify", record, "--json")
    assert result.code == 1
    assert [name for name, outcome in outcomes(result).items() if outcome == "differs"] == [check]


def test_damaged_weights_are_a_difference(xbench: Xbench, record: Path) -> None:
    (weights,) = record.parents[3].glob("trainings/*/*.safetensors")
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    result = xbench("verify", record, "--json")
    assert result.code == 1
    assert outcomes(result)["training"] == "differs"


def test_changed_images_are_found(xbench: Xbench, record: Path) -> None:
    path = next(images_of(record).glob("*.png"))
    pixels = np.asarray(Image.open(path)).copy()
    pixels[0, 0] ^= 1
    Image.fromarray(pixels).save(path)
    result = xbench("verify", record, "--json")
    assert result.code == 1
    assert outcomes(result)["images"] == "differs"


def test_images_of_another_training_are_found(xbench: Xbench, record: Path) -> None:
    """All is consistent, but the method makes other images."""
    from xbench.core.pixels import pixels_digest
    from xbench.records.schema import Record
    from xbench.records.store import Store

    other = record.parents[2] / "identity" / "seed0" / record.name
    shutil.copytree(images_of(other), images_of(record), dirs_exist_ok=True)
    found = Record.model_validate_json(record.read_bytes())
    pixels = Store(record.parents[3]).images_of(found)
    edit(record, lambda r: r.update(images_sha256=pixels_digest(pixels)))
    result = xbench("verify", record, "--json")
    assert result.code == 1
    assert outcomes(result)["translation"] == "differs"


def test_without_images_all_are_made_again_and_compared_by_hash(
    xbench: Xbench, record: Path
) -> None:
    shutil.rmtree(images_of(record))
    result = xbench("verify", record)
    assert result.code == 2
    assert "--images" in result.out
    result = xbench("verify", record, "--images", 1000, "--json")
    assert result.code == 0
    assert outcomes(result)["translation"] == "same"


def test_what_cannot_be_verified_is_said(xbench: Xbench, record: Path) -> None:
    shutil.rmtree(record.parents[3] / "trainings")
    result = xbench("verify", record, "--json")
    assert outcomes(result)["translation"] == "not verified"
    assert outcomes(result)["metrics"] == "same"
    edit(record, lambda r: r.update(key="0123") or r["data"].update(key="phantom-v0-cafe"))
    result = xbench("verify", record)
    assert "phantom-v0-cafe" in result.out


def test_some_records_of_a_folder_are_verified_the_same_each_time(
    xbench: Xbench, record: Path
) -> None:
    folder = record.parents[3]
    result = xbench("verify", folder, "--sample", 3, "--json")
    assert result.code == 0
    first = [entry["record"] for entry in json.loads(result.out)]
    assert len({*first}) == 3
    assert all("translation" in {c["check"] for c in e["checks"]} for e in json.loads(result.out))
    edit(Path(first[1]), lambda r: r["metrics"]["ssim"].update(value=0.99))
    result = xbench("verify", folder, "--sample", 2)
    assert result.code == 1
    assert [name for name in first if name in result.out] == first[:2]
    shutil.rmtree(folder / "records")
    assert "no finished units" in xbench("verify", folder).err


def test_what_is_no_record_is_a_mistake(xbench: Xbench) -> None:
    Path("note.json").write_text("{}")
    for name in ("note.json", "nothing.json"):
        result = xbench("verify", name)
        assert result.code == 2
        assert len(result.err.strip().splitlines()) == 3
