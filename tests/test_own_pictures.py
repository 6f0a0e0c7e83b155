"""Pictures and tables of images of one's own: their polarity, their names, no empty panels."""

import json
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from xbench.analysis.figures import style
from xbench.core.pixels import bone_bright

Xbench = Callable[..., Any]
NAME = "患者_1.2.826.0.1.3680043.8.498.12345678901234567890"
PLACE = ("--profile", "smoke", "--out", "r")


def write(polarity: str, number: int = 40) -> None:
    """Two domains without aligned views or groups: a bright square of bone in dark air, or not."""
    for domain in ("ap_胸部", "pa"):
        for k in range(number):
            rng = np.random.default_rng([k, domain == "pa"])
            values = rng.normal(0.1, 0.02, (40, 40))
            values[10:30, 10 + k % 4 : 30] = 0.9
            values = 1 - values if polarity == "bone-dark" else values
            path = Path("chests", domain, f"{NAME}{k:03d}.png")
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray((values.clip(0, 1) * 65535).astype(np.uint16)).save(path)
    Path("chests/dataset.toml").write_text(
        f'polarity = "{polarity}"\nalignment = "none"\n[split]\nval = 0.1\ntest = 0.5\n'
    )


def middle_and_rim(path: str) -> tuple[float, float]:
    """Grey values of the first panel: in its middle, and near its lower left corner."""
    grey = np.asarray(Image.open(path).convert("L"), dtype=float)
    inked = np.argwhere(grey < 250)
    columns = np.flatnonzero((grey < 250).mean(axis=0) > 0.3)
    first = np.split(columns, np.flatnonzero(np.diff(columns) > 2) + 1)[0]
    rows = np.flatnonzero((grey[:, first] < 250).mean(axis=1) > 0.9)
    panel = np.split(rows, np.flatnonzero(np.diff(rows) > 2) + 1)[0]
    assert len(inked)
    y, x = panel[0], first[0]
    side = min(len(panel), len(first))
    return (
        float(grey[y + int(0.45 * side) : y + int(0.55 * side), x + side // 2].mean()),
        float(grey[y + int(0.9 * side), x + int(0.1 * side)]),
    )


@pytest.mark.parametrize("polarity", ["bone-bright", "bone-dark"])
def test_pictures_show_bone_as_the_files_do(xbench: Xbench, polarity: str) -> None:
    write(polarity)
    made = xbench("run", "--method", "histogram", "--dataset", "chests", *PLACE)
    assert made.code == 0, made.err
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # of letters without a font
        assert xbench("plot", "samples", "--dataset", "chests", *PLACE, "--to", "s.png").code == 0
        domains = ("plot", "domains", "--dataset", "chests", "--profile", "smoke", "--to", "d.png")
        assert xbench(*domains).code == 0
    bright = polarity == "bone-bright"
    for picture in ("s.png", "d.png"):
        bone, air = middle_and_rim(picture)
        assert (bone > air) is bright
    # Without groups of domains nothing crosses them; every empty column has one reason.
    board = json.loads(xbench("leaderboard", "--dataset", "chests", *PLACE, "--json").out)
    assert all(row["gap_closed"] is row["ftd_cross"] is row["ltd_cross"] is None for row in board)
    assert any(row["ftd"] for row in board)
    table = Path("r/chests/smoke/leaderboard.md").read_text()
    assert "cross" not in table.splitlines()[2]
    assert "gap closed" not in table
    reasons = re.findall(r"^Empty: (.*?): ", table, re.MULTILINE)
    empty = [label for labels in reasons for label in labels.split(", ")]
    assert len(empty) == len(set(empty)) > 0
    # The report inverts in the browser, and has no pane for a true target.
    assert xbench("report", "--dataset", "chests", *PLACE, "--to", "r.html").code == 0
    page = Path("r.html").read_text()
    data = json.loads(page.partition('id="data">')[2].partition("</script>")[0])
    assert data["bright"] is bright
    assert re.search(r"<figure hidden>\s*<div[^>]*True target", page)
    assert ("bone bright and air dark, as in the files" in page) is bright


def test_the_polarity_of_all_domains_counts() -> None:
    assert bone_bright({"a": "bone-bright", "b": "bone-bright"}, ["a", "b"])
    assert not bone_bright({"a": "bone-bright", "b": "bone-dark"}, ["a", "b"])
    assert not bone_bright(None, ["a"])  # of a phantom


@pytest.mark.parametrize(
    ("text", "width", "shown"),
    [
        ("synthetic_low", 20, "synthetic_low"),
        ("Krankenhaus-der-Brüder_0123", 15, "Kranken…er_0123"),
        ("a" * 30, 11, "aaaaa…aaaaa"),
        ("naïve → œ", 0, "naïve → œ"),
        ("\U000f0000x", 0, "\\uf0000x"),
        ("\U000f0000" * 4, 17, "\\uf0000…\\uf0000"),
    ],
)
def test_names_are_cut_in_the_middle_and_never_a_box(text: str, width: int, shown: str) -> None:
    assert style.shown(text, width) == shown


def test_a_font_of_the_machine_is_used_where_the_usual_one_lacks_letters(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(
        style, "_font_of", lambda c: "Noto Sans CJK JP" if c > "\u3000" else "DejaVu Sans"
    )
    assert style.shown("胸部正面", 5) == "胸…面"
    with style.panels(1, 1, (1, 1)) as (figure, grid):
        title = grid[0][0].set_title("胸部 x")
        style._choose_fonts(figure)
        assert title.get_fontfamily() == ["DejaVu Sans", "Noto Sans CJK JP"]
