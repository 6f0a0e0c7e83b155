"""MedShift's translation of all pairs against the plain loop, on the same trained network.

    XBENCH_RUNS=runs OMP_NUM_THREADS=1 pytest tests/benchmarks/bench_translation.py \
        --benchmark-enable --benchmark-timer=time.process_time --benchmark-json=translation.json

`XBENCH_RUNS` names a folder with a finished `xbench run --method medshift`; without it a network
is trained first, a little, which takes minutes, and so does its search for equal error. The phantom
is taken from `XBENCH_HOME` if that is set. On a GPU ours runs as always (bfloat16), the plain loop
in float32; leave the timer out there.

The plain loop is what the paper's equations say: every pair encodes its own images, every step
asks the network for both velocities of guidance, also at w = 1, where one of them cancels.

How near ours is to what the machine can do: the multiplications and additions of its convolutions
and matrix products per second, as a share of what one large product reaches in the same type.
"""

import os
from collections.abc import Callable, Mapping
from functools import cache, partial
from itertools import pairwise, permutations
from pathlib import Path
from time import perf_counter

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from xbench.core.pairs import Pair
from xbench.harness import trainings
from xbench.harness.pending import make_method
from xbench.harness.plan import Request, make
from xbench.harness.progress import Display
from xbench.methods import ode
from xbench.methods.medshift import MedShift

#: Of each domain; all of them are one batch.
COUNT = 2
#: Training images where no finished run is named.
BUDGET = 2048
#: Largest difference of two pixels in [0, 1]: of sums in another order, of numbers of 8 bits.
EQUAL, EQUAL_BFLOAT16 = 1e-4, 5e-2
MOST_STEPS = 512
#: Side of the matrices whose product is taken for the machine's best.
SIDE = 8192 if torch.cuda.is_available() else 2048
#: Read before the tests' own world replaces it.
HOME = os.environ.get("XBENCH_HOME")
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
TOLERANCE = EQUAL_BFLOAT16 if DEVICE.type == "cuda" else EQUAL

#: Images of one domain by its name, and translated ones by their pair.
Inputs = Mapping[str, Tensor]
Outputs = dict[Pair, Tensor]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[MedShift, Inputs]:
    """MedShift, trained, and images of all domains, `[COUNT, 1, 64, 64]`."""
    runs = os.environ.get("XBENCH_RUNS")
    out = Path(runs) if runs else tmp_path_factory.mktemp("runs")
    budget = () if runs else (f"budget.images={BUDGET}",)
    with pytest.MonkeyPatch.context() as patch:
        if HOME:
            patch.setenv("XBENCH_HOME", HOME)
        plan = make(Request(["medshift"], assignments=budget, out=out))
        plan.dataset.prepare()
        entry = next(entry for entry in plan.entries if entry.name == "medshift")
        method = make_method(plan, entry, DEVICE)
        assert isinstance(method, MedShift)
        ((training, folder),) = trainings.folders(plan, entry, method, plan.pairs, seed=0)
        if runs:
            assert trainings.read_log(folder, training, repair=False), f"not finished: {folder}"
            training.load(folder)
        else:
            display = Display(plan.dataset.domains)
            trainings.obtain(training, folder, plan, entry, 0, DEVICE, display)
        images = {d: plan.dataset.images("test", d)[:COUNT].to(DEVICE) for d in method.domains}
    return method, images


def changed(method: MedShift, **settings: object) -> MedShift:
    """The same network under other settings."""
    config = type(method.config).model_validate({**method.config.model_dump(), **settings})
    other = MedShift(config, method.domains, method.size, method.device)
    other.net = method.net
    return other


def by_xbench(method: MedShift, images: Inputs) -> Outputs:
    found: Outputs = {}
    for source, given in images.items():
        targets = [target for target in images if target != source]
        results = method.translate_all(given, source, targets, generators={})
        found |= {(source, target): result for target, result in results.items()}
    return waited(found)


def by_plain_loop(method: MedShift, images: Inputs, solver: str, times: list[float]) -> Outputs:
    field = partial(two_calls, method, weight=1.0)
    return waited(
        {
            (source, target): plain(method, field, images[source], source, target, solver, times)
            for source, target in permutations(images, 2)
        }
    )


