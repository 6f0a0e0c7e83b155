"""The conformance kit: all built-in methods keep their promises, and broken ones are found."""

import random
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from xbench.core.checks import Check
from xbench.core.isolation import changes, snapshot
from xbench.core.pairs import Pair
from xbench.core.profiles import get_profile
from xbench.datasets.base import Images
from xbench.methods import registry
from xbench.methods.base import Cost, Log, Method, MethodConfig, TrainData, Training, setting
from xbench.plugins.conformance import check
from xbench.plugins.pytest_plugin import check_method  # noqa: F401 - where the package is not installed

Generators = Sequence[torch.Generator]


@pytest.mark.parametrize("name", registry.BUILT_IN)
def test_a_built_in_method_keeps_its_promises(
    name: str,
    check_method: Callable[[str], list[Check]],  # noqa: F811
) -> None:
    began = time.perf_counter()
    check_method(name)
    assert time.perf_counter() - began < 60


class KnobConfig(MethodConfig):
    amount: float = setting(0.5, "infer", "how much", ge=0, le=1)


class Good(Method):
    """Every broken method below differs from it in one thing."""

    about = "a filter that keeps all promises"
    Config = KnobConfig
    config: KnobConfig
    knob: str | None = "amount"

    def translate(
        self, images: Tensor, source: str, target: str, *, generators: Generators
    ) -> Tensor:
        return images * self.config.amount


class Shorter(Good):
    def translate(self, images: Tensor, *others: str, generators: Generators) -> Tensor:
        return images[..., :-1]


class Double(Good):
    def translate(self, images: Tensor, *others: str, generators: Generators) -> Tensor:
        return images.double()


class Undefined(Good):
    def translate(self, images: Tensor, *others: str, generators: Generators) -> Tensor:
        return images / images.amin() * 0 / 0


class Bytes(Good):
    def translate(self, images: Tensor, *others: str, generators: Generators) -> Tensor:
        return images * 255


class Signed(Good):
    def translate(self, images: Tensor, *others: str, generators: Generators) -> Tensor:
        return images * 2 - 1


class GlobalChance(Good):
    stochastic = True

    def translate(self, images: Tensor, *others: str, generators: Generators) -> Tensor:
        return images * torch.rand(1)


class Counting(Good):
    calls = 0

    def translate(self, images: Tensor, *others: str, generators: Generators) -> Tensor:
        self.calls += 1
        return images / self.calls


class SecretChance(Good):
    def translate(self, images: Tensor, *others: str, generators: Generators) -> Tensor:
        return images * torch.stack([torch.rand(1, 1, 1, generator=g) for g in generators])


class NoChance(Good):
    stochastic = True


class BatchMean(Good):
    def translate(self, images: Tensor, *others: str, generators: Generators) -> Tensor:
        return images - images.mean()


class InPlace(Good):
    def translate(self, images: Tensor, *others: str, generators: Generators) -> Tensor:
        return images.mul_(0.5)


class OtherTargets(Good):
    def translate_all(
        self,
        images: Tensor,
        source: str,
        targets: Sequence[str],
        *,
        generators: Mapping[str, Generators],
    ) -> dict[str, Tensor]:
        return {target: images for target in targets}


class WrongKnob(Good):
    knob = "amont"


class Wrong5Params(Good):
    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.net = nn.Conv2d(1, 1, 1)

    def translate(self, images: Tensor, *others: str, generators: Generators) -> Tensor:
        with torch.no_grad():
            result: Tensor = self.net(images)
        return result

    def cost(self) -> Cost:
        return Cost(params=5, params_total=5)


class FixedSize(Good):
    def translate(self, images: Tensor, *others: str, generators: Generators) -> Tensor:
        return images.reshape(-1, 1, 32, 32)


class ThreeDomains(Good):
    def setup(self, data: TrainData) -> None:
        assert len(self.domains) == 3


class TwoOfMany(Good):
    def setup(self, data: TrainData) -> None:
        assert len(self.domains) < 4


class Meddler(Good):
    def setup(self, data: TrainData) -> None:
        random.seed(0)
        np.random.seed(0)
        torch.manual_seed(0)
        torch.set_grad_enabled(False)


class DoubleForAll(Good):
    def setup(self, data: TrainData) -> None:
        torch.set_default_dtype(torch.float64)


class Talker(Good):
    def translate(self, images: Tensor, *others: str, generators: Generators) -> Tensor:
        print("hello")
        return images


class Silent(Good):
    about = ""


class Curious(Good):
    def setup(self, data: TrainData) -> None:
        getattr(data, "dataset", None)


