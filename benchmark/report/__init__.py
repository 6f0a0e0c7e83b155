"""The whole comparison as one HTML file that needs no server and no network."""

from xbench.report.page import write

__all__ = ["write"]
