"""What people type: mistakes are answered with the nearest name, other spellings are accepted."""

import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from xbench.core.errors import UserError
from xbench.core.settings import parse_value
from xbench.core.weights import offline

Xbench = Callable[..., Any]
SMOKE = ("--profile", "smoke", "--dry-run")


def two_domains(root: Path, toml: str = "") -> Path:
    """Images of the domains `real` and `synthetic`, with a description."""
    for domain in ("real", "synthetic"):
        (root / domain).mkdir(parents=True)
        for number in range(12):
            Image.effect_noise((32, 32), 10 + number).save(root / domain / f"{number:02d}.png")
    (root / "dataset.toml").write_text(toml)
    return root


def reported(result: Any) -> str:
    """The three lines of a mistake."""
    assert result.code == 2, result.err
    assert len(result.err.strip().splitlines()) == 3
    assert result.out == ""
    return str(result.err)


@pytest.mark.parametrize(
    ("toml", "near"),
    [
        ('[polarity]\nReal = "bone-bright"', "did you mean real?"),
        ("[window]\nreel = [0, 4095]", "did you mean real?"),
        ('[domain_groups]\nreal = "a"\nsyntetic = "b"', "did you mean synthetic?"),
        ('domains = ["real", "sythetic"]', "did you mean synthetic?"),
        ('polarty = "bone-dark"', "did you mean polarity?"),
        ("[split]\ntets = 0.3", "did you mean test?"),
        ("[split]\ntest = .3", "numbers such as 0.5"),
        ('fit = "padd"', "'pad'"),
    ],
)
@pytest.mark.parametrize("command", ["run --method histogram --dataset d", "data verify d"])
def test_a_mistake_in_dataset_toml_is_reported(
    xbench: Xbench, tmp_path: Path, toml: str, near: str, command: str
) -> None:
    two_domains(tmp_path / "d", toml)
    more = SMOKE if command.startswith("run") else ()
    assert near in reported(xbench(*command.split(), *more))


@pytest.mark.parametrize("key", ["polarity", "window"])
def test_a_mistake_in_a_setting_by_domain_is_reported(
    xbench: Xbench, tmp_path: Path, key: str
) -> None:
    two_domains(tmp_path / "d")
    value = {"polarity": '{"rael":"bone-bright"}', "window": '{"rael":[0,9]}'}[key]
    arguments = ("run", "--method", "histogram", "--dataset", "d", *SMOKE)
    assert "did you mean real?" in reported(xbench(*arguments, "--set", f"data.{key}={value}"))
    good = value.replace("rael", "real")
    assert xbench(*arguments, "--set", f"data.{key}={good}").code == 0


def test_texts_of_numbers_and_marks_of_editors_are_taken(xbench: Xbench, tmp_path: Path) -> None:
    root = two_domains(tmp_path / "d")
    toml = 'window = [0, 1e3]\r\n[split]\r\ntest = ".25"\r\n'
    for coding in ("utf-8-sig", "utf-16"):
        (root / "dataset.toml").write_bytes(toml.encode(coding))
        assert xbench("run", "--method", "histogram", "--dataset", "d", *SMOKE).code == 0


@pytest.mark.parametrize(
    "arguments",
    [
        "run --method=",
        "run --method= --pairs real_low:real_normal",
        "run --method histogram --pairs=",
        "run --method histogram --pairs ,",
        "run --method histogram --seed=",
        "run --method histogram --seed ,",
        "run --method histogram --dataset=",
        "run --method histogram --out=",
        "run --method histogram --profile=",
        "run --method ,",
        "sweep --method medshift --knob=",
        "leaderboard --metrics=",
        "data init=",
    ],
)
@pytest.mark.parametrize("apart", [True, False])
def test_an_option_without_a_value_is_reported(
    xbench: Xbench, arguments: str, *, apart: bool
) -> None:
    words = arguments.split()
    if apart:  # `--method ""` as well as `--method=`
        words = [part for word in words for part in (word.split("=") if "=" in word else [word])]
    reported(xbench(*words))
    assert not Path("runs").exists()


