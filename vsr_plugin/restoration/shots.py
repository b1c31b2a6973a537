"""The shots of an input: one scan finds them, and lists them in ``shots.json`` of the job; and their frames.

Where the cuts are depends on the frames and the plan alone: not on what was done before, nor on how many workers there
are.
"""

import copy
import json
import time
import zlib
from collections import deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Event
from typing import NamedTuple

import numpy as np

from vsr_plugin.files import write_text
from vsr_plugin.inference.scene_cuts import split_shots
from vsr_plugin.media import Frame, FrameSource
from vsr_plugin.media.source import Entry, Notes
from vsr_plugin.ops.windows import Window, cut_windows
from vsr_plugin.restoration.pipeline import until

#: An encoded segment has so many frames where its shot has; each begins with a key frame.
SEGMENT_FRAMES = 48
#: The list is written again after so many seconds, and at its end.
_WRITE_SECONDS = 1.0


@dataclass(frozen=True)
class ShotPlan:
    """How an input is cut.

    Attributes:
        scene_cuts: shots end where the picture changes to another one.
        window: shots are cut into windows that keep at most about so many frames, which makes the result approximate;
            ``None`` for shots of any length and the exact result.
        overlap: margin of a window in frames, on each side, read for context.
    """

    scene_cuts: bool
    window: int | None = None
    overlap: int = 0


@dataclass(frozen=True)
class Shot:
    """A run of frames that is restored as one sequence: a shot, or a window of one. Frames have the output's numbers.

    Attributes:
        number: counts shots from 0.
        first: frame that is read first.
        frames: number of frames that are read, margins included.
        start: first frame that is kept.
        stop: frame behind the last one that is kept.
        lead: so many of the kept frames, the first ones, are blended with what the window before contributes.
        tail: to so many frames behind the kept ones it contributes in turn; the window after keeps them.
        is_part: it is not a whole shot.
        first_pts: timestamp of frame 0, in the source's unit; ``None`` for images.
        entry: where decoding can begin for ``first``, if anywhere but at the beginning.
        check: what the frames that are read give, each CRC-32 of its pixels, as a CRC-32 of these; ``None`` for images.
    """

    number: int
    first: int
    frames: int
    start: int
    stop: int
    lead: int = 0
    tail: int = 0
    is_part: bool = False
    first_pts: int | None = None
    entry: Entry | None = None
    check: int | None = None

    def __len__(self) -> int:
        """Number of frames that are kept."""
        return self.stop - self.start

    @property
    def is_window(self) -> bool:
        """Whether it has margins."""
        return self.frames > len(self)

    @property
    def joints(self) -> list[range]:
        """The frames that are blended with a window beside this one: at its beginning, and behind its end."""
        both = range(self.start, self.start + self.lead), range(self.stop, self.stop + self.tail)
        return [joint for joint in both if joint]

    def segments(self) -> list[range]:
        """The frames that it alone restores, in runs that are encoded apart."""
        begin = self.start + self.lead
        if self.is_window:
            return [range(begin, self.stop)] if begin < self.stop else []
        return [range(i, min(i + SEGMENT_FRAMES, self.stop)) for i in range(begin, self.stop, SEGMENT_FRAMES)]


class _Seen(NamedTuple):
    """What the scan keeps of a frame."""

    number: int
    pts: int | None = None
    entry: Entry | None = None
    check: int | None = None


def checksum(rgb: np.ndarray) -> int:
    """CRC-32 of a frame's pixels."""
    return zlib.crc32(np.ascontiguousarray(rgb))


def combined(checks: list[int]) -> int:
    """CRC-32 of those of the frames that are read for a shot."""
    return zlib.crc32(np.array(checks, "<u4"))


