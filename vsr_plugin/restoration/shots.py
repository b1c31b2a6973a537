"""A stream of frames cut into pieces that are propagated apart, and these into segments that are written apart.

Where the cuts are depends on the frames and the plan alone: not on what was done before, nor on how many share it.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import NamedTuple
from weakref import WeakSet

from vsr_plugin.inference.frame_store import FrameStore
from vsr_plugin.inference.scene_cuts import split_shots
from vsr_plugin.inference.windows import cut_windows, fade_frames
from vsr_plugin.media import Frame

#: A segment has so many frames where its piece has; each begins with a key frame.
SEGMENT_FRAMES = 48
#: Beyond so many bytes, or so many frames, the frames of a piece go to the disk.
_MEMORY_BYTES, _MEMORY_FRAMES = 128 * 2**20, 256


@dataclass(frozen=True)
class PiecePlan:
    """How a stream is cut.

    Attributes:
        scene_cuts: pieces end where the picture changes to another shot.
        window: pieces have at most about so many frames beside their margins, which makes the result approximate;
            ``None`` for pieces of any length and the exact result.
        overlap: margin of a window in frames, on each side, read for context.
    """

    scene_cuts: bool
    window: int | None = None
    overlap: int = 0

    @property
    def fade(self) -> int:
        """Frames on each side of a joint of two windows that both contribute to."""
        return 0 if self.window is None else fade_frames(self.window, self.overlap)


class FrameInfo(NamedTuple):
    """What a writer needs of a frame beside its pixels; see :class:`vsr_plugin.media.Frame`."""

    pts: int | None
    duration: int | None
    name: str | None
    grey: bool
    alpha: bool

    @classmethod
    def of(cls, frame: Frame) -> "FrameInfo":
        """The frame without its pixels."""
        return cls(frame.pts, frame.duration, frame.name, frame.grey, frame.alpha is not None)


@dataclass
class Piece:
    """A run of frames that is restored as one sequence.

    Attributes:
        number: counts pieces from 0.
        folder: an existing folder of its own.
        start: number of the first frame that is kept, from 0 at the first frame of the stream.
        frames: pixels, margins included.
        infos: of the kept frames, one each.
        margin: kept frames begin at this index of ``frames``.
        lead: so many of the kept frames, the first ones, are blended with what the piece before contributes.
        tail: to so many frames behind the kept ones it contributes in turn; the piece after keeps them.
        is_part: it is not a whole scene.
    """

    number: int
    folder: Path
    start: int
    frames: FrameStore
    infos: list[FrameInfo] = field(default_factory=list)
    margin: int = 0
    lead: int = 0
    tail: int = 0
    is_part: bool = False

    @property
    def keep(self) -> range:
        """Indices into ``frames`` of what is kept."""
        return range(self.margin, self.margin + len(self.infos))

    @property
    def is_window(self) -> bool:
        """Whether it has margins."""
        return len(self.frames) > len(self.infos)

    def segments(self) -> list[range]:
        """The kept frames, as indices into ``frames``, in runs that are written apart."""
        if self.is_window:
            return [part for part in (self.keep[: self.lead], self.keep[self.lead :]) if part]
        return [range(i, min(i + SEGMENT_FRAMES, len(self.infos))) for i in range(0, len(self.infos), SEGMENT_FRAMES)]


class PieceCutter:
    """Makes pieces of a stream of frames; see :meth:`pieces`.

    Args:
        plan: where to cut.
        folder: where pieces have their folders.
        wanted: called with the number and the first frame of every piece; tells whether it is needed here.

    Attributes:
        num_frames: frames seen so far.
        num_pieces: pieces made so far.
        first_pts: timestamp of the first frame.
    """

    def __init__(self, plan: PiecePlan, folder: Path, wanted: Callable[[int, int], bool]) -> None:
        self._plan, self._folder, self._wanted = plan, folder, wanted
        self.num_frames = self.num_pieces = 0
        self.first_pts: int | None = None
        self._open: WeakSet[FrameStore] = WeakSet()

    def close(self) -> None:
        """Close what takers have not closed."""
        for store in self._open:
            store.close()

    def pieces(self, frames: Iterable[Frame]) -> Iterator[Piece]:
        """Yield the pieces that are wanted, in order, each to be closed by its taker.

        Memory: three pieces of up to 128 MiB each, or two windows with their margins.
        """
        scenes = split_shots(iter(frames), lambda frame: frame.rgb) if self._plan.scene_cuts else [frames]
        for scene in scenes:
            scene = map(self._counted, scene)
            yield from self._whole(scene) if self._plan.window is None else self._windows(scene)

    def _counted(self, frame: Frame) -> Frame:
        if self.num_frames == 0:
            self.first_pts = frame.pts
        self.num_frames += 1
        return frame

    def _begin(self, start: int, frame_bytes: int) -> Piece | None:
        number = self.num_pieces
        self.num_pieces += 1
        if not self._wanted(number, start):
            return None
        folder = self._folder / f"{start:08d}"
        folder.mkdir(parents=True, exist_ok=True)
        in_memory = max(1, min(_MEMORY_BYTES // frame_bytes, _MEMORY_FRAMES))
        piece = Piece(number, folder, start, FrameStore(folder, max_in_memory=in_memory))
        self._open.add(piece.frames)
        return piece

    def _whole(self, scene: Iterator[Frame]) -> Iterator[Piece]:
        for first in scene:
            piece = self._begin(self.num_frames - 1, first.rgb.nbytes)
            for frame in chain([first], scene):
                if piece is not None:
                    piece.infos.append(FrameInfo.of(frame))
                    piece.frames.append(frame.rgb)
            if piece is not None:
                yield piece

    def _windows(self, scene: Iterator[Frame]) -> Iterator[Piece]:
        begun = self.num_frames
        taken = ((FrameInfo.of(frame), frame.rgb) for frame in scene)  # what else a frame has is read again if needed
        for part in cut_windows(taken, self._plan.window, self._plan.overlap):
            piece = self._begin(begun + part.start, part.frames[0][1].nbytes)
            if piece is None:
                continue
            piece.is_part, piece.margin = part.is_part, part.keep.start
            piece.lead, piece.tail = len(part.lead), len(part.tail)
            piece.infos = [part.frames[i][0] for i in part.keep]
            for _, rgb in part.frames:
                piece.frames.append(rgb)
            yield piece
