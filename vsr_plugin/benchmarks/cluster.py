"""How much of a cluster's time is used: tasks of known length in place of shots, on workers of this machine.

A stand-in waits as long as a network would compute, so that more workers than cores can be had, and sends back as many
bytes as an encoded segment has.
"""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any

import torch

from vsr_plugin.cluster.connection import Cluster
from vsr_plugin.cluster.local import local_cluster
from vsr_plugin.cluster.node import Send
from vsr_plugin.cluster.tasks import Task, TaskQueue
from vsr_plugin.data.degraded_clip import clip_path
from vsr_plugin.files import write_files
from vsr_plugin.models import BasicVSRNet
from vsr_plugin.report import table_text
from vsr_plugin.restoration import RestoreOptions, restore_video
from vsr_plugin.restoration.cluster import OnCluster
from vsr_plugin.restoration.options import ClusterOptions
from vsr_plugin.restoration.sending import Way

#: Spread of the lengths of shots: of a normal distribution of their logarithms.
_SIGMA = 1.2


def stand_in(send: Send, seconds: float, size: int) -> None:
    """Wait, and send a file of so many bytes back; a body for :class:`vsr_plugin.cluster.tasks.TaskQueue`."""
    time.sleep(seconds)
    if size:
        send("files", {f"segments/{time.monotonic_ns():020d}.packets": bytes(size)})


def _meet(send: Send, folder: str, number: int, count: int) -> None:
    """Wait until so many of these are under way, each in a process of its own, which stays."""
    place = Path(folder)
    (place / str(number)).touch()
    while len(list(place.iterdir())) < count:
        time.sleep(0.05)


class _StandIn(Task):
    def __init__(self, arguments: tuple, priority: float, folder: Path | None = None) -> None:
        self._arguments, self.priority, self._folder = arguments, priority, folder

    def arguments(self, stop: Event) -> tuple:
        return self._arguments

    def receive(self, kind: str, value: Any) -> bool:
        if kind == "files":
            write_files(self._folder, value)
        return False

    def lose(self) -> None:
        pass

    def __str__(self) -> str:
        return "a stand-in"


@dataclass(frozen=True)
class ClusterUse:
    """One measurement.

    Attributes:
        tasks: which, in words.
        order: in which they were begun.
        workers: how many tasks ran at a time.
        least: seconds that so many workers need at least: their share of the sum, or the longest task.
        seconds: what it took.
        sent: bytes that came back.
    """

    tasks: str
    order: str
    workers: int
    least: float
    seconds: float
    sent: int

    @property
    def efficiency(self) -> float:
        """Share of the time in which the workers could not have been faster."""
        return self.least / self.seconds


def film_lengths(shots: int, mean: float) -> list[float]:
    """Seconds that the shots of a film take: most are short and a few are long; the same ones each time."""
    rng = random.Random(0)
    lengths = [rng.lognormvariate(0, _SIGMA) for _ in range(shots)]
    return [length * mean * shots / sum(lengths) for length in lengths]


@dataclass(frozen=True)
class Load:
    """What is handed out.

    Args:
        tasks: of one length.
        seconds: that length.
        shots: of a film.
        mean: seconds a shot.
        back: bytes of a segment, as many of which come back as there are tasks.
    """

    tasks: int
    seconds: float
    shots: int
    mean: float
    back: int


