"""A step of our training against the official one, on the same batches by equal networks.

    XBENCH_PEERS=peers OMP_NUM_THREADS=1 pytest tests/benchmarks/bench_training.py \
        --benchmark-enable --benchmark-timer=time.process_time --benchmark-json=training.json

`XBENCH_PEERS` names a folder with clones of github.com/taesungp/contrastive-unpaired-translation
(CUT, CycleGAN) and github.com/cyclomon/UNSB; without it their cases are skipped. GANs have the
official layers at a quarter of their width, on images of 64 px; the networks that serve all pairs
are those of the profile `quick`, and their peer is a plain training script on the same network.

Ours is the training loop as a run calls it, its drawing of batches included. The official models
are given batches that ours drew, and call their own `optimize_parameters`. A ratio near 1 is
seen best in the rounds in which ours and the peer ran by turns: `ratio` in `extra_info`.
"""

import copy
import itertools
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler
from diffusers.training_utils import EMAModel
from pytest_benchmark.fixture import BenchmarkFixture
from scipy.ndimage import gaussian_filter
from torch import Tensor, nn
from torch.nn import functional

from xbench.core.profiles import PROFILES
from xbench.datasets.base import Images
from xbench.methods import registry, training
from xbench.methods.conditional import ConditionalConfig, ConditionalLearner, ConditionalTraining
from xbench.methods.medshift import FlowLearner
from xbench.methods.nets.unsb import BridgeGenerator, OfficialBlock
from xbench.methods.pairwise import PairwiseMethod, count
from xbench.methods.training import Batch, Learner

DOMAINS = ("one", "other", "third", "fourth", "fifth")
SIZE, IMAGES = 64, 256
STEPS, ROUNDS = 4, 4
WIDTH, PROJECTION = 16, 64
#: Relative difference of what both say of the first batch, in float32.
TOLERANCE = 1e-3
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


@dataclass(frozen=True)
class Case:
    """One of our methods and the official model that it follows.

    Attributes:
        method: ours.
        repository: the folder of the official code.
        arguments: for its `train.py`, besides those of all.
        networks: ours by theirs.
        settings: ours, where networks of the official layers are not the default.
    """

    method: str
    repository: str
    arguments: str
    networks: dict[str, str]
    settings: dict[str, Any] = field(default_factory=dict)


CUT_REPOSITORY = "contrastive-unpaired-translation"
PATCHES = f"--netF_nc {PROJECTION} --num_patches {PROJECTION}"
OUR_PATCHES = {"projection": PROJECTION, "patches": PROJECTION}
CUT_NETWORKS = {"G": "generator", "D": "critic", "F": "projector"}
GANS = {
    "CUT": Case("cut", CUT_REPOSITORY, f"--model cut {PATCHES}", CUT_NETWORKS, OUR_PATCHES),
    "CycleGAN": Case(
        "cyclegan",
        CUT_REPOSITORY,
        "--model cycle_gan --no_antialias --no_antialias_up",
        {"G_A": "generator", "G_B": "generator_back", "D_A": "critic", "D_B": "critic_back"},
    ),
    "UNSB": Case(
        "unsb-official",
        "UNSB",
        f"--model sb --lambda_SB 1 {PATCHES}",
        CUT_NETWORKS | {"E": "energy"},
        OUR_PATCHES,
    ),
}
LABELLED = {"DDPM": "ddib", "MedShift": "medshift"}


class Data:
    """Noise, smoothed, in files as prepared data sets have them."""

    def __init__(self, folder: Path) -> None:
        rng = np.random.default_rng(0)
        self.images: dict[str, Images] = {}
        for domain in DOMAINS:
            smooth = gaussian_filter(rng.standard_normal((IMAGES, SIZE, SIZE)), (0, 3, 3))
            grey = (0.5 + smooth).clip(0, 1) * 65535
            np.save(folder / f"{domain}.npy", np.round(grey).astype(np.uint16))
            self.images[domain] = Images([np.load(folder / f"{domain}.npy", mmap_mode="r")])

    def train(self, domain: str) -> Images:
        return self.images[domain]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Data:
    return Data(tmp_path_factory.mktemp("data"))


