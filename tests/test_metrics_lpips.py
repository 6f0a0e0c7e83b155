"""LPIPS with stand-ins for the weights, against the package `lpips` and the formula."""

import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from xbench.core.errors import Unavailable
from xbench.core.weights import path_of
from xbench.metrics.base import METRICS
from xbench.metrics.lpips import lpips
from xbench.scoring.measure import Case, Sample
from xbench.scoring.scorer import score
from xbench.scoring.spaces import Spaces

stand_ins = runpy.run_path(str(Path(__file__).with_name("stand_ins.py")), run_name="stand_ins")


def images(count: int, height: int = 40, width: int = 52, seed: int = 0) -> Tensor:
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.random((count, 1, height, width), np.float32))


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both files, their hashes in the manifest."""
    monkeypatch.setenv("XBENCH_HOME", str(tmp_path / "home"))
    stand_ins["place_lpips"](monkeypatch)


def by_hand(a: Tensor, b: Tensor) -> list[float]:
    """The formula, image by image, in float64."""
    backbone, heads = stand_ins["lpips_tensors"]()
    network = stand_ins["alexnet_features"]()
    network.load_state_dict({k.removeprefix("features."): v for k, v in backbone.items()})
    network.double()
    shift, scale = (
        torch.tensor(values, dtype=torch.float64)[:, None, None]
        for values in ((-0.030, -0.088, -0.188), (0.458, 0.448, 0.450))
    )

    def taps(image: Tensor) -> list[Tensor]:
        x, found = (2 * image.double().expand(3, -1, -1) - 1 - shift) / scale, []
        for place, layer in enumerate(network[:12]):
            x = layer(x)
            if place in (1, 4, 7, 9, 11):  # behind the rectifiers
                found.append(x / x.norm(dim=0).clamp(min=1e-10))
        return found

    with torch.no_grad():
        return [
            sum(
                float((head[0].double() * (u - v) ** 2).sum(0).mean())
                for head, u, v in zip(heads.values(), taps(x), taps(y), strict=True)
            )
            for x, y in zip(a, b, strict=True)
        ]


@pytest.mark.parametrize("size", [(31, 31), (37, 50), (64, 64), (70, 131)])
def test_it_is_the_formula(weights: None, size: tuple[int, int]) -> None:
    a, b = images(3, *size), images(3, *size, seed=1)
    found = lpips(a, b)
    assert found.dtype == torch.float64
    assert found.tolist() == pytest.approx(by_hand(a, b), rel=1e-5)


def test_it_equals_the_package(weights: None) -> None:
    pytest.importorskip("lpips", reason='needs pip install -e ".[bench]"')
    a, b = images(4, 64, 64), images(4, 64, 64, seed=1)
    expected = stand_ins["lpips_distances"](a[:, 0].numpy(), b[:, 0].numpy())
    assert lpips(a, b).tolist() == pytest.approx(expected, rel=1e-6)


def test_equal_images_have_no_distance_and_others_have(weights: None) -> None:
    a = images(3)
    assert lpips(a, a).tolist() == [0] * 3
    near = (0.9 * a + 0.05).clamp(0, 1)
    assert (lpips(a, near) > 0).all()
    assert (lpips(a, near) < lpips(a, images(3, seed=1))).all()
    flat = torch.full_like(a, 0.4)
    assert lpips(flat, flat).tolist() == [0] * 3
    assert lpips(a, flat).isfinite().all()


def test_each_pair_is_measured_for_itself(weights: None) -> None:
    a, b = images(5), images(5, seed=1)
    alone = torch.cat([lpips(x[None], y[None]) for x, y in zip(a, b, strict=True)])
    assert lpips(a, b).tolist() == pytest.approx(alone.tolist(), rel=1e-5)


def value_and_reason() -> tuple[float | None, str | None]:
    sample = Sample(images(4), list("aabb"))
    other = Sample(images(4, seed=1), list("aabb"))
    spaces = Spaces(lambda: [sample], "cpu")
    found = score(Case(sample, other, other, True), [METRICS["lpips"]], spaces)["lpips"]
    return found.value, found.reason


def test_a_score_has_the_value(weights: None) -> None:
    expected = lpips(images(4), images(4, seed=1)).mean().item()
    value, reason = value_and_reason()
    assert value == pytest.approx(expected, rel=1e-6)
    assert reason is None


def test_missing_weights_are_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XBENCH_HOME", str(tmp_path))
    value, reason = value_and_reason()
    assert value is None
    assert reason is not None
    assert "alexnet-owt-7be5be79.pth is missing and XBENCH_OFFLINE=1" in reason
    with pytest.raises(Unavailable, match="is missing"):
        lpips(images(1), images(1))


def test_one_of_two_files_is_not_enough(weights: None) -> None:
    (path_of("lpips") / "alex.pth").unlink()
    value, reason = value_and_reason()
    assert value is None
    assert reason is not None
    assert "lpips/alex.pth is missing" in reason


def test_files_of_something_else_are_refused(
    weights: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another file has another hash, another network other tensors."""
    path = path_of("lpips") / "alex.pth"
    path.write_bytes(b"something else")
    with pytest.raises(Unavailable, match="was another file"):
        lpips(images(1), images(1))
    stand_ins["place_lpips"](monkeypatch)
    torch.save({"something": torch.ones(1)}, path)
    stand_ins["keep_hashes"]("lpips", monkeypatch)
    with pytest.raises(Unavailable, match="holds no AlexNet and heads of LPIPS"):
        lpips(images(1), images(1))


def test_wrong_input_is_refused(weights: None) -> None:
    good = images(2)
    with pytest.raises(ValueError, match="expected pairs of images"):
        lpips(good, good[:1])
    with pytest.raises(ValueError, match="at least 31 x 31 px, got 30 x 52"):
        lpips(good[:, :, :30], good[:, :, :30])
    with pytest.raises(ValueError, match=r"finite values in \[0, 1\]"):
        lpips(good, 2 * good)
