"""Timings on a GPU, as ratios measured in one run: step c of `tests/gpu.sh`.

    python tests/benchmarks/gpu_timings.py OUT/timings.json

The plain loop is a script as one writes it: the same network, float32, eager, AdamW and gradient
clipping as they come, an average of weights by diffusers; translating, every pair encodes its own
images, and every step asks for both velocities of guidance. It is timed as torch comes (TF32 in
convolutions, no deterministic algorithms, which a run asks for) and with TF32 switched off; it is
given batches drawn before, ours draws its own. Ours is in the form that a long run would choose:
of channels last and `torch.compile` what was measured to be faster (`xbench.core.forms`).

Every number is written when it is there, so that running out of time loses only the later ones.
"""

import copy
import inspect
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise, permutations
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import numpy as np
import torch
from diffusers.training_utils import EMAModel
from gpu_machine import DEVICE, REHEARSAL, peak, wait
from scipy.ndimage import gaussian_filter
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from xbench.core import forms
from xbench.core.compute import Compute
from xbench.core.forms import Form
from xbench.core.profiles import get_profile
from xbench.datasets.base import Images
from xbench.datasets.phantom.dataset import PROFILES as PHANTOMS
from xbench.datasets.phantom.generate import PhantomJob
from xbench.harness.translation import fix_numerics
from xbench.methods import ode, registry, settling, training
from xbench.methods.conditional import ConditionalTraining
from xbench.methods.medshift import TIME_SCALE, MedShift
from xbench.methods.pairwise import PairwiseMethod
from xbench.metrics.frechet import frechet_distance

DOMAINS = ("one", "other", "third", "fourth", "fifth")
PROFILE = get_profile("smoke" if REHEARSAL else "standard")
#: Training images per domain; images per domain that are translated.
IMAGES, COUNT = (16, 2) if REHEARSAL else (64, 8)
#: Steps before the clock starts, and while it runs; of a method whose budget is looked for.
WARM, STEPS, FEW = (1, 2, 1) if REHEARSAL else (6, 24, 10)
#: Changes of the form of networks that are tried, one after the other.
CHANGES: tuple[dict[str, Any], ...] = ({}, {"channels_last": True}, {"compiled": ("net",)})
#: Networks have the form that is looked at, and no training chooses another.
AS_GIVEN = Compute(compile="off", channels_last="off")
#: Pairs that the plain loop translates; all are said to take as long.
PLAIN_PAIRS = 2
#: Features: images, dimensions; images through the network.
FEATURES, SHOWN = ((80, 64), 2) if REHEARSAL else ((2500, 2048), 256)


class Data:
    """Smoothed noise, in files as prepared data sets have them."""

    def __init__(self, folder: Path, size: int) -> None:
        rng = np.random.default_rng(0)
        self.images: dict[str, Images] = {}
        for domain in DOMAINS:
            smooth = gaussian_filter(rng.standard_normal((IMAGES, size, size)), (0, 3, 3))
            grey = (0.5 + smooth).clip(0, 1) * 65535
            np.save(folder / f"{domain}.npy", np.round(grey).astype(np.uint16))
            self.images[domain] = Images([np.load(folder / f"{domain}.npy", mmap_mode="r")])

    def train(self, domain: str) -> Images:
        """See `TrainData`."""
        return self.images[domain]


def seconds(work: Callable[[], object], rounds: int = 1) -> float:
    """The least of some rounds."""
    spent = []
    for _ in range(rounds):
        wait()
        began = perf_counter()
        work()
        wait()
        spent.append(perf_counter() - began)
    return min(spent)


def make(name: str) -> Any:
    """The method of the profile on the device."""
    kind = registry.get(name)
    return kind(kind.configure(PROFILE), DOMAINS, PROFILE.size, DEVICE)


def make_learner(method: Any, data: Data) -> training.Learner:
    """What learns, with fresh weights that are the same for every call."""
    if isinstance(method, PairwiseMethod):
        return method.make_learner(data, DOMAINS[:2], 0)
    (made,) = method.trainings([])
    assert isinstance(made, ConditionalTraining)
    return made.make_learner(data, 0)