def measure(workers: Sequence[int], load: Load, report: Callable[[str], None]) -> Iterator[ClusterUse]:
    """Yield what so many workers take for the tasks, and the most of them for the film and the segments, too.

    Args:
        workers: how many at a time.
        load: what they are given.
        report: called with a line before each measurement.
    """
    lengths = film_lengths(load.shots, load.mean)
    film = f"{load.shots} shots of {load.mean:g} s on average, the longest {max(lengths):.1f} s"
    for count in workers:
        with local_cluster(nodes=1, cpus=count) as running, Cluster(running.address, cpus=1) as cluster:
            report(f"{count} workers are started")
            queue = TaskQueue(cluster)
            with tempfile.TemporaryDirectory() as folder:
                queue.run(_meet, [_StandIn((folder, i, count), 0) for i in range(count)], Event(), report)
            run = partial(_run, queue, count, report)
            yield run(f"{load.tasks} tasks of {load.seconds:g} s", [load.seconds] * load.tasks)
            if count == max(workers):
                yield run(film, lengths, longest_first=True)
                yield run(film, lengths)
                yield run(f"{load.tasks} segments of {load.back / 2**20:g} MiB", [0.0] * load.tasks, size=load.back)


def _run(
    queue: TaskQueue, workers: int, report: Callable[[str], None], tasks: str, lengths: Sequence[float], *,
    longest_first: bool = False, size: int = 0,
) -> ClusterUse:  # fmt: skip
    order = "longest first" if longest_first else "as they come"
    report(f"{tasks}, {order}, on {workers} workers")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "segments").mkdir()
        stand_ins = [
            _StandIn((length, size), length if longest_first else -number, folder)
            for number, length in enumerate(lengths)
        ]
        begin = time.perf_counter()
        queue.run(stand_in, stand_ins, Event(), report)
        taken = time.perf_counter() - begin
    return ClusterUse(tasks, order, workers, max([sum(lengths) / workers, *lengths]), taken, size * len(lengths))


def table(uses: Sequence[ClusterUse]) -> str:
    """The measurements in Markdown."""
    rows = [
        [
            use.tasks, use.order, str(use.workers), f"{use.seconds:.2f}",
            f"{use.efficiency:.3f}" if use.least else "", f"{use.sent / use.seconds / 2**20:.0f}" if use.sent else "",
        ]
        for use in uses
    ]  # fmt: skip
    return table_text(["tasks", "order", "workers", "seconds", "efficiency", "MiB/s taken in"], rows)


@dataclass(frozen=True)
class Traffic:
    """What went over the network for one video that no node has, in bytes.

    Attributes:
        clip: which.
        frames: of it.
        input: its file.
        sent: for shots.
        head: for all of them, once to each node.
        output: the file that came of it.
        received: from nodes.
    """

    clip: str
    frames: int
    input: int
    sent: int
    head: int
    output: int
    received: int


def measure_traffic(clips: Sequence[str], report: Callable[[str], None]) -> Iterator[Traffic]:
    """Restore clips on a cluster of one node by a small network of random weights, and yield what was sent.

    Args:
        clips: names of sample clips, or videos.
        report: called with a line before each.
    """
    torch.manual_seed(0)
    net = BasicVSRNet(mid_channels=8, num_blocks=1, spynet_width=4).eval()
    with local_cluster() as running:
        for clip in clips:
            report(f"{clip} is restored")
            path = clip_path(clip)
            with tempfile.TemporaryDirectory() as folder, OnCluster(
                ClusterOptions(running.address), way=Way.BYTES
            ) as executor:  # fmt: skip
                output = Path(folder) / "out.mp4"
                result = restore_video(path, output, net, RestoreOptions(clean="off"), executor=executor)
                sizes = path.stat().st_size, output.stat().st_size
            bytes_of = executor.traffic
            yield Traffic(
                clip, result.num_frames, sizes[0], bytes_of["sent"], bytes_of["head"], sizes[1], bytes_of["received"]
            )


def traffic_table(found: Sequence[Traffic]) -> str:
    """Bytes a frame in Markdown, and the head of a file in all."""
    rows = []
    for one in found:
        sizes = one.input, one.sent, one.output, one.received
        rows.append([one.clip, *(f"{size / one.frames:.0f}" for size in sizes), str(one.head)])
    titles = ["bytes a frame of", "its file", "sent", "the output", "received", "and once to a node"]
    return table_text(titles, rows)
