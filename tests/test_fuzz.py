"""Results folders and data sets with anything in them: every view ends, in words.

Hypothesis edits records, pictures and descriptions. No command may crash, and nothing that lies
beside the folder may be read out of it, changed or removed.
"""

import io
import json
import os
import resource
import runpy
import shutil
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from PIL import Image

from xbench.cli import main
from xbench.core.settings import file_name

MADE = runpy.run_path(str(Path(__file__).with_name("made_records.py")))
SECRET = b"SECRET of another folder"
#: Most memory in bytes that all examples together may add to the process.
MOST_MEMORY = 2e9

fuzz = settings(
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)

# --- What is put in place of something --------------------------------------------------------

TEXTS = (
    *("", " ", "x" * 5000, "ü–→漢字", "a\nb", "a\0b", "\x1b[2J\x1b]0;x\x07", "a\u202eb\u2066c"),
    *("<script>alert(1)</script>", "&<img src=x onerror=alert(1)>", "</script><!--", "\"'` onx=1"),
    *("=1+1", "@SUM(A1)", "+cmd|' /C calc'!A0", "-2+3", "\t=1"),
    *("$x_{1", "$\\frac{1}{0}$", "\\input{/etc/passwd}", "\\write18{id}", "%", "a\\\\*[1cm]"),
    *("| a | b |", "[x](http://e.example)", "![x](../private/key)", "`rm`", "**x", "# x", "~~~"),
    *("../../private/key", "/etc/passwd", "C:\\x", "a/b", "..", "evil.py:Evil", "histogram[tau=1]"),
    *("nan", "1e999", "{}", "%s%n", "{0.__class__}", "${HOME}", "'; rm -rf *;"),
)
NUMBERS = (0, -1, 1, 2, 10**30, -(10**30), 2**63, 1e308, -1e308, 5e-324, 0.5)
NO_NUMBERS = (float("nan"), float("inf"), float("-inf"))
texts = st.sampled_from(TEXTS) | st.text(max_size=20)
numbers = st.sampled_from(NUMBERS) | st.integers() | st.floats(allow_nan=False)
others = st.sampled_from([None, True, [], {}, [[]], {"": 0}, *NO_NUMBERS]) | texts | numbers


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


#: How a part of a JSON file is changed.
changes = st.one_of(
    st.tuples(st.just("same kind"), texts, numbers),
    st.tuples(st.just("other kind"), others),
    st.tuples(st.just("remove")),
    st.tuples(st.just("add"), texts, others),
    st.tuples(st.just("repeat")),
    st.tuples(st.just("nest"), st.sampled_from([9, 100, 900])),
)
#: Steps down into a file, and what is done there.
edits = st.tuples(st.lists(st.integers(0, 30), min_size=1, max_size=5), changes)


def edit(record: Any, steps: list[int], change: tuple[Any, ...]) -> None:
    """Change one part of a JSON value."""
    parent, place = None, None
    node = record
    for step in steps:
        if not isinstance(node, dict | list) or not node:
            break
        parent, place = node, list(node)[step % len(node)] if isinstance(node, dict) else step
        place = place if isinstance(node, dict) else step % len(node)
        node = node[place]
    kind, *values = change
    if kind == "remove":
        del parent[place]
    elif kind == "add" and isinstance(node, dict):
        node[values[0]] = values[1]
    elif kind in ("repeat", "add") and isinstance(node, list):
        node += node[:1]
    elif kind == "nest":
        parent[place] = nested(values[0])
    elif kind == "same kind":
        parent[place] = _alike(node, *values)
    elif kind == "other kind":
        parent[place] = values[0]


