"""Plug-ins: three ways in, one behaviour; what they do wrong stays with them."""

import json
import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from xbench.core.errors import UserError
from xbench.datasets import registry as datasets
from xbench.methods import registry as methods
from xbench.metrics.base import METRICS, metric
from xbench.plugins import loading as plugins

Xbench = Callable[..., Any]

HALF = """
from xbench.methods.base import Method

class Half(Method):
    about = "half as bright"
    def translate(self, images, source, target, *, generators):
        return images / 2
"""

MINE = """
from xbench.metrics.base import metric
from xbench.plugins import register

@metric("mean error", against="target", span=(0, 1), decimals=4)
def mean_error(output, target):
    "Mean absolute difference from the true target."
    return (output - target).abs().mean(dim=(1, 2, 3))

@metric("gain", against="source", higher_is_better=True)
def gain(output, source):
    return output.mean(dim=(1, 2, 3)) / source.mean(dim=(1, 2, 3))
""" + HALF.replace("class", "@register\nclass")

STRIPES = """
import numpy as np
from xbench.datasets.base import Dataset, DatasetConfig, Images

class Stripes(Dataset):
    "Stripes of two widths."
    Config = DatasetConfig
    domains = ("thin", "thick")
    ids_of_test = ["a", "b", "c", "d"]

    @classmethod
    def configure(cls, profile):
        return DatasetConfig(size=profile.size)

    def prepare(self, progress=None):
        pass

    def _images(self, domain, number):
        size = self.config.size
        wave = np.sin(np.arange(size) / (1 if domain == "thin" else 3))
        image = np.tile((wave + 1.5) * 20000, (size, 1))
        noise = np.random.default_rng(number).normal(0, 500, (number, size, size))
        return Images([(image + noise).astype(np.uint16)])

    def train(self, domain):
        return self._images(domain, 20)

    def images(self, split, domain):
        return self._images(domain, len(self.ids_of_test))

    def ids(self, split, domain):
        return self.ids_of_test

    def groups(self, split, domain):
        return self.ids_of_test
"""

PAIR = "synthetic_low:real_normal"
RUN = ("run", "--profile", "smoke", "--pairs", PAIR)


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def half() -> str:
    Path("half.py").write_text(HALF)
    return "half.py:Half"


