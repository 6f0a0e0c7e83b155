"""Data that metrics of cells, gradients and training images cannot use: reasons in the records."""

import json
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

world = runpy.run_path(str(Path(__file__).with_name("score_world.py")))
views = world["views"]
write = world["write"]
Xbench = Callable[..., Any]
Array = np.ndarray[Any, Any]
Metrics = dict[str, dict[str, Any]]


def data_set(images: Array, test: Array | None = None, group: str = "^(head[0-9])") -> Path:
    """Two domains of the same views, one at half the contrast; heads are the groups."""
    others = [f"other{name}" for name in world["names"](len(images))]
    for domain, gain in {"dim": 0.5, "lit": 1.0}.items():
        write(f"heads/train/{domain}", gain * images, others)
        write(f"heads/test/{domain}", gain * (images if test is None else test))
    Path("heads/dataset.toml").write_text(f"[split]\ngroup = '{group}'\n")
    return Path("heads")


def metrics(xbench: Xbench, *options: object) -> Metrics:
    """Of the identity, dim → lit: the record of a run without warnings."""
    command = ("run", "--dataset", "heads", "--method", "identity", "--profile", "smoke")
    result = xbench(*command, *options)
    assert result.code == 0, result.err
    assert "Warning" not in result.err
    (path,) = Path("runs").glob("heads*/smoke/records/identity/seed0/dim--lit.json")
    found: Metrics = json.loads(path.read_text())["metrics"]
    for name, value in found.items():
        assert (value["value"] is None) == bool(value.get("reason")), name
        assert value["value"] is None or np.isfinite(value["value"]), name
    return found


def reasons(found: Metrics, *names: str) -> set[str | None]:
    return {found[name].get("reason") for name in names}


def test_images_smaller_than_the_grid(xbench: Xbench) -> None:
    data_set(views(size=24))
    found = metrics(xbench, "--set", "data.size=24")
    assert reasons(found, "ltd", "copied") == {"images of 24 px, needs 32"}
    assert reasons(found, "match", "ngf", "edge_shift") == {None}


def test_constant_images(xbench: Xbench) -> None:
    data_set(np.full((20, 32, 32), 30000 / 65535))
    found = metrics(xbench)
    assert found["ltd"]["value"] > 0  # the greys of the domains differ
    zero = [found[name]["value"] for name in ("copied", "ngf", "edge_shift")]
    assert zero == pytest.approx([0, 0, 0], abs=1e-6)


def test_one_constant_image_among_others(xbench: Xbench) -> None:
    images = views()
    images[3] = 30000 / 65535
    data_set(views(seed=1), images)
    found = metrics(xbench)
    assert reasons(found, "ltd", "match", "copied", "ngf", "edge_shift", "coverage") == {None}
    assert found["ngf"]["per_image"][3] == 0
    assert found["edge_shift"]["per_image"][3] == 0


def test_fewer_than_16_test_images(xbench: Xbench) -> None:
    data_set(views(), views(seed=1, count=15))
    found = metrics(xbench)
    assert reasons(found, "match", "coverage", "density") == {"n = 15, needs 16"}
    assert reasons(found, "ltd", "copied", "ngf") == {None}


def test_fewer_than_3_groups(xbench: Xbench) -> None:
    data_set(views(), group="^(head)")
    found = metrics(xbench)
    assert reasons(found, "match") == {"1 groups, needs 3"}
    assert reasons(found, "ltd", "copied", "ngf", "coverage") == {None}


def test_padded_images(xbench: Xbench) -> None:
    data_set(views()[:, :24])
    found = metrics(xbench)
    assert reasons(found, "ltd", "match", "copied", "ngf", "edge_shift", "coverage") == {None}
    # Contrast changes `ltd`, and neither gradients nor what is copied.
    assert found["ltd"]["value"] > 0.1
    assert found["ngf"]["value"] == pytest.approx(1, abs=1e-6)
    assert found["match"]["value"] == 1


def test_images_that_are_nearly_all_padding(xbench: Xbench) -> None:
    data_set(views(size=128)[:, :16])  # 16 of 128 rows: parts of two rows of cells
    found = metrics(xbench, "--set", "data.size=128")
    assert reasons(found, "ltd", "copied") == {"an image has no cell without padding"}
    assert reasons(found, "match", "ngf", "edge_shift", "ftd", "nps") == {None}


def test_domains_that_are_not_aligned(xbench: Xbench) -> None:
    data_set(views())
    for number, path in enumerate(sorted(Path("heads/test/lit").iterdir())):
        image = Image.fromarray(np.asarray(Image.open(path))[::-1])
        path.unlink()
        image.save(path.with_name(f"head{number // 5}-other{number}.png"))
    found = metrics(xbench)
    assert reasons(found, "ltd", "ssim_ref") == {"the data are not aligned"}
    assert reasons(found, "copied", "ngf", "coverage") == {None}
    assert found["match"]["value"] == 1  # the source itself
