"""xbench: a benchmark suite for unpaired X-ray image translation.

`xbench.run`, `xbench.utility`, `xbench.leaderboard`, `xbench.pairs` and `xbench.score` do what the
commands of these names do, and return pandas frames. `xbench.register` decorates a method or data
set of your own, `xbench.metric` a metric.
"""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from xbench.api import leaderboard, pairs, run, score, utility
    from xbench.metrics.base import metric
    from xbench.plugins.loading import register

__all__ = ["leaderboard", "metric", "pairs", "register", "run", "score", "utility"]

try:
    __version__ = version("xbench-xray")
except PackageNotFoundError:  # running from a source tree that was never installed
    __version__ = "0+unknown"


def __getattr__(name: str) -> Any:
    """The functions of the API, imported when they are first used: `import xbench` is quick."""
    if name not in __all__:
        raise AttributeError(f"module 'xbench' has no attribute '{name}'")
    homes = {"metric": "xbench.metrics.base", "register": "xbench.plugins.loading"}
    return getattr(import_module(homes.get(name, "xbench.api")), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