@pytest.fixture
def mine() -> str:
    Path("mine.py").write_text(MINE)
    return "mine.py"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installed package that offers a method, a data set, a metric, and broken ones."""
    site = tmp_path / "site"
    info = site / "mine_pack-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mine-pack\nVersion: 1.0\n")
    (site / "mine_pack.py").write_text(MINE.replace("@register", "") + STRIPES)
    (site / "mine_broken.py").write_text("import no_such_module_anywhere")
    (info / "entry_points.txt").write_text(
        "[xbench.methods]\nhalf = mine_pack:Half\nbroken = mine_broken:Any\n"
        "identity = mine_pack:Half\n"
        "[xbench.datasets]\nstripes = mine_pack:Stripes\n"
        "[xbench.metrics]\nmean_error = mine_pack:mean_error\nhalf = mine_pack:Half\n"
    )
    monkeypatch.syspath_prepend(site)
    yield site
    sys.modules.pop("mine_pack", None)


def records(folder: str = "runs/phantom/smoke", of: str = "half") -> list[dict[str, Any]]:
    return [json.loads(p.read_text()) for p in Path(folder, "records", of).rglob("*.json")]


def failures(name: str) -> list[str]:
    found = Path(f"runs/phantom/smoke/failed/{name}").rglob("*.json")
    return [json.loads(path.read_text())["traceback"] for path in found]


def test_a_file_adds_methods_and_metrics_to_every_command(xbench: Xbench, mine: str) -> None:
    assert xbench(*RUN, "--method", "half", "--plugin", mine).code == 0
    (record,) = records()
    assert record["method"]["given"] == "mine.py:Half"  # works without --plugin, too
    error, gain = (record["metrics"][name] for name in ("mean_error", "gain"))
    assert gain["value"] == pytest.approx(0.5, abs=1e-3)
    assert error["ci_low"] < error["value"] < error["ci_high"]
    assert len(error["per_image"]) == error["n"]
    table = pd.read_csv("runs/phantom/smoke/pairs.csv")
    assert table.set_index("method").mean_error["half"] == pytest.approx(error["value"], rel=1e-4)
    listed = json.loads(xbench("list", "metrics", "--json", f"--plugin={mine}").out)
    assert [row["name"] for row in listed][-2:] == ["mean_error", "gain"]
    assert "half" in xbench("list", "methods", "--plugin", mine).out
    assert "mean_error" not in METRICS
    assert "half" not in methods.names()


def test_a_variable_does_the_same(
    xbench: Xbench, mine: str, half: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("broken.py").write_text("raise ValueError('not today')")
    monkeypatch.setenv("XBENCH_PLUGINS", os.pathsep.join([mine, "broken.py", "gone.py"]))
    result = xbench("list", "methods", "--json")
    assert result.code == 0
    assert "half" in [row["name"] for row in json.loads(result.out)]
    assert "ValueError: not today" in result.err
    assert "gone.py" in result.err


def test_records_are_completed_when_a_metric_is_added_and_read_when_it_is_gone(
    xbench: Xbench, mine: str, half: str
) -> None:
    assert xbench(*RUN, "--method", half).code == 0
    before = records()[0]["finished"]
    assert xbench(*RUN, "--method", half, "--plugin", mine).code == 0
    (record,) = records()
    assert record["finished"] == before  # scored again, not translated again
    assert record["metrics"]["mean_error"]["value"] > 0
    without = xbench("leaderboard", "--profile", "smoke", "--json")
    assert "mean_error" not in json.loads(without.out)[0]
    Path(mine).write_text(MINE + "\n# changed\n")
    assert xbench(*RUN, "--method", half, "--plugin", mine).code == 0
    assert (
        records()[0]["metrics"]["mean_error"]["identity"]
        != (record["metrics"]["mean_error"]["identity"])
    )


def test_a_package_offers_all_three_kinds(xbench: Xbench, package: Path) -> None:
    options = ("--dataset", "stripes", "--profile", "smoke", "--json")
    result = xbench("run", "--method", "half", *options)
    assert result.code == 0, result.err
    (record, _) = records("runs/stripes/smoke")
    assert record["metrics"]["mean_error"]["value"] > 0
    assert "mine_pack:Half (mine-pack) is no metric" in result.err
    listed = xbench("list", "methods", "--json")
    assert listed.code == 0
    assert "mine_broken:Any (mine-pack) does not load" in listed.err
    assert "'identity' is built in" in listed.err
    assert xbench("run", "--method", "all", "--dry-run", *options).code == 0
    asked = xbench("run", "--method", "broken", *options)
    assert asked.code == 2
    assert len(asked.err.strip().splitlines()[-3:]) == 3


def test_a_data_set_comes_from_a_file_and_its_key_from_what_is_in_it(xbench: Xbench) -> None:
    Path("stripes.py").write_text(STRIPES)
    options = ("--method", "histogram", "--profile", "smoke")
    assert xbench("run", "--dataset", "stripes.py:Stripes", *options).code == 0
    first = records("runs/stripes/smoke", "histogram")
    assert len(first) == 2
    Path("stripes.py").write_text(STRIPES.replace("20000", "10000"))
    assert xbench("run", "--dataset", "stripes.py:Stripes", *options).code == 0
    (second,) = Path("runs").glob("stripes~*/smoke")  # the records of other data stay
    assert records(str(second), "histogram")[0]["data"]["key"] != first[0]["data"]["key"]
    assert records("runs/stripes/smoke", "histogram") == first
    assert xbench("leaderboard", "--dataset", "stripes.py:Stripes", "--profile", "smoke").code == 0


@pytest.mark.parametrize(
    "ids", [["../../../a", "b"], ["", "b"], ["a/b", "c"], ["a", "a"], ["a\x00", "b"], ["x" * 300]]
)
def test_no_image_of_a_data_set_leaves_its_folder(xbench: Xbench, ids: list[str]) -> None:
    Path("stripes.py").write_text(STRIPES.replace('["a", "b", "c", "d"]', repr(ids)))
    before = set(Path().rglob("*"))
    result = xbench(
        *("run", "--dataset", "stripes.py:Stripes", "--method", "fda", "--profile", "smoke")
    )
    assert result.code == 2
    assert "comes twice" in result.err or "without slashes" in result.err
    assert all(
        path.is_dir() or "runs" not in path.parts for path in set(Path().rglob("*")) - before
    )


#: Class → what it does instead of halving, and what its failure says.
FAILING = {
    "Raises": ("raise RuntimeError('cannot do it')", "cannot do it"),
    "Shorter": ("return images[..., :-1]", "(16, 1, 32, 31)"),
    "Flat": ("return images[:, 0]", "(16, 32, 32)"),
    "Numpy": ("return images.numpy()", "not a torch tensor"),
    "Undefined": ("return images * float('nan')", "not finite"),
}
CARELESS = {
    "Outside": "return images * 3 - 1",
    "Printing": "print('hello'); return images / 2",
    "Doubling": "import torch; torch.set_default_dtype(torch.float64); return images / 2",
    "Gradless": "import torch; torch.set_grad_enabled(False); return images / 2",
}


def test_what_methods_do_wrong_is_recorded_and_hurts_no_other(xbench: Xbench) -> None:
    bodies = {name: body for name, (body, _) in FAILING.items()} | CARELESS
    classes = [
        HALF.replace("Half", name).replace("return images / 2", body)
        for name, body in bodies.items()
    ]
    Path("wrong.py").write_text("".join(classes))
    result = xbench(*RUN, "--method", ",".join(f"wrong.py:{name}" for name in bodies), "--json")
    assert result.code == 1
    rows = {row["method"] for row in json.loads(result.out)}
    assert rows == {
        "identity",
        "floor",
        "expected",
        "shuffle",
        "nearest",
        *(name.lower() for name in CARELESS),
    }
    for name, (_, expected) in FAILING.items():
        (text,) = failures(name.lower())
        assert expected in text
    for name in CARELESS:
        assert not failures(name.lower())
    path = next(Path("runs/phantom/smoke/images/outside").rglob("*.png"))
    assert np.asarray(Image.open(path)).max() == 65535  # clamped, with one warning
    assert result.err.count("returned values from") == 1
    assert "outside returned values from -" in result.err
    printing, doubling = (records(of=name)[0]["metrics"] for name in ("printing", "doubling"))
    assert printing == doubling


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1 +", "SyntaxError"),
        ("import sys; sys.exit(0)", "SystemExit"),
        ("raise ValueError('a\\nb')", "ValueError: a"),
        (HALF.replace("about", "name = '../half'\n    about"), "it becomes a folder"),
        (HALF.replace("about", "name = 'two words'\n    about"), "it becomes a folder"),
        (HALF.replace("about", "name = 'hälfte'\n    about"), "it becomes a folder"),
        (HALF.replace("about", "name = 7\n    about"), "it becomes a folder"),
        (HALF.replace("about", "name = 'floor'\n    about"), "another name than"),
        (HALF.replace("about", "name = 'compute'\n    about"), "another name than"),
        (HALF.replace("Half", "Halve"), "did you mean Halve?"),
        ("Half = 3", "there is no method class"),
        ("class Half: pass", "class Half(Method)"),
        (HALF.partition("    def translate")[0], "it defines translate"),
        ("from xbench.methods.fda import FDA as Half", "there is no method class"),
    ],
)
def test_a_plug_in_that_cannot_be_used_is_explained_before_any_work(
    xbench: Xbench, text: str, expected: str
) -> None:
    Path("half.py").write_text(text)
    result = xbench(*RUN, "--method", "half.py:Half")
    assert result.code == 2
    assert len(result.err.strip().splitlines()) == 3
    assert expected in result.err
    assert not Path("runs").exists()


def test_a_file_without_its_class_is_no_misspelt_method(xbench: Xbench) -> None:
    Path("half.py").write_text(HALF)
    result = xbench(*RUN, "--method", "half.py")
    assert result.code == 2
    assert result.err.strip().endswith("half.py:Half")


def test_a_plug_in_file_without_names_is_answered_with_how_to_give_them(xbench: Xbench) -> None:
    Path("half.py").write_text(HALF)
    listing = ("list", "methods", "--profile", "smoke", "--no-counts", "--plugin", "half.py")
    assert "write @xbench.register above the class Half" in xbench(*listing).err
    Path("half.py").write_text(
        HALF.replace("class Half", "import xbench\n@xbench.register\nclass Half")
    )
    shown = xbench(*listing)
    assert "half" in shown.out
    assert "register" not in shown.err


def test_a_file_that_does_not_load_is_an_error_where_it_was_asked_for(xbench: Xbench) -> None:
    Path("broken.py").write_text("import no_such_module_anywhere")
    for arguments in (["--plugin", "broken.py"], ["--plugin", "gone.py"], ["--plugin"]):
        result = xbench("list", "methods", *arguments)
        assert result.code == 2
        assert len(result.err.strip().splitlines()) == 3


def test_built_ins_win_over_namesakes(mine: str) -> None:
    name = "mean_error"
    Path(mine).write_text(
        MINE.replace(f"def {name}", "def ssim").replace("class Half", "class FDA")
    )
    ssim = METRICS["ssim"]
    with warnings.catch_warnings(record=True) as expected, plugins.loaded([mine]):
        assert METRICS["ssim"] is ssim
        assert methods.get("fda").plugin is None
    assert ["is left out" in str(warning.message) for warning in expected] == [True, True]


#: Name → what a metric returns, and the reason why its column is empty.
EMPTY = {
    "raises": ("output.missing", "raised AttributeError"),
    "one": ("output.mean()", "not one value for each"),
    "endless": ("output.mean((1, 2, 3)) / 0", "not finite"),
    "low": ("output.mean((1, 2, 3)) - 2", "outside of its range"),
    "three": ("3", "not a torch tensor"),
}


def test_a_metric_that_fails_empties_its_own_column(xbench: Xbench, mine: str, half: str) -> None:
    added = [
        f"@metric('{name}', against='source', span=(0, 1))\n"
        f"def {name}(output, source):\n    return {result}\n"
        for name, (result, _) in EMPTY.items()
    ]
    Path(mine).write_text(MINE + "\n".join(added))
    assert xbench(*RUN, "--method", half, "--plugin", mine).code == 0
    found = records()[0]["metrics"]
    assert found["gain"]["value"] == pytest.approx(0.5, abs=1e-3)
    table = Path("runs/phantom/smoke/leaderboard.md").read_text()
    for name, (_, reason) in EMPTY.items():
        assert reason in found[name]["reason"]
        assert reason in table
    assert xbench("leaderboard", "--profile", "smoke").code == 0  # where the plug-in is unknown


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "Mean Error"},
        {"name": "seed"},
        {"name": "mean_ci_low"},
        {"label": "a|b"},
        {"label": "SSIM"},
        {"against": "floor"},
        {"span": (1, 0)},
        {"decimals": 20},
    ],
)
def test_a_metric_must_be_fit_for_a_column(changes: dict[str, Any]) -> None:
    facts = {"label": "mean error", "against": "target", "version": "1"} | changes
    with plugins.loaded(), pytest.raises(UserError):
        metric(**facts)(lambda output, other: output.mean((1, 2, 3)))


def test_a_class_that_is_changed_and_run_again_replaces_itself(mine: str) -> None:
    with plugins.loaded([mine]):
        first = methods.get("half")
        Path(mine).write_text(MINE + "\n# changed\n")
        plugins.load_file(Path(mine))
        assert methods.get("half") is not first
        assert methods.get("half").plugin != first.plugin
        Path("other.py").write_text(MINE)
        with pytest.raises(UserError, match="two different"):
            plugins.load_file(Path("other.py"))
    with pytest.raises(UserError, match="no method called"):
        methods.get("half")


def test_children_of_a_command_load_the_same_plug_ins(mine: str) -> None:
    before = os.environ.get("XBENCH_PLUGINS")
    with plugins.loaded([mine]):
        assert os.environ["XBENCH_PLUGINS"] == str(Path(mine).resolve())
    assert os.environ.get("XBENCH_PLUGINS") == before


def test_only_methods_and_data_sets_can_be_registered() -> None:
    with pytest.raises(UserError, match="@register cannot be used"):
        plugins.register(dict)
    assert datasets.get("phantom").name == "phantom"
