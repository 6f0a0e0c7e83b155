"""What `xbench data verify` accepts can be run, and what it refuses cannot."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from xbench.core.errors import UserError
from xbench.core.profiles import PROFILES
from xbench.datasets import registry as datasets

Xbench = Callable[..., Any]


@pytest.mark.parametrize(
    "shape", [(480, 100), (100, 480), (16, 16), (16, 600), (33, 47), (480, 170)]
)
def test_verify_and_run_have_the_same_limits(
    xbench: Xbench, tmp_path: Path, shape: tuple[int, int]
) -> None:
    rng = np.random.default_rng(0)
    for domain, k in [(d, k) for d in ("ap", "pa") for k in range(12)]:
        path = tmp_path / "films" / domain / f"{k}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 65535, shape, dtype=np.uint16)).save(path)
    verified = xbench("data", "verify", "films", "--json")
    found = [p for p in json.loads(verified.out) if "elongated" in p["check"]]
    words = " ".join(p["note"] for p in found).replace(",", "").split()
    films = datasets.get("films")
    for profile in PROFILES.values():
        if profile.size > 128:
            continue
        try:
            films(films.configure(profile)).prepare()
        except UserError:
            assert profile.name in words
            assert profile.name == "smoke" or verified.code == 1
        else:
            assert profile.name not in words