def train(learner: training.Learner, steps: int) -> None:
    """The loop that every run calls; nothing of an earlier training is resumed."""
    with TemporaryDirectory() as folder:
        training.train(
            lambda: learner,
            images=steps * learner.batch,
            seed=0,
            device=DEVICE,
            checkpoint=Path(folder),
            progress=lambda *_: None,
            alone=True,
            settings=AS_GIVEN,
        )


def step_seconds(learner: training.Learner, steps: int) -> float:
    """Seconds of a step, after some to warm up."""
    train(learner, WARM)
    return seconds(lambda: train(learner, steps)) / steps


def plain_trainer(learner: Any) -> Callable[[training.Batch], None]:
    """A step of the plain loop, in float32."""
    config, net = learner.method.config, copy.deepcopy(learner.networks["net"])
    net.to(memory_format=torch.contiguous_format)
    average = EMAModel(net.parameters(), decay=config.ema)
    optimizer = torch.optim.AdamW(
        net.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
    )

    def step(batch: training.Batch) -> None:
        data, noise, time = batch["data"], batch["noise"], batch["time"][:, None, None, None]
        point = (1 - time) * noise + time * data
        predicted = net(point, batch["time"] * TIME_SCALE, class_labels=batch["labels"]).sample
        loss = functional.mse_loss(predicted, data - noise)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        average.step(net.parameters())

    return step


@torch.inference_mode()
def plain_translation(method: MedShift, images: dict[str, Tensor], pairs: list[Any]) -> None:
    """Each pair by itself, two calls of the network each time, in float32."""
    net = copy.deepcopy(method.net).to(memory_format=torch.contiguous_format)
    step, times = ode.SOLVERS[method.config.solver][0], method.way(method.tau)

    def field_of(domain: str) -> ode.Field:
        labels = (method.domains.index(domain), len(method.domains))

        def field(x: Tensor, t: float) -> Tensor:
            time = torch.full((len(x),), t * TIME_SCALE, device=x.device)
            own, none = (
                net(x, time, class_labels=torch.full((len(x),), n, device=x.device)).sample
                for n in labels
            )
            both: Tensor = none + 1.0 * (own - none)
            return both

        return field

    for source, target in pairs:
        x = method.encode(images[source])
        for domain, grid in ((source, times), (target, times[::-1])):
            field = field_of(domain)
            for t, later in pairwise(grid):
                x = step(field, x, t, later - t)
        method.decode(x, images[source])


@contextmanager
def as_torch_comes(*, tf32: bool = True) -> Iterator[None]:
    """No deterministic algorithms, and convolutions in TF32 or in true float32."""
    torch.use_deterministic_algorithms(False)
    torch.backends.cudnn.allow_tf32 = tf32
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = True
        fix_numerics(DEVICE, PROFILE.threads)


class Sheet(dict[str, Any]):
    """The numbers, written whenever one is there."""

    def __init__(self, path: Path) -> None:
        super().__init__(rehearsal=REHEARSAL, profile=PROFILE.name, device=DEVICE.type)
        self.path = path

    def note(self, **numbers: Any) -> None:
        """Add some and write all."""
        self.update(numbers)
        self.path.write_text(json.dumps(self, indent=1))

    def attempt(self, part: Callable[..., None], *arguments: Any) -> None:
        """A part that fails is named, and the others go on."""
        try:
            part(self, *arguments)
        except Exception as error:
            failed = self.get("failed", {}) | {part.__name__: f"{type(error).__name__}: {error}"}
            self.note(failed=failed)


