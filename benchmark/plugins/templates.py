"""`xbench new method`: a file that works as it is, and its test."""

import importlib.util
import keyword
import re
from pathlib import Path
from string import Template
from typing import Literal

from xbench.core.errors import UserError
from xbench.core.files import write_text
from xbench.methods.registry import names

Kind = Literal["filter", "trained"]

FILTER = Template('''\
"""$title: what it does to an image, in one line.

xbench check $file:$title                          does it keep the rules?
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

    # EDIT 1: your settings: default, "infer" (they matter when translating), what they are, limits.
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
        # EDIT 2: your filter. `source` and `target` name the domains. Treat every image by
        # itself; if you need chance, draw from generators[i] and say `stochastic = True` above.
        # To look at training images of the target once, define `setup` (see histogram.py).
        fine = images - gaussian_blur(images, [5, 5])
        return images + self.config.amount * fine
''')

TRAINED = Template('''\
"""$title: a small network for each pair of domains, trained on images that are not paired."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from xbench.core.hashing import seed_from
from xbench.core.pairs import Pair
from xbench.methods.base import MethodConfig, TrainData, setting
from xbench.methods.pairwise import PairwiseMethod, draw_images
from xbench.methods.training import Batch, Learner


class ${title}Config(MethodConfig):
    """The settings; "train" means: another value is another training."""

    width: int = setting(8, "train", "channels of the network", ge=1)
    batch: int = setting(4, "train", "images per step", ge=1)
    keep: float = setting(1.0, "train", "weight of staying near the source", ge=0)


class $title(PairwiseMethod):
    """`xbench run --method $file:$title` trains and ranks it."""

    name, about = "$name", "a small network that matches grey values"
    Config = ${title}Config
    config: ${title}Config
    objective = "$name-v1"  # count it up when the training changes

    def make_generator(self) -> nn.Module:  # EDIT 1: your network, [B, 1, H, W] in [-1, 1]
        wide = self.config.width
        return nn.Sequential(nn.Conv2d(1, wide, 3, 1, 1), nn.SiLU(), nn.Conv2d(wide, 1, 3, 1, 1))

    def make_learner(self, data: TrainData, pair: Pair, seed: int) -> Learner:
        return ${title}Learner(self, data, pair, seed)

    def training_params(self) -> int:
        return 0  # parameters that only training needs (a discriminator's, say)


class ${title}Learner(Learner):
    def __init__(self, method: $title, data: TrainData, pair: Pair, seed: int) -> None:
        self.method, self.batch, self.averages = method, method.config.batch, {}
        self.images = dict(zip(("source", "target"), map(data.train, pair)))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed_from(seed, "init"))
            net = method.make_generator().to(method.device)
        self.networks = {"generator": net}
        self.optimizers = {"generator": torch.optim.Adam(net.parameters(), lr=1e-3)}

    def draw(self, generator: torch.Generator) -> Batch:
        device = self.method.device
        return {n: draw_images(i, self.batch, generator, device) for n, i in self.images.items()}

    def losses(self, batch: Batch) -> Iterator[tuple[str, dict[str, Tensor]]]:  # EDIT 2: yours
        fake = self.networks["generator"](batch["source"]).float()
        greys, wanted = (x.flatten(1).sort().values for x in (fake, batch["target"]))
        keep = self.method.config.keep * (fake - batch["source"]).abs().mean()
        yield "generator", {"greys": (greys - wanted).abs().mean(), "keep": keep}
''')

TEST = Template('''\
"""`pytest $test`: the rules of xbench (`xbench check`), and what you expect of your method."""

from pathlib import Path

FILE = Path(__file__).with_name("$file")


def test_it_keeps_the_promises_of_a_method(check_method):
    check_method(f"{FILE}:$title")
''')


def new_method(name: str, folder: Path, kind: Kind = "filter") -> list[Path]:
    """Write a method that works as it is, and its test.

    Args:
        name: of the method and, with `.py`, of its file.
        folder: where to write; it is made if need be.
        kind: a filter with a setting, or a small network for each pair.

    Returns:
        The method's file and the test's.

    Raises:
        UserError: the name cannot be used, or a file is there already.
    """
    _check_name(name)
    files = [folder / f"{name}.py", folder / f"test_{name}.py"]
    for file in files:
        if file.exists():
            raise UserError(
                f"{file} is there already",
                "expected: a name that is free; nothing is ever overwritten",
                f"try: xbench new method {name}2 --to {folder}",
            )
    if importlib.util.find_spec(name) is not None:
        raise UserError(
            f"'{name}' is a module of Python or of an installed package",
            "expected: a name of its own, as a file of that name would hide it",
            f"try: xbench new method my_{name}",
        )
    title = "".join(part.capitalize() for part in name.split("_"))
    words = {"name": name, "title": title, "file": files[0].name, "test": files[1].name}
    for file, text in zip(files, (FILTER if kind == "filter" else TRAINED, TEST), strict=True):
        write_text(file, text.substitute(words))
    return files


def _check_name(name: str) -> None:
    """It becomes a Python file, a class, and a label."""
    wrong = ""
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,39}", name) or keyword.iskeyword(name):
        wrong = f"'{name}' cannot name a Python file and a method"
    elif name in names():
        wrong = f"there is a method called '{name}' already"
    if wrong:
        plain = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")[:30]
        raise UserError(
            wrong,
            "expected: a name of its own of up to 40 letters a-z, digits and _",
            f"try: xbench new method my_{plain or 'method'}",
        )
