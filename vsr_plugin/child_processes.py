"""What all worker processes keep to: who started them decides when they end, and none outlives it."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker


@contextmanager
def deaf_to_interruptions() -> Iterator[None]:
    """What this thread starts never hears Ctrl-C, which reaches all processes of a terminal, nor while it imports."""
    if not hasattr(signal, "pthread_sigmask"):  # on Windows
        yield
        return
    # Started with the first process of all otherwise, and in Python 3.11 this thread would hear again after that.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def serve_parent() -> None:
    """Of a process that works for another one: end with that, and not by Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    multiprocessing.parent_process().join()
    os._exit(1)
