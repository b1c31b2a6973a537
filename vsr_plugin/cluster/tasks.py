"""A queue of tasks for a cluster: the longest first, again where a node died, to new nodes as they come."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Event
from typing import Any

import ray

from vsr_plugin.cluster.connection import Cluster
from vsr_plugin.errors import VSRError

_POLL_SECONDS = 0.2
#: A run may be in a call of Ray's when all are ended.
_CLOSE_SECONDS = 10
#: A task whose worker was killed so often is given up: it is what kills them, by its memory most likely.
MOST_ATTEMPTS = 4


class Task(ABC):
    """Something to be done on any node; its methods are called by the queue, one at a time but for ``arguments``.

    Attributes:
        priority: those with higher ones are begun first; the time that it takes, mostly.
        attempts: so many workers were killed that were at it.
    """

    priority: float = 0.0
    attempts: int = 0

    @abstractmethod
    def arguments(self, stop: Event) -> tuple:
        """What the task is given, made right before it is handed out, in a thread that others wait for.

        Args:
            stop: set when it is not wanted any more.
        """

    @abstractmethod
    def receive(self, kind: str, value: Any) -> bool:
        """Take a message of the task; see :func:`vsr_plugin.cluster.node.serve`.

        Returns:
            Whether the task has ended without a result and is to be begun again, with other arguments.
        """

    @abstractmethod
    def lose(self) -> None:
        """Forget what was received that does not count, since it will come again."""

    @abstractmethod
    def __str__(self) -> str:
        """What it is, for a message."""


@dataclass(eq=False)
class _Run:
    """One call of :meth:`TaskQueue.run`."""

    body: Callable[..., None]
    stop: Event
    on_note: Callable[[str], None]
    waiting: list[Task] = field(default_factory=list)
    #: By the generators of their messages.
    begun: dict[Any, Task] = field(default_factory=dict)
    #: All tasks are known.
    collected: bool = False
    #: The arguments of a task are being made: it does not wait any more, and has not begun.
    preparing: bool = False
    #: Ready to prepare one.
    asking: bool = False
    ended: bool = False

    @property
    def priority(self) -> float:
        return max(task.priority for task in self.waiting)


class TaskQueue:
    """Hands tasks to a cluster; several threads may call :meth:`run`, whose tasks are one queue then.

    Args:
        cluster: where they run.

    Attributes:
        done_by: how many tasks each node has done, by the nodes' numbers.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        #: Guards what follows; notified when there is a task or a place for one.
        self._changed = threading.Condition()
        self._runs: list[_Run] = []
        self._handed_out = 0
        self.done_by: Counter[str] = Counter()
        self._closed = False

    def close(self) -> None:
        """End all runs, which raise ``VSRError``; returns when their tasks are cancelled."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._runs, timeout=_CLOSE_SECONDS)

    def run(
        self, body: Callable[..., None], tasks: Iterable[Task], stop: Event, on_note: Callable[[str], None]
    ) -> None:
        """Have tasks done; returns when all are, or raises what one of them raised, when none is at work any more.

        Args:
            body: what runs on the nodes, a function of a module that is there, too; see
                :func:`vsr_plugin.cluster.node.serve`.
            tasks: may be found while the first ones are done. What they raise comes out when those before are done.
            stop: ends ``tasks`` when it is set.
            on_note: called with a line for a person.

        Raises:
            VSRError: a task was given up.
        """
        run = _Run(body, stop, on_note)
        with self._changed:
            self._runs.append(run)
        with ThreadPoolExecutor(2, thread_name_prefix="vsr-cluster") as threads:
            collecting = threads.submit(self._collect, run, tasks)
            feeding = threads.submit(self._feed, run)
            try:
                while not self._is_over(run):
                    if feeding.done():
                        feeding.result()
                    self._receive_some(run)
                collecting.result()
            except BaseException:
                stop.set()
                raise
            finally:
                self._end(run)
        feeding.result()  # which may have failed at the last task

    def _collect(self, run: _Run, tasks: Iterable[Task]) -> None:
        try:
            for task in tasks:
                with self._changed:
                    run.waiting.append(task)
                    self._changed.notify_all()
        finally:
            with self._changed:
                run.collected = True
                self._changed.notify_all()

    def _feed(self, run: _Run) -> None:
        while (task := self._take(run)) is not None:
            generator = None
            try:
                generator = self._cluster.start(run.body, task.arguments(run.stop))
            finally:
                with self._changed:
                    run.preparing = False
                    if generator is None or run.ended:
                        self._handed_out -= 1
                        if generator is not None:
                            ray.cancel(generator, force=True)
                    else:
                        run.begun[generator] = task
                    self._changed.notify_all()

    def _take(self, run: _Run) -> Task | None:
        """The next task of a run whose turn it is; ``None`` when it has ended."""
        with self._changed:
            run.asking = True
            while not run.ended:
                if run.waiting and self._handed_out < self._most() and run is self._first():
                    task = max(run.waiting, key=lambda task: task.priority)
                    run.waiting.remove(task)
                    run.asking, run.preparing = False, True
                    self._handed_out += 1
                    self._changed.notify_all()
                    return task
                self._changed.wait(_POLL_SECONDS)
            return None

    def _first(self) -> _Run:
        return max((run for run in self._runs if run.asking and run.waiting), key=lambda run: run.priority)

    def _most(self) -> int:
        # One for each place, and as many whose arguments are on their way; more than there are places is also what
        # makes a cluster grow that grows by itself.
        return 2 * self._cluster.slots() + 1

    def _is_over(self, run: _Run) -> bool:
        with self._changed:
            return run.collected and not (run.waiting or run.preparing or run.begun)

    def _receive_some(self, run: _Run) -> None:
        with self._changed:
            if self._closed:
                raise VSRError("the cluster has been left before the work was done")
            generators = list(run.begun)
            if not generators:
                self._changed.wait(_POLL_SECONDS)
                return
        if not self._cluster.slots():
            run.on_note("no node is left that can take a task; the rest waits for one (Ctrl-C stops)")
        ready, _ = ray.wait(generators, num_returns=1, timeout=_POLL_SECONDS)
        for generator in ready:
            self._receive(run, generator, run.begun[generator])

    def _receive(self, run: _Run, generator: Any, task: Task) -> None:
        try:
            kind, value = ray.get(next(generator))
        except ray.exceptions.RayTaskError as error:
            # What a task raises comes as a message; so it could not even begin.
            cause = " ".join(str(error.cause or error).split())[:300]
            raise VSRError(
                f"{task}: vsr_plugin cannot be run on a node that came later ({cause}); install the same versions of "
                "everything as here, or stop the node"
            ) from error
        except (StopIteration, ray.exceptions.RayError) as error:
            task.attempts += 1
            why = _cause(error)
            if task.attempts == MOST_ATTEMPTS:
                raise VSRError(
                    f"{task}: given up after {MOST_ATTEMPTS} attempts, at last because {why}; if it takes too much "
                    "memory, give tasks less (--memory-budget) or fewer to a node (--task-cpus, --task-gpus)"
                ) from error
            run.on_note(f"{task}: {why}; another worker does it")
            self._again(run, generator)
            return
        if kind == "error":
            raise value
        if kind == "refused":
            node, line = value
            self._cluster.refuse(node)
            run.on_note(f"a node that came later is not used: {line}")
            self._again(run, generator)
        elif task.receive(kind, value):
            self._again(run, generator)
        elif kind == "done":
            self.done_by[value] += 1
            self._leave(run, generator)

    def _again(self, run: _Run, generator: Any) -> None:
        task = self._leave(run, generator)
        task.lose()
        with self._changed:
            run.waiting.append(task)
            self._changed.notify_all()

    def _leave(self, run: _Run, generator: Any) -> Task:
        with self._changed:
            self._handed_out -= 1
            self._changed.notify_all()
            return run.begun.pop(generator)

    def _end(self, run: _Run) -> None:
        with self._changed:
            run.ended = True
            self._runs.remove(run)
            self._handed_out -= len(run.begun)
            for generator in run.begun:
                ray.cancel(generator, force=True)
            run.begun.clear()
            self._changed.notify_all()


def _cause(error: BaseException) -> str:
    """Why a worker has gone, in words."""
    if isinstance(error, ray.exceptions.NodeDiedError):
        return "its node is gone"
    if isinstance(error, ray.exceptions.OutOfMemoryError):
        return "its worker was killed because the memory of its node ran out"
    return "its worker was killed"
