"""Audio and subtitles carried over packet by packet, beside the frames they belong to."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

import av
from av.error import FFmpegError

from vsr_plugin.errors import MediaError
from vsr_plugin.media.clock import Clock
from vsr_plugin.media.source import Notes
from vsr_plugin.media.video_file import MEDIA_FAULTS, demux, file_url, open_input, reason
from vsr_plugin.media.video_layout import MUXERS, VideoLayout
from vsr_plugin.media.video_reader import VideoSource

#: Sound that begins so many seconds before the end of what was before it, where the clock jumps, is left out; in AVI,
#: sound may be off by as much.
_TOLERANCE = Fraction(1, 10)


_CONVERT = "convert it first (ffmpeg -i IN -map 0 -c copy -c:a flac OUT.mkv)"

# Seconds; a packet that says that it is longer is damaged.
_LONGEST = 3600


@dataclass
class _Copy:
    """A stream of the output: what it is, and how far it is, in its own unit of time.

    ``begin`` and ``last`` are the timestamps of the first packet and of the last one, ``end`` the end of the latter,
    all ``None`` before the first. ``taken`` and ``refused`` count packets.
    """

    stream: av.stream.Stream
    codec: str
    is_subtitle: bool
    begin: int | None = None
    last: int | None = None
    end: int | None = None
    taken: int = 0
    refused: int = 0


class StreamCopier:
    """Copies packets of a file's audio and subtitle streams into an output container.

    What is in a packet stays as it is. Its time is that of the source's frames, and later than that of the packet
    before, as every container wants it. Reads with a handle of its own, so that reading frames and copying do not wait
    for each other. Audio must be copied; subtitles are as far as the output can hold them. :attr:`notes` tells what was
    not copied.
    """

    def __init__(
        self, layout: VideoLayout, output: av.container.OutputContainer, *, audio: bool, subtitles: bool
    ) -> None:
        """Add one output stream per stream.

        Args:
            layout: Of an output made from a video.
            output: The container, to which nothing was written yet.
            audio: Copy audio.
            subtitles: Copy subtitles.

        Raises:
            MediaError: the output container cannot hold a codec of the audio.
        """
        self.notes = Notes()
        self._layout, self._output = layout, output
        source: VideoSource = layout.source
        self._input = open_input(source.path)
        self._copies: dict[int, _Copy] = {}
        try:
            for stream in self._input.streams.audio if audio else ():
                self._copies[stream.index] = self._add_audio(stream)
            for stream in self._input.streams.subtitles if subtitles else ():
                self._add_subtitles(stream)
            self._clock = Clock(self._input, self._input.streams[source.stream_index], source.start)
        except BaseException:
            self._input.close()
            raise
        if any(index in self._clock.moved for index in self._copies):
            self.notes.add("the sound is timed by another clock than the picture; it begins with the picture")
        self._packets = self._read()
        self._waiting: av.Packet | None = None
        self._offset = Fraction(0)
        self._trim = False

    @property
    def has_streams(self) -> bool:
        """Whether there is anything to copy."""
        return bool(self._copies)

    @property
    def has_subtitles(self) -> bool:
        """Whether there are some that the output may be able to hold."""
        return any(copy.is_subtitle for copy in self._copies.values())

    def _add_audio(self, stream: av.AudioStream) -> _Copy:
        try:
            if not _takes(self._layout.muxer, stream):
                raise ValueError
            return self._add(stream, is_subtitle=False)
        except (FFmpegError, ValueError, AttributeError) as error:
            target = self._layout.target
            codec = _codec(stream)
            raise MediaError(
                f"{target}: a {target.suffix} file cannot hold the source's {codec} audio; "
                f"{_other_containers(stream, target)}, or drop the audio with --no-audio"
            ) from error

    def _add_subtitles(self, stream: av.subtitles.stream.SubtitleStream) -> None:
        try:
            self._copies[stream.index] = self._add(stream, is_subtitle=True)
        except (FFmpegError, ValueError, AttributeError):
            target = self._layout.target
            self.notes.add(subtitles_left_out(target, f"{_codec(stream)} subtitles", _holding(stream, target)))

    def _add(self, stream: av.stream.Stream, *, is_subtitle: bool) -> _Copy:
        copy = _add_stream(self._output, stream)
        copy.metadata.update({k: v for k, v in stream.metadata.items() if k in ("language", "title")})
        copy.disposition = stream.disposition
        return _Copy(copy, _codec(stream), is_subtitle)

    def _read(self) -> Iterator[av.Packet]:
        wanted = [self._input.streams[index] for index in self._copies]
        try:
            for packet in self._clock.packets(wanted) if wanted else ():
                if packet.dts is None:
                    packet.dts = packet.pts
                # What an edit list hides is played where there is none.
                hidden = packet.is_discard and not self._layout.has_edit_lists
                if packet.size and packet.dts is not None and not hidden:
                    yield packet
        except FFmpegError as error:
            what = "audio and subtitles are" if self.has_subtitles else "the audio is"
            self.notes.add(f"{what} cut off or damaged ({reason(error)}); what can be read is copied")

    def trim(self, offset: Fraction) -> None:
        """Drop packets before ``offset`` seconds and move that moment to zero."""
        self._offset, self._trim = offset, True

    def copy_until(self, end: Fraction | None) -> None:
        """Write packets that begin before ``end`` seconds of the source; ``None`` means the rest.

        Raises:
            FFmpegError: the disk is full or fails.
        """
        while True:
            packet = self._waiting or next(self._packets, None)
            self._waiting = None
            if packet is None:
                return
            unit = Fraction(packet.time_base)
            moment = (packet.dts if packet.pts is None else packet.pts) * unit
            if end is not None and moment >= end:
                self._waiting = packet
                return
            if self._trim:
                if moment < self._offset and not self._cut_to_rest(packet, unit):
                    continue
                shift = round(self._offset / unit)
                packet.dts -= shift
                if packet.pts is not None:
                    packet.pts -= shift
            self._write(packet)

    def copy_rest(self, end: Fraction | None) -> None:
        """As :meth:`copy_until`, and then say what did not fit."""
        self.copy_until(end)
        for copy in self._copies.values():
            if copy.refused and copy.is_subtitle:
                self.notes.add("some subtitles do not fit into the output; they are left out")
            elif copy.refused:
                self.notes.add(
                    f"{copy.refused} of {copy.taken} packets of the {copy.codec} audio do not fit into the output; "
                    "they are left out"
                )

    def complete(self, path: Path) -> None:
        """Add to the finished file at ``path`` what the muxer does not write.

        Raises:
            OSError: the disk fails.
        """
        sounds = [copy for copy in self._copies.values() if not copy.is_subtitle]
        if self._layout.muxer == "avi" and any(copy.begin for copy in sounds):
            set_audio_starts(path, [(copy.begin or 0) * copy.stream.time_base for copy in sounds])

    def check(self, path: Path) -> None:
        """See whether what was written is what there is to hear; for a finished file at ``path`` without video.

        Raises:
            MediaError: it is not.
        """
        target = self._layout.target
        sounds = {i: copy for i, copy in enumerate(self._copies.values()) if not copy.is_subtitle and copy.taken}
        for copy in sounds.values():
            if 2 * copy.refused > copy.taken:
                raise MediaError(
                    f"{target}: a {target.suffix} file takes none of the {copy.codec} audio; {_CONVERT}, or "
                    "drop the audio with --no-audio"
                )
        if self._layout.muxer != "avi":
            return
        # Which has no timestamps: what is before a sound makes its time, and of some codecs nothing can be missing.
        ends: dict[int, Fraction] = {}
        with open_input(path) as container:
            for packet in demux(container, container.streams.audio):
                if packet.size:
                    ends[packet.stream.index] = packet.pts * packet.time_base
        for i, copy in sounds.items():
            if i not in ends or abs(ends[i] - copy.last * copy.stream.time_base) > _TOLERANCE:
                raise MediaError(
                    f"{target}: a .avi file does not keep the times of the {copy.codec} audio; choose .mkv, or drop "
                    "the audio with --no-audio"
                )

    def _cut_to_rest(self, packet: av.Packet, unit: Fraction) -> bool:
        """Let a subtitle that is on screen at the offset begin there; tell whether it is one."""
        start = round(self._offset / unit)
        end = (packet.pts or 0) + (packet.duration or 0)
        if not self._copies[packet.stream.index].is_subtitle or packet.pts is None or end <= start:
            return False
        packet.pts = packet.dts = start
        packet.duration = end - start
        return True

    def _write(self, packet: av.Packet) -> None:
        copy = self._copies[packet.stream.index]
        if not self._set_times(packet, copy):
            return
        packet.stream = copy.stream
        copy.taken += 1
        try:
            self._output.mux_one(packet)
        except FFmpegError as error:
            if isinstance(error, OSError):
                raise
            # Hours of work must not fail for a line of text or a moment of sound.
            copy.refused += 1

    def _set_times(self, packet: av.Packet, copy: _Copy) -> bool:
        """Give a packet its times in the unit of its output stream; returns whether it is copied at all."""
        unit, target = packet.time_base, copy.stream.time_base
        factor = unit / target
        if packet.duration and packet.duration * unit > _LONGEST:
            packet.duration = 0
        pts, dts, duration = (
            None if ticks is None else round(ticks * factor) for ticks in (packet.pts, packet.dts, packet.duration or 0)
        )
        if copy.end is not None and self._clock.jumps and not copy.is_subtitle and dts < copy.end - _TOLERANCE / target:
            self.notes.add("where the clock of the video jumps, sound of both sides overlaps; the later is left out")
            return False
        copy.begin = dts if copy.begin is None else copy.begin
        if self._layout.muxer == "avi" and not copy.is_subtitle:
            copy.last = dts
            pts = dts = _place_in_avi(packet.dts * unit / target, copy)
        else:
            copy.last = dts = dts if copy.last is None else max(dts, copy.last + 1)
        copy.end = dts + duration
        packet.dts = dts
        packet.pts = pts if pts is None else max(pts, dts)
        packet.duration, packet.time_base = duration, target
        return True

    def close(self) -> None:
        """Close the input."""
        self._packets.close()
        self._input.close()


def _place_in_avi(time: Fraction, copy: _Copy) -> int:
    """Where a packet of sound goes in AVI: behind the one before, unless one or more are missing between them.

    Places count from the first packet; what that one's time is, the header says.
    """
    end = copy.end or 0
    missing = time - copy.begin - end
    return end + round(missing) if missing > Fraction(3, 4) else end


def rehearse(
    layout: VideoLayout, path: Path, *, audio: bool, subtitles: bool, begin: Fraction | None, end: Fraction | None
) -> None:
    """Copy audio and subtitles into a file of their own, to find out whether they can be before the long work.

    Args:
        layout: Of an output made from a video.
        path: The file, which may be deleted then.
        audio: Copy audio.
        subtitles: Copy subtitles.
        begin: Where the output begins, in seconds of the source, if not at 0.
        end: Where it ends, about; ``None`` for the end of the source.

    Raises:
        MediaError: the output cannot hold them.
        OSError: the disk is full or fails.
    """
    output = av.open(file_url(path), "w", format=layout.muxer, container_options=layout.muxer_options())
    copier = StreamCopier(layout, output, audio=audio, subtitles=subtitles)
    try:
        if not copier.has_streams:
            return
        output.start_encoding()
        if begin is not None:
            copier.trim(begin)
        copier.copy_rest(end)
        output.close()
        copier.complete(path)
        copier.check(path)
    finally:
        copier.close()
        with suppress(*MEDIA_FAULTS):
            output.close()


def subtitles_left_out(target: Path, what: str, holding: list[str]) -> str:
    """A note that some subtitles do not go into an output, and what containers they do go into."""
    other = f"; {' and '.join(holding)} can" if holding else ""
    return f"{what} are not copied, a {target.suffix} file cannot hold them{other}"


def _codec(stream: av.stream.Stream) -> str:
    return stream.codec_context.codec.canonical_name if stream.codec_context is not None else "unknown"


def _holding(stream: av.stream.Stream, target: Path) -> list[str]:
    """Other containers that hold a stream."""
    others = [suffix for suffix in (".mkv", ".mp4", ".mov", ".avi") if suffix != target.suffix.lower()]
    return [suffix for suffix in others if _takes(MUXERS[suffix], stream)]


def _other_containers(stream: av.AudioStream, target: Path) -> str:
    """What to do with sound that a container cannot hold."""
    if holding := _holding(stream, target):
        return f"choose {' or '.join(holding)}"
    return _CONVERT


def _add_stream(output: av.container.OutputContainer, stream: av.stream.Stream) -> av.stream.Stream:
    copy = output.add_stream_from_template(stream)
    if stream.type == "audio" and output.format.name == "mp4":
        layout = stream.codec_context.layout
        if layout.name == f"{layout.nb_channels} channels":
            # AVI and Matroska say how many there are, and MP4 wants to know which. Of some numbers none are usual.
            with suppress(ValueError):
                copy.codec_context.layout = f"{layout.nb_channels}c"
    return copy


def _takes(muxer: str, stream: av.stream.Stream) -> bool:
    output = av.open(io.BytesIO(), "w", format=muxer)
    try:
        _add_stream(output, stream)
        output.start_encoding()
    except (FFmpegError, ValueError, AttributeError):
        return False
    finally:
        with suppress(*MEDIA_FAULTS):
            output.close()
    return True


_CHUNK = struct.Struct("<4sI")
#: In a stream's header: its unit of time as two numbers, and its start in that unit.
_UNIT_PLACE, _START_PLACE = 20, 28


def set_audio_starts(path: Path, seconds: Sequence[Fraction]) -> None:
    """Say in the header of a finished file when its audio streams begin.

    Args:
        path: The file, as FFmpeg writes it.
        seconds: Of each audio stream, in order, 0 or more; rounded to the stream's unit of time, that of a packet or
            sample.

    Raises:
        OSError: the disk fails.
    """
    with open(path, "r+b") as file:
        places = [place for place in _stream_headers(file) if _read(file, place, "4s") == (b"auds",)]
        for place, start in zip(places, seconds, strict=True):
            scale, rate = _read(file, place + _UNIT_PLACE, "<II")
            file.seek(place + _START_PLACE)
            file.write(struct.pack("<I", round(start * rate / scale)))


def _stream_headers(file: BinaryIO) -> list[int]:
    """Where the contents of the streams' headers (``strh``) begin."""
    places, lists = [], [(12, 12 + _CHUNK.size)]  # behind RIFF, size and kind there is one list, of headers
    while lists:
        place, end = lists.pop(0)
        while place < end:
            name, size = _read(file, place, _CHUNK.format)
            content = place + _CHUNK.size
            if name == b"LIST" and _read(file, content, "4s")[0] in (b"hdrl", b"strl"):
                lists.append((content + 4, content + size))
            elif name == b"strh":
                places.append(content)
            place = content + size + size % 2
    return places


def _read(file: BinaryIO, place: int, format: str) -> tuple:
    file.seek(place)
    return struct.unpack(format, file.read(struct.calcsize(format)))
