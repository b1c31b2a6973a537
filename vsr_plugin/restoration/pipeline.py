"""Decoding, computing and encoding at the same time: a reading and a writing thread beside the one that computes."""

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

Item = TypeVar("Item")

_END = object()


class StoppedError(Exception):
    """What is made in a thread is not wanted any more; never seen outside of it."""


def until(stop: threading.Event, items: Iterable[Item]) -> Iterator[Item]:
    """The items until ``stop`` is set: what makes something long of them in another thread can be ended.

    Raises:
        StoppedError: it is set. An end would look as if these were all.
    """
    for item in items:
        if stop.is_set():
            raise StoppedError
        yield item


class Prefetcher(Generic[Item]):
    """Runs an iterator in a thread of its own, a bounded number of items ahead.

    Iterating yields its items in order; an exception that it raises comes out after the items before it. Use it in
    ``with``: leaving ends the thread, wherever it is, and closes the iterator in that thread.

    Args:
        items: the iterator; only the thread touches it.
        ahead: how many items may wait; 0 for any number.
        stop: is set when no more items are wanted; see :func:`until`. One whose items come from another one shares its
            own with it, so that none waits for the other.

    Example:
        >>> with Prefetcher(iter("abc"), ahead=1) as letters:
        ...     list(letters)
        ['a', 'b', 'c']
    """

    def __init__(self, items: Iterable[Item], ahead: int = 1, stop: threading.Event | None = None) -> None:
        self._items = iter(items)
        self._queue: queue.Queue = queue.Queue(ahead)
        self._stop = stop or threading.Event()
        self._thread = threading.Thread(target=self._run, name="vsr-reader", daemon=True)

    def _run(self) -> None:
        error: BaseException | None = None
        try:
            for item in self._items:
                if not self._put((item, None)):
                    return
        except BaseException as caught:
            error = caught
        finally:
            # A generator holds its files open until it is closed.
            close = getattr(self._items, "close", None)
            if close is not None:
                close()
        self._put((_END, error))

    def _put(self, entry: tuple) -> bool:
        while not self._stop.is_set():
            try:
                self._queue.put(entry, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def __enter__(self) -> Iterator[Item]:
        self._thread.start()
        return self._received()

    def _received(self) -> Iterator[Item]:
        while not self._stop.is_set():
            try:
                item, error = self._queue.get(timeout=0.1)
            except queue.Empty:
                continue
            if error is not None:
                raise error
            if item is _END:
                return
            yield item

    def __exit__(self, *exc_info: object) -> None:
        self._stop.set()
        self._thread.join()


class BackgroundWriter:
    """Calls functions one after the other in a thread of its own; a bounded number may wait.

    After a call has failed, those that wait are dropped, and its exception comes out of the next
    :meth:`submit` or at the end of ``with``. A ``with`` that ends well waits for all calls; one that ends with an
    exception drops those that wait.

    Args:
        ahead: how many calls may wait.
        on_error: called with an exception at once, in that thread, for who may not come back to hear of it.
    """

    def __init__(self, ahead: int = 4, on_error: Callable[[BaseException], None] | None = None) -> None:
        self._queue: queue.Queue = queue.Queue(ahead)
        self._on_error = on_error
        self._error: BaseException | None = None
        self._dropping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="vsr-writer", daemon=True)

    def _run(self) -> None:
        while True:
            call = self._queue.get()
            if call is _END:
                return
            if self._dropping.is_set():
                continue
            try:
                call()
            except BaseException as error:
                self._error = error
                self._dropping.set()
                if self._on_error is not None:
                    self._on_error(error)

    def submit(self, call: Callable[[], object]) -> None:
        """Have ``call`` called after those before it; waits while too many do.

        Raises:
            BaseException: what an earlier call raised.
        """
        self._raise()
        self._queue.put(call)

    def _raise(self) -> None:
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def __enter__(self) -> "BackgroundWriter":
        self._thread.start()
        return self

    def __exit__(self, exc_type: type[BaseException] | None, *exc_info: object) -> None:
        if exc_type is not None:
            self._dropping.set()
        try:
            self._queue.put(_END)
            self._thread.join()
        except BaseException:  # interrupted while it waits
            self._dropping.set()
            raise
        if exc_type is None:
            self._raise()
