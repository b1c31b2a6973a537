"""Audio carried over packet by packet, beside the frames it belongs to."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
from av.error import FFmpegError

from vsr_plugin.errors import MediaError

from .video_file import open_input, reason


class AudioCopier:
    """Copies packets of a file's audio streams, unchanged, into an output container.

    Reads with a handle of its own, so that reading frames and copying audio do not wait for each
    other. :attr:`notes` tells what was not copied.
    """

    def __init__(self, path: Path, output: av.container.OutputContainer, target: Path) -> None:
        """Add one output stream per audio stream.

        Raises:
            MediaError: the output container cannot hold a codec.
        """
        self.notes: list[str] = []
        self._output = output
        self._input = open_input(path)
        self._streams: dict[int, av.stream.Stream] = {}
        try:
            for stream in self._input.streams.audio:
                self._streams[stream.index] = self._add(stream, target)
        except BaseException:
            self._input.close()
            raise
        self._packets = self._read()
        self._waiting: av.Packet | None = None
        self._offset = Fraction(0)
        self._trim = False

    def _add(self, stream: av.AudioStream, target: Path) -> av.stream.Stream:
        codec = stream.codec_context.codec.canonical_name if stream.codec_context is not None else "unknown"
        others = " or ".join(suffix for suffix in (".mkv", ".mov") if suffix != target.suffix.lower())
        try:
            copy = self._output.add_stream_from_template(stream)
        except (FFmpegError, ValueError, AttributeError) as error:
            raise MediaError(
                f"{target}: a {target.suffix} file cannot hold the source's {codec} audio; "
                f"choose {others}, or drop the audio with --no-audio"
            ) from error
        copy.metadata.update({k: v for k, v in stream.metadata.items() if k in ("language", "title")})
        copy.disposition = stream.disposition
        return copy

    def _read(self) -> Iterator[av.Packet]:
        wanted = [self._input.streams[index] for index in self._streams]
        try:
            for packet in self._input.demux(wanted):
                if packet.size and packet.dts is not None:
                    yield packet
        except FFmpegError as error:
            self.notes.append(f"the audio is cut off or damaged ({reason(error)}); what can be read is copied")

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
                if moment < self._offset:
                    continue
                shift = round(self._offset / unit)
                packet.dts -= shift
                if packet.pts is not None:
                    packet.pts -= shift
            packet.stream = self._streams[packet.stream.index]
            self._output.mux_one(packet)

    def close(self) -> None:
        """Close the input."""
        self._packets.close()
        self._input.close()
