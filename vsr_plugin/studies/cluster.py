"""The parts of a study on a Ray cluster; a training whose node dies goes on from its checkpoint on another one."""

from __future__ import annotations

import hashlib
import os
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any

from vsr_plugin.cluster.connection import Cluster
from vsr_plugin.cluster.node import Send, device
from vsr_plugin.cluster.tasks import Task, TaskQueue
from vsr_plugin.errors import TrainingError
from vsr_plugin.files import write_files
from vsr_plugin.studies.run import PartProgress
from vsr_plugin.studies.study import Part, Study

#: Stands for the folder of all studies, which is another one on each machine, in what goes from one to another.
_OUT = "<folder of the studies>"
#: mmengine's file that names the newest checkpoint; it is written when that is whole.
_LAST = "last_checkpoint"
_LOOK_SECONDS = 1.0


class PartsOnCluster:
    """Measures parts of studies on a cluster: a stand-in for :func:`vsr_plugin.studies.run.measure_here`.

    Clips that are no samples of the package must be on every node under the same path.

    Args:
        cluster: the cluster.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._queue = TaskQueue(cluster)

    def __call__(
        self,
        study: Study,
        parts: Sequence[Part],
        on_part: Callable[[Part], None],
        progress: Callable[[float], None],
        keep: Callable[[Part, dict[str, Any]], None],
    ) -> None:
        """See :func:`vsr_plugin.studies.run.measure_here`."""
        tasks = [_PartTask(study, part, -number, on_part, progress, keep) for number, part in enumerate(parts)]
        self._queue.run(measure_part, tasks, Event(), on_note=lambda line: print(f"\nnote: {line}", flush=True))


class _PartTask(Task):
    def __init__(self, study: Study, part: Part, priority: float, on_part, progress, keep) -> None:
        self._study, self._part, self.priority = study, part, priority
        self._on_part, self._progress, self._keep = on_part, progress, keep
        self._out, self._reported = study.folder.parent.resolve(), 0.0

    def __str__(self) -> str:
        return self._part.label

    def arguments(self, stop: Event) -> tuple:
        self._on_part(self._part)
        # One folder on a node for one here, so that trainings there share what they read, and go on where they can.
        key = f"vsr_studies_{hashlib.sha256(f'{os.uname().nodename} {self._out}'.encode()).hexdigest()[:12]}"
        return type(self._study), self._study.options, key, self._part, self._have()

    def _have(self) -> dict[str, bytes]:
        """What an interrupted measurement goes on from."""
        folder = self._study.keeps(self._part)
        if folder is None or not (folder / _LAST).exists():
            return {}
        checkpoint = folder / Path((folder / _LAST).read_text()).name
        return _portable([checkpoint, folder / _LAST] if checkpoint.exists() else [], self._study.folder.parent)

    def receive(self, kind: str, value: Any) -> bool:
        if kind == "progress":
            self._reported += value
            self._progress(value)
        elif kind == "files":
            _keep_portable(value, self._out)
            self._drop_older(value)
        elif kind == "result":
            self._keep(self._part, _renamed(value, _OUT, str(self._study.folder.parent)))
            self._progress(1 - self._reported)
        return False

    def _drop_older(self, files: dict[str, bytes]) -> None:
        for name in files:
            if name.endswith(".pth"):
                for path in (self._out / name).parent.glob("iter_*.pth"):
                    if path != self._out / name:
                        path.unlink()

    def lose(self) -> None:
        self._progress(-self._reported)
        self._reported = 0.0


# -- on a node ---------------------------------------------------------------------------------------------------------


def measure_part(send: Send, kind: type[Study], options: Any, key: str, part: Part, have: dict[str, bytes]) -> None:
    """Measure a part; a body for :class:`vsr_plugin.cluster.tasks.TaskQueue`.

    Args:
        send: takes fractions of the part as ``progress``, ``files`` that an interrupted measurement goes on from, and
            the ``result``.
        kind: the study.
        options: its options.
        key: name of the folder that it works in here.
        part: the part.
        have: files that an earlier attempt has left.
    """
    root = Path(tempfile.gettempdir()) / key
    study = kind(replace(options, device=device()), root / kind.name)
    study.parts()  # which finds out whether the clips are here
    kept = study.keeps(part)
    if kept is not None and not (kept / _LAST).exists():
        _keep_portable(have, root)
    with _Mirror(kept, root, send):
        try:
            result = study.measure(part, PartProgress(partial(send, "progress")))
        except TrainingError as error:
            raise TrainingError(str(error).replace(str(root), f"{os.uname().nodename}:{root}")) from error
    send("result", _renamed(result, str(root), _OUT))


class _Mirror:
    """Sends each checkpoint of a training as it is whole, and at the end what else says how it went."""

    def __init__(self, folder: Path | None, root: Path, send: Send) -> None:
        self._folder, self._root, self._send = folder, root, send
        self._sent = self._newest()
        self._ended = Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def _newest(self) -> str | None:
        try:
            return (self._folder / _LAST).read_text() if self._folder else None
        except FileNotFoundError:
            return None

    def _watch(self) -> None:
        while not self._ended.wait(_LOOK_SECONDS):
            self._look()

    def _look(self) -> None:
        newest = self._newest()
        if newest not in (None, self._sent) and (path := Path(newest)).exists():
            self._send("files", _portable([path, self._folder / _LAST], self._root))
            self._sent = newest

    def __enter__(self) -> None:
        if self._folder:
            self._thread.start()

    def __exit__(self, *exc_info: object) -> None:
        if self._folder:
            self._ended.set()
            self._thread.join()
            self._look()
            paths = [*self._folder.glob("*.txt"), *self._folder.glob("*.json")]
            self._send("files", _portable(paths, self._root))


def _portable(paths: Sequence[Path], root: Path) -> dict[str, bytes]:
    """Files by their names below a root, in order; what names the newest checkpoint without that root."""
    found = {path.relative_to(root).as_posix(): path.read_bytes() for path in paths}
    return {
        name: data.replace(str(root.resolve()).encode(), _OUT.encode()) if name.endswith(_LAST) else data
        for name, data in found.items()
    }


def _keep_portable(files: dict[str, bytes], root: Path) -> None:
    for name in files:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
    write_files(
        root,
        {
            name: data.replace(_OUT.encode(), str(root.resolve()).encode()) if name.endswith(_LAST) else data
            for name, data in files.items()
        },
    )


def _renamed(result: dict[str, Any], old: str, new: str) -> dict[str, Any]:
    """A result whose texts name other folders."""
    return {key: value.replace(old, new) if isinstance(value, str) else value for key, value in result.items()}