@pytest.mark.parametrize(
    ("method", "broken"),
    [
        (Shorter, "shape"),
        (Double, "dtype"),
        (Undefined, "finite"),
        (Bytes, "range"),
        (Signed, "range"),
        (GlobalChance, "repeats"),
        (Counting, "repeats"),
        (SecretChance, "stochastic"),
        (NoChance, "stochastic"),
        (BatchMean, "batch of 3 = 3 singles"),
        (InPlace, "input unchanged"),
        (OtherTargets, "translate_all"),
        (WrongKnob, "declares itself"),
        (Silent, "declares itself"),
        (Wrong5Params, "parameters"),
        (FixedSize, "odd sizes"),
        (ThreeDomains, "2 domains"),
        (TwoOfMany, "7 domains"),
        (Meddler, "process unchanged"),
        (DoubleForAll, "process unchanged"),
        (Talker, "stdout unused"),
        (Curious, "train split only"),
    ],
)
def test_a_broken_promise_is_found_with_a_fix(method: type[Method], broken: str) -> None:
    before = snapshot()
    failed = {c.check: c for c in check(method, get_profile("smoke")) if c.outcome == "fail"}
    assert broken in failed
    assert failed[broken].note
    assert failed[broken].fix
    assert not changes(before)


def test_other_arguments_of_translate_are_a_matter_of_its_own_lines() -> None:
    class Forgetful(Good):
        def translate(self, images: Tensor, source: str, target: str) -> Tensor:  # type: ignore
            return images

    (failed,) = [c for c in check(Forgetful, get_profile("smoke")) if c.outcome == "fail"]
    assert failed.check == "runs"
    assert "generators" in failed.note
    assert failed.fix == "write: def translate(self, images, source, target, *, generators)"


def test_what_rests_on_finite_values_is_not_looked_at_without_them() -> None:
    failed = [c.check for c in check(Undefined, get_profile("smoke")) if c.outcome == "fail"]
    assert failed == ["finite"]


def test_a_method_that_keeps_all_promises_passes_with_reasons_for_what_is_skipped() -> None:
    checks = {c.check: c for c in check(Good, get_profile("smoke"))}
    assert {c.outcome for c in checks.values()} == {"pass", "skip"}
    assert checks["translate_path"].outcome == "pass"
    assert checks["save and load"].note == "nothing to train"


class Level(Training):
    """The mean grey value of the target: the smallest training there is."""

    def __init__(self, method: "Leveller", pair: Pair) -> None:
        self.method, self.pair, self.pairs = method, pair, frozenset({pair})
        self.recipe = {"objective": "level-v1", "pair": list(pair), **method.config.recipe()}

    def fit(self, data: TrainData, images: int, seed: int, checkpoint: Path, progress: Any) -> Log:
        found: Images = data.train(self.pair[1])
        self.method.levels[self.pair] = found[:].mean() + self.method.luck
        return Log()

    def save(self, folder: Path) -> None:
        save_file({"level": self.method.levels[self.pair]}, folder / "level.safetensors")

    def load(self, folder: Path) -> None:
        self.method.levels[self.pair] = load_file(folder / "level.safetensors")["level"]


class Leveller(Method):
    about = "shifts images to the mean grey value of the target"
    needs_training = True
    training: type[Level] = Level
    luck: Tensor | float = 0.0

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.levels: dict[Pair, Tensor] = {}

    def trainings(self, pairs: Sequence[Pair]) -> list[Training]:
        return [self.training(self, pair) for pair in pairs]

    def translate(
        self, images: Tensor, source: str, target: str, *, generators: Generators
    ) -> Tensor:
        return images - images.mean((1, 2, 3), keepdim=True) + self.levels[source, target]


class Pickled(Level):
    def save(self, folder: Path) -> None:
        super().save(folder)
        torch.save({}, folder / "level.pt")


class Forgetful(Level):
    def load(self, folder: Path) -> None:
        self.method.levels[self.pair] = torch.tensor(0.0)


class Restless(Level):
    def __init__(self, method: "Leveller", pair: Pair) -> None:
        super().__init__(method, pair)
        self.recipe["time"] = random.random()


@pytest.mark.parametrize(
    ("changed", "broken"),
    [
        ({}, None),
        ({"training": Pickled}, "save and load"),
        ({"training": Forgetful}, "save and load"),
        ({"training": Restless}, "recipe"),
        ({"needs_training": False}, "runs"),
        ({"luck": property(lambda self: torch.rand(()))}, "training repeats"),
    ],
)
def test_trainings_are_looked_at_too(changed: dict[str, Any], broken: str | None) -> None:
    method = type("Mine", (Leveller,), changed)
    failed = [c.check for c in check(method, get_profile("smoke")) if c.outcome == "fail"]
    assert broken in failed if broken else not failed
