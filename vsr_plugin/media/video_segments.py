"""A video that is made of segments: packets of encoders that know nothing of each other, joined by copying them."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from vsr_plugin.errors import MediaError
from vsr_plugin.files import NewFile, PartialFile, write_text
from vsr_plugin.media.colour import FromRGB
from vsr_plugin.media.encoding import Encoding
from vsr_plugin.media.segmented import Segment, SegmentedOutput, SegmentWriter
from vsr_plugin.media.source import Frame, FrameSource
from vsr_plugin.media.video_container import VideoContainer
from vsr_plugin.media.video_file import MEDIA_FAULTS, reason
from vsr_plugin.media.video_layout import VideoLayout
from vsr_plugin.media.video_reader import VideoSource

_HEAD = struct.Struct("<qqIB")


class PacketFile(NewFile):
    """Packets in a file that gets its name when it is whole and on the disk.

    No container is used, because none keeps every codec's packets, their timestamps in any unit and their flags without
    a change.
    """

    def write(self, packets: list[av.Packet]) -> None:
        """Append packets in decoding order."""
        for packet in packets:
            payload = bytes(packet)
            self.file.write(_HEAD.pack(packet.pts, packet.duration or 0, len(payload), packet.is_keyframe))
            self.file.write(payload)


def _heads(path: Path, *, payloads: bool) -> Iterator[tuple[int, int, int, bytes]]:
    with open(path, "rb") as file:
        while head := file.read(_HEAD.size):
            payload = b""
            if len(head) == _HEAD.size:
                pts, duration, size, key = _HEAD.unpack(head)
                payload = file.read(size) if payloads else b""
                if not payloads:
                    file.seek(size, os.SEEK_CUR)
            if len(head) < _HEAD.size or (payloads and len(payload) < size):
                raise MediaError(f"{path}: is cut off; delete {path.parent.parent} and start again")
            yield pts, duration, key, payload


def read_times(path: Path) -> np.ndarray:
    """Return the presentation timestamps of a file's packets in decoding order, ``(n,)`` of ``int64``.

    Raises:
        MediaError: the file is cut off.
    """
    return np.array([pts for pts, *_ in _heads(path, payloads=False)], np.int64)


def reordering(times: np.ndarray) -> int:
    """Return by how many places at most a packet is decoded after it should be in order of presentation."""
    ranks = np.argsort(np.argsort(times, kind="stable"), kind="stable")
    return int(max(0, (np.arange(len(times)) - ranks).max(initial=0)))


def joined_packets(paths: list[Path], delay: int) -> Iterator[av.Packet]:
    """Yield the packets of several files, which follow each other in time, as of one stream.

    The decoding time of a packet is the presentation time of the one ``delay`` places before it in order of
    presentation, as encoders count it; before the first it continues at the distance of the first two.

    Args:
        paths: Files in order; their encoders knew nothing of each other.
        delay: At least the :func:`reordering` of each of them.

    Raises:
        MediaError: a file is cut off.
    """
    waiting: list[int] = []
    for path in paths:
        times = np.sort(read_times(path)).tolist()
        if not waiting and delay:
            step = times[1] - times[0] if len(times) > 1 else 1
            waiting = [times[0] - i * step for i in range(delay, 0, -1)]
        waiting += times
        for number, (pts, duration, key, payload) in enumerate(_heads(path, payloads=True)):
            packet = av.Packet(payload)
            packet.pts, packet.dts, packet.duration = pts, waiting[number], duration
            packet.is_keyframe = bool(key)
            yield packet
        del waiting[: len(times)]


class VideoSegments(SegmentedOutput):
    """See :class:`SegmentedOutput`, :class:`VideoLayout` for ``encoding``, and ``FrameSource.frames`` for the rest."""

    kind = "video"

    def __init__(
        self,
        path: Path,
        source: FrameSource,
        folder: Path,
        *,
        size: tuple[int, int],
        start: int,
        num_frames: int | None,
        overwrite: bool,
        encoding: Encoding,
    ) -> None:
        super().__init__(path, source, folder, size=size, overwrite=overwrite)
        whole = source.covers_all(start, num_frames)
        self.layout = VideoLayout(path, source, size=size, whole=whole, encoding=encoding)
        self._first, self._asked = start, num_frames
        self.notes.add(*self.layout.notes)
        self._audio = encoding.audio
        #: Of the container, for all segments; known once the output is prepared.
        self.global_header: bool | None = None

    def prepare(self) -> None:
        partial = self._partial()
        try:
            container = VideoContainer(self.layout, partial.path, audio=self._audio)
            container.abandon()
            # Known here only: whether the packets need their parameter sets inside.
            self.global_header = container.global_header
            container.rehearse(partial.path, *self._seconds())
            self.notes.add(*container.notes)
        except OSError as error:
            raise self.failed(0, error) from error
        finally:
            partial.discard()

    def _seconds(self) -> tuple[Fraction | None, Fraction | None]:
        """Where the output begins and ends in the source, about; ``None`` for its own beginning and end."""
        source = self._source
        if not (isinstance(source, VideoSource) and self.layout.from_first_frame):
            return None, None
        begin = source.first_time + self._first / source.average_rate
        end = None if self._asked is None else begin + self._asked / source.average_rate
        return begin, end

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

    def finish(self, segments: list[Segment]) -> None:
        partial = self._partial()
        try:
            try:
                self._join(segments, partial.path)
            except MEDIA_FAULTS as error:
                if isinstance(error, OSError):
                    raise
                # The work of hours is not given up for what goes beside the picture.
                self._join(segments, partial.path, picture_only=True)
                self.notes.add(f"sound and subtitles could not be joined ({reason(error)}); the picture is there alone")
            write_text(self._mark, json.dumps(_identity(partial.path)))
            partial.commit()
        except MEDIA_FAULTS as error:
            raise self.failed(sum(segment.frames for segment in segments), error) from error
        finally:
            partial.discard()

    def _join(self, segments: list[Segment], path: Path, *, picture_only: bool = False) -> None:
        container = VideoContainer(self.layout, path, audio=self._audio, picture_only=picture_only)
        try:
            self._mux(segments, container)
            self.notes.add(*container.notes)
        finally:
            container.abandon()

    def _mux(self, segments: list[Segment], container: VideoContainer) -> None:
        layout = self.layout
        first_pts = segments[0].first_pts
        moved = first_pts * layout.source_unit if layout.from_first_frame else 0
        paths = [self.segment_path(segment.first) for segment in segments]
        delay = max(reordering(read_times(path)) for path in paths)
        container.begin(first_pts)
        last, earlier = None, 0
        for packet in joined_packets(paths, delay):
            packet.time_base = layout.unit
            packet.pts, packet.dts = packet.pts - earlier, packet.dts - earlier
            if layout.has_slots:
                # What a segment began with may have been taken by the end of the one before.
                packet.pts = packet.dts = layout.after(last, packet.pts)
            if layout.longest_gap is not None and last is not None and packet.dts - last > layout.longest_gap:
                step = packet.dts - last - layout.longest_gap
                earlier += step
                packet.pts, packet.dts = packet.pts - step, packet.dts - step
                self.notes.add(
                    f"a frame is shown for longer than a {self.path.suffix} file can say; what follows comes "
                    f"{float(earlier * layout.unit):.1f} s early, .mkv has no limit"
                )
            last = packet.dts
            if layout.longest_gap is not None:
                packet.duration = min(packet.duration, layout.longest_gap)
            container.mux(packet, until=(packet.pts + earlier) * layout.unit + moved)
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
    """Encodes frames as a layout says; ``offset`` is taken off their timestamps, in units of the source."""

    def __init__(self, output: VideoSegments, first: int, offset: int) -> None:
        super().__init__(output, first)
        self._layout, self._offset = output.layout, offset
        self._last: int | None = None
        path = output.segment_path(first)
        path.parent.mkdir(exist_ok=True)
        self._file = PacketFile(path)
        try:
            self._encoder = self._layout.new_encoder(global_header=output.global_header)
            self._to_picture = FromRGB(self._layout.colour, self._layout.pix_fmt)
        except BaseException:
            self._file.discard()
            raise

    def _write(self, frame: Frame, index: int) -> None:
        layout = self._layout
        rgb = frame.rgb
        if layout.bake:
            rgb = np.ascontiguousarray(layout.source.orientation.apply(rgb))
        picture = self._to_picture(rgb)
        picture.time_base = layout.unit
        pts = index if frame.pts is None else frame.pts
        picture.pts = self._last = layout.after(self._last, layout.in_units(pts - self._offset))
        picture.duration = max(1, layout.in_units(frame.duration or 1))
        self._file.write(self._encoder.encode(picture))

    def _commit(self) -> None:
        packets: list[av.Packet] = self._encoder.encode(None)
        if self._layout.codec == "libx265" and self.segment.frames <= 2:
            # x265 takes the distance of decoding times from its third frame, and from unset memory without one.
            for packet in packets:
                packet.dts = packet.pts
        self._file.write(packets)
        self._file.commit()

    def discard(self) -> None:
        self._file.discard()