def make_learner(name: str, data: Data) -> Learner:
    """What learns, with fresh weights that are the same for every call."""
    if name in LABELLED:
        kind = registry.get(LABELLED[name])
        method = kind(kind.configure(PROFILES["quick"]), DOMAINS, SIZE, DEVICE)
        (made,) = method.trainings([])
        assert isinstance(made, ConditionalTraining)
        return made.make_learner(data, 0)
    kind = registry.get(GANS[name].method)
    config = kind.Config.model_validate(
        {"width": WIDTH, "critic_width": WIDTH} | GANS[name].settings
    )
    gan = kind(config, DOMAINS, SIZE, DEVICE)
    assert isinstance(gan, PairwiseMethod)
    return gan.make_learner(data, (DOMAINS[0], DOMAINS[1]), 0)


class Watched:
    """A learner whose batches are kept, with the seconds of its drawing and of each training."""

    def __init__(self, learner: Learner, monkeypatch: pytest.MonkeyPatch) -> None:
        self.learner, self.draw = learner, learner.draw
        self.batches: list[Batch] = []
        self.drawing: list[float] = []
        self.training: list[float] = []
        monkeypatch.setattr(learner, "draw", self._draw)

    def _draw(self, generator: torch.Generator) -> Batch:
        began = time.perf_counter()
        batch = self.draw(generator)
        wait()
        self.drawing.append(time.perf_counter() - began)
        self.batches.append(batch)
        return batch

    def train(self) -> None:
        """The loop that every run calls, for some steps; the same batches every time."""
        began = time.perf_counter()
        training.train(
            lambda: self.learner,
            images=STEPS * self.learner.batch,
            seed=0,
            device=DEVICE,
            checkpoint=Path("none"),
            progress=lambda *_: None,
            alone=True,
        )
        wait()
        self.training.append(time.perf_counter() - began)


def wait() -> None:
    """A GPU works on while Python goes ahead."""
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()


class Official:
    """A model of the official repositories, made by their own options."""

    def __init__(self, case: Case, learner: Learner, batch: Batch, folder: Path) -> None:
        self.learner = learner
        with imported_from(checkout(case.repository), case.arguments, folder):
            from models import create_model  # type: ignore[import-not-found]
            from options.train_options import TrainOptions  # type: ignore[import-not-found]

            options = TrainOptions().parse()
            options.amp = False  # its CycleGAN reads it, its parser does not know it
            self.model: Any = create_model(options)
        self.timed = "index" in batch
        if "F" in case.networks:  # CycleGAN has nothing to initialise, and no argument for it
            self.model.data_dependent_initialize(*self._inputs(batch))
        self.model.setup(options)
        for name, ours in case.networks.items():
            theirs = getattr(self.model, f"net{name}")
            bridge = isinstance(learner.networks[ours], BridgeGenerator)
            parts = generator_parts(theirs, learner.networks[ours]) if bridge else []
            for their, own in parts or [(theirs, learner.networks[ours])]:
                adopt(their, own)
            assert count(theirs) == count(learner.networks[ours])

    def _inputs(self, batch: Batch) -> list[dict[str, Any]]:
        """What its data loader gives; UNSB asks for two."""
        start = batch["start"].unbind(1) if self.timed else (batch["a"], batch["a"], batch["b"])
        sources, target = start[:2], start[2]
        pairs = [{"A": a, "B": target, "A_paths": [], "B_paths": []} for a in sources]
        return pairs if self.timed else pairs[:1]

    def step(self, batch: Batch) -> None:
        self.model.set_input(*self._inputs(batch))
        if self.timed:  # its first random number is the time, on which the step's cost depends
            torch.manual_seed(seed_of(int(batch["index"][0]), self.model.opt.num_timesteps))
        self.model.optimize_parameters()
        if self.timed:
            assert int(self.model.time_idx) == int(batch["index"][0])

    def first(self, batch: Batch) -> tuple[float, float]:
        """The first loss of a step by ours and theirs; of UNSB, which draws, the fake's score."""
        ours, model = self.learner.networks, self.model
        if self.timed:
            x, index, z = batch["start"][:, 0], batch["index"], batch["z"][:, 0]
            with torch.no_grad():
                mine = ours["critic"](ours["generator"](x, index, z), index).mean()
                theirs = model.netD(model.netG(x, index, z), index).mean()
            return float(mine), float(theirs)
        with torch.no_grad():
            losses = next(self.learner.losses(batch))[1].values()
        self.step(batch)
        theirs = model.loss_G if "critic_back" in ours else model.loss_D
        return float(sum(losses)), float(theirs.detach())


