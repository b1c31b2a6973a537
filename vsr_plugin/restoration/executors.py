"""What runs the tasks of a job: this process, or worker processes that are handed shots as they become free.

A task is one shot: all that it needs is in a :class:`Work` and a :class:`Shot`, which can be pickled, and what it makes
lies in the folder of the job. So a worker may end at any moment, and another one does its shot.
"""

import copy
import multiprocessing
import pickle
import threading
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection
from threading import Event

import torch
import torch.nn as nn

from vsr_plugin.acceleration import Trial, fastest_precision
from vsr_plugin.acceleration.precision import feature_dtype
from vsr_plugin.child_processes import deaf_to_interruptions
from vsr_plugin.errors import VSRError
from vsr_plugin.inference.planning import default_budget
from vsr_plugin.restoration.pipeline import Prefetcher
from vsr_plugin.restoration.segments import Work
from vsr_plugin.restoration.shots import Shot
from vsr_plugin.restoration.worker import ShotWorker
from vsr_plugin.restoration.worker_process import serve

#: A worker has one shot in hand, and while others wait a second one, which it reads meanwhile.
_IN_HAND = 2
_POLL_SECONDS = 0.2


class Executor(ABC):
    """Runs tasks, in ``with``.

    Attributes:
        workers: how many tasks it runs at a time.
    """

    workers = 1

    @property
    def inputs(self) -> int:
        """How many inputs are best under way at a time: so many that each worker has a shot, even of short ones."""
        return self.workers

    @abstractmethod
    def default_budget(self, net: nn.Module) -> int:
        """Bytes of memory that each worker may take where nobody says how much."""

    def default_threads(self) -> int:
        """Threads of the CPU that each worker takes."""
        return max(1, torch.get_num_threads() // self.workers)

    def fastest_precision(self, net: nn.Module) -> Trial:
        """What precision ``auto`` stands for where this executor computes.

        Raises:
            VSRError: that cannot be found out.
        """
        return fastest_precision(net)

    def check_precision(self, net: nn.Module, precision: str) -> None:
        """Raise ``VSRError`` if what computes has no arithmetic for a precision."""
        feature_dtype(precision, next(net.parameters()).device)

    @abstractmethod
    def run(
        self,
        work: Work,
        shots: Iterable[Shot],
        stop: Event,
        *,
        on_done: Callable[[Shot], None],
        progress: Callable[[float], None],
        on_note: Callable[[str], None],
    ) -> None:
        """Restore shots; returns when all are done, or raises when nothing works at them any more.

        Args:
            work: what they have in common.
            shots: in order; they may be found while the first ones are restored.
            stop: ends ``shots`` when it is set.
            on_done: called with every shot that is done. Like the others it may be called in any thread.
            progress: called with numbers of frames that are done, in halves or parts of these; negative ones take back
                what was lost.
            on_note: called with a line for a person.

        Raises:
            VSRError: what went wrong with a shot.
        """

    def close(self) -> None:  # noqa: B027 (what has no workers has nothing to end)
        """End all workers; runs that are not done raise ``VSRError``."""

    def __enter__(self) -> "Executor":
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


class ThisProcess(Executor):
    """One shot after the other, in the calling thread and on the device that the network is on."""

    def default_budget(self, net: nn.Module) -> int:
        """See :meth:`Executor.default_budget`."""
        return default_budget(next(net.parameters()).device)

    def run(self, work, shots, stop, *, on_done, progress, on_note) -> None:
        """See :meth:`Executor.run`."""
        threads = torch.get_num_threads()
        torch.set_num_threads(work.threads)
        try:
            with ShotWorker(work, progress=progress, on_note=on_note, on_done=on_done) as worker:
                loaded = (worker.load(shot, stop) for shot in shots)
                with Prefetcher(loaded, stop=stop) as ready:
                    for shot in ready:
                        worker.restore(shot)
        finally:
            torch.set_num_threads(threads)


@dataclass(eq=False)
class _Run:
    """One call of :meth:`WorkerProcesses.run`: what is left to do, and why it has ended if it failed."""

    number: int
    work: bytes
    stop: Event
    on_done: Callable[[Shot], None]
    progress: Callable[[float], None]
    on_note: Callable[[str], None]
    waiting: deque[Shot] = field(default_factory=deque)
    in_hand: int = 0
    error: BaseException | None = None
    #: Held while one of the callbacks is called.
    calling: threading.Lock = field(default_factory=threading.Lock)


@dataclass
class _Task:
    run: _Run
    shot: Shot
    progress: float = 0.0


class WorkerProcesses(Executor):
    """One process for each device, in ``with``; several threads may call :meth:`run`, whose shots are one queue then.

    The processes start with the first run. One that is killed is not replaced: its shot is done by another. When a run
    fails, those that have its shots in hand are ended, as these may take hours, and started again.

    Args:
        devices: the same one may be given more than once.
    """

    def __init__(self, devices: Sequence[torch.device]) -> None:
        self._devices = list(devices)
        self.workers = len(self._devices)
        self._numbers = 0
        #: Guards what follows; notified when there is a task to take, or one less in hand.
        self._changed = threading.Condition()
        self.runs: list[_Run] = []
        self.closed = False
        self._handlers: list[_Handler] = []

    def default_budget(self, net: nn.Module) -> int:
        """See :meth:`Executor.default_budget`; workers on one device share its memory."""
        return min(default_budget(device) // count for device, count in Counter(self._devices).items())

    def run(self, work, shots, stop, *, on_done, progress, on_note) -> None:
        """See :meth:`Executor.run`."""
        elsewhere = pickle.dumps(replace(work, net=copy.deepcopy(work.net).cpu()))
        with self._changed:
            self._numbers += 1
            run = _Run(self._numbers, elsewhere, stop, on_done, progress, on_note)
            self.runs.append(run)
            if not self._handlers and not self.closed:
                self._handlers = [_Handler(self, number, device) for number, device in enumerate(self._devices)]
                for handler in self._handlers:
                    handler.start()
            elif not self.alive:
                self.fail(run, _NoWorkersError(self.workers))
        unreadable = None
        try:
            try:
                for shot in shots:
                    with self._changed:
                        run.waiting.append(shot)
                        self._changed.notify_all()
            except Exception as error:  # of the input, behind shots that can be restored
                unreadable = error
            with self._changed:
                while run.error is None and (run.waiting or run.in_hand):
                    self._changed.wait(_POLL_SECONDS)
        except BaseException as error:
            self.fail(run, error)
        finally:
            with self._changed:
                while run.in_hand:
                    self._changed.wait(_POLL_SECONDS)
                self.runs.remove(run)
        if run.error or unreadable:
            raise run.error or unreadable

    @property
    def alive(self) -> int:
        """How many workers are left."""
        return sum(not handler.ended for handler in self._handlers)

    @property
    def pids(self) -> list[int]:
        """Numbers of the processes that are left."""
        return [handler.pid for handler in self._handlers if not handler.ended and handler.pid is not None]

    def take(self, *, wait: bool) -> _Task | None:
        """The next task for a worker: with ``wait`` once there is one, else one that no idle worker would take."""
        with self._changed:
            while not self.closed:
                runs = [run for run in self.runs if run.waiting]
                if runs and (wait or sum(len(run.waiting) for run in runs) > self.alive):
                    runs[0].in_hand += 1
                    return _Task(runs[0], runs[0].waiting.popleft())
                if not wait:
                    break
                self._changed.wait()
            return None

    def give_back(self, task: _Task, *, again: bool) -> None:
        """Say that a task is in hand no more; with ``again`` another worker is to do it, if any is to."""
        with self._changed:
            task.run.in_hand -= 1
            if again and task.run.error is None:
                task.run.waiting.appendleft(task.shot)
            self._changed.notify_all()

    def fail(self, run: _Run, error: BaseException) -> None:
        """End a run."""
        with self._changed:
            if run.error is None:
                run.error = error
            run.waiting.clear()
            run.stop.set()
            for handler in self._handlers:
                if any(task.run is run for task in list(handler.tasks.values())):
                    handler.restart()
            self._changed.notify_all()

    def worker_ended(self, handler: "_Handler") -> None:
        """Say that a worker was killed by something else."""
        with self._changed:
            handler.ended = True
            if not self.alive:
                for run in self.runs:
                    self.fail(run, _NoWorkersError(self.workers))

    def close(self) -> None:
        """See :meth:`Executor.close`."""
        with self._changed:
            self.closed = True
            for run in self.runs:
                self.fail(run, VSRError("the worker processes have been ended"))
            self._changed.notify_all()
        for handler in self._handlers:
            handler.kill()
        for handler in self._handlers:
            handler.join()


class _NoWorkersError(VSRError):
    def __init__(self, workers: int) -> None:
        super().__init__(f"all {workers} worker processes were ended before the work was done")


class _Handler(threading.Thread):
    """Hands tasks to one process and takes its messages, until something else kills the process, or all is closed."""

    def __init__(self, pool: WorkerProcesses, number: int, device: torch.device) -> None:
        super().__init__(name=f"vsr-worker-{number}", daemon=True)
        self._pool, self._number, self._device = pool, number, device
        self._process: multiprocessing.process.BaseProcess | None = None
        self._connection: Connection | None = None
        self._known: set[int] = set()
        self.tasks: dict[tuple[int, int], _Task] = {}
        self.ended = self._restarts = False

    @property
    def pid(self) -> int | None:
        """Number of the process."""
        return None if self._process is None else self._process.pid

    def kill(self) -> None:
        """End the process, wherever it is."""
        if self._process is not None:
            self._process.kill()

    def restart(self) -> None:
        """End the process, and let another one take its place."""
        self._restarts = True
        self.kill()

    def run(self) -> None:
        while True:
            try:
                self._begin()
                self._serve()
            except (EOFError, OSError):
                pass  # the process has ended, or cannot be started
            except Exception as error:  # of this program; nobody may wait for what will not come
                for task in list(self.tasks.values()):
                    self._pool.fail(task.run, error)
            self._end()
            if self._pool.closed or not self._restarts:
                break
        if not self._pool.closed:
            self._pool.worker_ended(self)

    def _begin(self) -> None:
        self._restarts = False
        self._known.clear()
        context = multiprocessing.get_context("spawn")  # since CUDA does not survive a fork
        self._connection, theirs = context.Pipe()
        process = context.Process(target=serve, args=(theirs, str(self._device)), name=self.name)
        with deaf_to_interruptions():
            process.start()
        theirs.close()  # or its end would not be seen here
        self._process = process

    def _serve(self) -> None:
        # A process that is killed ends the connection, too, unless something that it has started still holds it; so
        # whether it is alive is asked as well.
        while not (self._pool.closed or self._restarts):
            task = self._pool.take(wait=not self.tasks) if len(self.tasks) < _IN_HAND else None
            if task is not None:
                self.tasks[task.run.number, task.shot.number] = task
                if task.run.error is not None:  # since it was taken
                    raise EOFError
                self._send(task)
                continue
            alive = self._process.is_alive()  # asked first, so that its last message is not missed
            if self._connection.poll(_POLL_SECONDS):
                self._receive(*pickle.loads(self._connection.recv_bytes()))
            elif not alive:
                raise EOFError

    def _send(self, task: _Task) -> None:
        run = task.run
        for number in self._known - {run.number for run in list(self._pool.runs)}:
            self._known.discard(number)
            self._connection.send_bytes(pickle.dumps(("forget", number, None)))
        if run.number not in self._known:
            self._known.add(run.number)
            self._connection.send_bytes(pickle.dumps(("work", run.number, run.work)))
        self._connection.send_bytes(pickle.dumps(("shot", run.number, task.shot)))

    def _receive(self, kind: str, key: tuple[int, int], value: object) -> None:
        task = self.tasks[key]
        run = task.run
        try:
            if kind == "error":
                raise value
            with run.calling:
                if kind == "progress":
                    task.progress += value
                    run.progress(value)
                elif kind == "note":
                    run.on_note(value)
                else:
                    run.on_done(task.shot)
        except BaseException as error:
            self._pool.fail(run, error)
            return
        if kind == "done":
            del self.tasks[key]
            self._pool.give_back(task, again=False)

    def _end(self) -> None:
        """The process has ended or is to: give back what it had in hand."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._connection.close()
        tasks, self.tasks = list(self.tasks.values()), {}
        for task in reversed(tasks):
            run = task.run
            if run.error is None:
                with run.calling:
                    run.progress(-task.progress)
                    if not self._restarts:
                        run.on_note(self._obituary())
            self._pool.give_back(task, again=True)

    def _obituary(self) -> str:
        status = self._process.exitcode
        how = f"was killed by signal {-status}" if status < 0 else f"has ended with status {status}"
        other = "; another one does its shot" if self._pool.alive > 1 else ""
        return f"worker {self._number} ({self._device}) {how}{other}"