def in_all_forms(
    sheet: Sheet, what: str, nets: forms.Networks, took: Callable[[Form], float]
) -> float:
    """Time some work in several forms of its networks, keep the fastest, and return its seconds."""
    found: dict[str, float] = {}
    best = Form()
    for change in CHANGES:
        form = best._replace(**change)
        forms.give(nets, form)
        try:
            found[named(form)] = took(form)
        except Exception as error:
            failed = sheet.get("failed", {}) | {f"{what}, {named(form)}": repr(error)[:200]}
            sheet.note(failed=failed)
            continue
        sheet.note(**{f"{what}_forms_s": found})
        if found[named(form)] < found[named(best)] * (1 - forms.MARGIN):
            best = form
    forms.give(nets, best)
    sheet.note(**{f"{what}_kept": named(best)})
    return found[named(best)]


def named(form: Form) -> str:
    """A form in words."""
    parts = ["channels last"] * form.channels_last + ["compiled"] * bool(form.compiled)
    return ", ".join(parts) or "plain"


def train_medshift(sheet: Sheet, data: Data) -> None:
    """Steps of ours, in all forms, and of the plain loop; share of the peak; loading."""
    learner: Any = make_learner(make("medshift"), data)

    def took(form: Form) -> float:
        forms.give(learner.averages, Form(form.channels_last))
        settling.lay_out(learner.optimizers)
        return step_seconds(learner, STEPS)

    ours = in_all_forms(sheet, "train", learner.networks, took)
    sheet.note(train_step_s=ours, train_batch=learner.batch)
    drawing = torch.Generator(DEVICE).manual_seed(0)
    draw = seconds(lambda: [learner.draw(drawing) for _ in range(STEPS)]) / STEPS
    sheet.note(draw_s=draw, draw_share=draw / ours)
    with forms.eager(learner.networks), FlopCounterMode(display=False) as counter:
        train(learner, 1)
    best = peak(torch.bfloat16 if DEVICE.type == "cuda" else torch.float32)
    flops = counter.get_total_flops()
    share = flops / ours / best
    sheet.note(train_flops=flops, peak_tflops=best / 1e12, train_share_of_peak=share)
    batches = [learner.draw(drawing) for _ in range(4)]
    for name, tf32 in (("", True), ("_true_float32", False)):
        with as_torch_comes(tf32=tf32):
            theirs = plain_step_seconds(plain_trainer(learner), batches)
        sheet.note(**{f"plain_step{name}_s": theirs, f"train_ratio{name}": theirs / ours})


def plain_step_seconds(step: Callable[[training.Batch], None], batches: list[Any]) -> float:
    """Seconds of a step of the plain loop."""
    for batch in batches[:2]:
        step(batch)
    return seconds(lambda: [step(batch) for batch in batches]) / len(batches)


def translate_medshift(sheet: Sheet, data: Data) -> None:
    """All pairs, by ours and by the plain loop."""
    method = make("medshift")
    method.net.eval()
    images = {d: data.train(d)[:COUNT].to(DEVICE) for d in DOMAINS}

    def ours() -> None:
        for source in DOMAINS:
            targets = [target for target in DOMAINS if target != source]
            method.translate_all(images[source], source, targets, generators={})

    def took(form: Form) -> float:
        ours()
        return seconds(ours, rounds=2)

    mine = in_all_forms(sheet, "translate", method.busy_networks(), took)
    pairs = list(permutations(DOMAINS, 2))
    sheet.note(translate_s=mine, translate_images=COUNT, translate_pairs=len(pairs))
    for name, tf32 in (("", True), ("_true_float32", False)):
        with as_torch_comes(tf32=tf32):
            plain_translation(method, images, pairs[:1])
            some = seconds(lambda: plain_translation(method, images, pairs[:PLAIN_PAIRS]))
        theirs = some * len(pairs) / PLAIN_PAIRS
        sheet.note(**{f"plain_translate{name}_s": theirs, f"translate_ratio{name}": theirs / mine})


def whole_job(sheet: Sheet) -> None:
    """The `standard` MedShift job from the steps above; data and scores are not in it."""
    heads, views = PHANTOMS[PROFILE.name][3]
    each = sheet["translate_s"] / COUNT  # of one image of every domain, to all others
    training_s = PROFILE.train_images / sheet["train_batch"] * sheet["train_step_s"]
    translation_s = heads * views * each
    minutes = (training_s + translation_s) / 60
    sheet.note(job_training_s=training_s, job_translation_s=translation_s, job_minutes=minutes)


