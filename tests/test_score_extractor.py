"""`xbench score --extractor`: distances on features of one's own."""

import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from xbench.core.hashing import file_digest

independent = runpy.run_path(str(Path(__file__).with_name("references") / "independent.py"))
world = runpy.run_path(str(Path(__file__).with_name("score_world.py")))
FOLDERS = world["FOLDERS"]
N = world["N"]
folders = world["folders"]
scored = world["scored"]
steps = world["steps"]
views = world["views"]
Xbench = Callable[..., Any]
Array = np.ndarray[Any, Any]
OWN = """
import torch

def moments(images):
    flat = images.flatten(1)
    return torch.stack([flat.mean(1), flat.std(1), flat.amin(1)], 1)

def pixels(images):
    return images.flatten(1)

def huge(images):
    return images.double().flatten(1)[:, :3] * 1e120
"""


class Moments(torch.nn.Module):
    """As `moments`, for TorchScript."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        flat = images.flatten(1)
        return torch.stack([flat.mean(1), flat.std(1), flat.amin(1)], 1)


def moments(images: Array) -> Array:
    flat = images.reshape(len(images), -1).astype(np.float32)
    return np.stack([flat.mean(1), flat.std(1, ddof=1), flat.min(1)], 1).astype(np.float64)


def frechet(a: Array, b: Array) -> float:
    value: float = independent["frechet_by_roots"](
        *independent["moments"](a), *independent["moments"](b)
    )
    return value


def test_an_extractor_in_python_and_in_torchscript(xbench: Xbench, folders: Array) -> None:
    Path("own.py").write_text(OWN)
    torch.jit.script(Moments()).save("own.pt")
    found = scored(xbench, *FOLDERS, "--extractor", "own.py:moments")
    made = steps((0.8 * folders + 0.1).clip(0, 1)) / 65535
    x, y, h = moments(folders), moments(views(seed=1)), moments(made)
    assert found["fd"] == pytest.approx(frechet(h, y), rel=1e-4)
    assert found["cfd"] == pytest.approx(independent["conditional_frechet"](x, y, h), rel=1e-3)
    assert found["kd"] == pytest.approx(independent["kernel_distance"](h, y), rel=1e-4)
    assert found["identities"]["cfd"] == f"cfd-own.moments-{file_digest(Path('own.py'))[:12]}"
    options = (*FOLDERS, "--metrics", "fd,kd", "--extractor", "own.pt")
    script = scored(xbench, *options)
    assert [script[name] for name in ("fd", "kd")] == pytest.approx([found["fd"], found["kd"]])
    assert script["identities"]["fd"] == f"fd-own-{file_digest(Path('own.pt'))[:12]}"
    assert "ssim" not in script


def test_many_features_are_projected_for_the_conditional_distance(
    xbench: Xbench, folders: Array
) -> None:
    Path("own.py").write_text(OWN)
    options = (*FOLDERS, "--metrics", "cfd", "--extractor", "own.py:pixels")
    found = scored(xbench, *options)
    assert found["identities"]["cfd"].endswith("-pca32+fit")
    flat = [x.reshape(N, -1) for x in (folders, views(seed=1))]
    flat.append(steps((0.8 * folders + 0.1).clip(0, 1)).reshape(N, -1) / 65535)
    mean = np.concatenate(flat[:2]).mean(0)
    axes = independent["principal_components"](np.concatenate(flat[:2]) - mean, N // 4)
    x, y, h = ((part - mean) @ axes for part in flat)
    assert found["cfd"] == pytest.approx(independent["conditional_frechet"](x, y, h), rel=1e-4)


def test_features_too_large_for_a_kernel_are_a_reason(xbench: Xbench, folders: Array) -> None:
    Path("own.py").write_text(OWN)
    options = (*FOLDERS, "--metrics", "ssim,kd", "--extractor", "own.py:huge")
    found = scored(xbench, *options)
    assert found["ssim"] is not None
    assert "too large" in found["reasons"]["kd"]