def _alike(old: object, text: str, number: float) -> object:
    if isinstance(old, bool) or old is None:
        return not old
    if isinstance(old, str):
        return text
    if isinstance(old, list):
        return [_alike(part, text, number) for part in old[: len(old) // 2 or 1]]
    return type(old)(number) if isinstance(old, int | float) and abs(number) < 1e300 else number


#: What is done to the bytes of a file.
damages = st.one_of(
    st.tuples(st.just("cut"), st.integers(0, 400)),
    st.tuples(st.just("flip"), st.integers(0, 400), st.integers(1, 255)),
    st.tuples(st.just("replace"), st.sampled_from([b"", b"\xff\xfe", b"[" * 99999, b"null"])),
    st.tuples(st.just("insert"), st.integers(0, 400), st.binary(max_size=9)),
    st.tuples(st.just("link")),
    st.tuples(st.just("pipe")),
    st.tuples(st.just("folder")),
)


def damage(path: Path, how: tuple[Any, ...]) -> None:
    """Damage a file, or put something else in its place."""
    kind, *values = how
    if kind in ("link", "pipe", "folder"):
        path.unlink()
        if kind == "link":
            path.symlink_to(Path("private/key").resolve())
        else:
            (os.mkfifo if kind == "pipe" else Path.mkdir)(path)
        return
    content = bytearray(path.read_bytes())
    place = values[0] if values and isinstance(values[0], int) else 0
    place %= len(content) + 1
    if kind == "cut":
        content = content[:place]
    elif kind == "flip" and place < len(content):
        content[place] ^= values[1]
    elif kind == "replace":
        content = bytearray(values[0])
    elif kind == "insert":
        content[place:place] = values[1]
    path.write_bytes(bytes(content))


#: Pictures: kind of grey or colour, sides, and format.
pictures = st.tuples(
    st.sampled_from(["L", "RGB", "RGBA", "P", "1", "I;16", "F", "LA"]),
    st.tuples(st.sampled_from([1, 17, 64, 5000]), st.sampled_from([1, 17, 64, 5000])),
    st.sampled_from(["PNG", "JPEG", "TIFF", "GIF", "BMP", "WEBP"]),
)


def draw(path: Path, mode: str, size: tuple[int, int], kind: str) -> None:
    """Put a picture in place of another, whatever its name says; not every kind has every mode."""
    try:
        Image.new(mode, size).save(path, format=kind)
    except (OSError, ValueError):
        path.write_bytes(b"GIF89a")


# --- The worlds -------------------------------------------------------------------------------


def call(*arguments: object) -> tuple[int, str]:
    """Exit code and all that is shown; an exception of a command reaches the test."""
    shown = io.StringIO()
    with redirect_stdout(shown), redirect_stderr(shown), pytest.raises(SystemExit) as stopped:
        main([str(argument) for argument in arguments])
    code = stopped.value.code
    assert code is None or isinstance(code, int)
    return code or 0, shown.getvalue()


def tree(folder: Path) -> dict[str, bytes]:
    """All files below a folder that are no pipes, with their contents."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small run with its images, records of more rows, and a data set: never changed."""
    folder = tmp_path_factory.mktemp("worlds")
    run = ("run", "--method", "histogram", "--profile", "smoke", "--pairs", "real_low:real_normal")
    assert call(*run, "--out", folder / "real")[0] == 0
    values = {"ssim": 0.5, "ssim_ref": 0.4, "ftd": 9.0, "ltd": 5.0}
    rows = [
        *MADE["references"](),
        *MADE["row"]("histogram", values),
        *MADE["row"]("mine[tau=0.5]", {**values, "ltd": 4.0}, seed=1),
    ]
    MADE["write"](folder / "made" / "phantom" / "smoke", rows)
    for seed in range(16):
        for domain in ("a", "b"):
            path = folder / "mine" / domain / f"head{seed // 2}-{seed}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            noise = np.random.default_rng(seed).integers(0, 255, (20, 24), np.uint8)
            Image.fromarray(noise).save(path)
    return folder


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder with something private in it, which stays as it is."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "private").mkdir()
    (tmp_path / "private" / "key").write_bytes(SECRET)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield tmp_path
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown * 1024 < MOST_MEMORY
    assert tree(tmp_path / "private") == {"key": SECRET}


def fresh(place: Path, world: Path, name: str) -> Path:
    """A new copy of a world, without what earlier examples left."""
    for entry in place.iterdir():
        if entry.name != "private":
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    shutil.copytree(world, place / name)
    return place / name


SMOKE = ("--profile", "smoke")
UNIT = "runs/phantom/smoke/records/histogram/seed0/real_low--real_normal.json"
VIEWS = {
    "leaderboard": ("leaderboard", *SMOKE),
    "pairs": ("leaderboard", "--table", "pairs", *SMOKE),
    "report": ("report", *SMOKE),
    "compare": ("compare", "histogram", "identity", *SMOKE),
    "samples": ("plot", "samples", *SMOKE),
    "heat maps": ("plot", "pairs", "--metric", "ssim", *SMOKE),
    "tradeoff": ("plot", "tradeoff", *SMOKE),
    "publish": ("publish", "--to", "public"),
    "status": ("status", "--failed", *SMOKE),
    "verify": ("verify", UNIT),
}
#: Signs that move what is shown, or clear it.
MOVING = ("\x1b", "\u202e", "\u2066", "\x07", "\0")


def check_ended(code: int, shown: str) -> None:
    """A command ended in words, and showed nothing of other folders."""
    assert code in (0, 1, 2), shown
    assert not any(sign in shown for sign in MOVING)
    assert SECRET.decode() not in shown


def check_files(place: Path) -> None:
    """Nothing private was touched, and nothing of it lies in other files now."""
    assert tree(place / "private") == {"key": SECRET}
    for entry in place.rglob("*"):
        if entry.is_file() and not entry.is_symlink() and entry.parent.name != "private":
            content = entry.read_bytes()
            assert SECRET not in content
            if entry.suffix in (".md", ".html", ".csv", ".tex") and entry.name != "index.csv":
                assert not any(sign.encode() in content for sign in MOVING)
                assert b"<script>alert" not in content
                assert b"<img src=x" not in content


def rewrite(path: Path, change: Callable[[Any], None]) -> None:
    """Change a record."""
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))


