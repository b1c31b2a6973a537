"""What a restoration will look like and what it will take, from a few frames restored as the whole will be.

The frames around a moment go through the very job that the command would do, :func:`restore_video`, into a temporary
folder: the same cleaning, network, encoder and settings. So what is seen is what will come out, and what is measured is
what the whole will take.
"""

from __future__ import annotations

import math
import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from threading import Event

import numpy as np
import torch.nn as nn

from vsr_plugin.acceleration import PRECISIONS, decided
from vsr_plugin.errors import VSRError
from vsr_plugin.inference.planning import MemoryModel, default_budget, make_plan
from vsr_plugin.inference.storage import needed_bytes
from vsr_plugin.media import FrameSource, open_source
from vsr_plugin.media.open import check_target
from vsr_plugin.models.cleaning import clean_by
from vsr_plugin.models.vsr_net import with_ensemble
from vsr_plugin.ops.frames import shrunk_sides, to_uint8
from vsr_plugin.ops.resize import bicubic_resize
from vsr_plugin.restoration.footage import cleaning_for, shrink_hint
from vsr_plugin.restoration.options import RestoreOptions, expected_frames
from vsr_plugin.restoration.pipeline import StoppedError, until
from vsr_plugin.restoration.restore import RestoreResult, open_asked, restore_video

#: Frames that are restored for a picture: the one that is shown, and neighbours that it learns from.
FRAMES = 5
#: Seconds that a shot of a video is taken to have, where it is asked how much a shot keeps on disk.
_SHOT_SECONDS = 10


@dataclass(frozen=True)
class Estimate:
    """What a whole restoration takes on this machine.

    Attributes:
        num_frames: that will be restored, as far as the input tells; ``None`` where it does not.
        seconds_per_frame: reading, restoring and encoding.
        output_bytes: of the result, without sound; ``None`` with ``num_frames``.
        shot_frames: length of a shot, which nobody knows before all is scanned: ten seconds, or all there is.
        work_bytes: on disk beside the output while a shot of that length is restored; given back after it.
        memory_bytes: of the process.
    """

    num_frames: int | None
    seconds_per_frame: float
    output_bytes: int | None
    shot_frames: int
    work_bytes: int
    memory_bytes: int

    @property
    def seconds(self) -> float | None:
        """For all frames."""
        return None if self.num_frames is None else self.num_frames * self.seconds_per_frame

    def __str__(self) -> str:
        each = f"{self.seconds_per_frame:.2g} s a frame"
        if self.num_frames is None:
            time_, size = each, ""
        else:
            time_ = f"{in_hours(self.seconds)} for {self.num_frames} frames ({each})"
            size = f"{_in_bytes(self.output_bytes)} for the result, "
        return (
            f"about {time_}; disk: {size}up to {_in_bytes(self.work_bytes)} more while a shot of {self.shot_frames} "
            f"frames is restored; memory: {_in_bytes(self.memory_bytes)}"
        )


@dataclass(frozen=True)
class Preview:
    """A frame before and after.

    Attributes:
        seconds: when it is shown in the video; ``None`` for images.
        number: of images, counted from 0; of a video about that of the frame.
        original: RGB frame ``(h, w, 3)`` of ``uint8``, upright.
        enlarged: by bicubic interpolation to the size of the output.
        restored: as the output will hold it, encoded.
        estimate: for the whole.
        lines: what is known of the input, and notes on what is done with it.
    """

    seconds: float | None
    number: int
    original: np.ndarray
    enlarged: np.ndarray
    restored: np.ndarray
    estimate: Estimate
    lines: list[str]

    @property
    def where(self) -> str:
        """The moment in words."""
        if self.seconds is None:
            return f"image {self.number}"
        minutes, seconds = divmod(self.seconds, 60)
        return f"{int(minutes) // 60}:{int(minutes) % 60:02d}:{seconds:05.2f}"


