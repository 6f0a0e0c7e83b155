"""What a phantom leaves to be learned: a network on aligned pairs against a filter.

    python tests/benchmarks/bench_room.py [--dataset phantom] [--profile quick] [--out runs]

prints the table of `datasets/phantom/README.md` (six pairs from synthetic to real domains) and
whether what must hold does; `pytest tests/benchmarks/bench_room.py --benchmark-enable` does it for
`quick` and `medium` and fails where it does not. What `--out` holds already is not run again.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor

import xbench
from xbench.methods.base import Method, TrainData
from xbench.methods.filter import Filter
from xbench.methods.nearest import Nearest

SOURCES = ("synthetic_low", "synthetic_high")
TARGETS = ("real_low", "real_normal", "real_exposure")
SIX = tuple(f"{source}:{target}" for source in SOURCES for target in TARGETS)
#: Label of a row → what it is.
ROWS = {
    "identity": "the source as it is",
    "filter": "one tone curve, radial filter and noise",
    "paired[grain=off]": "a network trained on aligned pairs",
    "paired": "the same, with grain",
    "nearest": "the training image most like the source",
    "half": "half filter, half nearest",
    "expected": "the true target without noise",
    "floor": "a second exposure of the true target",
}


class Half(Method):
    """Half filter, half nearest: a cheat that must not be ahead of the filter."""

    name = "half"
    about = "half filter, half nearest"
    stochastic = True

    def setup(self, data: TrainData) -> None:
        """Set both up."""
        domains, size = self.domains, self.size
        self._both = [kind(kind.Config(), domains, size, self.device) for kind in (Filter, Nearest)]
        for method in self._both:
            method.setup(data)

    def translate(
        self, images: Tensor, source: str, target: str, *, generators: Sequence[torch.Generator]
    ) -> Tensor:
        """The mean of both."""
        first, second = (
            method.translate(images, source, target, generators=generators) for method in self._both
        )
        return (first.clamp(0, 1) + second) / 2


def room(dataset: str, profile: str, out: Path) -> pd.DataFrame:
    """`psnr_ref`, `ltd` and `match` of the `ROWS`, means over the six pairs."""
    options = {"dataset": dataset, "profile": profile, "pairs": SIX, "out": out}
    xbench.run(["filter", "paired", f"{__file__}:Half"], **options)
    xbench.run("paired", settings={"paired.grain": False}, **options)
    table = xbench.pairs(dataset, profile, out=out)
    # The folder may hold other pairs, too.
    table = table[(table.source + ":" + table.target).isin(SIX)]
    means = table.groupby("method")[["psnr_ref", "ltd", "match"]].mean()
    return means.loc[[row for row in ROWS if row in means.index]]


def checks(means: pd.DataFrame) -> dict[str, tuple[float, bool]]:
    """What must hold (its value, and whether it does)."""
    ltd, psnr, match = means.ltd, means.psnr_ref, means.match
    gain = psnr["paired[grain=off]"] - psnr["filter"]
    share = ltd["paired"] / ltd["filter"]
    way = (ltd["identity"] - ltd["paired"]) / (ltd["identity"] - ltd["floor"])
    left = ltd["filter"] / ltd["identity"]
    blend = ltd["half"] / ltd["filter"]
    return {
        "paired before grain above the filter, dB (at least 3)": (gain, gain >= 3),
        "paired / filter, LTD (at most .6)": (share, share <= 0.6),
        "paired, way from identity to floor (at least .5)": (way, way >= 0.5),
        "filter / identity, LTD (at least .4)": (left, left >= 0.4),
        "match of nearest (at most .5)": (match["nearest"], match["nearest"] <= 0.5),
        "half filter, half nearest / filter, LTD (above 1)": (blend, blend > 1),
    }


@pytest.mark.parametrize("profile", ["quick", "medium"])
def test_there_is_much_to_be_learned(
    benchmark: BenchmarkFixture, profile: str, tmp_path: Path
) -> None:
    means = benchmark.pedantic(room, ("phantom", profile, tmp_path), rounds=1)
    benchmark.extra_info |= {"peer": "xbench", "value": float(means.ltd["paired"])}
    assert all(holds for _, holds in checks(means).values()), checks(means)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--dataset", default="phantom")
    parser.add_argument("--profile", default="quick")
    parser.add_argument("--out", default="runs", type=Path)
    given = parser.parse_args()
    found = room(given.dataset, given.profile, given.out)
    print(f"| row | what it is | PSNR ref, dB | LTD | match |\n{'|---' * 5}|")
    for row, values in found.iterrows():
        cells = f"{values.psnr_ref:.1f} | {values.ltd:.3f} | {values.match:.2f}"
        print(f"| {row} | {ROWS[str(row)]} | {cells} |")
    for what, (value, holds) in checks(found).items():
        print(f"{'holds' if holds else 'MISSED'}: {what}: {value:.2f}")