class PlainLoop:
    """What a script does: AdamW as it comes, gradients clipped, diffusers' average of weights."""

    def __init__(self, learner: ConditionalLearner) -> None:
        self.learner, config = learner, learner.method.config
        assert isinstance(config, ConditionalConfig)
        self.net = copy.deepcopy(learner.networks["net"])
        self.loss = flow if isinstance(learner, FlowLearner) else denoising
        self.average = EMAModel(self.net.parameters(), decay=config.ema)
        self.optimizer = torch.optim.AdamW(
            self.net.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
        )

    def step(self, batch: Batch) -> None:
        with torch.autocast("cuda", torch.bfloat16, enabled=DEVICE.type == "cuda"):
            loss = self.loss(self.net, batch)
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
        self.optimizer.step()
        self.average.step(self.net.parameters())

    def first(self, batch: Batch) -> tuple[float, float]:
        """The loss."""
        with torch.no_grad():
            (mine,) = next(self.learner.losses(batch))[1].values()
            return float(mine), float(self.loss(self.net, batch))


def flow(net: nn.Module, batch: Batch) -> Tensor:
    """Flow matching, with no noise left on the data."""
    data, noise, time = batch["data"], batch["noise"], batch["time"][:, None, None, None]
    point = (1 - time) * noise + time * data
    predicted = net(point, batch["time"] * 1000, class_labels=batch["labels"]).sample
    return functional.mse_loss(predicted.float(), data - noise)


SCHEDULER = DDPMScheduler(beta_schedule="squaredcos_cap_v2", prediction_type="v_prediction")


def denoising(net: nn.Module, batch: Batch) -> Tensor:
    """DDPM's objective, for v, as in the scripts of diffusers."""
    data, noise, level = batch["data"], batch["noise"], batch["level"]
    noisy = SCHEDULER.add_noise(data, noise, level)
    predicted = net(noisy, level, class_labels=batch["labels"]).sample
    return functional.mse_loss(predicted.float(), SCHEDULER.get_velocity(data, noise, level))


def checkout(repository: str) -> Path:
    folder = Path(os.environ.get("XBENCH_PEERS", "")) / repository
    if not os.environ.get("XBENCH_PEERS") or not (folder / "models").is_dir():
        pytest.skip(f"no checkout of {repository} in the folder that XBENCH_PEERS names")
    return folder


@contextmanager
def imported_from(root: Path, arguments: str, folder: Path) -> Iterator[None]:
    """Import `models` and `options` from one checkout; the next one has others of these names."""
    gpu = 0 if DEVICE.type == "cuda" else -1
    common = f"--input_nc 1 --output_nc 1 --ngf {WIDTH} --ndf {WIDTH} --gpu_ids {gpu}"
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(root))
        words = f"train.py {common} --checkpoints_dir {folder} {arguments}".split()
        patch.setattr(sys, "argv", words)
        try:
            yield
        finally:
            for name in list(sys.modules):
                if name.split(".")[0] in ("data", "models", "options", "util"):
                    del sys.modules[name]


