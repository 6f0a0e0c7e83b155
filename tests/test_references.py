"""Every metric against a value of an independent implementation (see references/make.py).

The values are stored: a change of a library that moves a metric fails here too.
"""

import json
import runpy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from xbench.metrics.base import METRICS
from xbench.records.schema import Value
from xbench.scoring.cases import Case, Sample
from xbench.scoring.folders import score_folders
from xbench.scoring.measure import measure

BUILT_IN = tuple(METRICS)
REFERENCES = Path(__file__).with_name("references")
EXPECTED: dict[str, dict[str, Any]] = json.loads((REFERENCES / "values.json").read_text())
make = runpy.run_path(str(REFERENCES / "make.py"))
cut, SIDE_MM = make["cut"], make["SIDE_MM"]
stand_ins = runpy.run_path(str(Path(__file__).with_name("stand_ins.py")), run_name="stand_ins")


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Value]:
    """What `xbench score` says of the sheets, each view a file of its own."""
    root = tmp_path_factory.mktemp("references")
    for name in ("source", "output", "target"):
        (root / name).mkdir()
        for view, pixels in enumerate(cut(REFERENCES / f"{name}.png")):
            Image.fromarray(pixels).save(root / name / f"head{view // 4}-view{view % 4}.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XBENCH_HOME", str(root / "home"))
        for name in ("inception", "clip", "clip_l336"):
            stand_ins["place"](name, stand_ins[name](), patch)
        stand_ins["place_lpips"](patch)
        values = score_folders(
            root / "output", root / "source", root / "target", group="^(head[0-9]+)"
        ).values
    return values | of_a_data_set()


def of_a_data_set() -> dict[str, Value]:
    """The metrics that need what folders have not: masks, sides in mm, training images."""
    source, target = (sample(name) for name in ("source", "target"))
    output = replace(
        sample("output"), masks=cut(REFERENCES / "bone.png") > 0, sides_mm=[SIDE_MM] * 16
    )
    case = Case(output, source, target, aligned=True, training=target)
    names = ("bone_shift", "bone_shift_mm", "copied")
    return {name: measure(METRICS[name], case, None, lambda: np.ones(0)) for name in names}


def sample(name: str) -> Sample:
    pixels = torch.from_numpy(cut(REFERENCES / f"{name}.png").astype(np.float32) / 65535)
    return Sample(pixels[:, None], [f"head{view // 4}" for view in range(16)])


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_metric_has_its_reference_value(found: dict[str, Value], name: str) -> None:
    expected = EXPECTED[name]
    assert found[name].value == pytest.approx(
        expected["value"], rel=expected["relative_tolerance"], abs=0
    ), expected["by"]


def test_no_value_is_left_without_a_metric() -> None:
    assert EXPECTED.keys() == set(BUILT_IN)
