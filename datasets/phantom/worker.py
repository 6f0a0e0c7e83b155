"""The worker program: `python -m xbench.datasets.phantom.worker`.

Reads one job per line (JSON: its class and its fields) from standard input and answers with a line:
`ok`, or JSON: number and text of a disk error, or the three lines of a user error. It ends when its
input ends: after the death of its parent it finishes at most the current head. As a program of its
own, it never imports the caller's main module, as the processes of `concurrent.futures` do.
"""

import contextlib
import importlib
import json
import sys

from xbench.core.errors import UserError


def main() -> None:
    """Do the jobs on standard input."""
    for line in sys.stdin:
        kind, fields = json.loads(line)
        module, _, name = kind.partition(":")
        try:
            getattr(importlib.import_module(module), name)(**fields).make()
        except OSError as error:
            print(json.dumps([error.errno, error.strerror or str(error)]), flush=True)
        except UserError as error:
            print(json.dumps(str(error).split("\n")), flush=True)
        else:
            print("ok", flush=True)


if __name__ == "__main__":
    # The parent is interrupted too, and reports it.
    with contextlib.suppress(KeyboardInterrupt):
        main()
