"""Methods through the registry: built in, training-free, and from a file."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from xbench.core.errors import UserError
from xbench.core.profiles import get_profile
from xbench.datasets.base import Images
from xbench.methods import registry
from xbench.methods.base import Method
from xbench.plugins.conformance import check

CPU = torch.device("cpu")


class Greys:
    """Domain `dark` around .3, domain `light` around .8."""

    def train(self, domain: str) -> Images:
        level = {"dark": 0.3, "light": 0.8}[domain]
        noise = np.random.default_rng(0).normal(level, 0.05, (5, 32, 32)).clip(0, 1)
        return Images([(noise * 65535).astype(np.uint16)])


def make(name: str) -> Method:
    method = registry.get(name)
    return method(method.configure(get_profile("smoke")), ("dark", "light"), 32, CPU)


def test_identity_returns_its_input() -> None:
    images = torch.rand(2, 1, 8, 8)
    assert torch.equal(make("identity").translate(images, "dark", "light", generators=[]), images)


def test_histogram_takes_the_grey_values_of_the_target_and_keeps_the_order() -> None:
    method = make("histogram")
    method.setup(Greys())
    images = Greys().train("dark")[:3]
    matched = method.translate(images, "dark", "light", generators=[])
    target = Greys().train("light")[:]
    assert matched.dtype == torch.float32
    quantiles = torch.tensor([0.05, 0.5, 0.95])
    torch.testing.assert_close(
        matched[0].flatten().quantile(quantiles), target.flatten().quantile(quantiles),
        atol=0.01, rtol=0,
    )  # fmt: skip
    order = images[0].flatten().argsort()
    assert (matched[0].flatten()[order].diff() >= 0).all()


def test_histogram_does_not_depend_on_the_batch() -> None:
    method = make("histogram")
    method.setup(Greys())
    images = Greys().train("dark")[:3]
    together = method.translate(images, "dark", "light", generators=[])
    alone = method.translate(images[1:2], "dark", "light", generators=[])
    assert torch.equal(together[1:2], alone)


PLUGIN = """
from xbench.methods.base import Method

class Negative(Method):
    about = "white becomes black"
    def translate(self, images, source, target, *, generators):
        return 1 - images

class Unfinished(Method):
    pass

from xbench.methods.histogram import Histogram as Parent

class Child(Parent):
    pass

class Identity(Negative):
    pass
"""


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(PLUGIN)
    return path


def test_a_method_comes_from_a_file_and_carries_the_files_hash(plugin: Path) -> None:
    method = registry.get(f"{plugin}:Negative")
    assert method.name == "negative"
    first = method.plugin
    plugin.write_text(PLUGIN + "\n# changed\n")
    assert registry.get(f"{plugin}:Negative").plugin != first


def test_a_child_of_a_built_in_method_has_a_name_of_its_own(plugin: Path) -> None:
    assert registry.get(f"{plugin}:Child").name == "child"


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("medshfit", "did you mean medshift?"),
        ("mine.py:Negativ", "did you mean Negative?"),
        ("mine.py:Unfinished", "it defines translate"),
        ("mine.py:Identity", "another name than"),
        ("nowhere.py:Negative", "path/to/file.py:ClassName"),
        ("broken.py:Any", "a module that imports"),
    ],
)
def test_what_cannot_be_found_or_loaded_is_explained(
    plugin: Path, monkeypatch: pytest.MonkeyPatch, target: str, expected: str
) -> None:
    monkeypatch.chdir(plugin.parent)
    Path("broken.py").write_text("import no_such_module_anywhere")
    with pytest.raises(UserError, match="(?s)" + expected.replace("?", r"\?")) as caught:
        registry.get(target)
    assert len(str(caught.value).splitlines()) == 3


def test_cost_of_built_in_methods_is_counted_without_allocating_weights() -> None:
    for name, method in registry.available().items():
        cost = method(
            method.configure(get_profile("paper")), ("a", "b"), 512, torch.device("meta")
        ).cost()
        shown = ("identity", "floor", "expected", "shuffle", "nearest")
        filters = (*shown, "histogram", "fda", "filter")
        assert (cost.params > 0) == (name not in filters), name
    vae = registry.get("vae")
    assert vae(vae.Config(), ("a", "b"), 512, torch.device("meta")).cost().params == 83_653_863


def test_fda_takes_the_brightness_of_the_target_and_keeps_the_fine_structure() -> None:
    method = make("fda")
    method.setup(Greys())
    images = Greys().train("dark")[:3]
    result = method.translate(images, "dark", "light", generators=[])
    assert result.mean().item() == pytest.approx(0.8, abs=0.01)
    fine, kept = (x - torch.nn.functional.avg_pool2d(x, 9, 1, 4) for x in (images, result))
    inner = (..., slice(8, 24), slice(8, 24))
    pair = torch.stack([fine[inner].flatten(), kept[inner].flatten()])
    assert torch.corrcoef(pair)[0, 1] > 0.9


def test_fda_without_a_window_but_for_the_mean_shifts_the_image() -> None:
    method = make("fda")
    method.setup(Greys())
    images = Greys().train("dark")[:1]
    path = method.translate_path(images, "dark", ["light"], [0.0, 0.5], generators={"light": []})
    result = {value: images_of["light"] for value, images_of in path.items()}
    shift = result[0.0] - images
    torch.testing.assert_close(shift, shift.mean().expand_as(shift), atol=1e-5, rtol=0)
    assert not torch.allclose(result[0.5], result[0.0], atol=1e-2)


def test_fda_takes_images_of_another_size() -> None:
    method = make("fda")
    method.setup(Greys())
    images = Greys().train("dark")[:1][..., :27, :20]
    result = method.translate(images, "dark", "light", generators=[])
    assert result.shape == images.shape
    assert result.mean().item() == pytest.approx(0.8, abs=0.02)


LAZY = """
import importlib, pkgutil, sys
import xbench.methods.registry, xbench.plugins.loading
early = {"torch", "pydantic"} & {*sys.modules}
import xbench.methods as methods
for module in pkgutil.walk_packages(methods.__path__, "xbench.methods."):
    importlib.import_module(module.name)