def speeds(sheet: Sheet, data: Data) -> None:
    """Images per second of the trainings of step d, from which it takes its budgets."""
    for name in ("medshift", "ddib", "cyclegan"):
        learner = make_learner(make(name), data)
        took = step_seconds(learner, FEW)
        found = sheet.get("images_per_second", {}) | {name: learner.batch / took}
        sheet.note(images_per_second=found)
        del learner


def phantom(sheet: Sheet) -> None:
    """Whether it could be made on a GPU at all."""
    switch = "device" in inspect.signature(PhantomJob).parameters
    sheet.note(phantom_device_switch=switch)


def features(sheet: Sheet) -> None:
    """A network of Inception's size (fresh weights: real ones need a download), and Fréchet."""
    from torchvision.models import inception_v3

    torch.manual_seed(0)
    net = inception_v3(weights=None, init_weights=False, aux_logits=True).eval()
    net.fc = nn.Identity()  # type: ignore[assignment]
    images = torch.rand(SHOWN, 3, 299, 299)
    few = images[: max(2, SHOWN // 32)]
    with torch.inference_mode():
        here = net(few)
        slow = seconds(lambda: net(few)) / len(few)
        there = net.to(DEVICE)

        def fast() -> None:
            for part in images.split(64):
                there(part.to(DEVICE))

        fast()
        apart = (there(few.to(DEVICE)).cpu() - here).abs().max() / here.abs().max()
        quick = seconds(fast) / SHOWN
    sheet.note(features_ratio=slow / quick, features_s=quick, features_apart=float(apart))
    rng = np.random.default_rng(0)
    count, size = FEATURES
    mixing = rng.standard_normal((size // 8, size))
    sets = [np.maximum(rng.standard_normal((count, size // 8)) @ mixing, k / 10) for k in (0, 1)]
    ours: list[float] = []
    cpu = seconds(lambda: ours.append(frechet_distance(*map(torch.from_numpy, sets))))
    found: list[float] = []
    card = seconds(lambda: found.append(frechet_on_device(*sets)), rounds=2)
    off = abs(found[0] / ours[0] - 1)
    sheet.note(frechet_cpu_s=cpu, frechet_device_s=card, frechet_apart=off)


def frechet_on_device(*sets: Any) -> float:
    """By two eigendecompositions in float64: what a switch in the metric could gain."""
    one, other = (torch.from_numpy(x).to(DEVICE) for x in sets)
    m1, m2, c1, c2 = one.mean(0), other.mean(0), one.T.cov(), other.T.cov()
    values, vectors = torch.linalg.eigh(c1)
    root = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    crossed = torch.linalg.eigvalsh(root @ c2 @ root).clamp(min=0).sqrt().sum()
    return float((m1 - m2).square().sum() + c1.trace() + c2.trace() - 2 * crossed)


def main(path: Path) -> int:
    """All parts, what step d needs first; 1 if one failed."""
    if REHEARSAL:  # compiling for a CPU takes minutes, and needs a compiler for C++
        forms.BACKEND = "aot_eager"
    training.CHECKPOINT_SECONDS = float("inf")  # nothing is resumed, however slow the machine
    training.CURVE_POINTS = 1  # a real training, too, looks at its losses only now and then
    sheet = Sheet(path)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # as a run does
    fix_numerics(DEVICE, PROFILE.threads)
    with tempfile.TemporaryDirectory() as folder:
        data = Data(Path(folder), PROFILE.size)
        sheet.attempt(speeds, data)
        sheet.attempt(train_medshift, data)
        sheet.attempt(translate_medshift, data)
        sheet.attempt(whole_job)
        sheet.attempt(phantom)
        sheet.attempt(features)
    return int("failed" in sheet)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
