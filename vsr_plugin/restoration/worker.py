"""A shot is a task that depends on nothing else: frames in, encoded segments and their records out."""

import functools
import math
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn as nn

from vsr_plugin.acceleration import PRECISIONS, accelerate_with_fallback
from vsr_plugin.errors import MediaError
from vsr_plugin.inference.planning import MemoryModel, Plan, make_plan
from vsr_plugin.inference.sequence import restore_sequence
from vsr_plugin.inference.storage import FrameStore, needed_bytes
from vsr_plugin.inference.windows import ContributionFile, contribution
from vsr_plugin.media import Frame
from vsr_plugin.models.propagation import with_forgetting
from vsr_plugin.ops.frames import FrameDownload, shrink_frame, shrunk_sides
from vsr_plugin.restoration.pipeline import BackgroundWriter, until
from vsr_plugin.restoration.quality import ends_before
from vsr_plugin.restoration.segments import Joint, OpenSegment, Work
from vsr_plugin.restoration.shots import RangeReader, Shot, checksum, combined

#: Beyond so many bytes, or so many frames, the frames of a shot go to the disk.
_MEMORY_BYTES, _MEMORY_FRAMES = 128 * 2**20, 256
#: Share of the free disk up to which ``auto`` takes the exact strategy on a CPU where the whole sequence would fit.
_DISK_SHARE = 0.25
_NO_PIXELS = np.empty((0, 0, 3), np.uint8)


def plan_shot(work: Work, strategy: str, num_frames: int | None) -> Plan:
    """How to restore so many frames of a job; see :func:`vsr_plugin.inference.planning.make_plan`.

    Raises:
        VSRError: the budget does not hold one frame, or the settings do not fit together.
    """
    options = work.options
    precision = PRECISIONS[options.precision].itemsize
    sides = shrunk_sides(work.source.height, work.source.width, options.shrink)
    model = MemoryModel(work.net, *sides, precision, work.output.size)
    return make_plan(
        model,
        work.budget,
        num_frames=num_frames,
        strategy=strategy,
        tile=options.tile,
        window=options.window,
        overlap=options.overlap,
    )


def shot_is_done(work: Work, shot: Shot) -> bool:
    """Whether a shot has nothing left to do: its segments count, and windows beside it have its contributions."""
    if any(work.job.find(segment.start) is None for segment in shot.segments()):
        return False
    return not any(joint.lacks(ours) for joint, ours in _contributions(work, shot))


def _contributions(work: Work, shot: Shot) -> list[tuple[Joint, ContributionFile]]:
    """The joints of a window, each with what it contributes there."""
    joints = [Joint(work.job, frames) for frames in shot.joints]
    return [
        (joint, joint.after if frames.start == shot.start else joint.before)
        for joint, frames in zip(joints, shot.joints, strict=True)
    ]


@dataclass
class LoadedShot:
    """A shot whose frames are at hand.

    Attributes:
        shot: which.
        folder: an existing folder of its own.
        pixels: of the frames that are read, margins included.
        kept: of the frames that are kept, all but the pixels; of transparency whether there is some.
    """

    shot: Shot
    folder: Path
    pixels: FrameStore
    kept: list[Frame]


class AcceleratedNets:
    """A network that is ready to compute, once for each rate of forgetting: each keeps what it has packed or recorded.

    Args:
        net: the network, on the device that computes.
        precision: of its features.
    """

    def __init__(self, net: nn.Module, precision: str) -> None:
        self.net, self._precision = net, precision
        self.at = functools.cache(self._accelerated)

    def _accelerated(self, rate: float) -> tuple[nn.Module, Callable[[], nn.Module] | None]:
        return accelerate_with_fallback(with_forgetting(self.net, rate), self._precision)


