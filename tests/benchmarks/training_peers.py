"""The official trainings beside which `bench_training.py` times ours: GANs and Hierarchy Flow.

They are imported from clones in the folder that `XBENCH_PEERS` names, given our weights and
batches, and the random numbers of ours. Three channels become one in those that know only three.
"""

import itertools
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Protocol
from unittest.mock import Mock

import pytest
import torch
from torch import Tensor, nn

from xbench.methods.hierarchyflow import HierarchyLearner
from xbench.methods.nets.unsb import BridgeGenerator, OfficialBlock
from xbench.methods.pairwise import count
from xbench.methods.stargan import StarLearner
from xbench.methods.texture import both_signs
from xbench.methods.training import Batch, Learner

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
#: Of the layers of CUT, CycleGAN and UNSB.
WIDTH = 16
#: More steps than any training here has.
NEVER = 10**9


class Peer(Protocol):
    """Another training of the same networks."""

    def step(self, batch: Batch) -> None:
        """One step on a batch that ours drew."""

    def first(self, batch: Batch) -> tuple[float, float]:
        """What ours and theirs say of a batch with equal weights, before all other steps."""


class PairGAN:
    """CUT, CycleGAN or UNSB, made by their own options."""

    def __init__(
        self,
        learner: Learner,
        batch: Batch,
        folder: Path,
        *,
        repository: str,
        arguments: str,
        networks: dict[str, str],
    ) -> None:
        self.learner = learner
        gpu = 0 if DEVICE.type == "cuda" else -1
        common = f"--input_nc 1 --output_nc 1 --ngf {WIDTH} --ndf {WIDTH} --gpu_ids {gpu}"
        argv = f"train.py {common} --checkpoints_dir {folder} {arguments}".split()
        with imported_from(checkout(repository), *argv):
            from models import create_model  # type: ignore[import-not-found]
            from options.train_options import TrainOptions  # type: ignore[import-not-found]

            options = TrainOptions().parse()
            options.amp = False  # its CycleGAN reads it, its parser does not know it
            self.model: Any = create_model(options)
        self.timed = "index" in batch
        if "F" in networks:  # CycleGAN has nothing to initialise, and no argument for it
            self.model.data_dependent_initialize(*self._inputs(batch))
        self.model.setup(options)
        for name, ours in networks.items():
            theirs, net = getattr(self.model, f"net{name}"), learner.networks[ours]
            parts = generator_parts(theirs, net) if isinstance(net, BridgeGenerator) else []
            for their, own in parts or [(theirs, net)]:
                adopt(their, own)
            assert count(theirs) == count(net)

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


class StarGAN:
    """The training loop of github.com/yunjey/stargan: every step of ours is one call of it."""

    def __init__(self, learner: StarLearner, batch: Batch, folder: Path) -> None:
        self.learner, config, domains = learner, learner.config, len(learner.images)
        options = SimpleNamespace(
            **dict(dataset="RaFD", c_dim=domains, image_size=batch["images"].shape[-1]),
            **dict(g_conv_dim=config.width, g_repeat_num=config.blocks, g_lr=config.learning_rate),
            **dict(d_conv_dim=config.critic_width, d_repeat_num=config.critic_layers),
            **dict(d_lr=config.learning_rate, beta1=learner.betas[0], beta2=learner.betas[1]),
            **dict(lambda_cls=config.classes, lambda_rec=config.cycle, lambda_gp=config.penalty),
            **dict(batch_size=config.batch, num_iters=config.critic_steps),
            **dict(n_critic=config.critic_steps, log_step=NEVER, sample_step=NEVER),
            **dict(model_save_step=NEVER, lr_update_step=NEVER, use_tensorboard=False),
            **dict.fromkeys(("c2_dim", "num_iters_decay", "resume_iters", "selected_attrs")),
            **dict.fromkeys(("test_iters", "log_dir", "sample_dir", "model_save_dir")),
            result_dir=None,
        )
        with imported_from(checkout("stargan")), channels({3: 1, 3 + domains: 1 + domains}):
            from solver import Solver  # type: ignore[import-not-found]

            self.solver: Any = Solver(None, None, options)
        adopt(self.solver.G, learner.networks["net"])
        adopt(self.solver.D, learner.networks["critic"])

    def step(self, batch: Batch) -> None:
        """Its loop over the batches of one step; it looks at the first one before it begins."""
        labels, wanted = batch["labels"].cpu(), batch["wanted"].cpu()
        orders = labels.argsort(dim=0).gather(0, wanted.argsort(dim=0).argsort(dim=0))
        parts = list(zip(batch["images"].cpu().unbind(1), labels.unbind(1), strict=True))
        self.solver.rafd_loader = [parts[0], *parts]
        mixes = batch["mix"][..., None, None, None].unbind(1)
        with drawn(randperm=orders.unbind(1), rand=mixes):
            self.solver.train()

    def first(self, batch: Batch) -> tuple[float, float]:
        """All losses of the step, the generator's after the critic has learned."""
        mine, theirs, config = 0.0, 0.0, self.learner.config
        for name, losses in self.learner.losses(batch):
            loss = torch.stack(list(losses.values())).sum()
            self.learner.optimizers[name].zero_grad()
            loss.backward()
            self.learner.optimizers[name].step()
            mine += float(loss.detach())
        weights = {"cls": config.classes, "rec": config.cycle, "gp": config.penalty}

        def add(tag: str, value: float, step: int) -> None:
            nonlocal theirs
            theirs += weights.get(tag.rpartition("_")[2], 1) * value

        solver = self.solver
        solver.log_step, solver.use_tensorboard = 1, True
        solver.logger = SimpleNamespace(scalar_summary=add)
        self.step(batch)
        solver.log_step, solver.use_tensorboard = NEVER, False
        return mine, theirs


