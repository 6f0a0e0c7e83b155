"""The command line's manners."""

import subprocess
import sys

HEAVY = ("torch", "pydantic", "numpy", "diffusers", "pandas", "matplotlib")


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from xbench.cli import main\n"
        "try:\n    main(['--help'])\n"
        "except SystemExit as stopped:\n    assert not stopped.code\n"
        f"print([name for name in {HEAVY} if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_help_names_every_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "xbench.cli", "--help"], capture_output=True, text=True, check=True
    )
    for command in ("run", "leaderboard", "plot", "publish", "list", "data"):
        assert f"\n  {command} " in done.stdout