class Scan:
    """Finds the shots of an input, or takes them from an earlier run's list.

    Args:
        source: the input, which gets the notes of reading it.
        start: its frame that is frame 0 of the output.
        num_frames: how many are restored, ``None`` for all that follow.
        plan: how it is cut.
        path: of the list.

    Attributes:
        num_shots: found so far.
        num_frames: in them.
    """

    def __init__(self, source: FrameSource, start: int, num_frames: int | None, plan: ShotPlan, path: Path) -> None:
        self._source, self._start, self._asked, self._plan, self._path = source, start, num_frames, plan, path
        self._shots: list[Shot] = []
        self._written = time.monotonic()

    @property
    def num_shots(self) -> int:
        return len(self._shots)

    @property
    def num_frames(self) -> int:
        return self._shots[-1].stop if self._shots else 0

    def shots(self, stop: Event) -> Iterator[Shot]:
        """Yield the shots in order: those that are in the list at once, the others as they are found.

        Args:
            stop: set when no more are wanted.

        Raises:
            MediaError: the input cannot be read; see :meth:`vsr_plugin.media.FrameSource.frames`.
            OSError: the list cannot be written.
        """
        is_complete = self._read()
        known = len(self._shots)
        yield from list(self._shots)
        if is_complete:
            return
        # Whether a frame is the first of a shot depends on those before it, so what is known is found once more.
        for shot in self._found(stop):
            if shot.number < known:
                continue
            self._shots.append(shot)
            if time.monotonic() - self._written > _WRITE_SECONDS:
                self._write(complete=False)
            yield shot
        self._write(complete=True)

    def _read(self) -> bool:
        """Take the list over that an earlier run has left; returns whether it is complete."""
        try:
            stored = json.loads(self._path.read_text())
        except (FileNotFoundError, json.JSONDecodeError):
            return False
        for values in stored["shots"]:
            entry = values["entry"] and Entry(*values["entry"])
            self._shots.append(Shot(**{**values, "entry": entry}))
        self._source.notes.add(*stored["notes"])
        return stored["complete"]

    def _write(self, complete: bool) -> None:
        shots = [asdict(shot) for shot in self._shots]
        write_text(self._path, json.dumps(dict(complete=complete, notes=self._source.notes, shots=shots)))
        self._written = time.monotonic()

    def _found(self, stop: Event) -> Iterator[Shot]:
        number, first_pts = 0, None
        for scene in self._scenes(stop):
            for window in self._windows(scene):
                read, keep = window.frames, window.keep
                if number == 0:
                    first_pts = read[0].pts
                checks = [seen.check for seen in read]
                yield Shot(
                    number,
                    first=read[0].number,
                    frames=len(read),
                    start=read[0].number + keep.start,
                    stop=read[0].number + keep.stop,
                    lead=len(window.lead),
                    tail=len(window.tail),
                    is_part=window.is_part,
                    first_pts=first_pts,
                    entry=read[0].entry,
                    check=None if None in checks else combined(checks),
                )
                number += 1

    def _scenes(self, stop: Event) -> Iterator[Iterator[_Seen]]:
        numbers = self._source.numbers(self._start, self._asked)
        if numbers is not None and not self._plan.scene_cuts:
            yield map(_Seen, range(len(numbers)))
            return
        frames = enumerate(until(stop, self._source.frames(self._start, self._asked)))
        is_video = self._source.kind == "video"

        def seen(item: tuple[int, Frame]) -> _Seen:
            number, frame = item
            return _Seen(number, frame.pts, frame.entry, checksum(frame.rgb) if is_video else None)

        if self._plan.scene_cuts:
            for scene in split_shots(frames, lambda item: item[1].rgb):
                yield map(seen, scene)
        else:
            yield map(seen, frames)

    def _windows(self, scene: Iterator[_Seen]) -> Iterator[Window[_Seen]]:
        plan = self._plan
        if plan.window is not None:
            yield from cut_windows(scene, plan.window, plan.overlap)
        elif frames := list(scene):
            keep = range(len(frames))
            yield Window(frames, 0, keep, keep[:0], keep[:0], is_part=False)


class RangeReader:
    """Reads run after run of a source and decodes no frame again that it need not.

    It goes on where it is, and enters a video anew only to get ahead or back. So a video that cannot be entered in the
    middle is decoded once, not once for every shot.

    Args:
        source: stays as it is; its notes are those of the scan.
        start: its frame that has the number 0 here.
        keep: so many of the last frames are held, for runs that overlap.

    Attributes:
        entered: frames come from an entry into the middle of a video, not from its beginning.
    """

    def __init__(self, source: FrameSource, start: int, keep: int = 0) -> None:
        self._source = copy.copy(source)
        self._source.notes = Notes()
        self._start = start
        self._held: deque[Frame] = deque(maxlen=keep)
        self._frames: Iterator[Frame] | None = None
        self._next = 0  # number of the frame that comes next
        self.entered = False

    def read(self, first: int, count: int, entry: Entry | None = None) -> Iterator[Frame]:
        """Yield ``count`` frames from ``first`` on, or as many as there are.

        Args:
            entry: where decoding can begin for ``first``.

        Raises:
            MediaError: see :meth:`vsr_plugin.media.FrameSource.frames`.
        """
        self._go_to(first, entry)
        for number in range(first, first + count):
            held = number - self._next + len(self._held)
            if held < len(self._held):
                yield self._held[held]
            elif (frame := self._decode()) is not None:
                yield frame
            else:
                return

    def _go_to(self, first: int, entry: Entry | None) -> None:
        if self._frames is not None and self._next - len(self._held) <= first:
            # Images are read one by one, and a video may be entered nearer to the frame.
            nearer = self._source.kind == "folder" or (entry is not None and entry.number > self._start + self._next)
            if first <= self._next or not nearer:
                while self._next < first and self._decode() is not None:
                    pass
                return
        self.close()
        self._frames, self._next = self._source.frames(self._start + first, entry=entry), first
        self.entered = entry is not None

    def _decode(self) -> Frame | None:
        frame = next(self._frames, None)
        if frame is not None:
            self._held.append(frame)
            self._next += 1
        return frame

    def close(self) -> None:
        """Close the file."""
        if self._frames is not None:
            self._frames.close()
            self._frames = None
        self._held.clear()
