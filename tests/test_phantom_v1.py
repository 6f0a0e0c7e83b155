"""Version 1 of the phantom: results in the history of `results/` need its keys and pixels."""

from pathlib import Path

import pytest

from xbench.core.profiles import PROFILES
from xbench.datasets import registry
from xbench.datasets.phantom.v1.dataset import FirstConfig, FirstPhantom


def test_keys_of_published_data_sets_stay() -> None:
    assert registry.get("phantom-v1") is FirstPhantom
    quick = FirstPhantom.configure(PROFILES["quick"])
    assert FirstPhantom(quick).key == "phantom-v1-11faebcaa45c"
    keys = [FirstPhantom(quick.model_copy(update={"vessels": v})).key for v in ("angiogram", "dsa")]
    assert len({FirstPhantom(quick).key, *keys}) == 3


def test_pixels_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Means of an image's quarters when they were published. Not a digest: the last bits of a sum,
    # and with them a few grey values of 65,536, depend on the processor.
    published = {
        "synthetic_low": [0.6864, 0.6547, 0.7410, 0.7613],
        "synthetic_high": [0.6864, 0.6547, 0.7410, 0.7613],
        "real_low": [0.5968, 0.5626, 0.6770, 0.7529],
        "real_normal": [0.5931, 0.5569, 0.6694, 0.7460],
        "real_exposure": [0.5818, 0.5440, 0.6502, 0.7240],
    }
    monkeypatch.setenv("XBENCH_HOME", str(tmp_path))
    sizes = {
        f"{split}_{what}": 1 for split in ("train", "val", "test") for what in ("heads", "views")
    }
    data = FirstPhantom(
        FirstConfig(size=64, voxel_mm=6.0, noise=False, **{**sizes, "test_views": 4})
    )
    data.prepare()
    assert [len(data.train(domain)) for domain in data.domains] == [1] * 5
    assert data.masks("test", "real_low").any()
    for domain, expected in published.items():
        image = data.images("test", domain)[0]
        quarters = image.reshape(2, 32, 2, 32).mean(dim=(1, 3))
        assert quarters.flatten().tolist() == pytest.approx(expected, abs=2e-4)
