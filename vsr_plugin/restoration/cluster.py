"""Shots on a Ray cluster: the driver keeps the folder of the job, nodes need nothing of its disks."""

from __future__ import annotations

import copy
import os
from collections import Counter, OrderedDict
from contextlib import ExitStack, closing
from dataclasses import replace
from threading import Event, Lock
from typing import Any

import torch.nn as nn

from vsr_plugin.acceleration import Trial
from vsr_plugin.acceleration.precision import PRECISIONS, feature_dtype
from vsr_plugin.cluster.connection import Cluster
from vsr_plugin.cluster.tasks import Task, TaskQueue
from vsr_plugin.defaults import AUTO
from vsr_plugin.errors import MediaError, VSRError
from vsr_plugin.files import write_files
from vsr_plugin.restoration import fingerprint
from vsr_plugin.restoration.cluster_task import ShotOrder, restore_shot
from vsr_plugin.restoration.executors import Executor
from vsr_plugin.restoration.options import ClusterOptions
from vsr_plugin.restoration.segments import Work
from vsr_plugin.restoration.sending import Sender, Way
from vsr_plugin.restoration.shots import Shot
from vsr_plugin.restoration.worker import plan_shot

#: Shots of videos that must be decoded in order come before all others, and in order.
_IN_ORDER = 1e12
#: Nodes may come later.
_FEWEST_INPUTS = 4
#: Networks that the cluster keeps beside those that are in use: videos that are compressed differently have each its
#: own, and of a long queue all of them together would fill its memory.
_MOST_NETS = 4


class OnCluster(Executor):
    """Hands shots to a Ray cluster, in ``with``; several threads may call :meth:`run`, whose shots are one queue then.

    Args:
        options: which cluster, and what a shot takes of it.
        way: how frames are sent, until a node cannot read them so.

    Attributes:
        traffic: bytes that went over the network: ``sent`` for shots, ``head`` for all shots of an input, and what was
            ``received``. What a node reads by a path is not among them, nor are networks.

    Raises:
        VSRError: see :class:`vsr_plugin.cluster.connection.Cluster`.
    """

    def __init__(self, options: ClusterOptions, *, way: Way = Way.PATH) -> None:
        self._cluster = Cluster(options.cluster, gpus=options.task_gpus, cpus=options.task_cpus)
        self._queue = TaskQueue(self._cluster)
        self._nets: OrderedDict[str, Any] = OrderedDict()
        self._putting = Lock()
        self._way = way
        self.traffic: Counter[str] = Counter()

    @property
    def workers(self) -> int:
        """How many shots are restored at a time now."""
        return max(1, self._cluster.slots())

    @property
    def inputs(self) -> int:
        """See :attr:`Executor.inputs`; this machine reads and joins all of them."""
        return min(max(_FEWEST_INPUTS, self.workers), 2 * (os.cpu_count() or 1))

    def close(self) -> None:
        """See :meth:`Executor.close`."""
        self._queue.close()
        self._cluster.close()

    def __str__(self) -> str:
        return str(self._cluster)

    def default_budget(self, net: nn.Module) -> int:
        """See :meth:`Executor.default_budget`; that of the node which has least."""
        return self._cluster.memory

    def default_threads(self) -> int:
        """See :meth:`Executor.default_threads`."""
        return self._cluster.cpus

    def fastest_precision(self, net: nn.Module) -> Trial:
        """See :meth:`Executor.fastest_precision`; nodes may differ, and then so would their frames."""
        raise VSRError(f"precision {AUTO!r} is for one machine only; choose one of {', '.join(PRECISIONS)}")

    def check_precision(self, net: nn.Module, precision: str) -> None:
        """See :meth:`Executor.check_precision`; of a GPU, the first node that computes says so."""
        if not self._cluster.gpus:
            feature_dtype(precision, next(net.parameters()).device)

    def run(self, work, shots, stop, *, on_done, progress, on_note) -> None:
        """See :meth:`Executor.run`."""
        shared = _Shared(work, self._cluster.put, self._put_net(work.net), self._way, on_done, progress, on_note)
        with closing(shared):
            self._queue.run(restore_shot, (_ShotTask(shared, shot) for shot in shots), stop, on_note)
        with self._putting:
            self.traffic += shared.traffic()

    def _put_net(self, net: nn.Module) -> tuple[str, Any]:
        """A digest of the network, and a reference to it; each node fetches it once, for all inputs that share it."""
        digest = fingerprint.of_net(net)
        with self._putting:
            if digest not in self._nets:
                self._nets[digest] = self._cluster.put(copy.deepcopy(net).cpu())
            self._nets.move_to_end(digest)
            while len(self._nets) > _MOST_NETS:  # what is given up here, the run that uses it still holds
                self._nets.popitem(last=False)
            return digest, self._nets[digest]


