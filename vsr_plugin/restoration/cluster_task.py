"""A shot on a node of a cluster: what it makes goes to who handed it out as soon as it is whole."""

from __future__ import annotations

import functools
import os
import shutil
import tempfile
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event
from typing import Any

import torch

from vsr_plugin.cluster.node import Send, device
from vsr_plugin.errors import VSRError
from vsr_plugin.restoration.job import FOLDERS, JobFolder, SegmentRecord
from vsr_plugin.restoration.segments import Work
from vsr_plugin.restoration.sending import NotSentError, Sent, received
from vsr_plugin.restoration.shots import Shot
from vsr_plugin.restoration.worker import AcceleratedNets, ShotWorker

#: Networks that a worker keeps ready to compute.
_MOST_NETS = 2
_PREFIX = "vsr_shot_"
_nets: OrderedDict[tuple, AcceleratedNets] = OrderedDict()


@dataclass(frozen=True)
class ShotOrder:
    """What a node needs to restore a shot; references are to objects of the cluster.

    Attributes:
        net: digest of the network, and a reference to it.
        work: a reference to the job without its network.
        shot: which.
        source: its frames.
        gt: those of the ground truth.
        have: files of the job's folder that say what of it is done.
    """

    net: tuple[str, Any]
    work: Any
    shot: Shot
    source: Sent
    gt: Sent | None
    have: dict[str, bytes]


def restore_shot(send: Send, order: ShotOrder) -> None:
    """Restore a shot; a body for :class:`vsr_plugin.cluster.tasks.TaskQueue`.

    Args:
        send: takes numbers of frames, in halves, as ``progress``; lines as ``note``; ``files``, bytes by their names in
            the folder of the job, that of a record last; and as ``way`` how frames are to be sent instead.
        order: the shot.
    """
    import ray

    work: Work = ray.get(order.work)
    nets = _ready_net(order.net, work.options.precision)
    _remove_left_behind()
    with tempfile.TemporaryDirectory(prefix=f"{_PREFIX}{os.getpid()}_") as name:
        folder = Path(name)
        job = _Outbox(folder / "job", work.output.path, send)
        job.fill(order.have)
        try:
            places = [folder / "input", folder / "gt"]
            sources = []
            for place, source, sent in zip(places, (work.source, work.gt), (order.source, order.gt), strict=True):
                place.mkdir()
                sources.append(source and received(source, sent, ray.get, place))
            here = replace(
                work, net=nets.net, job=job, output=work.output.in_folder(job.path),
                source=sources[0], gt=sources[1],
            )  # fmt: skip
            torch.set_num_threads(work.threads)  # of this thread
            with ShotWorker(
                here,
                progress=functools.partial(send, "progress"),
                on_note=functools.partial(send, "note"),
                on_done=lambda shot: None,
                nets=nets,
            ) as worker:
                worker.restore(worker.load(order.shot, Event()))
            job.send_all()
        except NotSentError as error:
            send("way", error.way)
        except VSRError as error:
            text = str(error)
            for place, source in zip(places, (work.source, work.gt), strict=True):
                if source is not None:
                    text = text.replace(str(place), str(getattr(source, "folder", source.path.parent)))
            if isinstance(error.__cause__, OSError):
                text += f" (on node {ray.util.get_node_ip_address()})"
            raise type(error)(text) from error
        except OSError as error:
            raise VSRError(
                f"node {ray.util.get_node_ip_address()}: {error.filename or folder}: {error.strerror}; free space "
                "there, or set TMPDIR to another place before ray start"
            ) from error


def _remove_left_behind() -> None:
    """Remove what workers that were killed have left, which may be large."""
    for path in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        pid = path.name.removeprefix(_PREFIX).partition("_")[0]
        if not Path("/proc", pid).exists():
            shutil.rmtree(path, ignore_errors=True)


def _ready_net(named: tuple[str, Any], precision: str) -> AcceleratedNets:
    import ray

    digest, reference = named
    where = device()
    if where.type == "cuda":
        torch.cuda.set_device(where)  # of this thread
    key = digest, precision, where
    if key not in _nets:
        _nets[key] = AcceleratedNets(ray.get(reference).to(where), precision)
    _nets.move_to_end(key)
    while len(_nets) > _MOST_NETS:
        _nets.popitem(last=False)
    return _nets[key]


class _Outbox(JobFolder):
    """The folder of a job on a node: what is complete in it is sent, and removed."""

    def __init__(self, path: Path, output: Path, send: Callable[[str, Any], None]) -> None:
        super().__init__(output)
        self.path, self._send = path, send
        self._here: set[str] = set()

    def fill(self, have: dict[str, bytes]) -> None:
        """Make the folder, with what is known to be done."""
        for folder in (*FOLDERS, "images"):
            (self.path / folder).mkdir(parents=True)
        for name, data in have.items():
            (self.path / name).write_bytes(data)
        self._here = set(have)

    def record(self, record: SegmentRecord) -> None:
        """See :meth:`JobFolder.record`."""
        super().record(record)
        self.send_all()

    def send_all(self) -> None:
        """Send what is complete; in the thread that writes it."""
        files: dict[str, bytes] = {}
        for path in sorted(self.path.rglob("*"), key=lambda path: path.parent.name == "records"):
            name = path.relative_to(self.path).as_posix()
            if path.is_file() and not (path.name.startswith(".") or name in self._here or name.startswith("shots/")):
                files[name] = path.read_bytes()
                os.unlink(path)
        if files:
            self._send("files", files)