def relabel(folder: Path, text: str) -> None:
    """Give the row `histogram` another label everywhere, as a stranger's method may have."""
    to = folder / "records" / file_name(text)
    if not text or to.exists() or "\0" in text:
        return
    (folder / "records" / "histogram").rename(to)
    for path in to.rglob("*.json"):
        rewrite(path, lambda record: record["method"].update(label=text))


@pytest.mark.parametrize("view", VIEWS)
@settings(fuzz, max_examples=9)
@given(
    world=st.sampled_from(["made", "real"]),
    label=st.none() | texts,
    row=st.lists(edits, max_size=3),
    single=st.lists(st.tuples(st.integers(0, 99), edits), max_size=4),
    files=st.lists(st.tuples(st.integers(0, 99), damages), max_size=2),
)
def test_no_record_stops_a_view(
    worlds: Path, place: Path, world: str, view: str, label: str | None, row: Any, single: Any,
    files: Any,
) -> None:  # fmt: skip
    folder = fresh(place, worlds / world, "runs") / "phantom" / "smoke"
    if label is not None:
        relabel(folder, label)
    records = sorted(folder.glob("records/*/*/*.json"))
    for path in folder.glob("records/histogram/*/*.json"):
        for steps, change in row:
            rewrite(path, lambda record: edit(record, steps, change))  # noqa: B023
    for number, (steps, change) in single:
        rewrite(records[number % len(records)], lambda record: edit(record, steps, change))  # noqa: B023
    for number, how in files:
        if (path := records[number % len(records)]).is_file() and not path.is_symlink():
            damage(path, how)
    code, shown = call(*VIEWS[view])
    event(f"{view}: {code}")
    check_ended(code, shown)
    check_files(place)


