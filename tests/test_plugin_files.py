"""Plug-ins of several files: what lies beside them is found, counted, and the same everywhere."""

import json
import os
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from xbench.cli.options import method_names
from xbench.core.errors import UserError
from xbench.methods import registry as methods
from xbench.metrics.extractors import load as load_extractor

Xbench = Callable[..., Any]

#: A method of three files, which import each other in every way, also at the last moment.
GAIN = """
import numpy as np
from pathlib import Path
from xbench.methods.base import Method
from gains import GAIN
import tools.curves as curves

class Gain(Method):
    about = "a gain"
    def translate(self, images, source, target, *, generators):
        import late
        table = np.load(Path(__file__).parent / "tables" / "offset.npy")
        return curves.apply(images, GAIN) * late.ONE + float(table)
"""
BESIDE = {
    "gains.py": "GAIN = 0.5",
    "late.py": "ONE = 1",
    "tools/__init__.py": "",
    "tools/curves.py": "from .more import times\ndef apply(image, gain): return times(image, gain)",
    "tools/more.py": "import gains\ndef times(a, b): return a * b * gains.GAIN * 2",
}
#: Works in other processes, which find the class of its data by name.
WORKERS = """
import torch
from torch.utils.data import DataLoader
from xbench.methods.base import Method
from halves import Halves

class Workers(Method):
    about = "half as bright, by workers"
    def translate(self, images, source, target, *, generators):
        loader = DataLoader(Halves(images), batch_size=len(images), num_workers=1,
                            multiprocessing_context="CONTEXT")
        return next(iter(loader))
"""
HALVES = """
from torch.utils.data import Dataset

class Halves(Dataset):
    def __init__(self, images):
        self.images = images
    def __len__(self):
        return len(self.images)
    def __getitem__(self, index):
        return self.images[index] / 2
"""
RUN = ("run", "--profile", "smoke", "--pairs", "synthetic_low:real_normal")


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(folder: str, main: str = GAIN, **changed: str) -> str:
    """A plug-in in a folder; `changed` are other contents of files beside it."""
    import numpy as np

    for name, text in ({"gain.py": main} | BESIDE).items():
        path = Path(folder, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(changed.get(path.stem, text))
    Path(folder, "tables").mkdir(exist_ok=True)
    np.save(Path(folder, "tables", "offset.npy"), np.float32(changed.get("offset", 0.0)))
    return f"{folder}/gain.py:Gain"


def translated(address: str, value: float = 0.8) -> float:
    """What a method makes of a grey value."""
    import torch

    kind: Any = methods.get(address)
    method = kind(kind.Config(), ["a", "b"], 4, torch.device("cpu"))
    images = torch.full((1, 1, 4, 4), value)
    return float(method.translate(images, "a", "b", generators=[]).mean())


def test_what_lies_beside_a_plug_in_is_found() -> None:
    assert translated(write("one")) == pytest.approx(0.4)


def test_namesakes_beside_two_plug_ins_are_kept_apart() -> None:
    one, two = write("one"), write("two", gains="GAIN = 0.25", late="ONE = 4")
    assert translated(one) == pytest.approx(0.4)
    assert translated(two) == pytest.approx(0.8 * 0.25 * 0.5 * 4)
    assert translated(one) == pytest.approx(0.4)


@pytest.mark.parametrize(
    "changed",
    [{"gains": "GAIN = 0.7"}, {"late": "ONE = 2"}, {"more": "times = min"}, {"offset": 1}],
)
def test_a_change_beside_a_plug_in_is_another_version(changed: dict[str, Any]) -> None:
    before = methods.get(write("one")).plugin
    assert methods.get(write("one")).plugin == before
    assert methods.get(write("one", **changed)).plugin != before


def test_a_change_is_run_at_once() -> None:
    assert translated(write("one")) == pytest.approx(0.4)
    assert translated(write("one", gains="GAIN = 0.6")) == pytest.approx(0.8 * 0.6 * 0.6 * 2)


def test_what_a_plug_in_does_not_use_is_none_of_its_version() -> None:
    address = write("one")
    before = methods.get(address).plugin
    Path("one/another.py").write_text("x = 1")
    Path("one/notes.txt").write_text("nothing")
    assert methods.get(address).plugin == before


def test_the_version_of_a_file_alone_is_its_hash() -> None:
    from xbench.core.hashing import file_digest

    Path("alone.py").write_text(
        "from xbench.methods.identity import Identity\nclass A(Identity): ..."
    )
    assert methods.get("alone.py:A").plugin == file_digest(Path("alone.py"))


def test_other_packages_win_over_folders_of_their_names() -> None:
    """A plug-in may lie in a folder with anything in it; only what it imports itself is taken."""
    for name in ("torch", "numpy", "datasets"):
        Path(name).mkdir()
        Path(name, "rows.csv").write_text("1")
    Path("json.py").write_text("raise SystemExit")
    Path("half.py").write_text(
        "import torch, numpy as np, logging.config\n"
        "from xbench.methods.identity import Identity\n"
        "class Half(Identity):\n"
        "    ones = torch.ones(1), np.ones(1)\n"
    )
    assert methods.get("half.py:Half").ones[1].sum() == 1


@pytest.mark.parametrize("context", ["spawn", "forkserver"])
def test_workers_of_a_plug_in_find_its_classes(context: str) -> None:
    Path("halves.py").write_text(HALVES)
    Path("workers.py").write_text(WORKERS.replace("CONTEXT", context))
    assert translated("workers.py:Workers") == pytest.approx(0.4)


def test_an_extractor_of_two_files() -> None:
    import torch

    Path("parts.py").write_text("def flat(images): return images.flatten(1)")
    Path("mine.py").write_text("import parts\ndef features(images): return parts.flat(images)")
    versions = []
    for text in ("flatten(1)", "flatten(1) * 2"):
        Path("parts.py").write_text(f"def flat(images): return images.{text}")
        extractor = load_extractor("mine.py:features", torch.device("cpu"))
        versions.append(extractor.version)
    assert float(extractor.features(torch.ones(2, 1, 8, 8)).mean()) == 2
    assert versions[0] != versions[1]


@pytest.mark.parametrize(
    "text",
    [
        "import no_such_module",
        "from gains import LOSS",
        "from xbench.core import no_such_name",
        "import gains\ngains.missing",
        "def half(",
        "raise SystemExit(3)",
        "open('no such file')",
    ],
)
def test_the_advice_shows_the_error(text: str) -> None:
    folder = Path("it's mine, all of it")
    folder.mkdir()
    (folder / "gains.py").write_text("GAIN = 1")
    (folder / "half.py").write_text(text)
    with pytest.raises(UserError) as caught:
        methods.get(f"{folder}/half.py:Half")
    wrong, _, advice = str(caught.value).splitlines()
    assert "xbench.core.outside" not in wrong
    command = shlex.split(advice.removeprefix("try: "))
    environment = {k: v for k, v in os.environ.items() if not k.startswith("XBENCH")}
    tried = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert tried.returncode != 0
    kind = wrong.partition("does not load: ")[2].partition(":")[0]
    assert kind in tried.stderr or kind == "SystemExit"


def test_a_path_with_commas_and_blanks_names_a_method(xbench: Xbench) -> None:
    """In what the user types, and in every command that is printed."""
    write("one"), write("a, b's (new), files")
    both = "identity,a, b's (new), files/gain.py:Gain"
    assert method_names(both) == ["identity", "a, b's (new), files/gain.py:Gain"]
    assert method_names("fda, histogram,,") == ["fda", "histogram"]
    assert method_names("one/gain.py:Gain,gone/gain.py:Gain") == [
        *("one/gain.py:Gain", "gone/gain.py:Gain"),
    ]
    out = "my, results"
    assert xbench(*RUN, "--method", both, "--out", out).code == 0
    table = Path(out, "phantom/smoke/leaderboard.md").read_text()
    command = next(line for line in table.splitlines() if line.startswith("xbench run"))
    again = xbench(*shlex.split(command)[1:], "--out", out, "--dry-run", "--json")
    assert again.code == 0, again.err
    assert all(unit["done"] for unit in json.loads(again.out)["units"])


def test_records_of_an_earlier_version_are_not_replaced_without_a_word(xbench: Xbench) -> None:
    address = write("one")
    assert "earlier" not in xbench(*RUN, "--method", address).err
    (record,) = Path("runs/phantom/smoke/records/gain").rglob("*.json")
    first = json.loads(record.read_text())
    address = write("one", gains="GAIN = 0.9")
    planned = xbench(*RUN, "--method", address, "--dry-run")
    assert json.loads(record.read_text()) == first
    done = xbench(*RUN, "--method", address)
    assert json.loads(record.read_text())["method"]["version"] != first["method"]["version"]
    for result in (planned, done):
        assert "1 earlier record of gain" in result.err
        assert "--out" in result.err
