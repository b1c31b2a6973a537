"""A worker process: shots come through a pipe, and what becomes of them is said through it."""

import os
import pickle
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import Connection
from threading import Event

import torch

from vsr_plugin.child_processes import serve_parent
from vsr_plugin.errors import portable
from vsr_plugin.restoration.pipeline import Prefetcher
from vsr_plugin.restoration.segments import Work
from vsr_plugin.restoration.shots import Shot
from vsr_plugin.restoration.worker import LoadedShot, ShotWorker


def serve(connection: Connection, device: str) -> None:
    """Restore the shots that come, until the process is ended by who hands them out, or with it.

    Args:
        connection: brings ``(kind, number of the run, value)``, pickled: first ``work`` with the job of a run, itself
            pickled, then each ``shot`` of it, at last ``forget``. It takes ``(kind, (run, shot), value)``: numbers of
            frames as ``progress``, lines as ``note``, ``done``, and exceptions as ``error``.
        device: where to compute.
    """
    serve_parent()
    with suppress(EOFError, OSError):
        _Server(connection, torch.device(device)).run()
    os._exit(0)  # threads may wait for what will never come


class _Server:
    def __init__(self, connection: Connection, device: torch.device) -> None:
        self._connection, self._device = connection, device
        self._sending = threading.Lock()
        self._works: dict[int, bytes] = {}
        self._workers: dict[int, tuple[Work, ShotWorker]] = {}
        self._computed: tuple[int, int] | None = None

    def run(self) -> None:
        """Restore what comes; the next shot is read meanwhile."""
        if self._device.type == "cuda":
            torch.cuda.set_device(self._device)  # of this thread
        stop = Event()
        with Prefetcher(self._loaded(stop), stop=stop) as ready:
            for number, loaded in ready:
                self._computed = number, loaded.shot.number
                work, worker = self._workers[number]
                torch.set_num_threads(work.threads)  # of this thread
                try:
                    worker.restore(loaded)
                except Exception as error:
                    self._fail(self._computed, error)
                    return

    def _loaded(self, stop: Event) -> Iterator[tuple[int, LoadedShot]]:
        while True:
            kind, number, value = pickle.loads(self._connection.recv_bytes())
            if kind == "work":
                self._works[number] = value
            elif kind == "forget":
                del self._works[number]
                if number in self._workers:
                    _, worker = self._workers.pop(number)
                    worker.__exit__(None, None, None)
            else:
                try:
                    loaded = self._worker(number).load(value, stop)
                except Exception as error:
                    self._fail((number, value.number), error)
                    return
                yield number, loaded

    def _worker(self, number: int) -> ShotWorker:
        if number not in self._workers:
            work: Work = pickle.loads(self._works[number])
            work = replace(work, net=work.net.to(self._device))

            def on_done(shot: Shot) -> None:
                self._send("done", (number, shot.number))

            worker = ShotWorker(
                work,
                progress=lambda count: self._send("progress", self._computed, count),
                on_note=lambda line: self._send("note", self._computed, line),
                on_done=on_done,
                on_error=lambda shot, error: self._fail((number, shot.number), error),
            )
            self._workers[number] = work, worker.__enter__()
        return self._workers[number][1]

    def _send(self, kind: str, key: tuple[int, int], value: object = None) -> None:
        with self._sending:
            self._connection.send_bytes(pickle.dumps((kind, key, value)))

    def _fail(self, key: tuple[int, int], error: Exception) -> None:
        self._send("error", key, portable(error))
