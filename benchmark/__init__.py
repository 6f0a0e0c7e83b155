"""xbench: a benchmark suite for unpaired X-ray image translation."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("xbench-xray")
except PackageNotFoundError:  # running from a source tree that was never installed
    __version__ = "0+unknown"
