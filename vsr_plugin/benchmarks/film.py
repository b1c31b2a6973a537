"""A whole restoration, file to file: how much of it the network computes, and what decoding and encoding cost alone."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import av
import numpy as np
import torch.nn as nn

from vsr_plugin.benchmarks.machine import peak_memory, synchronise, timed
from vsr_plugin.data.degraded_clip import read_frames
from vsr_plugin.data.sample_clips import SAMPLE_CLIPS
from vsr_plugin.inference import restore_frames
from vsr_plugin.inference.scene_cuts import split_shots
from vsr_plugin.media import Encoding, open_sink, open_source
from vsr_plugin.models.cleaning import clean_by
from vsr_plugin.report import table_text
from vsr_plugin.restoration import RestoreOptions, restore_video
from vsr_plugin.restoration.footage import cleaning_for

#: Frames of each sample clip that follow one another in a film, at most.
_SHOT = 100


@dataclass(frozen=True)
class FilmSetting:
    """What is restored and how.

    Args:
        frames: length of the film.
        weights: what restores, for the report.
        precision: of the network.
        encoding: of the result.
    """

    frames: int
    weights: str
    precision: str
    encoding: Encoding


@dataclass(frozen=True)
class FilmCost:
    """Seconds of the wall clock a frame, and of the processor in ``cpu_seconds``.

    Attributes:
        size: rows and columns of the input.
        shots: that were found.
        whole: file to file.
        network: the frames already in memory, the restored ones thrown away.
        decoding: the input alone, once; a restoration does it twice.
        encoding: frames of the output's size alone.
        cpu_seconds: of the processor for each of the four, by name.
        memory: highest of the process, or of tensors on the GPU, in MB.
        output: bytes a frame of the result.
    """

    size: tuple[int, int]
    shots: int
    whole: float
    network: float
    decoding: float
    encoding: float
    cpu_seconds: dict[str, float]
    memory: float
    output: float

    @property
    def median(self) -> float:
        """Seconds a frame, file to file."""
        return self.whole

    @property
    def share(self) -> float:
        """Part of the time in which the network computes, if it computes as fast as alone."""
        return self.network / self.whole

    @property
    def limit(self) -> str:
        """What takes longest alone; a video is decoded twice."""
        times = dict(network=self.network, encoding=self.encoding, decoding=2 * self.decoding)
        return max(times, key=times.__getitem__)


def make_film(path: Path, size: tuple[int, int], frames: int) -> None:
    """Write an H.264 video of the sample clips in turn, so that there are scene cuts.

    Args:
        path: of the file.
        size: rows and columns, even; clips are mirrored at their edges where they are smaller.
        frames: how many.
    """
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options=dict(crf="18", preset="fast"))
        stream.height, stream.width = size
        for rgb in islice(_pictures(size), frames):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(rgb, format="rgb24")))
        container.mux(stream.encode(None))


def _pictures(size: tuple[int, int]) -> Iterator[np.ndarray]:
    while True:
        for clip in SAMPLE_CLIPS:
            for frame in read_frames(clip, num_frames=_SHOT):
                rgb = frame[: size[0], : size[1]]
                missing = [(0, side - there) for side, there in zip(size, rgb.shape[:2], strict=True)]
                yield np.pad(rgb, [*missing, (0, 0)], mode="symmetric")


def measure_film(
    net: nn.Module, setting: FilmSetting, size: tuple[int, int], folder: Path, report: Callable[[str], None]
) -> FilmCost:
    """Restore a film, and do each part of that alone.

    Args:
        net: in evaluation mode, on its device.
        setting: what all sizes are given alike.
        size: rows and columns of the input.
        folder: for input and output.
        report: called with a line on what is done now.
    """
    device = str(next(net.parameters()).device)
    path, output = folder / "film.mp4", folder / "restored.mkv"
    options = RestoreOptions(precision=setting.precision, encoding=setting.encoding, overwrite=True)
    report(f"{size[1]}x{size[0]}: making the film")
    make_film(path, size, setting.frames)
    # What compiles, packs and records does so before.
    restore_video(path, output, net, replace(options, num_frames=min(setting.frames, 8)))
    costs: dict[str, dict[str, float]] = {}

    def measured(name: str, work: Callable[[], object]) -> None:
        report(f"{size[1]}x{size[0]}: {name}")
        with timed(device) as figures:
            work()
        costs[name] = {kind: seconds / setting.frames for kind, seconds in figures.items()}

    measured("whole", lambda: restore_video(path, output, net, options))
    memory = peak_memory(device)
    with open_source(path) as source:
        measured("decoding", lambda: deque(source.frames(), maxlen=0))
        cleaning = cleaning_for(source, "auto", net)
        shots = [[frame.rgb for frame in shot] for shot in split_shots(source.frames(), lambda frame: frame.rgb)]
    cleaned = clean_by(net, cleaning.strength, cleaning.step)

    def compute() -> None:
        for shot in shots:
            deque(restore_frames(cleaned, shot, precision=setting.precision, num_frames=len(shot)), maxlen=0)
        synchronise(device)

    measured("network", compute)

    def encode() -> None:
        with (
            open_source(output) as large,
            open_sink(folder / "encoded.mkv", large, scale=1, overwrite=True, encoding=setting.encoding) as sink,
        ):
            for number in range(setting.frames):
                sink.write(replace(large_frames[number % len(large_frames)], pts=number * step, duration=step))

    with open_source(output) as large:
        large_frames = list(islice(large.frames(), 8))
        step = round(1 / (large.average_rate * large.time_base))
    measured("encoding", encode)
    return FilmCost(
        size,
        len(shots),
        **{name: figures["seconds"] for name, figures in costs.items()},
        cpu_seconds={name: figures["cpu_seconds"] for name, figures in costs.items()},
        memory=memory,
        output=output.stat().st_size / setting.frames,
    )


def table(costs: Sequence[FilmCost]) -> str:
    """Milliseconds a frame, and in brackets those of the processor."""
    parts = ("whole", "network", "decoding", "encoding")
    titles = ["input", "shots", *(f"{part}, ms (processor)" for part in parts), "network's share", "longest", "memory"]
    rows = []
    for cost in costs:
        times = [f"{1000 * getattr(cost, part):.1f} ({1000 * cost.cpu_seconds[part]:.1f})" for part in parts]
        size = f"{cost.size[1]}x{cost.size[0]}"
        rows.append([size, str(cost.shots), *times, f"{cost.share:.2f}", cost.limit, f"{cost.memory:.0f} MB"])
    return table_text(titles, rows)
