"""A time limit for work that may hang."""

import signal
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def deadline(seconds: float | None) -> Iterator[None]:
    """Raise where the work inside takes longer than so many seconds; None for no end.

    The alarm is heard between two Python instructions of the main thread: a single call into
    compiled code is not cut short.

    Raises:
        TimeoutError: time is up.
    """
    if seconds is None:
        yield
        return
    if not hasattr(signal, "setitimer") or (
        threading.current_thread() is not threading.main_thread()
    ):
        warnings.warn("timeouts need the main thread of a POSIX system", stacklevel=3)
        yield
        return

    def ring(*_: object) -> None:
        raise TimeoutError(f"not done after {seconds:g} seconds, the --timeout")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
