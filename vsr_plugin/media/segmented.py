"""Results made of segments: runs of frames encoded apart, in any order and by any process, then joined.

What a segment holds depends on its frames and the settings alone, so the joined result does too. A file that is written
in one go is one segment, see :class:`FrameSink`.
"""

from __future__ import annotations

import copy
import shutil
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path

from vsr_plugin.errors import MediaError
from vsr_plugin.files import make_working_folder
from vsr_plugin.media.source import Frame, FrameSource, Notes
from vsr_plugin.media.video_file import MEDIA_FAULTS, reason


@dataclass
class Segment:
    """What a finished segment is.

    Attributes:
        first: Number of its first frame, from 0 at the first frame of the output.
        frames: How many it holds.
        end: When its last frame ends, in the source's unit of time, not moved to zero.
        first_pts: When its first frame begins, in the same unit.
        notes: Lines worth telling a person.
    """

    first: int
    frames: int = 0
    end: int = 0
    first_pts: int = 0
    notes: Notes = field(default_factory=Notes)


class SegmentWriter(ABC):
    """Takes the frames of one segment; :meth:`commit` makes it count, :meth:`discard` forgets it."""

    def __init__(self, output: SegmentedOutput, first: int) -> None:
        self._output = output
        self.segment = Segment(first)

    def write(self, frame: Frame) -> None:
        """Write an upscaled frame; see :meth:`FrameSink.write`.

        Raises:
            MediaError: the disk is full, or the encoder fails.
            ValueError: the shape or the dtype is not what the output was opened for.
        """
        _check_frame(frame, self._output.size)
        segment = self.segment
        index = segment.first + segment.frames
        pts = index if frame.pts is None else frame.pts
        if not segment.frames:
            segment.first_pts = pts
        segment.end = pts + (frame.duration or 1)
        try:
            self._write(frame, index)
        except MEDIA_FAULTS as error:
            raise self._output.failed(index, error) from error
        segment.frames += 1

    def commit(self) -> Segment:
        """Complete the segment and return what it is.

        Raises:
            MediaError: the disk is full, or the encoder fails.
        """
        try:
            self._commit()
        except MEDIA_FAULTS as error:
            raise self._output.failed(self.segment.first + self.segment.frames, error) from error
        return self.segment

    @abstractmethod
    def _write(self, frame: Frame, index: int) -> None: ...

    @abstractmethod
    def _commit(self) -> None: ...

    @abstractmethod
    def discard(self) -> None:
        """Remove what was written."""


def _check_frame(frame: Frame, size: tuple[int, int]) -> None:
    """Raise ``ValueError`` unless colour and alpha have ``size`` (rows, columns) and one dtype of 8 or 16 bits."""
    if frame.rgb.shape != (*size, 3):
        raise ValueError(f"frame.rgb must have shape {(*size, 3)}, got {frame.rgb.shape}")
    if frame.rgb.dtype.name not in ("uint8", "uint16"):
        raise ValueError(f"frame.rgb must be uint8 or uint16, got {frame.rgb.dtype}")
    alpha = frame.alpha
    if alpha is not None and (alpha.shape, alpha.dtype) != (size, frame.rgb.dtype):
        raise ValueError(
            f"frame.alpha must have shape {size} and the dtype of rgb ({frame.rgb.dtype}), "
            f"got {alpha.shape} {alpha.dtype}"
        )


