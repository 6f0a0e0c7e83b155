"""A step of our training against the official one, on the same batches by equal networks.

    XBENCH_PEERS=peers OMP_NUM_THREADS=1 pytest tests/benchmarks/bench_training.py \
        --benchmark-enable --benchmark-timer=time.process_time --benchmark-json=training.json

`XBENCH_PEERS` names a folder with clones of these of github.com: taesungp's
contrastive-unpaired-translation (CUT, CycleGAN), cyclomon's UNSB, yunjey's stargan, WeichenFan's
HierarchyFlow, atong01's conditional-flow-matching (direct flow) and yuyang-shi's dsbm-pytorch. The
cases of those that are missing are skipped. Their code needs the packages dominate and pot, too.

Images have 64 px. GANs have the official layers at a quarter of their width, Hierarchy Flow those
of the official size; the U-Nets that serve all pairs are those of the profile `quick`, and their
peer is a plain training script on the same network, with the official loss where there is code.
Hierarchy Flow is trained as officially with one image per step, on our filters by both; DSBM at its
first stage, whose pairs are independent; StarGAN without our average of weights.

Ours is the training loop as a run calls it, its drawing of batches included. The official ones are
given batches that ours drew: the GANs by their own `optimize_parameters` or, StarGAN, `train`. A
ratio near 1 is seen best in the rounds in which ours and the peer ran by turns: `ratio` in
`extra_info`. On a CPU that is processor time, which other work on the machine changes least.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from scipy.ndimage import gaussian_filter
from torch import Tensor
from training_loops import PlainLoop, bridge, denoising, direct_flow, flow
from training_peers import DEVICE, WIDTH, Hierarchy, PairGAN, Peer, StarGAN

from xbench.datasets.base import Images
from xbench.methods import registry, training
from xbench.methods.conditional import ConditionalTraining
from xbench.methods.pairwise import PairwiseMethod
from xbench.methods.training import Batch, Learner

DOMAINS = ("one", "other", "third", "fourth", "fifth")
SIZE, IMAGES = 64, 256
STEPS, ROUNDS = 4, 8
PROJECTION = 64
#: Relative difference of what both say of the first batch, in float32.
TOLERANCE = 1e-3
clock = time.perf_counter if DEVICE.type == "cuda" else time.process_time


@dataclass(frozen=True)
class Case:
    """One of our methods and another training of its networks.

    Attributes:
        method: ours.
        peer: makes the other one from a fresh learner, its first batch and a folder for files.
        settings: ours, beside those of the profile.
        profile: None for those that are official.
        program: what the other one is called.
    """

    method: str
    peer: Callable[..., Peer]
    settings: dict[str, Any] = field(default_factory=dict)
    profile: str | None = None
    program: str = "official"


WIDTHS = {"width": WIDTH, "critic_width": WIDTH}
CUT_REPOSITORY = "contrastive-unpaired-translation"
PATCHES = f"--netF_nc {PROJECTION} --num_patches {PROJECTION}"
OUR_PATCHES = WIDTHS | {"projection": PROJECTION, "patches": PROJECTION}
CUT_NETWORKS = {"G": "generator", "D": "critic", "F": "projector"}
CYCLEGAN_NETWORKS = {
    **{"G_A": "generator", "G_B": "generator_back"},
    **{"D_A": "critic", "D_B": "critic_back"},
}


def gan(repository: str, arguments: str, networks: dict[str, str]) -> Callable[..., Peer]:
    return partial(PairGAN, repository=repository, arguments=arguments, networks=networks)


def plain(method: str, loss: Callable[[Any], Any], **more: Any) -> Case:
    """A network for all pairs; the loss is made from the method's settings."""

    def peer(learner: Any, batch: Batch, folder: Path) -> PlainLoop:
        return PlainLoop(learner, loss(learner.config))

    return Case(method, peer, profile="quick", **{"program": "plain loop"} | more)