def preview(
    input_path: str | os.PathLike,
    output_path: str | os.PathLike,
    net: nn.Module,
    options: RestoreOptions = RestoreOptions(),
    moment: float | None = None,
    *,
    num_frames: int = FRAMES,
    progress: Callable[[float], None] | None = None,
    stop: Event | None = None,
) -> Preview:
    """Restore a few frames around a moment; nothing is written that stays.

    Args:
        input_path: video file, folder of images or image.
        output_path: where the whole would go, which says how it is encoded.
        net: as for :func:`restore_video`.
        options: the same as for the whole.
        moment: seconds of a video, as players count them; of images the number of one. By default the middle.
        num_frames: how many are restored, the shown one in their middle.
        progress: called with the number of frames done since the last call, in halves.
        stop: ends it when it is set.

    Raises:
        MediaError: the input cannot be read or ends before the moment, or the output could not be written.
        VSRError: as of :func:`restore_video`.
        StoppedError: ``stop`` is set.
    """
    asked = replace(options, resume=False, overwrite=False, gt=None, comparison=None)
    stop = stop or Event()
    with open_asked(input_path, options) as source, tempfile.TemporaryDirectory(prefix="vsr_plugin-") as folder:
        _, images = check_target(output_path, source)
        suffix = "" if images is not None and images.kind == "folder" else Path(output_path).suffix
        part = _Part(source, asked, moment, num_frames, stop)
        clock = _Clock(progress, stop)
        output = Path(folder, f"preview{suffix}")
        result = restore_video(part.source, output, net, part.options, progress=clock)
        seconds_per_frame = clock.seconds_per_frame(result.num_frames, net) + 2 * part.seconds_to_decode
        written = _size(output)
        shown = part.options.output_size.of_source(source, net.scale)
        with open_source(output) as restored:
            after = next(restored.frames(min(part.shown, result.num_frames - 1), 1)).rgb
            after = restored.orientation.apply(to_uint8(after))  # its own: some containers cannot say a turn
        turn = source.orientation.apply
        before = to_uint8(part.frame.rgb)
        return Preview(
            seconds=part.seconds,
            number=part.number,
            original=turn(before),
            enlarged=turn(bicubic_resize(before, shown)),
            restored=after,
            estimate=_estimate(source, net, asked, seconds_per_frame, written / result.num_frames),
            lines=[*dict.fromkeys([*describe(source, asked, net), *result.notes])],
        )


def excerpt(
    input_path: str | os.PathLike,
    output_path: str | os.PathLike,
    net: nn.Module,
    options: RestoreOptions = RestoreOptions(),
    moment: float | None = None,
    *,
    seconds: float = 2.0,
    progress: Callable[[float], None] | None = None,
    stop: Event | None = None,
) -> RestoreResult:
    """Restore a few seconds around a moment into a file of its own; see :func:`preview`, and :func:`restore_video`."""
    asked = replace(options, gt=None, comparison=None)
    stop = stop or Event()
    with open_asked(input_path, options) as source:
        rate = source.average_rate or options.encoding.frame_rate or 25
        part = _Part(source, asked, moment, max(1, round(seconds * rate)), stop)
        clock = _Clock(progress, stop)
        return restore_video(part.source, output_path, net, part.options, progress=clock)


def describe(source: FrameSource, options: RestoreOptions, net: nn.Module | None = None) -> list[str]:
    """Lines on what an input is, and on what is done with it by default.

    Args:
        source: the input.
        options: what is asked for.
        net: the network, if it is known.
    """
    height, width = source.orientation.size(source.height, source.width)
    words = [f"{width}x{height}"]
    if net is not None:
        rows, columns = source.orientation.size(*options.output_size.of_source(source, net.scale))
        words[0] += f" -> {columns}x{rows}"
    count = source.num_frames_estimate
    if source.kind == "video":
        words.append(f"{float(source.average_rate):.5g} frames a second")
        if count is not None:
            words.append(f"{in_hours(count / source.average_rate)} ({count} frames)")
        rate = "" if source.bits_per_pixel is None else f" at {source.bits_per_pixel:.2g} bits a pixel"
        words.append(f"{source.codec or 'animation'}{rate}, {source.bit_depth} bits")
        words.append(_counted(len(source.audio_indices), "audio stream"))
        if source.has_subtitles:
            words.append("subtitles")
    else:
        words.append(_counted(count, "image"))
    lines = [f"{source.path}: {', '.join(words)}", *source.notes]
    cleaning = cleaning_for(source, options.clean, net)
    # Where nothing is enlarged, reduced frames would come out smaller.
    asks = options.shrink == 1 and (net is None or net.scale > 1)
    smaller = shrink_hint(source) if asks else None
    return [*lines, *filter(None, (cleaning.why, smaller))]


