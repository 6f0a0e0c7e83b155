"""The data set of CT heads: splits, domains, truth, settings and errors."""

import json
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("SimpleITK", reason="needs the extra ct")

from xbench.core.errors import UserError
from xbench.datasets import registry
from xbench.datasets.ct.dataset import CtConfig, CtHeads

made = runpy.run_path(str(Path(__file__).with_name("stand_in_heads.py")))
HU = made["volume"]()
CONFIG = CtConfig(size=32, voxel_mm=6.0, train_views=2, val_views=2, test_views=8)


def heads(folder: Path, count: int, **settings: Any) -> CtHeads:
    """Stand-in heads, each a little wider than the one before."""
    folder.mkdir(exist_ok=True)
    for number in range(count):
        spacing = (3 + 0.1 * number, 3, 3)
        made["save"](folder / f"head{number}.nii.gz", HU + number, spacing)
    kind = registry.get(f"ct:{folder}")
    assert issubclass(kind, CtHeads)
    return kind(CONFIG.model_copy(update=settings))


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XBENCH_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_heads_are_disjoint_and_rendered_in_every_domain(home: Path) -> None:
    data = heads(home / "scans", 8)
    used = {split: data.heads(split) for split in ("train", "val", "test")}
    names = [source.name for part in used.values() for _, source in part]
    assert sorted(names) == [f"head{n}" for n in range(8)]
    assert {domain for domain, _ in used["train"]} == set(data.domains)
    data.prepare()
    for domain in data.domains:
        assert data.train(domain)[:].shape[1:] == (1, 32, 32)
        images, expected = data.images("test", domain)[:], data.expected("test", domain)[:]
        assert 0.3 < images.mean() < 0.95
        assert (images - expected).abs().mean() < 0.1
        assert not np.array_equal(images, data.repeats("test", domain)[:])
    assert set(data.anatomy("test", "real_low")) == {"dense_bone"}
    assert data.masks("test", "real_low").any()
    assert {view.view for view in data.truth("test")} >= {"pa", "lateral", "towne"}
    assert {len(view.landmarks) for view in data.truth("test")} == {0}
    assert any("cuts the head off (bottom)" in line for line in data.notes())


def test_the_skull_is_darker_than_the_brain(home: Path) -> None:
    data = heads(home / "scans", 1, shared_heads=True)
    data.prepare()
    dense = data.masks("test", "real_normal")
    for domain in data.domains:
        image = data.expected("test", domain)[:][:, 0].numpy()
        assert image[dense].mean() < image[~dense].mean() - 0.1


def test_one_head_is_shared_only_on_request(home: Path) -> None:
    with pytest.raises(UserError, match=r"1 head: too few(.|\n)*--set data.shared_heads=true"):
        heads(home / "scans", 1).prepare()
    data = heads(home / "scans", 1, shared_heads=True)
    assert data.key.startswith("ct-shared-heads-v1-")
    assert any("shared by all domains" in line for line in data.notes())
    data.prepare()
    assert len(data.train("real_low")) == 2
    # The views differ: nothing of the test split was seen in training.
    train, test = (data.truth(split, "real_low") for split in ("train", "test"))
    assert not {view.lao for view in train} & {view.lao for view in test}


def test_contents_and_settings_are_in_the_key(home: Path) -> None:
    keys = {
        heads(home / "one", 1, shared_heads=True).key,
        heads(home / "two", 2, shared_heads=True).key,
        heads(home / "one", 1, shared_heads=True, noise=False).key,
        heads(home / "one", 1, shared_heads=True, hu="-1000:-1000,40:40").key,
    }
    assert len(keys) == 4


def test_a_copy_of_a_volume_is_refused(home: Path) -> None:
    folder = home / "scans"
    folder.mkdir()
    for name in ("a.mha", "b.nrrd"):
        made["save"](folder / name, HU)
    kind = registry.get(f"ct:{folder}")
    data = kind(CONFIG.model_copy(update={"shared_heads": True}))
    with pytest.raises(UserError, match="'a' and 'b' are the same volume"):
        data.prepare()


def test_a_worker_tells_of_an_unusable_volume(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made["save"](home / "a.mha", HU * 2 + 4000)
    kind = registry.get(f"ct:{home}")
    monkeypatch.setattr(CtHeads, "_workers", lambda self, todo: 2)
    with pytest.raises(UserError, match=r"no Hounsfield units(.|\n)*--set") as refused:
        kind(CONFIG.model_copy(update={"shared_heads": True})).prepare()
    assert len(str(refused.value).splitlines()) == 3


def test_the_command_line_renders_and_runs(home: Path, xbench: Any) -> None:
    heads(home / "scans", 1)
    options = ("--profile", "smoke", "--set", "data.shared_heads=true")
    wrong = xbench("data", "ct", "scans", "--profile", "smoke")
    assert wrong.code == 2
    assert "too few" in wrong.err
    shown = xbench("data", "ct", "scans", *options, "--preview", "--to", "sheet.png")
    assert shown.code == 0
    assert Path("sheet.png").stat().st_size > 10_000
    run = xbench("run", "--method", "histogram", "--dataset", "ct:scans", *options)
    assert run.code == 0
    (record, *_) = Path("runs").rglob("histogram/seed0/*.json")
    data = json.loads(record.read_text())["data"]
    assert data["key"].startswith("ct-shared-heads-v1-")
    assert data["name"] == "ct-scans"
