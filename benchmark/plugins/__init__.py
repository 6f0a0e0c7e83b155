"""Methods, data sets and metrics of others: loading them, templates, and the conformance kit.

`loading` takes plug-ins from files, entry points and decorators; `templates` writes new ones;
`conformance` checks the promises of a method; `pytest_plugin` does so in a test of yours.

May import `methods`, `datasets`, `metrics` and `core`.
"""

from xbench.plugins.loading import register

__all__ = ["register"]