def test_numbers_are_read_alike_everywhere(xbench: Xbench) -> None:
    assert [parse_value(text) for text in (".5", "1e3", "+2", "-.5", "5.", "1.5e1")] == [
        *(0.5, 1000, 2, -0.5, 5.0, 15)
    ]
    assert isinstance(parse_value("1e3"), int)
    for text in ("1_0", "0x10", "1e", ".", "e3", "1,5", "007"):
        assert parse_value(text) == text
    for settings in (("budget.images=1e3",), ("medshift.tau=.5", "budget.factor=.5")):
        sets = [word for setting in settings for word in ("--set", setting)]
        assert xbench("run", "--method", "medshift", *SMOKE, *sets).code == 0
    swept = xbench("sweep", "--method", "medshift", *SMOKE, "--knob", ".25,5e-1,0.75", "--json")
    assert all(f"tau={tau}" in swept.out for tau in (0.25, 0.5, 0.75))
    assert xbench("run", "--method", "histogram", *SMOKE, "--seed", "1e1").code == 0
    assert xbench("run", "--method", "histogram", *SMOKE, "--seed", "0.5").code == 2


@pytest.mark.parametrize(
    "setting",
    [
        "medshift.tua=0.3",
        "medshfit.tau=0.3",
        "medshift.tau=7",
        "medshift.solver=midpont",
        "medshift.channels=[16]",
        "budget.imagse=64",
        "budget.images=-1",
        "data.polarty=bone-bright",
        'data.polarity={"real":"bright"}',
        "data.window=[9,3]",
        "nothing.like=it",
    ],
)
def test_the_advice_of_a_mistake_is_accepted(xbench: Xbench, tmp_path: Path, setting: str) -> None:
    two_domains(tmp_path / "my images")
    arguments = ("run", "--method", "medshift", "--dataset", "my images", *SMOKE)
    advice = reported(xbench(*arguments, "--set", setting)).splitlines()[2]
    match = re.search(r"(?:for example|try): (--set .*?)(?: \(in Python.*)?$", advice)
    assert match, advice
    again = xbench(*arguments, *shlex.split(match[1]))
    assert again.code == 0, (advice, again.err)


@pytest.mark.parametrize(
    ("text", "means"),
    [
        *((text, True) for text in ("1", "true", "True", "yes", "on", "ON ")),
        *((text, False) for text in ("", "0", "false", "no", "Off")),
    ],
)
def test_offline_is_said_in_any_usual_word(
    monkeypatch: pytest.MonkeyPatch, text: str, *, means: bool
) -> None:
    monkeypatch.setenv("XBENCH_OFFLINE", text)
    assert offline() == means


def test_another_word_for_offline_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XBENCH_OFFLINE", "maybe")
    with pytest.raises(UserError, match="neither yes nor no"):
        offline()


def test_a_tilde_is_the_home_folder(
    xbench: Xbench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "person"
    two_domains(home / "d")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XBENCH_HOME", "~/cache")
    options = ("--dataset=~/d", "--profile", "smoke", "--out=~/runs")
    assert xbench("run", "--method", "histogram", *options).code == 0
    assert xbench("leaderboard", *options, "--to=~/board.csv").code == 0
    assert xbench("data", "show", "~/d", "--profile", "smoke", "--to=~/sheet.png").code == 0
    scored = xbench("score", "--translated=~/d/real", "--source=~/d/synthetic")
    assert scored.code == 0, scored.err
    found = {path.name for path in home.iterdir()}
    assert {"cache", "runs", "board.csv", "sheet.png"} <= found
    assert not list(tmp_path.glob("~*"))


@pytest.mark.parametrize("name", ["my images", "it's, here", "a;b $c"])
def test_printed_commands_hold_with_any_path(xbench: Xbench, tmp_path: Path, name: str) -> None:
    root = two_domains(tmp_path / name)
    (root / "dataset.toml").unlink()
    noted = xbench("run", "--method", "histogram", "--dataset", name, *SMOKE).out
    printed = re.findall(r"xbench (data init .*)$", noted, re.MULTILINE)
    assert printed
    for command in printed:
        assert xbench(*shlex.split(command)).code == 0
    again = reported(xbench("data", "init", name))
    command = again.splitlines()[2].partition("xbench ")[2]
    assert xbench(*shlex.split(command)).code == 0
    out = ("--out", "our runs")
    ran = xbench("run", "--method", "histogram", "--dataset", name, "--profile", "smoke", *out)
    next_ones = re.findall(r"xbench ((?:report|run) .*)$", ran.err + ran.out, re.MULTILINE)
    assert len(next_ones) == 2
    for command in next_ones:
        assert xbench(*shlex.split(command, comments=True)).code == 0