assert "xbench.methods.nets.unet" in sys.modules
late = {"diffusers", "accelerate", "scipy", "skimage", "torchvision"} & {*sys.modules}
sys.exit(f"imported too early: {early | late}" if early | late else 0)
"""


def test_methods_import_slow_packages_only_where_they_use_them() -> None:
    result = subprocess.run([sys.executable, "-c", LAZY], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


#: A plug-in of version 0.1: the training has the objective and makes the learner.
LABELLED = """
from xbench.methods.base import Cost
from xbench.methods.labelled import (
    LabelledConfig, LabelledLearner, LabelledMethod, LabelledTraining,
)

class OneNet(LabelledMethod):
    about, Config = "one network for all domains", LabelledConfig

    @classmethod
    def configure(cls, profile):
        return cls.Config(channels=(8, 8), layers=1, attention=(False, False), batch=4)

    def trainings(self, pairs):
        return [OneTraining(self)]

    def cost(self):
        return Cost(params=self.params(), params_total=self.params(), nfe=1)

    def translate(self, images, source, target, *, generators):
        labels = torch.full((len(images),), self.domains.index(target))
        x = self.encode(images)
        with torch.no_grad():
            return self.decode(self.net(x, labels, class_labels=labels).sample, images)

class OneTraining(LabelledTraining):
    objective = "one-v1"

    def make_learner(self, data, seed):
        return OneLearner(self.method, data, seed)

class OneLearner(LabelledLearner):
    def draw(self, generator):
        labels = torch.randint(len(self.method.domains), (self.batch,), generator=generator)
        return {"labels": labels, "data": self.images(labels, generator)}

    def losses(self, batch):
        x, labels = batch["data"], batch["labels"]
        output = self.networks["net"](x, labels, class_labels=labels).sample
        yield "net", {"loss": (output - x).abs().mean()}
"""


def test_a_plug_in_may_use_the_names_of_version_0_1(tmp_path: Path) -> None:
    path = tmp_path / "one_net.py"
    path.write_text("import torch\n" + LABELLED)
    method = registry.get(f"{path}:OneNet")
    checks = check(method, get_profile("smoke"))
    assert [c for c in checks if c.outcome == "fail"] == []
    made = method(method.configure(get_profile("smoke")), ("dark", "light"), 32, CPU)
    assert made.trainings([])[0].recipe["objective"] == "one-v1"