@torch.inference_mode()
def plain(
    method: MedShift,
    make_field: Callable[[str], ode.Field],
    images: Tensor,
    source: str,
    target: str,
    solver: str,
    times: list[float],
) -> Tensor:
    """Walk down the times under the source's label, and up again under the target's."""
    step, x = ode.SOLVERS[solver][0], method.encode(images)
    for domain, grid in ((source, times), (target, times[::-1])):
        field = make_field(domain)
        for t, later in pairwise(grid):
            x = step(field, x, t, later - t)
    return method.decode(x, images)


def two_calls(method: MedShift, domain: str, weight: float) -> ode.Field:
    """v_null + w (v_domain - v_null), always of both."""
    label, null = method.domains.index(domain), len(method.domains)

    def field(x: Tensor, t: float) -> Tensor:
        with_label, without = (call(method, x, t, n) for n in (label, null))
        return without + weight * (with_label - without)

    return field


def one_call(method: MedShift, domain: str) -> ode.Field:
    """The same at w = 1 but for rounding; to search with, outside the timing."""
    return partial(call, method, label=method.domains.index(domain))


def call(method: MedShift, x: Tensor, t: float, label: int) -> Tensor:
    time = torch.full((len(x),), t, device=x.device)
    labels = torch.full((len(x),), label, device=x.device)
    velocity: Tensor = method.net(x, 1000 * time, class_labels=labels).sample
    return velocity


def waited(outputs: Outputs) -> Outputs:
    """The same when they are there: a GPU works on while Python goes ahead."""
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()
    return outputs


def round_trip(translate: Callable[[Tensor, str], Tensor], images: Inputs) -> float:
    """RMSE of images that are translated to their own domain."""
    squares = [(translate(x, domain) - x).square().mean() for domain, x in images.items()]
    return float(torch.stack(squares).mean().sqrt())


def our_round_trip(method: MedShift, images: Inputs) -> float:
    return round_trip(lambda x, d: method.translate_all(x, d, [d], generators={})[d], images)


def plain_round_trip(method: MedShift, images: Inputs, solver: str, times: list[float]) -> float:
    field = partial(one_call, method)
    return round_trip(lambda x, d: plain(method, field, x, d, d, solver, times), images)


def even(tau: float, steps: int) -> list[float]:
    """Times from 1 down to tau, evenly spaced."""
    return [1 - (1 - tau) * k / steps for k in range(steps + 1)]


def steps_for(method: MedShift, images: Inputs, most: float) -> tuple[int, float]:
    """The fewest Euler steps whose round trip errs at most so much, and how much it errs.

    The error falls with the steps; that one step fewer is not enough is looked at.
    """

    @cache
    def error(steps: int) -> float:
        return plain_round_trip(method, images, "euler", even(method.config.tau, steps))

    low, high = 0, 8
    while error(high) > most:
        low, high = high, 2 * high
        assert high <= MOST_STEPS, f"Euler does not reach {most} in {MOST_STEPS} steps"
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if error(middle) > most else (low, middle)
    assert high == 1 or error(high - 1) > most
    return high, error(high)


def largest_difference(ours: Outputs, theirs: Outputs) -> float:
    assert ours.keys() == theirs.keys()
    return max(float((ours[pair] - theirs[pair]).abs().max()) for pair in ours)


def _case(method: MedShift, images: Inputs, what: str) -> str:
    size, pairs = method.size, len(images) * (len(images) - 1)
    return f"MedShift, {pairs} pairs of {COUNT} images of {size} px on {DEVICE.type}, {what}"


ERROR, STEPS, GUIDED = "equal round-trip error", "equal steps", "guidance 1.5"


def ours(benchmark: BenchmarkFixture, method: MedShift, images: Inputs) -> None:
    """Measure ours."""
    error = our_round_trip(method, images)  # and warm
    benchmark.pedantic(by_xbench, (method, images), rounds=2)
    steps = len(method.times(method.config.tau)) - 1
    note = f"{steps} {method.config.solver} steps each way, round trip {error:.4f}"
    benchmark.extra_info |= {"peer": "xbench", "value": error, "note": note}
    if benchmark.stats:
        reached = operations(method, images) / benchmark.stats.stats.min / 1e9
        best = peak() / 1e9
        benchmark.extra_info["figures"] = {
            "GFLOP/s": reached,
            "GFLOP/s of a matrix product": best,
            "share": reached / best,
        }


