"""How networks compute is set by `compute.NAME`; it changes no key and is recorded.

No GPU is needed: what only a GPU does by itself is set, and failures of cards are made up.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from xbench.core import compute
from xbench.core.compute import Compute
from xbench.core.errors import UserError
from xbench.harness import verify

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
Xbench = Callable[..., Any]
PAIR = ("--profile", "smoke", "--pairs", "synthetic_low:real_normal")
RUN = ("run", "--method", "medshift", *PAIR, "--set", "budget.images=16")


def settings(**given: object) -> list[str]:
    return [word for k, v in given.items() for word in ("--set", f"compute.{k}={v}")]


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("compute.precison=float32", "did you mean compute.precision?"),
        ("compute.precision=float16", "'auto', 'bfloat16' or 'float32'"),
        ("compute.compile=yes", "'auto', 'on' or 'off'"),
        ("compute.batch=0", "greater than or equal to 1"),
        ("comput.batch=8", "did you mean compute?"),
    ],
)
def test_a_wrong_setting_is_a_mistake_of_the_user(xbench: Xbench, setting: str, words: str) -> None:
    result = xbench(*RUN, "--set", setting)
    assert result.code == 2
    assert words in result.err
    assert len(result.err.strip().splitlines()) == 3


def test_one_sweep_computes_in_one_way(xbench: Xbench) -> None:
    grid = ("--set", "tau=0.3,0.6", "--set", "compute.batch=2,4")
    result = xbench("sweep", "--method", "medshift", *PAIR, *grid)
    assert result.code == 2
    assert "computed in the same way" in result.err


def test_records_say_how_networks_computed_and_keys_do_not(
    xbench: Xbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = settings(precision="bfloat16", channels_last="on", batch=5)
    assert xbench(*RUN, *given).code == 0
    (path,) = Path("runs").rglob("records/medshift*/*/*.json")
    found = {"precision": "bfloat16", "compile": "off", "channels_last": "on"}
    trained = {f"training {name}": value for name, value in found.items()}
    assert json.loads(path.read_text())["provenance"]["compute"] == {**found, **trained}
    plan = json.loads(xbench(*RUN, "--dry-run", "--json").out)
    assert all(unit["done"] for unit in plan["units"])
    # Verified in the record's precision; where there is none, within bounds that are reported.
    check = translation(xbench("verify", path, "--json"))
    assert check["outcome"] == "same"
    assert "precision" not in check["note"]
    monkeypatch.setattr(verify, "lacks_bfloat16", lambda device: True)
    check = translation(xbench("verify", path, "--json"))
    assert check["outcome"] == "same"
    assert "another precision (bfloat16 and float32)" in check["note"]
    assert "up to 6554, mean 655" in check["note"]


def translation(result: Any) -> dict[str, str]:
    checks = {check["check"]: check for check in json.loads(result.out)}
    return checks["translation"]  # type: ignore[no-any-return]


def test_by_default_a_cpu_computes_as_ever_and_older_records_are_verified(
    xbench: Xbench, finished: Path, tmp_path: Path
) -> None:
    """Earlier versions did not write how networks computed."""
    shutil.copytree(finished, tmp_path / "runs/phantom/smoke")
    path = next((tmp_path / "runs").rglob("records/medshift*/*/*.json"))
    record = json.loads(path.read_text())
    made = record["provenance"].pop("compute")
    assert made["precision"] == made["training precision"] == "float32"
    assert {v for name, v in made.items() if "precision" not in name} == {"off"}
    path.write_text(json.dumps(record))
    assert translation(xbench("verify", path, "--json"))["outcome"] == "same"


def test_bfloat16_is_refused_where_a_gpu_lacks_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: False)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Card X")
    assert compute.precision(Compute(), CUDA) == torch.float32
    with pytest.raises(UserError, match="Card X has no bfloat16"):
        compute.check(Compute(precision="bfloat16"), CUDA)
    compute.check(Compute(precision="bfloat16"), CPU)


PLUGIN = """
import os

import torch
from xbench.methods.identity import Identity


class Full(Identity):
    name = "full"
    error = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9.00 GiB")

    def translate(self, images, source, target, *, generators):
        if source == "real_low" and "NO_CARD" in os.environ:
            raise self.error
        return images.clone()


class Lost(Full):
    name = "lost"
    error = RuntimeError("CUDA error: device has fallen off the bus")
"""


def test_what_a_card_cannot_do_is_recorded_and_resumed(
    xbench: Xbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two units one has failed, the other is done; later the one is done, too."""
    Path("card.py").write_text(PLUGIN)
    monkeypatch.setenv("NO_CARD", "1")
    pairs = "synthetic_low:real_normal,real_low:real_normal"
    methods = "card.py:Full,card.py:Lost"
    command = ("run", "--method", methods, "--profile", "smoke", "--pairs", pairs)
    assert xbench(*command).code == 1
    for name, words in {
        "full": "ran out while one image of 32 × 32 px was translated",
        "lost": "The GPU failed. See: xbench doctor",
    }.items():
        (failure,) = Path("runs").rglob(f"failed/{name}/*/*.json")
        assert words in json.loads(failure.read_text())["traceback"]
        assert len(list(Path("runs").rglob(f"records/{name}/*/*.json"))) == 1
    monkeypatch.delenv("NO_CARD")
    assert xbench(*command, "--retry-failed").code == 0
    for name in ("full", "lost"):
        assert len(list(Path("runs").rglob(f"records/{name}/*/*.json"))) == 2
        assert not list(Path("runs").rglob(f"failed/{name}/*/*.json"))