@pytest.mark.parametrize("view", ["report", "samples", "publish", "compare", "verify"])
@settings(fuzz, max_examples=5)
@given(
    drawn=st.lists(st.tuples(st.integers(0, 999), pictures), max_size=4),
    files=st.lists(st.tuples(st.integers(0, 999), damages), max_size=4),
)
def test_no_picture_stops_a_view(
    worlds: Path, place: Path, view: str, drawn: Any, files: Any
) -> None:
    folder = fresh(place, worlds / "real", "runs") / "phantom" / "smoke"
    paths = sorted([*folder.glob("strips/**/*.webp"), *folder.glob("images/histogram/**/*.png")])
    for number, (mode, size, kind) in drawn:
        draw(paths[number % len(paths)], mode, size, kind)
    for number, how in files:
        if (path := paths[number % len(paths)]).is_file() and not path.is_symlink():
            damage(path, how)
    code, shown = call(*VIEWS[view])
    event(f"{view}: {code}")
    check_ended(code, shown)
    check_files(place)


KEYS = (
    *("name", "polarity", "window", "fit", "alignment", "index", "domains", "groups", "split"),
    *("split.val", "ids", "domain_groups.a", "window.a", "polarity.b", "unknown", "a.b.c.d"),
)
VALUES = (
    *("1", "-1", "nan", "1e400", "true", "[]", "{}", '["a"]', "[1, 0]", "[0, 1e99]", "1979-05-27"),
    *('"../private"', '"/etc/passwd"', '"(a+)+$"', '"index.csv"', '"pad"', '"bone-bright"'),
    *("[" * 500, "'''", '{ regex = "(a|a)*b", val = 0.5 }', '"a\\u202eb"', f'"{"x" * 9999}"'),
)
values = st.sampled_from(VALUES) | texts.map(json.dumps)
lines = st.tuples(st.sampled_from(KEYS), values).map(" = ".join)
cells = st.sampled_from(["a/head0-0.png", "a", "train", "test", "head0"]) | texts


@settings(fuzz, max_examples=40)
@given(
    command=st.sampled_from([("data", "verify"), ("data", "init", "--force"), ("data", "stats")]),
    description=st.lists(lines, max_size=4) | st.text(max_size=50).map(lambda text: [text]),
    index=st.none() | st.lists(st.tuples(st.integers(0, 99), st.integers(0, 4), cells), max_size=3),
    drawn=st.lists(st.tuples(st.integers(0, 99), pictures), max_size=2),
    files=st.lists(st.tuples(st.integers(0, 99), damages), max_size=2),
)
def test_no_data_set_stops_a_command(
    worlds: Path, place: Path, command: Any, description: Any, index: Any, drawn: Any, files: Any
) -> None:
    folder = fresh(place, worlds / "mine", "mine")
    paths = sorted(folder.glob("*/*.png"))
    for number, (mode, size, kind) in drawn:
        draw(paths[number % len(paths)], mode, size, kind)
    for number, how in files:
        if (path := paths[number % len(paths)]).is_file() and not path.is_symlink():
            damage(path, how)
    if index is not None:
        rows = [
            [f"{p.parent.name}/{p.name}", p.parent.name, "train", p.stem, p.stem] for p in paths
        ]
        for row, column, cell in index:
            rows[row % len(rows)][column] = cell
        text = "\n".join(map(",".join, [["file", "domain", "split", "id", "group"], *rows]))
        (folder / "index.csv").write_bytes(text.encode("utf-8", "surrogatepass"))
        description = ['index = "index.csv"', *description]
    text = "\n".join(description)
    (folder / "dataset.toml").write_bytes(text.encode("utf-8", "surrogatepass"))
    code, shown = call(*command, "mine", *(("--profile", "smoke") if "stats" in command else ()))
    event(f"{command[1]}: {code}")
    check_ended(code, shown)
    check_files(place)
