"""Reference rows of data that know more: `expected`, `paired`; and pixels that are left out."""

import json
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import xbench as package
from xbench.methods.base import Method
from xbench.methods.paired import PairedTraining

WORLD = Path(__file__).with_name("aligned_world.py")
DATA, HIDDEN = f"{WORLD}:Aligned", f"{WORLD}:Hidden"
write = runpy.run_path(str(Path(__file__).with_name("score_world.py")))["write"]
PAIR = "flat--steep"
ALIGNED = ("ltd", "ssim_ref", "psnr_ref", "match")

Xbench = Callable[..., Any]


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def run(methods: Any = "identity", dataset: str = DATA, **settings: Any) -> Any:
    named = {name.replace("__", "."): value for name, value in settings.items()}
    return package.run(methods, dataset, "smoke", settings=named, quiet=True).set_index("method")


def path_of(row: str, data: str = "aligned") -> Path:
    return Path("runs", data, "smoke", "records", row, "seed0", f"{PAIR}.json")


def metrics(row: str, data: str = "aligned") -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path_of(row, data).read_text())["metrics"]
    return found


def test_the_noise_free_target_is_a_row_nearer_to_it_than_the_floor() -> None:
    board = run()
    assert list(board.index[board.reference]) == list(board.index)
    assert set(board.index) == {"identity", "floor", "expected", "shuffle", "nearest"}
    assert board["rank"].isna().all()
    # A second exposure has twice the squared error: 3 dB.
    assert board.psnr_ref["expected"] - board.psnr_ref["floor"] == pytest.approx(3.01, abs=0.1)
    assert board.ftd["expected"] > 10 * board.ftd["floor"]
    anchors = Path("runs/aligned/smoke/perception-distortion.csv").read_text()
    assert {"floor", "expected"} <= {line.split(",")[0] for line in anchors.splitlines()}


def test_data_that_know_neither_have_no_such_rows(xbench: Xbench) -> None:
    assert "expected" not in run(data__known=False).index
    for name, what in (("paired", "aligned training images"), ("expected", "noise-free images")):
        refused = xbench(
            *("run", "--dataset", DATA, "--profile", "smoke", "--method", name),
            *("--set", "data.known=false"),
        )
        assert refused.code == 2
        assert len(refused.err.strip().splitlines()) == 3
        assert f"has no {what}" in refused.err


def test_the_network_of_aligned_pairs_is_a_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[set[str]] = []
    fit = PairedTraining.fit

    def watched(self: PairedTraining, data: Any, *arguments: Any) -> Any:
        seen.append({name for name in dir(data) if not name.startswith("_")})
        return fit(self, data, *arguments)

    monkeypatch.setattr(PairedTraining, "fit", watched)
    board = run("paired", budget__images=2560)
    plain = run(["paired", "filter"], budget__images=2560, paired__grain=False)
    assert seen == [{"train", "paired"}]  # one training for both rows, without val and test
    grain, bare = "paired[images=2560]", "paired[grain=off,images=2560]"
    assert board.psnr_ref[grain] > board.psnr_ref["identity"] + 3
    assert plain.psnr_ref[bare] > plain.psnr_ref[grain] + 0.5
    assert plain["rank"].dropna().to_dict() == {"filter": 1}
    notes = Path("runs/aligned/smoke/leaderboard.md").read_text()
    assert "trained on aligned pairs" in notes
    assert "xbench run --method paired" in notes


def test_other_methods_see_no_aligned_images() -> None:
    seen: list[bool] = []

    class Curious(Method):
        about = "looks at what it is given"

        def setup(self, data: Any) -> None:
            seen.append(hasattr(data, "paired"))

        def translate(self, images: Any, source: str, target: str, *, generators: Any) -> Any:
            return images

    run(Curious)
    assert seen == [False]


def test_what_no_source_determines_does_not_count(xbench: Xbench) -> None:
    """Outputs that differ there alone have the same values."""
    world = runpy.run_path(str(WORLD))
    data = world["Hidden"](world["AlignedConfig"](size=32, hidden=4))
    outputs = data.images("test", "steep")[:][:, 0].double().numpy() * 0.9
    changed = np.where(data.unpredictable("test", "steep"), 0.0, outputs)
    for name, made in (("one", outputs), ("two", changed)):
        write(f"{name}/{PAIR}", made, data.ids("test", "steep"))
        call = ("score", "--dataset", HIDDEN, "--profile", "smoke")
        result = xbench(*call, "--as", name, "--translated", name)
        assert result.code == 0, result.err
    one, two = metrics("one", "hidden"), metrics("two", "hidden")
    assert one["ssim"]["value"] != two["ssim"]["value"]
    for name in ALIGNED:
        assert one[name] == two[name], name
        assert one[name]["value"] is not None
    # A second exposure draws again what is there, and is as good as without it.
    run()
    for name in ALIGNED:
        bare, floor = (metrics("floor", data)[name]["value"] for data in ("aligned", "hidden"))
        assert floor == pytest.approx(bare, rel=0.02), name


def test_identities_say_that_pixels_are_left_out() -> None:
    """Values of data without such pixels stay as they are; a set without any has equal ones."""
    run()
    run(data__hidden=0)
    plain, none = metrics("nearest"), metrics("nearest", "aligned[hidden=0]")
    assert {name for name in plain if plain[name]["identity"] != none[name]["identity"]} == {
        *ALIGNED
    }
    for name in ALIGNED:
        assert plain[name]["identity"].endswith("-v1")
        assert none[name]["identity"] == plain[name]["identity"][:-1] + "2"
        assert none[name]["value"] == pytest.approx(plain[name]["value"], abs=1e-9)
    stamps = [
        path_of("nearest", name).stat().st_mtime_ns for name in ("aligned", "aligned[hidden=0]")
    ]
    run()
    run(data__hidden=0)
    assert stamps == [  # both are final: nothing is scored again
        path_of("nearest", name).stat().st_mtime_ns for name in ("aligned", "aligned[hidden=0]")
    ]