class Hierarchy:
    """Network and losses of github.com/WeichenFan/HierarchyFlow in a loop like theirs.

    Their trainer wants several GPUs. Instead of VGG's features their losses are given those of our
    filters, both signs for the style and the same level for the content; nothing is clamped.
    """

    def __init__(self, learner: HierarchyLearner, batch: Batch, folder: Path) -> None:
        self.learner, config = learner, learner.config
        with imported_from(checkout("HierarchyFlow")), channels({3: 1}):
            from model.losses.VGG_loss import VGGLoss  # type: ignore[import-not-found]
            from model.network.hf import HierarchyFlow  # type: ignore[import-not-found]

            net = HierarchyFlow(config.border, 1, list(config.widths), "learned").to(DEVICE)
        self.criterion = VGGLoss.__new__(VGGLoss)  # without VGG's weights
        nn.Module.__init__(self.criterion)
        self.criterion.mse_loss = nn.MSELoss()
        adopt(net.blocks, learner.net.blocks)
        adopt(net.style_net, learner.net.encode)
        self.net = net
        self.optimizer = torch.optim.Adam(net.parameters(), lr=config.learning_rate)

    def loss(self, batch: Batch) -> Tensor:
        """The sum that theirs minimises."""
        config, criterion = self.learner.config, self.criterion
        made = self.net(batch["content"], batch["style"])
        images = (made, batch["content"], batch["style"])
        own, content, style = (self.learner.bank(x) for x in images)
        level, kept = config.content_level - 1, 1 - config.leave_out
        loss: Tensor = criterion.calc_content_loss(own[level], content[level])
        for a, b in zip(own, style, strict=True):
            part = criterion.calc_style_loss(both_signs(a), both_signs(b), kept)
            loss = loss + config.style_weight * part
        return loss

    def step(self, batch: Batch) -> None:
        loss = self.loss(batch)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()

    def first(self, batch: Batch) -> tuple[float, float]:
        """The loss."""
        with torch.no_grad():
            losses = next(self.learner.losses(batch))[1].values()
            return float(sum(losses)), float(self.loss(batch))


def checkout(repository: str) -> Path:
    """A clone, or none: then the case is skipped."""
    folder = Path(os.environ.get("XBENCH_PEERS", "")) / repository
    if not os.environ.get("XBENCH_PEERS") or not folder.is_dir():
        pytest.skip(f"no checkout of {repository} in the folder that XBENCH_PEERS names")
    return folder


@contextmanager
def imported_from(root: Path, *argv: str) -> Iterator[None]:
    """Import from one checkout, as if started by `argv`; others have modules of the same names."""
    before, names = set(sys.modules), {path.stem for path in root.iterdir()}
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(root))
        patch.setattr(sys, "argv", list(argv) or sys.argv)
        try:
            yield
        finally:
            for name in set(sys.modules) - before:
                if name.split(".")[0] in names:
                    del sys.modules[name]


@contextmanager
def channels(others: dict[int, int]) -> Iterator[None]:
    """Convolutions with other numbers of channels than they ask for."""

    def conv(in_channels: int, out_channels: int, *arguments: Any, **named: Any) -> nn.Conv2d:
        given, wanted = (others.get(n, n) for n in (in_channels, out_channels))
        return made(given, wanted, *arguments, **named)

    made = nn.Conv2d
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nn, "Conv2d", conv)
        yield


@contextmanager
def drawn(**numbers: Iterable[Tensor]) -> Iterator[None]:
    """What torch's functions of these names return, one tensor per call, in place of chance."""
    with pytest.MonkeyPatch.context() as patch:
        for name, tensors in numbers.items():
            patch.setattr(torch, name, Mock(side_effect=tensors))
        yield


@torch.no_grad()
def adopt(theirs: nn.Module, ours: nn.Module) -> None:
    """Give official layers our weights; they come in the same order."""
    for their, own in zip(theirs.parameters(), ours.parameters(), strict=True):
        assert their.shape == own.shape
        their.copy_(own)


def generator_parts(theirs: Any, ours: BridgeGenerator) -> list[tuple[nn.Module, nn.Module]]:
    """Parts of UNSB's generator with their official counterparts."""
    parts: list[tuple[nn.Module, nn.Module]] = [
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
