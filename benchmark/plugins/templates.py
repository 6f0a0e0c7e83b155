"""`xbench new method`: a method that works as it is, and its test."""

import importlib.util
import keyword
import re
from pathlib import Path
from string import Template
from typing import Literal

from xbench.core.errors import UserError
from xbench.core.files import write_text
from xbench.core.names import quoted
from xbench.methods.registry import names

Kind = Literal["filter", "pair", "conditional"]

FILTER = Template('''\
"""$title: what it does to an image, in one line.

xbench check $file:$title                          does it keep the promises of a method?
xbench run --method $file:$title --profile smoke   try it in seconds
xbench run --method $file:$title                   rank it
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.transforms.functional import gaussian_blur

from xbench.methods.base import Method, MethodConfig, setting


class ${title}Config(MethodConfig):
    """The settings; `--set $name.amount=0.2` changes one for a run."""

    # EDIT 1: your settings: default, "infer" (used for translating), what they are, limits.
    amount: float = setting(0.5, "infer", "share of the fine structure that is added", ge=0, le=4)


class $title(Method):
    """A filter: nothing to train."""

    name = "$name"
    about = "adds a share of the fine structure"
    Config = ${title}Config
    config: ${title}Config

    def translate(
        self, images: Tensor, source: str, target: str, *, generators: Sequence[torch.Generator]
    ) -> Tensor:
        """Translate images [B, 1, H, W] in [0, 1], air bright and bone dark, to the same."""
        # EDIT 2: your filter. `source` and `target` name the domains. Treat each image by
        # itself; for random numbers, draw from generators[i] and write `stochastic = True` above.
        # To look at training images of the target once, define `setup` (see histogram.py).
        fine = images - gaussian_blur(images, [5, 5])
        return images + self.config.amount * fine
''')

PAIR = Template('''\
"""$title: a small network for each pair of domains, trained on unpaired images."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from xbench.core.pairs import Pair
from xbench.methods.base import MethodConfig, TrainData, setting
from xbench.methods.pairwise import PairLearner, PairwiseMethod
from xbench.methods.training import Batch


class ${title}Config(MethodConfig):
    """The settings; another value of a "train" setting is another training."""

    width: int = setting(8, "train", "channels of the network", ge=1)
    batch: int = setting(4, "train", "images per step", ge=1)
    keep: float = setting(1.0, "train", "weight of staying near the source", ge=0)


class $title(PairwiseMethod):
    """`xbench run --method $file:$title` trains and ranks it."""

    name, about = "$name", "a small network that matches grey values"
    Config = ${title}Config
    config: ${title}Config
    objective = "$name-v1"  # raise the number when the training changes

    def make_generator(self) -> nn.Module:  # EDIT 1: your network, [B, 1, H, W] in [-1, 1]
        wide = self.config.width
        return nn.Sequential(nn.Conv2d(1, wide, 3, 1, 1), nn.SiLU(), nn.Conv2d(wide, 1, 3, 1, 1))

    def make_learner(self, data: TrainData, pair: Pair, seed: int) -> "${title}Learner":
        return ${title}Learner(self, data, pair, seed)


class ${title}Learner(PairLearner):
    def make_networks(self) -> dict[str, nn.Module]:  # add a discriminator, say
        return {"generator": self.method.make_generator()}

    def make_optimizers(self) -> dict[str, torch.optim.Optimizer]:
        return {"generator": torch.optim.Adam(self.networks["generator"].parameters(), lr=1e-3)}

    def losses(self, batch: Batch) -> Iterator[tuple[str, dict[str, Tensor]]]:  # EDIT 2: yours
        source, target = batch["a"], batch["b"]
        fake = self.networks["generator"](source).float()
        greys, wanted = (x.flatten(1).sort().values for x in (fake, target))
        keep = self.config.keep * (fake - source).abs().mean()
        yield "generator", {"greys": (greys - wanted).abs().mean(), "keep": keep}
''')