def operations(method: MedShift, images: Inputs) -> int:
    """Floating-point operations of convolutions, matrix products and attention, all pairs."""
    with FlopCounterMode(display=False) as counter:
        by_xbench(method, images)
    return counter.get_total_flops()


@cache
def peak() -> float:
    """Floating-point operations per second of a large matrix product, the best of ten."""
    dtype = torch.bfloat16 if DEVICE.type == "cuda" else torch.float32
    a, b = (torch.rand(SIDE, SIDE, device=DEVICE, dtype=dtype) for _ in range(2))
    seconds = []
    for _ in range(11):  # the first one warms up
        start = perf_counter()
        a @ b
        if DEVICE.type == "cuda":
            torch.cuda.synchronize()
        seconds.append(perf_counter() - start)
    return 2 * SIDE**3 / min(seconds[1:])


# Ours and its peer stand side by side, so that they find the machine in the same state.


def test_ours_at_equal_error(benchmark: BenchmarkFixture, world: tuple[MedShift, Inputs]) -> None:
    benchmark.group = _case(*world, ERROR)
    ours(benchmark, *world)


def test_plain_loop_at_equal_error(
    benchmark: BenchmarkFixture, world: tuple[MedShift, Inputs]
) -> None:
    method, images = world
    benchmark.group = _case(*world, ERROR)
    most = our_round_trip(*world)
    steps, theirs = steps_for(method, images, most)
    times = even(method.config.tau, steps)
    outputs = benchmark.pedantic(by_plain_loop, (*world, "euler", times), rounds=1)
    assert theirs <= most
    # Two solvers of one flow: what they give differs by about what each errs.
    apart = rms(by_xbench(*world), outputs)
    assert apart < 3 * most
    note = f"{steps} Euler steps each way, round trip {theirs:.4f}, outputs {apart:.4f} apart"
    benchmark.extra_info |= {"peer": "plain loop", "asked": 4, "value": theirs, "note": note}


def rms(ours: Outputs, theirs: Outputs) -> float:
    """Root of the mean squared difference over all pairs."""
    assert ours.keys() == theirs.keys()
    squares = [(ours[pair] - theirs[pair]).square().mean() for pair in ours]
    return float(torch.stack(squares).mean().sqrt())


def test_ours_at_equal_steps(benchmark: BenchmarkFixture, world: tuple[MedShift, Inputs]) -> None:
    benchmark.group = _case(*world, STEPS)
    ours(benchmark, *world)


def test_plain_loop_at_equal_steps(
    benchmark: BenchmarkFixture, world: tuple[MedShift, Inputs]
) -> None:
    method, _ = world
    benchmark.group = _case(*world, STEPS)
    times = method.times(method.config.tau)
    given = (*world, method.config.solver, times)
    outputs = benchmark.pedantic(by_plain_loop, given, rounds=2)
    error = plain_round_trip(*given)
    apart = largest_difference(by_xbench(*world), outputs)
    assert apart < TOLERANCE
    note = f"the same solver and times, largest difference of a pixel {apart:.1e}"
    benchmark.extra_info |= {"peer": "plain loop", "asked": 1.5, "value": error, "note": note}


@pytest.mark.parametrize("name", ["xbench", "two calls"])
def test_guidance(
    benchmark: BenchmarkFixture,
    world: tuple[MedShift, Inputs],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    """Both velocities of guidance in one batch, or in two calls; the sharing is the same."""
    method = changed(world[0], guidance_source=1.5, guidance_target=1.5)
    images = dict(list(world[1].items())[:3])
    benchmark.group = _case(method, images, GUIDED)
    expected = by_xbench(method, images)
    if name == "two calls":
        monkeypatch.setattr(method, "field", partial(two_calls, method))
    outputs = benchmark.pedantic(by_xbench, (method, images), rounds=2)
    apart = largest_difference(expected, outputs)
    assert apart < TOLERANCE
    note = f"largest difference of a pixel {apart:.1e}" if name != "xbench" else ""
    benchmark.extra_info |= {"peer": name, "note": note}
