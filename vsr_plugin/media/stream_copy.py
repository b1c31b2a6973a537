"""Audio and subtitles carried over packet by packet, beside the frames they belong to."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
from av.error import ArgumentError, FFmpegError, InvalidDataError

from vsr_plugin.errors import MediaError
from vsr_plugin.media.source import Notes
from vsr_plugin.media.video_file import open_input, reason


class StreamCopier:
    """Copies packets of a file's audio and subtitle streams, unchanged, into an output container.

    Reads with a handle of its own, so that reading frames and copying do not wait for each other. Audio must be copied;
    subtitles are as far as the output can hold them. :attr:`notes` tells what was not copied.
    """

    def __init__(
        self, path: Path, output: av.container.OutputContainer, target: Path, *, audio: bool, subtitles: bool
    ) -> None:
        """Add one output stream per stream.

        Raises:
            MediaError: the output container cannot hold a codec of the audio.
        """
        self.notes = Notes()
        self._output = output
        self._input = open_input(path)
        self._streams: dict[int, av.stream.Stream] = {}
        self._subtitles: set[int] = set()
        try:
            for stream in self._input.streams.audio if audio else ():
                self._streams[stream.index] = self._add_audio(stream, target)
            for stream in self._input.streams.subtitles if subtitles else ():
                self._add_subtitles(stream, target)
        except BaseException:
            self._input.close()
            raise
        self._packets = self._read()
        self._waiting: av.Packet | None = None
        self._offset = Fraction(0)
        self._trim = False

    @property
    def has_subtitles(self) -> bool:
        """Whether there are some that the output may be able to hold."""
        return bool(self._subtitles)

    def _add_audio(self, stream: av.AudioStream, target: Path) -> av.stream.Stream:
        try:
            return self._add(stream)
        except (FFmpegError, ValueError, AttributeError) as error:
            others = " or ".join(suffix for suffix in (".mkv", ".mov") if suffix != target.suffix.lower())
            raise MediaError(
                f"{target}: a {target.suffix} file cannot hold the source's {_codec(stream)} audio; "
                f"choose {others}, or drop the audio with --no-audio"
            ) from error

    def _add_subtitles(self, stream: av.subtitles.stream.SubtitleStream, target: Path) -> None:
        try:
            self._streams[stream.index] = self._add(stream)
            self._subtitles.add(stream.index)
        except (FFmpegError, ValueError, AttributeError):
            self.notes.add(subtitles_left_out(target, f"{_codec(stream)} subtitles"))

    def _add(self, stream: av.stream.Stream) -> av.stream.Stream:
        copy = self._output.add_stream_from_template(stream)
        copy.metadata.update({k: v for k, v in stream.metadata.items() if k in ("language", "title")})
        copy.disposition = stream.disposition
        return copy

    def _read(self) -> Iterator[av.Packet]:
        wanted = [self._input.streams[index] for index in self._streams]
        try:
            for packet in self._input.demux(wanted) if wanted else ():
                if packet.size and packet.dts is not None:
                    yield packet
        except FFmpegError as error:
            what = "audio and subtitles are" if self._subtitles else "the audio is"
            self.notes.add(f"{what} cut off or damaged ({reason(error)}); what can be read is copied")

    def trim(self, offset: Fraction) -> None:
        """Drop packets before ``offset`` seconds and move that moment to zero."""
        self._offset, self._trim = offset, True

    def copy_until(self, end: Fraction | None) -> None:
        """Write packets that begin before ``end`` seconds of the source; ``None`` means the rest."""
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

    def _cut_to_rest(self, packet: av.Packet, unit: Fraction) -> bool:
        """Let a subtitle that is on screen at the offset begin there; tell whether it is one."""
        start = round(self._offset / unit)
        end = (packet.pts or 0) + (packet.duration or 0)
        if packet.stream.index not in self._subtitles or packet.pts is None or end <= start:
            return False
        packet.pts = packet.dts = start
        packet.duration = end - start
        return True

    def _write(self, packet: av.Packet) -> None:
        index = packet.stream.index
        packet.stream = self._streams[index]
        try:
            self._output.mux_one(packet)
        except (ArgumentError, InvalidDataError):
            # Hours of work must not fail for a line of text.
            if index not in self._subtitles:
                raise
            self.notes.add("some subtitles do not fit into the output; they are left out")

    def close(self) -> None:
        """Close the input."""
        self._packets.close()
        self._input.close()


def subtitles_left_out(target: Path, what: str) -> str:
    """A note that some subtitles do not go into an output, and what to do."""
    other = "" if target.suffix.lower() == ".mkv" else "; .mkv holds most kinds"
    return f"{what} are not copied, a {target.suffix} file cannot hold them{other}"


def _codec(stream: av.stream.Stream) -> str:
    return stream.codec_context.codec.canonical_name if stream.codec_context is not None else "unknown"