CONDITIONAL = Template('''\
"""$title: one network for all domains, trained on unpaired images; the domain is its label."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from xbench.methods.base import TrainData, setting
from xbench.methods.conditional import ConditionalConfig, ConditionalLearner, ConditionalMethod
from xbench.methods.training import Batch


class ${title}Config(ConditionalConfig):
    """Settings of the U-Net and its training (see ConditionalConfig), and your own."""

    block: int = setting(4, "train", "side of the blocks whose means are kept", ge=1)


class $title(ConditionalMethod):
    """`xbench run --method $file:$title` trains and ranks it."""

    name, about = "$name", "means of blocks from the source, details from the target"
    Config = ${title}Config
    config: ${title}Config
    objective = "$name-v1"  # raise the number when the training changes
    by_profile = {
        "smoke": {"channels": (16, 32), "attention": (False, False), "layers": 1, "batch": 8},
        "quick": {"channels": (32, 64, 96), "layers": 1, "batch": 16},
    }

    def make_learner(self, data: TrainData, seed: int) -> "${title}Learner":
        return ${title}Learner(self, data, seed)

    def blur(self, x: Tensor) -> Tensor:
        means = functional.avg_pool2d(x, self.config.block, ceil_mode=True)
        return functional.interpolate(means, x.shape[2:], mode="bilinear")

    @torch.inference_mode()
    def translate(
        self, images: Tensor, source: str, target: str, *, generators: Sequence[torch.Generator]
    ) -> Tensor:  # EDIT 1: how the trained network translates
        x = self.blur(self.encode(images))
        labels = torch.full((len(x),), self.domains.index(target), device=x.device)
        return self.decode(self.predict(x, torch.zeros_like(labels), labels), images)


class ${title}Learner(ConditionalLearner):
    def losses(self, batch: Batch) -> Iterator[tuple[str, dict[str, Tensor]]]:
        # EDIT 2: what it learns, from images `data` of the domains `labels` and from `noise`
        data, labels = batch["data"], batch["labels"]
        blurred, time = self.method.blur(data), torch.zeros_like(labels)  # time: see medshift.py
        sharp = self.networks["net"](blurred, time, class_labels=labels).sample
        yield "net", {"details": (sharp.float() - data).abs().mean()}
''')

TEST = Template('''\
"""`pytest $test`: the promises of a method (`xbench check`), and what you expect of yours."""

from pathlib import Path

FILE = Path(__file__).with_name("$file")


def test_it_keeps_the_promises_of_a_method(check_method):
    check_method(f"{FILE}:$title")
''')


def new_method(name: str, folder: Path, kind: Kind = "filter") -> list[Path]:
    """Write a method that works as it is, and its test.

    Args:
        name: of the method and, with `.py`, of its file.
        folder: where to write; made if it is missing.
        kind: a filter with a setting, a network for each pair, or one network for all domains.

    Returns:
        The method's file and the test's.

    Raises:
        UserError: the name cannot be used, or a file exists already.
    """
    _check_name(name)
    files = [folder / f"{name}.py", folder / f"test_{name}.py"]
    for file in files:
        if file.exists():
            raise UserError(
                f"{file} exists already",
                "expected: a new name; nothing is ever overwritten",
                f"try: xbench new method {name}2 --to {quoted(folder)}",
            )
    if importlib.util.find_spec(name) is not None:
        raise UserError(
            f"'{name}' is a module of Python or of an installed package",
            "expected: another name, as a file of that name would hide the module",
            f"try: xbench new method my_{name}",
        )
    title = "".join(part.capitalize() for part in name.split("_"))
    words = {"name": name, "title": title, "file": files[0].name, "test": files[1].name}
    method = {"filter": FILTER, "pair": PAIR, "conditional": CONDITIONAL}[kind]
    for file, text in zip(files, (method, TEST), strict=True):
        write_text(file, text.substitute(words))
    return files


def _check_name(name: str) -> None:
    """The name must do for a Python file, a class, and a label."""
    wrong = ""
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,39}", name) or keyword.iskeyword(name):
        wrong = f"'{name}' cannot name a Python file and a method"
    elif name in names():
        wrong = f"there is a method called '{name}' already"
    if wrong:
        plain = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")[:30]
        raise UserError(
            wrong,
            "expected: a new name of up to 40 letters a-z, digits and _",
            f"try: xbench new method my_{plain or 'method'}",
        )