@torch.no_grad()
def adopt(theirs: nn.Module, ours: nn.Module) -> None:
    """Give official layers our weights; they come in the same order."""
    for their, own in zip(theirs.parameters(), ours.parameters(), strict=True):
        assert their.shape == own.shape
        their.copy_(own)


def generator_parts(theirs: Any, ours: BridgeGenerator) -> list[tuple[nn.Module, nn.Module]]:
    """Parts of UNSB's generator with their official counterparts."""
    parts = [
        (theirs.model, ours.stem),
        (theirs.model_upsample, ours.head),
        (theirs.time_embed, ours.embed_time),
        (theirs.z_transform, ours.embed_z),
    ]
    for their, own in zip(theirs.model_res, ours.blocks, strict=True):
        assert isinstance(own, OfficialBlock)
        parts += [(their.adaptive, own.affine), (their.conv_fin, own.second)]
        unused = (their.conv_block, their.Dense_time, their.style)
        parts += zip(unused, own.unused, strict=True)
    return parts


def seed_of(index: int, count: int) -> int:
    """A seed of torch's generator whose first `randint(count, [1])` is the index."""
    for seed in itertools.count():
        generator = torch.Generator().manual_seed(seed)
        if int(torch.randint(count, [1], generator=generator)) == index:
            return seed
    raise AssertionError


def make_peer(name: str, learner: Learner, batch: Batch, folder: Path) -> Official | PlainLoop:
    if isinstance(learner, ConditionalLearner):
        return PlainLoop(learner)
    return Official(GANS[name], learner, batch, folder)


@pytest.fixture(scope="module", params=[*GANS, *LABELLED])
def name(request: pytest.FixtureRequest) -> str:
    """A case; of the module, so that ours and its peer follow one another."""
    return str(request.param)


def _case(name: str) -> str:
    return f"{name}: {STEPS} training steps, {SIZE} px, on {DEVICE.type}"


def test_ours(
    benchmark: BenchmarkFixture, monkeypatch: pytest.MonkeyPatch, data: Data, name: str
) -> None:
    benchmark.group = _case(name)
    watched = Watched(make_learner(name, data), monkeypatch)
    benchmark.pedantic(watched.train, rounds=ROUNDS, warmup_rounds=1)
    share = median(watched.drawing) * STEPS / median(watched.training)
    figures = {f"{name}: share of a step that drawing the batch takes": share}
    benchmark.extra_info |= {"peer": "xbench", "figures": figures}


def test_peer(
    benchmark: BenchmarkFixture,
    monkeypatch: pytest.MonkeyPatch,
    data: Data,
    tmp_path: Path,
    name: str,
) -> None:
    benchmark.group = _case(name)
    if name in GANS:
        checkout(GANS[name].repository)
    if DEVICE.type == "cpu":  # UNSB's model asks for a GPU whatever its options say
        monkeypatch.setattr(Tensor, "cuda", lambda tensor: tensor)
    watched = Watched(make_learner(name, data), monkeypatch)
    watched.train()
    batches = watched.batches[:STEPS]
    peer = make_peer(name, make_learner(name, data), batches[0], tmp_path)
    mine, theirs = peer.first(batches[0])
    assert mine == pytest.approx(theirs, rel=TOLERANCE)
    spent: list[float] = []

    def steps() -> None:
        began = time.perf_counter()
        for batch in batches:
            peer.step(batch)
        wait()
        spent.append(time.perf_counter() - began)

    # Ours goes on between the rounds: what else the machine does slows both alike.
    benchmark.pedantic(steps, setup=watched.train, rounds=ROUNDS, warmup_rounds=1)
    ratio = median(spent[1:]) / median(watched.training[2:])
    other = "official" if name in GANS else "plain loop"
    note = f"of the first batch, equal weights: {theirs:.6g}, ours {mine:.6g}"
    figures = {f"{name}: ratio of medians where ours and the {other} ran by turns": ratio}
    benchmark.extra_info |= {"peer": other, "asked": 1, "ratio": ratio}
    benchmark.extra_info |= {"note": note, "figures": figures}