class SegmentedOutput(ABC):
    """A video or a folder that is made of segments kept in a working folder.

    Attributes:
        kind: ``'video'``, ``'folder'``, or ``'image'``.
        path: The output.
        folder: The working folder, on the same disk; it exists from :meth:`prepare` on.
        size: Rows and columns of the frames.
        notes: Lines worth telling a person; grows until :meth:`finish`.
    """

    kind: str

    def __init__(
        self, path: Path, source: FrameSource, folder: Path, *, size: tuple[int, int], overwrite: bool
    ) -> None:
        self.path, self.folder, self.size = path, folder, size
        self.notes = Notes()
        self._source, self._overwrite = source, overwrite

    @property
    def _mark(self) -> Path:
        return self.folder / "joined.json"

    def in_folder(self, folder: Path) -> SegmentedOutput:
        """The same output, prepared, with another working folder: segments are made there and brought here."""
        moved = copy.copy(self)
        moved.folder = folder
        return moved

    @abstractmethod
    def prepare(self) -> None:
        """Find out whether the output can be made, before the long work; for one process only.

        Raises:
            MediaError: it exists, its place cannot be written, or codec, container and audio do
                not go together.
        """

    @abstractmethod
    def open_segment(self, first: int, start: int | None) -> SegmentWriter:
        """Begin the segment whose first frame has the number ``first``.

        Args:
            first: Counted from 0 at the first frame of the output.
            start: Timestamp of frame 0, on which that of all others may depend; ``None`` for images.

        Raises:
            MediaError: the working folder cannot be written.
        """

    @abstractmethod
    def finish(self, segments: list[Segment]) -> None:
        """Join all segments, in order and without gaps, and give the result its name.

        Raises:
            MediaError: the disk is full, or the output has appeared meanwhile.
        """

    @abstractmethod
    def is_finished(self) -> bool:
        """Whether the result has its name already: a run was killed between that and its clean-up."""

    def failed(self, index: int, error: BaseException) -> MediaError:
        """Return the error to raise when writing fails at frame ``index``."""
        of_the_disk = isinstance(error, OSError)
        way = "free space or choose another place" if of_the_disk else "choose another container such as .mkv or .mp4"
        return MediaError(
            f"{self.path}: writing failed at frame {index} ({reason(error)}); nothing is left there, {way}"
        )


class FrameSink:
    """Takes frames one by one; the result appears under its final name when ``with`` ends well.

    Meanwhile it is the one segment of an output in a hidden working folder. On any exception, ``KeyboardInterrupt``
    included, nothing appears and what was written is removed.

    Attributes:
        path: The output.
        kind: ``'video'`` or ``'folder'``.
        notes: Lines worth telling a person; complete when ``with`` has ended.
        num_written: Frames taken so far.
        folder: Hidden, on the output's disk, and removed at the end: a place for other unfinished things as well.
    """

    def __init__(self, output: SegmentedOutput) -> None:
        """Raises ``MediaError`` if the output cannot be made, see :meth:`SegmentedOutput.prepare`."""
        self.path, self.kind, self.notes = output.path, output.kind, output.notes
        self.num_written, self.folder = 0, output.folder
        self._output = output
        self._writer: SegmentWriter | None = None
        make_working_folder(self.folder, output.path)
        try:
            output.prepare()
        except BaseException:
            self.discard()
            raise

    def write(self, frame: Frame) -> None:
        """Write an upscaled frame, ``(h * scale, w * scale, 3)``, as the source would show it.

        Args:
            frame: ``pts``, ``duration``, ``name``, ``grey`` and (upscaled) ``alpha`` copied from
                the frame it was made from.

        Raises:
            MediaError: the disk is full, or the encoder fails.
            ValueError: the shape or the dtype is not what the sink was opened for.
        """
        if self._writer is None:
            self._writer = self._output.open_segment(0, frame.pts)
        self._writer.write(frame)
        self.num_written += 1

    def discard(self) -> None:
        """Close everything and remove what was written; also called by a ``with`` that fails."""
        if self._writer is not None:
            self._writer.discard()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> FrameSink:
        return self

    def __exit__(self, exc_type: type[BaseException] | None, *exc_info: object) -> None:
        try:
            if exc_type is None:
                if self._writer is None:
                    raise MediaError(f"{self.path}: no frame was written; nothing is left there")
                self._output.finish([self._writer.commit()])
        finally:
            self.discard()
