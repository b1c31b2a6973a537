"""Work on many clips in several processes that end when they are told to, and never outlive the one that began them."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import islice
from multiprocessing.connection import wait as wait_for_process
from typing import TypeVar

from vsr_plugin.errors import DataError

Item = TypeVar("Item")
Result = TypeVar("Result")
#: Called by the work with the number of frames it has done.
Tick = Callable[[int], None]

#: Each process works on its own clip, so libraries need no threads of their own.
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


class _StoppedError(Exception):
    """The work is no longer wanted."""


def in_parallel(
    work: Callable[[Item, Tick], Result],
    items: Iterable[Item],
    *,
    workers: int,
    on_tick: Tick = lambda frames: None,
) -> Iterator[Result]:
    """Yield the results of ``work(item, tick)`` as they come, in any order.

    Close the generator (``contextlib.closing``) so that work in progress ends at once when it is left early.

    Args:
        work: a function that other processes can import; it calls ``tick`` often, where it may be stopped by an
            exception.
        items: what to work on; they travel to the processes only when one is about to be free.
        workers: number of processes; with 1 everything happens in this one.
        on_tick: is given the frames that were done since it was last called.

    Raises:
        DataError: a process was killed; and whatever the work raises.
    """
    if workers <= 1:
        for item in items:
            yield work(item, on_tick)
        return
    context = multiprocessing.get_context("spawn")
    stop, count = context.Event(), context.Value("q", 0)
    waiting, running, seen = iter(items), set(), 0
    with _one_thread_each(), ProcessPoolExecutor(workers, context, _begin, (stop, count)) as pool:
        try:
            while True:
                running |= {pool.submit(_run, work, item) for item in islice(waiting, 2 * workers - len(running))}
                if not running:
                    return
                done, running = wait(running, timeout=0.3, return_when=FIRST_COMPLETED)
                on_tick(count.value - seen)
                seen = count.value
                for future in done:
                    yield future.result()
        except BrokenProcessPool as error:
            raise DataError("a working process was killed, perhaps for want of memory; use fewer --workers") from error
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)


@contextmanager
def _one_thread_each() -> Iterator[None]:
    before = {name: os.environ.get(name) for name in _ONE_THREAD}
    os.environ.update(_ONE_THREAD)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


_tick: Tick


def _begin(stop: multiprocessing.synchronize.Event, count: multiprocessing.sharedctypes.Synchronized) -> None:
    global _tick
    # Ctrl-C reaches every process of a terminal; only the first one is to decide what follows.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()

    def tick(frames: int) -> None:
        with count.get_lock():
            count.value += frames
        if stop.is_set():
            raise _StoppedError

    _tick = tick


def _end_with_parent() -> None:
    wait_for_process([multiprocessing.parent_process().sentinel])
    os._exit(1)


def _run(work: Callable[[Item, Tick], Result], item: Item) -> Result:
    _tick(0)
    return work(item, _tick)
