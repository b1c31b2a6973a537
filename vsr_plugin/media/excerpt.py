"""The bytes of a video file that decoding a run of its frames takes, for a machine that has not got the file.

What the demuxer reads on its way is recorded, in blocks. In a file of the same size that holds these blocks and nothing
else it goes the same way, whatever the container: the frames come out with their times as from the whole file.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import av
from av.error import FFmpegError

from vsr_plugin.media.source import Entry
from vsr_plugin.media.video_file import demux, open_input
from vsr_plugin.media.video_reader import STEPS_BACK, VideoSource

_BLOCK = 32 * 1024
#: Pictures that a decoder may want beyond the last one that comes out of it: those that others are made of, and one for
#: each of its threads.
_BEYOND = 32


class _Recorder(io.FileIO):
    """A file that knows which of its blocks were read."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.blocks: set[int] = set()

    def read(self, size: int = -1) -> bytes:
        begin = self.tell()
        data = super().read(size)
        # The block behind as well: buffers of another size end elsewhere.
        self.blocks.update(range(begin // _BLOCK, (begin + len(data)) // _BLOCK + 2))
        return data


class VideoExcerpts:
    """Finds the bytes that runs of frames take.

    Args:
        source: the video.

    Attributes:
        head: offsets and bytes that every run takes: what says how the file is made.
    """

    def __init__(self, source: VideoSource) -> None:
        self._source = source
        self.size = source.path.stat().st_size
        with _Recorder(source.path) as file, open_input(source.path, file):
            self._head = file.blocks
        self.head = list(self._read(self._head))

    def body(self, entry: Entry, stop: int) -> Iterator[tuple[int, bytes]]:
        """Yield offsets and bytes for the frames from an entry on.

        Args:
            entry: where decoding begins.
            stop: number of the frame behind the last one; frames are counted from 0 at the beginning of the video.
        """
        blocks: set[int] = set()
        for earlier in STEPS_BACK:  # until the key frame is met, as the reader of the file does
            with _Recorder(self._source.path) as file, open_input(self._source.path, file) as container:
                is_met = self._pass(container, entry, stop, earlier)
                blocks |= file.blocks
            if is_met:
                break
        return self._read(blocks - self._head)

    def _pass(self, container: av.container.InputContainer, entry: Entry, stop: int, earlier: float) -> bool:
        """Read the packets of some frames; returns whether the first one is among them."""
        stream = container.streams[self._source.stream_index]
        left = stop - entry.number + 1 + _BEYOND  # one more, whose time says how long the last one is shown
        start = round(self._source.start / stream.time_base)
        is_met = False
        with suppress(FFmpegError):
            self._source.seek(container, stream, entry, earlier)
            for packet in demux(container, [stream]):
                if packet.pts is None or packet.pts - start < entry.pts:
                    continue
                is_met |= packet.is_keyframe and packet.pts - start == entry.pts
                left -= 1
                if left <= 0:
                    break
        return is_met

    def _read(self, blocks: Iterable[int]) -> Iterator[tuple[int, bytes]]:
        with open(self._source.path, "rb") as file:
            for block in sorted(blocks):
                file.seek(block * _BLOCK)
                if data := file.read(_BLOCK):
                    yield block * _BLOCK, data


def write_excerpt(path: Path, size: int, parts: Iterable[tuple[int, bytes]]) -> None:
    """Make a file that holds parts of another one in their places, and nothing else.

    Args:
        path: of the file.
        size: of the whole one, in bytes; a file system that knows holes keeps none of what is not there.
        parts: offsets and bytes.
    """
    with open(path, "wb") as file:
        os.truncate(file.fileno(), size)
        for offset, data in parts:
            file.seek(offset)
            file.write(data)
