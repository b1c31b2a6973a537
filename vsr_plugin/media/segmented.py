"""Results made of segments: runs of frames encoded apart, in any order and by any process, then joined.

What a segment holds depends on its frames and the settings alone, so the joined result does too.
"""

from __future__ import annotations

import json
import os
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path

from vsr_plugin.errors import MediaError
from vsr_plugin.files import PartialFile, write_text
from vsr_plugin.media.encoding import Encoding
from vsr_plugin.media.frame import Frame
from vsr_plugin.media.packet_file import PacketFile, joined_packets, read_times, reordering
from vsr_plugin.media.sink import check_frame, check_target
from vsr_plugin.media.source import FrameSource
from vsr_plugin.media.video_container import VideoContainer
from vsr_plugin.media.video_encoder import VideoEncoder
from vsr_plugin.media.video_file import MEDIA_FAULTS, reason
from vsr_plugin.media.video_layout import VideoLayout


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
    notes: list[str] = field(default_factory=list)


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
        check_frame(frame, self._output.size)
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


class SegmentedOutput(ABC):
    """A video or a folder that is made of segments kept in a working folder.

    Attributes:
        path: The output.
        folder: The working folder, which exists, on the same disk.
        size: Rows and columns of the frames.
        notes: Lines worth telling a person; grows until :meth:`finish`.
    """

    def __init__(
        self, path: Path, source: FrameSource, folder: Path, *, size: tuple[int, int], overwrite: bool
    ) -> None:
        self.path, self.folder, self.size = path, folder, size
        self.notes: list[str] = []
        self._source, self._overwrite = source, overwrite
        self._mark = folder / "joined.json"

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
        return MediaError(
            f"{self.path}: writing failed at frame {index} ({reason(error)}); "
            "nothing is left there, free space or choose another place"
        )

    def _note(self, line: str) -> None:
        if line not in self.notes:
            self.notes.append(line)


class VideoSegments(SegmentedOutput):
    """Segments of packets, joined by copying them."""

    def __init__(
        self,
        path: Path,
        source: FrameSource,
        folder: Path,
        *,
        size: tuple[int, int],
        whole: bool,
        overwrite: bool,
        encoding: Encoding,
    ) -> None:
        super().__init__(path, source, folder, size=size, overwrite=overwrite)
        self.layout = VideoLayout(path, source, size=size, whole=whole, encoding=encoding)
        self.notes.extend(self.layout.notes)
        self._audio = encoding.audio

    def prepare(self) -> None:
        partial = self._partial()
        try:
            container = VideoContainer(self.layout, partial.path, audio=self._audio)
            container.abandon()
            # Known here only: whether the packets need their parameter sets inside.
            write_text(self.folder / "header.json", json.dumps(container.global_header))
            for line in container.notes:
                self._note(line)
        except OSError as error:
            raise self.failed(0, error) from error
        finally:
            partial.discard()

    def _partial(self) -> PartialFile:
        return PartialFile(self.path, overwrite=self._overwrite, path=self.folder / f"result{self.path.suffix}")

    def open_segment(self, first: int, start: int | None) -> SegmentWriter:
        try:
            return _VideoSegment(self, first, self.layout.offset(start))
        except MEDIA_FAULTS as error:
            raise self.failed(first, error) from error

    def segment_path(self, first: int) -> Path:
        """Return where the packets of the segment that begins with frame ``first`` are."""
        return self.folder / "segments" / f"{first:08d}.packets"

    def global_header(self) -> bool:
        """Return what :meth:`prepare` found out."""
        return json.loads((self.folder / "header.json").read_text())

    def finish(self, segments: list[Segment]) -> None:
        partial = self._partial()
        container = None
        try:
            container = VideoContainer(self.layout, partial.path, audio=self._audio)
            self._join(segments, container)
            for line in container.notes:
                self._note(line)
            write_text(self._mark, json.dumps(_identity(partial.path)))
            partial.commit()
        except MEDIA_FAULTS as error:
            raise self.failed(sum(segment.frames for segment in segments), error) from error
        finally:
            if container is not None:
                container.abandon()
            partial.discard()

    def _join(self, segments: list[Segment], container: VideoContainer) -> None:
        layout = self.layout
        first_pts = segments[0].first_pts
        moved = 0 if layout.whole else first_pts * layout.source_unit
        paths = [self.segment_path(segment.first) for segment in segments]
        delay = max(reordering(read_times(path)) for path in paths)
        container.begin(first_pts)
        last = None
        for packet in joined_packets(paths, delay):
            packet.time_base = layout.unit
            if layout.has_slots:
                # What a segment began with may have been taken by the end of the one before.
                packet.pts = packet.dts = last = layout.after(last, packet.pts)
            until = packet.pts * layout.unit + moved
            container.mux([packet], until=until)
        container.close(segments[-1].end * layout.source_unit)

    def is_finished(self) -> bool:
        if not (self._mark.exists() and self.path.exists()):
            return False
        try:
            return json.loads(self._mark.read_text()) == _identity(self.path)
        except json.JSONDecodeError:  # of a disk that lost it
            return False


def _identity(path: Path) -> list[int]:
    """Return what a file keeps when it is renamed."""
    status = path.stat()
    return [status.st_ino, status.st_size, status.st_mtime_ns]


class _VideoSegment(SegmentWriter):
    def __init__(self, output: VideoSegments, first: int, offset: int) -> None:
        super().__init__(output, first)
        self._offset = offset
        path = output.segment_path(first)
        path.parent.mkdir(exist_ok=True)
        self._file = PacketFile(path)
        try:
            context = output.layout.new_encoder(global_header=output.global_header())
            self._encoder = VideoEncoder(output.layout, context)
        except BaseException:
            self._file.discard()
            raise

    def _write(self, frame: Frame, index: int) -> None:
        self._file.write(self._encoder.encode(frame, index, self._offset))

    def _commit(self) -> None:
        self._file.write(self._encoder.flush())
        self._file.commit()

    def discard(self) -> None:
        self._file.discard()


def open_segmented(
    path: str | os.PathLike,
    source: FrameSource,
    folder: Path,
    *,
    size: tuple[int, int],
    start: int = 0,
    num_frames: int | None = None,
    overwrite: bool = False,
    encoding: Encoding | None = None,
) -> SegmentedOutput:
    """Set up an output that is made of segments; writes nothing yet.

    Args:
        path: The output, a video or a folder for PNG files.
        source: Where the frames come from.
        folder: A working folder on the disk of the output.
        size: Rows and columns of the frames that will come.
        start: As for :func:`open_sink`, like all that follow.
        num_frames: See there.
        overwrite: See there.
        encoding: See there.

    Raises:
        MediaError: the output is the input, or codec, pixel format and size do not go together.
    """
    # Imported here because it builds on this module.
    from vsr_plugin.media.segmented_images import PNGSegments

    target, is_folder = check_target(path, source)
    if is_folder:
        return PNGSegments(target, source, folder, size=size, overwrite=overwrite)
    whole = source.covers_all(start, num_frames)
    encoding = encoding or Encoding()
    return VideoSegments(target, source, folder, size=size, whole=whole, overwrite=overwrite, encoding=encoding)
