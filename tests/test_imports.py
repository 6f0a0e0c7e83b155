"""Commands that read records import neither torch nor a method; tables import no plotting."""

import runpy
import subprocess
import sys
from pathlib import Path

import pytest

made = runpy.run_path(str(Path(__file__).with_name("made_records.py")))

#: Runs a command and prints what it has imported.
PROBE = """
import sys
from xbench.cli import main
try:
    main(sys.argv[1:])
except SystemExit as end:
    assert not end.code, end.code
print("imported:", *sys.modules)
"""
NEVER = {"torch", "torchvision", "diffusers", "xbench.methods.base", "xbench.datasets.base"}
PLOTTING = {"matplotlib", "seaborn"}


@pytest.mark.parametrize(
    ("command", "absent"),
    [
        ("leaderboard", NEVER | PLOTTING | {"scipy.stats"}),
        ("leaderboard --table pairs --to pairs.md", NEVER | PLOTTING | {"scipy.stats"}),
        ("compare one other --metric ftd", NEVER | PLOTTING),
        ("report", NEVER | PLOTTING | {"scipy.stats"}),
        ("plot tradeoff", NEVER),  # seaborn draws its points
        ("plot pairs", NEVER | {"seaborn", "scipy.stats"}),
        ("plot samples", NEVER | {"seaborn", "scipy.stats"}),
        ("plot all", NEVER),
    ],
)
def test_a_command_imports_what_it_needs(command: str, absent: set[str], tmp_path: Path) -> None:
    records = [*made["references"](), *made["row"]("one", {"ssim": 0.8, "ftd": 10.0})]
    records += made["row"]("other", {"ssim": 0.7, "ftd": 20.0})
    made["write"](tmp_path / "runs/phantom/smoke", records)
    arguments = [*command.split(), "--profile", "smoke"]
    done = subprocess.run(
        [sys.executable, "-P", "-c", PROBE, *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    imported = set(done.stdout.rpartition("imported: ")[2].split())
    assert "xbench.records.store" in imported
    assert not imported & absent