class ShotWorker:
    """Restores shots of one job, one after the other, in ``with``.

    Frames are read in the thread that calls :meth:`load`, computed in that of :meth:`restore`, and encoded in one of
    its own.

    Args:
        work: the job.
        progress: called with numbers of frames that are done, in halves.
        on_note: called with a line for a person when it is decided how something is restored, and when that changes.
        on_done: called with every shot that is done, in the thread that encodes.
        on_error: called at once with what went wrong there, and with its shot; it also comes out of the next call.
        nets: the network of the job, where others use it too.
    """

    def __init__(
        self,
        work: Work,
        *,
        progress: Callable[[float], None],
        on_note: Callable[[str], None],
        on_done: Callable[[Shot], None],
        on_error: Callable[[Shot, BaseException], None] | None = None,
        nets: AcceleratedNets | None = None,
    ) -> None:
        self._work, self._progress, self._on_note, self._on_done = work, progress, on_note, on_done
        overlap = plan_shot(work, "window", None).overlap if work.options.strategy == "window" else 0
        self._reader = RangeReader(work.source, work.options.start, keep=2 * overlap)
        self._gt = None if work.gt is None else RangeReader(work.gt, work.options.start)
        self._written: Shot | None = None
        self._writer = BackgroundWriter(on_error=on_error and (lambda error: on_error(self._written, error)))
        self._open: OpenSegment | None = None
        self._loaded: set[FrameStore] = set()
        self._stack = ExitStack()
        self._nets = nets or AcceleratedNets(work.net, work.options.precision)

    def __enter__(self) -> "ShotWorker":
        self._stack.callback(self._close)
        self._stack.enter_context(self._writer)
        return self

    def __exit__(self, *exc_info: object) -> bool | None:
        return self._stack.__exit__(*exc_info)

    def _close(self) -> None:
        if self._open is not None:
            self._open.discard()
        for reader in filter(None, (self._reader, self._gt)):
            reader.close()
        for store in self._loaded:
            store.close()

    # -- reading ---------------------------------------------------------------------------------------------------

    def load(self, shot: Shot, stop: threading.Event) -> LoadedShot:
        """Read the frames of a shot.

        Args:
            shot: which.
            stop: set when it is not wanted any more.

        Raises:
            MediaError: the input cannot be read, or has changed.
            StoppedError: ``stop`` is set.
        """
        loaded, check = self._read(shot, stop)
        if shot.check not in (None, check) and self._reader.entered:
            # A decoder that was entered in the middle may give other pixels than one that began at the beginning.
            self._discard(loaded)
            self._reader.close()
            loaded, _ = self._read(replace(shot, entry=None), stop)
        if len(loaded.pixels) < shot.frames:
            raise MediaError(
                f"{self._work.source.path}: frame {self._work.options.start + shot.first + len(loaded.pixels)} is "
                "missing, which was there before; the input has changed meanwhile, start afresh with --overwrite"
            )
        return loaded

    def _read(self, shot: Shot, stop: threading.Event) -> tuple[LoadedShot, int]:
        folder = self._work.job.shots / f"{shot.start:08d}"
        folder.mkdir(parents=True, exist_ok=True)
        source = self._work.source
        frame_bytes = source.height * source.width * 3 * (2 if source.bit_depth > 8 else 1)
        in_memory = max(1, min(_MEMORY_BYTES // frame_bytes, _MEMORY_FRAMES))
        loaded = LoadedShot(shot, folder, FrameStore(folder, max_in_memory=in_memory), [])
        self._loaded.add(loaded.pixels)
        checks = []
        for number, frame in enumerate(until(stop, self._reader.read(shot.first, shot.frames, shot.entry)), shot.first):
            shrink = self._work.options.shrink
            loaded.pixels.append(frame.rgb if shrink == 1 else shrink_frame(frame.rgb, shrink))
            if shot.check is not None:
                checks.append(checksum(frame.rgb))
            if shot.start <= number < shot.stop:
                alpha = None if frame.alpha is None else _NO_PIXELS
                loaded.kept.append(replace(frame, rgb=_NO_PIXELS, alpha=alpha))
        return loaded, combined(checks)

    def _discard(self, loaded: LoadedShot) -> None:
        loaded.pixels.close()
        self._loaded.discard(loaded.pixels)

    # -- computing -------------------------------------------------------------------------------------------------

    def restore(self, loaded: LoadedShot) -> None:
        """Restore what is not done yet of a shot; returns when all is computed, and some of it not encoded yet."""
        shot, job = loaded.shot, self._work.job
        self._writer.submit(partial(setattr, self, "_written", shot))
        segments = [segment for segment in shot.segments() if job.find(segment.start) is None]
        lacking = [(frames, *pair) for frames, pair in zip(shot.joints, _contributions(self._work, shot), strict=True)]
        lacking = [(frames, joint, ours) for frames, joint, ours in lacking if joint.lacks(ours)]
        # Of what a window contributes to, the frames count that it keeps.
        missing = sum(map(len, segments)) + sum(len(frames) for frames, *_ in lacking if frames.start == shot.start)
        reported = len(shot) - missing
        self._progress(reported)
        wanted = [*segments, *(frames for frames, *_ in lacking)]
        if wanted:
            first, stop = min(frames.start for frames in wanted), max(frames.stop for frames in wanted)
            counted = range(min(first, shot.stop) - shot.first, min(stop, shot.stop) - shot.first)

            half = 0.5 / self._work.net.ensemble

            def on_step(i: int) -> None:
                nonlocal reported
                if i in counted and reported < len(shot):
                    reported += half
                    self._progress(half)

            plan = self._plan(shot)
            net, precise_net = self._nets.at(self._rate(shot))
            forgetting = f", still pixels forget {net.forgetting:g} per frame (--forgetting)" if net.forgetting else ""
            self._on_note(f"restored {f'in {plan.windows}' if shot.is_part else f'as {plan}'}{forgetting}")
            restored = restore_sequence(
                net,
                loaded.pixels,
                plan,
                folder=loaded.folder,
                persistent=True,
                first_frame=first - shot.first,
                stop_frame=shot.stop + shot.tail - shot.first,
                size=self._work.output.size,
                strength=self._work.options.strength,
                precise_net=precise_net,
                on_step=on_step,
                on_note=self._on_note,
            )
            with closing(restored):
                self._write(loaded, segments, lacking, stop, restored)
        self._progress(len(shot) - reported)
        self._writer.submit(partial(self._end, loaded))

    def _rate(self, shot: Shot) -> float:
        return self._work.net.forgetting if shot.frames >= self._work.forgets_from else 0.0

    def _plan(self, shot: Shot) -> Plan:
        """The same in a resumed run, since the budget is kept with the job."""
        work, strategy = self._work, self._work.options.strategy
        if strategy == "window":
            return plan_shot(work, "auto", shot.frames)
        on_cpu = next(work.net.parameters()).device.type == "cpu"
        if strategy == "auto" and on_cpu and self._has_room(shot.frames):
            strategy = "exact"  # which costs no time there, and a killed run goes on inside the shot
        return plan_shot(work, strategy, shot.frames)

    def _has_room(self, length: int) -> bool:
        source = self._work.source
        sides = shrunk_sides(source.height, source.width, self._work.options.shrink)
        needed = needed_bytes(self._work.net, length, math.prod(sides), length, states=True)
        return needed < _DISK_SHARE * shutil.disk_usage(self._work.job.path).free

    # -- writing, in the order of the frames -----------------------------------------------------------------------

    def _write(
        self,
        loaded: LoadedShot,
        segments: list[range],
        lacking: list[tuple[range, Joint, ContributionFile]],
        stop: int,
        restored: Iterator[tuple[int, torch.Tensor]],
    ) -> None:
        shot, submit = loaded.shot, self._writer.submit
        ended: range | None = None  # a segment that has all its frames
        for i, hr in restored:
            index = shot.first + i
            if ended is not None and not shot.is_window:
                # Not before a frame of the next segment has come: by then the engine has kept what it needs to go on.
                submit(self._commit)
                ended = None
            for frames, joint, ours in lacking:
                if index == frames.start and ours is joint.after:
                    submit(partial(self._keep_inputs, loaded, frames, joint))
                if index in frames:
                    submit(partial(ours.write, index - frames.start, contribution(hr)))
            for segment in segments:
                if index in segment:
                    pixels = FrameDownload(hr, loaded.pixels[i]).frame
                    submit(partial(self._encode, loaded, segment, index, pixels))
                    ended = segment if index + 1 == segment.stop else None
            if index + 1 == stop:
                break
        # A window counts when its segment does, so what it contributes must be there before.
        for *_, ours in lacking:
            submit(ours.commit)
        if ended is not None:
            submit(self._commit)

    def _encode(self, loaded: LoadedShot, segment: range, index: int, pixels: Callable[[], np.ndarray]) -> None:
        if self._open is None:
            self._open = OpenSegment(self._work, segment, loaded.shot.first_pts)
        self._open.write(index, self._lr(loaded, index), pixels(), self._gt_at(index))

    def _commit(self) -> None:
        segment, self._open = self._open, None
        segment.commit()

    def _lr(self, loaded: LoadedShot, index: int) -> Frame:
        shot = loaded.shot
        frame = loaded.kept[index - shot.start]
        alpha = frame.alpha
        if alpha is not None:
            # Read again here, so that a long folder does not keep the transparency of all its images in memory.
            alpha = next(self._work.source.frames(self._work.options.start + index, 1)).alpha
        return replace(frame, rgb=loaded.pixels[index - shot.first], alpha=alpha)

    def _gt_at(self, index: int) -> np.ndarray | None:
        if self._gt is None:
            return None
        for frame in self._gt.read(index, 1):
            return frame.rgb
        raise ends_before(self._work.gt.path, self._work.options.start + index)

    def _keep_inputs(self, loaded: LoadedShot, frames: range, joint: Joint) -> None:
        joint.keep_inputs([self._lr(loaded, index) for index in frames], [self._gt_at(index) for index in frames])

    def _end(self, loaded: LoadedShot) -> None:
        """Give back what a finished shot has used."""
        self._discard(loaded)
        with suppress(FileNotFoundError):
            shutil.rmtree(loaded.folder)
        self._on_done(loaded.shot)
