"""Work on many clips in several processes that end when they are told to, and never outlive the one that began them."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from typing import TypeVar

from vsr_plugin.child_processes import deaf_to_interruptions, serve_parent
from vsr_plugin.errors import DataError

Item = TypeVar("Item")
Result = TypeVar("Result")
#: Called by the work with the number of things it has done.
Tick = Callable[[int], None]

#: Each process works on its own clip, so libraries need no threads of their own.
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


class _StoppedError(Exception):
    """The work is no longer wanted."""


class Processes:
    """Working processes, which start when there is something for them and end with the ``with`` block.

    Args:
        number: how many; with 1 everything happens in this one.
    """

    def __init__(self, number: int) -> None:
        self._number = number
        self._pool: ProcessPoolExecutor | None = None
        self._environment: dict[str, str | None] = {}

    def map(
        self, work: Callable[[Item, Tick], Result], items: Sequence[Item], on_tick: Tick = lambda done: None
    ) -> Iterator[Result]:
        """Yield the results of ``work(item, tick)`` as they come, in any order.

        Args:
            work: a function that other processes can import; it calls ``tick`` often, where it may be stopped by an
                exception.
            items: what to work on; each travels to a process only when one is about to be free.
            on_tick: is given what was done since it was last called.

        Raises:
            DataError: a process was killed; and whatever the work raises.
        """
        if min(self._number, len(items)) <= 1:
            for item in items:
                yield work(item, on_tick)
            return
        if self._pool is None:
            self._start()
        waiting, running, seen = iter(items), set(), self._count.value
        try:
            while True:
                some = islice(waiting, 2 * self._number - len(running))
                with deaf_to_interruptions():
                    running |= {self._pool.submit(_run, work, item) for item in some}
                if not running:
                    return
                done, running = wait(running, timeout=0.3, return_when=FIRST_COMPLETED)
                now = self._count.value
                on_tick(now - seen)
                seen = now
                for future in done:
                    yield future.result()
        except BrokenProcessPool as error:
            raise DataError("a working process was killed, perhaps for want of memory; use fewer --workers") from error

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._stop, self._count = context.Event(), context.Value("q", 0)
        self._environment = {name: os.environ.get(name) for name in _ONE_THREAD}
        os.environ.update(_ONE_THREAD)
        self._pool = ProcessPoolExecutor(self._number, context, _begin, (self._stop, self._count))

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._pool is not None:
            self._stop.set()
            self._pool.shutdown(cancel_futures=True)
        for name, value in self._environment.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


_tick: Tick


def _begin(stop: multiprocessing.synchronize.Event, count: multiprocessing.sharedctypes.Synchronized) -> None:
    global _tick
    serve_parent()

    def tick(done: int) -> None:
        with count.get_lock():
            count.value += done
        if stop.is_set():
            raise _StoppedError

    _tick = tick


def _run(work: Callable[[Item, Tick], Result], item: Item) -> Result:
    _tick(0)
    return work(item, _tick)
