"""Plug-ins: loading them, templates for new ones, and the conformance kit.

`loading` takes plug-ins from files, entry points and decorators; `templates` writes new ones;
`conformance` checks the promises of a method; `pytest_plugin` does so in your tests.

May import `methods`, `datasets`, `metrics` and `core`; `loading` imports no torch.
"""

from xbench.plugins.loading import register

__all__ = ["register"]