class _Shared:
    """What the tasks of one run have in common."""

    def __init__(self, work: Work, put, net: tuple[str, Any], way: Way, on_done, progress, on_note) -> None:
        self.work, self.net = work, net
        self.on_done, self.progress, self.on_note = on_done, progress, on_note
        self.reference = put(replace(work, net=None, job=None))
        #: By which frames are sent: another one once a node could not read them so.
        self.way = way
        self.received = 0
        options = work.options
        overlap = plan_shot(work, "window", None).overlap if options.strategy == "window" else 0
        self.source = Sender(work.source, options.start, put, keep=2 * overlap)
        self.gt = work.gt and Sender(work.gt, options.start, put)

    def traffic(self) -> Counter[str]:
        senders = list(filter(None, (self.source, self.gt)))
        return Counter(
            sent=sum(sender.num_bytes for sender in senders),
            head=sum(sender.head_bytes for sender in senders),
            received=self.received,
        )

    def close(self) -> None:
        with ExitStack() as stack:
            for sender in filter(None, (self.source, self.gt)):
                stack.callback(sender.close)

    def must_be_in_order(self, shot: Shot) -> bool:
        """Whether a shot can only be reached by decoding all before it: that is done once, here."""
        return self.work.source.kind == "video" and shot.entry is None and shot.first > 0


class _ShotTask(Task):
    def __init__(self, shared: _Shared, shot: Shot) -> None:
        self._shared, self._shot = shared, shot
        self._in_order = shared.must_be_in_order(shot)
        self._way = Way.FRAMES if self._in_order else Way.PATH
        self._reported = 0.0
        self.priority = _IN_ORDER - shot.first if self._in_order else shot.frames

    def __str__(self) -> str:
        start = self._shared.work.options.start
        return f"frames {start + self._shot.start} to {start + self._shot.stop - 1}"

    def arguments(self, stop: Event) -> tuple[ShotOrder]:
        shared, shot = self._shared, self._shot
        way = max(self._way, shared.way)
        source = shared.source.send(shot.first, shot.frames, shot.entry, way, stop)
        gt = shared.gt and shared.gt.send(shot.start, len(shot), None, shared.way, stop)
        return (ShotOrder(shared.net, shared.reference, shot, source, gt, self._have()),)

    def _have(self) -> dict[str, bytes]:
        """What says which part of the shot is done; contributions count by being there."""
        job, shot = self._shared.work.job, self._shot
        segments = [*shot.segments(), *shot.joints]
        files = [job.path / "records" / f"{frames.start:08d}.json" for frames in segments]
        have = {path.relative_to(job.path).as_posix(): path.read_bytes() for path in files if path.exists()}
        for frames in shot.joints:
            have |= {f"joints/{path.name}": b"" for path in job.joints.glob(f"{frames.start:08d}.*")}
        return have

    def receive(self, kind: str, value: Any) -> bool:
        shared = self._shared
        if kind == "progress":
            self._reported += value
            shared.progress(value)
        elif kind == "note":
            shared.on_note(value)
        elif kind == "files":
            shared.received += sum(map(len, value.values()))
            try:
                write_files(shared.work.job.path, value)
            except OSError as error:
                output = shared.work.output.path
                raise MediaError(f"{output}: writing failed ({error.strerror}); free space") from error
        elif kind == "way":
            self._way = value
            if value == Way.BYTES:  # as for all that come after it
                shared.way = value
            return True
        elif kind == "done":
            shared.on_done(self._shot)
        return False

    def lose(self) -> None:
        self._shared.progress(-self._reported)
        self._reported = 0.0
