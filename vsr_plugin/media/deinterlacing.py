"""Whole frames from interlaced video, whose lines were taken at two moments in turn: FFmpeg's filter ``bwdif``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import av
import av.filter
from av.error import FFmpegError

from vsr_plugin.errors import MediaError

from .video_file import reason

#: What can be asked for, and the filter's options: a frame of each frame, where the video says that it is interlaced
#: or of all; a frame of each field, which are twice as many; or nothing.
DEINTERLACE = {
    "auto": "mode=send_frame:deint=interlaced",
    "on": "mode=send_frame:deint=all",
    "fields": "mode=send_field:deint=all",
    "off": None,
}


def whole_frames(pictures: Iterable[av.VideoFrame], mode: str, source: object) -> Iterator[av.VideoFrame]:
    """Deinterlace pictures, one behind what comes in, since each is made with the help of its neighbours.

    Args:
        pictures: of one size, in order.
        mode: one of :data:`DEINTERLACE` but ``'off'``. What comes first in an interlaced picture, the even or the odd
            lines, is what it says, or the even ones.
        source: name of the video, for the error.

    Yields:
        As many pictures, or twice as many with ``'fields'``, of the same format; their timestamps are in half the unit.

    Raises:
        MediaError: the filter cannot take a picture.
    """
    bwdif = _Filter(DEINTERLACE[mode], source)
    for picture in pictures:
        yield from bwdif(picture)
    if bwdif.is_ready:
        yield from bwdif(None)


class _Filter:
    """The filter, made for the first picture that comes."""

    def __init__(self, options: str, source: object) -> None:
        self._options, self._source = options, source
        self._graph: av.filter.Graph | None = None

    @property
    def is_ready(self) -> bool:
        return self._graph is not None

    def __call__(self, picture: av.VideoFrame | None) -> list[av.VideoFrame]:
        """What comes out when a picture goes in, or the end."""
        out = []
        try:
            if self._graph is None:
                self._graph = self._make(picture)
            self._graph.vpush(picture)
            while True:
                out.append(self._graph.vpull())
        except (BlockingIOError, EOFError):  # it wants another picture, or has no more
            return out
        except (FFmpegError, ValueError) as error:
            raise MediaError(
                f"{self._source}: cannot be deinterlaced ({reason(error)}); use --deinterlace off"
            ) from error

    def _make(self, first: av.VideoFrame) -> av.filter.Graph:
        graph = av.filter.Graph()
        begin = graph.add_buffer(width=first.width, height=first.height, format=first.format, time_base=first.time_base)
        graph.link_nodes(begin, graph.add("bwdif", self._options), graph.add("buffersink")).configure()
        return graph