OFFICIAL_LOSS = "plain loop, official loss"
CASES = {
    "CUT": Case("cut", gan(CUT_REPOSITORY, f"--model cut {PATCHES}", CUT_NETWORKS), OUR_PATCHES),
    "CycleGAN": Case(
        "cyclegan",
        gan(
            CUT_REPOSITORY,
            "--model cycle_gan --no_antialias --no_antialias_up",
            CYCLEGAN_NETWORKS,
        ),
        WIDTHS,
    ),
    "UNSB": Case(
        "unsb-official",
        gan("UNSB", f"--model sb --lambda_SB 1 {PATCHES}", CUT_NETWORKS | {"E": "energy"}),
        OUR_PATCHES,
    ),
    "StarGAN": Case("stargan", StarGAN, WIDTHS),
    "Hierarchy Flow": Case("hierarchyflow", Hierarchy, {"batch": 1, "leave_out": 0.2}),
    "DDPM": plain("ddib", lambda _: denoising),
    "MedShift": plain("medshift", lambda _: flow),
    "ContourDiff": plain("contourdiff", lambda _: denoising),
    "direct flow": plain("directflow", direct_flow, program=OFFICIAL_LOSS),
    "DSBM": plain("dsbm", bridge, program=OFFICIAL_LOSS, settings={"rounds": 0}),
}


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


def make_learner(case: Case, data: Data) -> Learner:
    """What learns, with fresh weights that are the same for every call."""
    kind = registry.get(case.method)
    settings = dict(kind.by_profile[case.profile]) if case.profile else {}
    config = kind.Config.model_validate(settings | case.settings)
    method = kind(config, DOMAINS, SIZE, DEVICE)
    if isinstance(method, PairwiseMethod):
        return method.make_learner(data, (DOMAINS[0], DOMAINS[1]), 0)
    (made,) = method.trainings([])
    assert isinstance(made, ConditionalTraining)
    return made.make_learner(data, 0)


class Watched:
    """A learner whose batches are kept, with the seconds of its drawing and of each training."""

    def __init__(self, learner: Learner, monkeypatch: pytest.MonkeyPatch) -> None:
        self.learner, self.draw = learner, learner.draw
        self.batches: list[Batch] = []
        self.drawing: list[float] = []
        self.training: list[float] = []
        monkeypatch.setattr(learner, "draw", self._draw)

    def _draw(self, generator: torch.Generator) -> Batch:
        began = clock()
        batch = self.draw(generator)
        wait()
        self.drawing.append(clock() - began)
        self.batches.append(batch)
        return batch

    def train(self) -> None:
        """The loop that every run calls, for some steps; the same batches every time."""
        with TemporaryDirectory() as fresh:  # no round resumes the one before
            began = clock()
            training.train(
                lambda: self.learner,
                images=STEPS * self.learner.batch,
                seed=0,
                device=DEVICE,
                checkpoint=Path(fresh),
                progress=lambda *_: None,
                alone=True,
            )
            wait()
            self.training.append(clock() - began)


def wait() -> None:
    """A GPU works on while Python goes ahead."""
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()


@pytest.fixture(scope="module", params=list(CASES))
def name(request: pytest.FixtureRequest) -> str:
    """A case; of the module, so that ours and its peer follow one another."""
    return str(request.param)


def _case(name: str) -> str:
    return f"{name}: {STEPS} training steps, {SIZE} px, on {DEVICE.type}"


def test_ours(
    benchmark: BenchmarkFixture, monkeypatch: pytest.MonkeyPatch, data: Data, name: str
) -> None:
    benchmark.group = _case(name)
    watched = Watched(make_learner(CASES[name], data), monkeypatch)
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
    case = CASES[name]
    if DEVICE.type == "cpu":  # UNSB's model asks for a GPU whatever its options say
        monkeypatch.setattr(Tensor, "cuda", lambda tensor: tensor)
    watched = Watched(make_learner(case, data), monkeypatch)
    watched.train()
    batches = watched.batches[:STEPS]
    peer = case.peer(make_learner(case, data), batches[0], tmp_path)
    mine, theirs = peer.first(batches[0])
    assert mine == pytest.approx(theirs, rel=TOLERANCE)
    spent: list[float] = []

    def steps() -> None:
        began = clock()
        for batch in batches:
            peer.step(batch)
        wait()
        spent.append(clock() - began)

    # Ours goes on between the rounds: what else the machine does slows both alike.
    benchmark.pedantic(steps, setup=watched.train, rounds=ROUNDS, warmup_rounds=1)
    ratio = median(spent[-ROUNDS:]) / median(watched.training[-ROUNDS:])
    note = f"of the first batch, equal weights: {theirs:.6g}, ours {mine:.6g}"
    figures = {f"{name}: ratio of medians where ours and the {case.program} ran by turns": ratio}
    benchmark.extra_info |= {"peer": case.program, "asked": 1, "ratio": ratio}
    benchmark.extra_info |= {"note": note, "figures": figures}
