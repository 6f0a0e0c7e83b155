"""The worker program: `python -m xbench.datasets.phantom.worker`.

Reads one job per line (JSON) from standard input and answers `ok` per line, or number and text of
an error of the disk (JSON). It ends when its input ends, so no worker outlives its parent, however
that died, by more than the head in progress. Being a program of its own, it never imports the
caller's main module (as spawned pools do).
"""

import contextlib
import json
import sys

from xbench.datasets.phantom.generate import Job, make


def main() -> None:
    """Work off the jobs on standard input."""
    for line in sys.stdin:
        try:
            make(Job(**json.loads(line)))
        except OSError as error:
            print(json.dumps([error.errno, error.strerror or str(error)]), flush=True)
        else:
            print("ok", flush=True)


if __name__ == "__main__":
    # An interrupt reaches the parent too, which reports it.
    with contextlib.suppress(KeyboardInterrupt):
        main()