class _Part:
    """Some frames around a moment.

    Attributes:
        source: of which the frames have the numbers of ``options``.
        options: to restore them.
        frame: the one at the moment.
        number, seconds: of it, see :class:`Preview`.
        shown: its place among those that are restored.
        seconds_to_decode: of one frame.
    """

    def __init__(
        self, source: FrameSource, options: RestoreOptions, moment: float | None, num_frames: int, stop: Event
    ) -> None:
        asked = expected_frames(source, options)
        rate = source.average_rate
        if moment is None:
            number = options.start + (asked or 1) // 2
            moment = number if rate is None else float(number / rate)
        if moment < 0:
            raise VSRError(f"{source.path}: there is nothing before its beginning; choose a moment of 0 or more")
        self.source = source
        if rate is not None:  # with the neighbours before it
            self.source = source.entered_at(max(moment - float((num_frames // 2 + 1) / rate), 0.0))
        start, index = 0 if rate is not None else int(moment), -1
        begun = time.perf_counter()
        frames = until(stop, self.source.frames(start))
        for index, frame in enumerate(frames, start):  # noqa: B007
            self.seconds = None if rate is None else float(frame.pts * self.source.time_base)
            if rate is None or self.seconds >= moment:
                break
        else:
            if moment > self.seconds + 1 / rate:
                raise VSRError(f"{source.path}: ends at {self.seconds:.2f} s; choose a moment before {moment:g} s")
        self.frame = frame
        self.seconds_to_decode = (time.perf_counter() - begun) / (index - start + 1)
        self.number = index if rate is None else round(self.seconds * rate)
        first = max(0, index - num_frames // 2)
        self.shown = index - first
        following = sum(1 for _ in islice(frames, num_frames - self.shown - 1))
        self.options = replace(options, start=first, num_frames=self.shown + 1 + following)


class _Clock:
    """Notes when each half of a frame is done; may be called in any thread."""

    def __init__(self, progress: Callable[[float], None] | None, stop: Event) -> None:
        self._progress, self._stop = progress or (lambda count: None), stop
        self._times: list[float] = []
        self._counts: list[float] = []

    def __call__(self, count: float) -> None:
        if count:
            self._times.append(time.perf_counter())
            self._counts.append(count)
        self._progress(count)
        if self._stop.is_set():
            raise StoppedError

    def seconds_per_frame(self, num_frames: int, net: nn.Module) -> float:
        """Without what the first steps take, which compile and pack what the others use."""
        ended = time.perf_counter()
        steps = np.diff(self._times)
        if len(steps) < 3:
            return (ended - self._times[0]) / num_frames
        computing = statistics.fmean(np.sort(steps)[:-1]) / statistics.fmean(self._counts)
        encoding = (ended - self._times[-1]) / num_frames
        # A GPU computes while the processor encodes; a processor does one or the other.
        on_gpu = next(net.parameters()).is_cuda
        return max(computing, encoding) if on_gpu else computing + encoding


def _estimate(
    source: FrameSource, net: nn.Module, options: RestoreOptions, seconds_per_frame: float, bytes_per_frame: float
) -> Estimate:
    cleaning = cleaning_for(source, options.clean, net)
    net = with_ensemble(clean_by(net, cleaning.strength, cleaning.step), options.ensemble)
    device = next(net.parameters()).device
    sides = shrunk_sides(source.height, source.width, options.shrink)
    size = options.output_size.of_source(source, net.scale)
    model = MemoryModel(net, *sides, PRECISIONS[decided(net, options.precision)].itemsize, size)
    budget = options.budget or default_budget(device)
    count = expected_frames(source, options)
    shot = count or math.inf
    if source.kind == "video" and options.scene_cuts != "off":
        shot = min(shot, round(_SHOT_SECONDS * source.average_rate))
    plan = make_plan(model, budget, num_frames=None, tile=options.tile)
    shot = plan.block if shot == math.inf else shot
    has = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    frames = min(plan.block, shot)
    return Estimate(
        num_frames=count,
        seconds_per_frame=seconds_per_frame,
        output_bytes=None if count is None else round(bytes_per_frame * count),
        shot_frames=shot,
        work_bytes=needed_bytes(net, shot, math.prod(sides), plan.block, states=device.type == "cpu"),
        memory_bytes=has + (frames - FRAMES) * model.per_frame if frames > FRAMES else has,
    )


def _size(output: Path) -> int:
    return sum(path.stat().st_size for path in output.iterdir()) if output.is_dir() else output.stat().st_size


def _counted(count: int | None, what: str) -> str:
    return f"{count or 'no'} {what}{'s' * (count != 1)}"


def in_hours(seconds: float) -> str:
    """A time such as ``'2 h 5 min'``, ``'3 min 20 s'`` or ``'12 s'``."""
    seconds = round(seconds)
    hours, minutes, seconds = seconds // 3600, seconds // 60 % 60, seconds % 60
    parts = [(hours, "h"), (minutes, "min"), (seconds, "s")]
    while len(parts) > 1 and not parts[0][0]:
        parts.pop(0)
    return " ".join(f"{value} {unit}" for value, unit in parts[:2])


def _in_bytes(count: int) -> str:
    value, units = float(count), ["bytes", "kB", "MB", "GB", "TB"]
    while value >= 1000 and len(units) > 1:
        value, units = value / 1000, units[1:]
    return f"{value:.3g} {units[0]}"
