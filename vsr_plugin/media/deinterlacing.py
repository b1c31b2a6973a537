"""Whole frames from interlaced video, by FFmpeg's filters.

In video of a camera, even and odd lines were taken at two moments in turn: ``bwdif`` makes up the lines that are
missing. In film that was made into video of 60 fields a second (telecine), the lines of every frame are there, spread
over the fields of two or three pictures: ``fieldmatch`` finds those that belong together, and of the five pictures
that come of four frames of film ``decimate`` drops the one that is there twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction

import av
import av.filter
from av.error import FFmpegError

from vsr_plugin.errors import MediaError
from vsr_plugin.media.video_file import reason


@dataclass(frozen=True)
class Deinterlacing:
    """A way of making whole frames.

    Attributes:
        filters: names and options, in order; none leaves pictures as they are.
        ratio: frames that come out per picture.
        made_of: what a frame is made of, for a note.
    """

    filters: tuple[tuple[str, str], ...] = ()
    ratio: Fraction = Fraction(1)
    made_of: str = "its frames"


#: What can be asked for: a frame of each frame, where the video says that it is interlaced or of all; a frame of each
#: field, which are twice as many; the frames of film, which are four fifths; or nothing.
DEINTERLACE = {
    "auto": Deinterlacing((("bwdif", "mode=send_frame:deint=interlaced"),)),
    "on": Deinterlacing((("bwdif", "mode=send_frame:deint=all"),)),
    "fields": Deinterlacing((("bwdif", "mode=send_field:deint=all"),), Fraction(2), "its fields"),
    "film": Deinterlacing(
        (
            ("fieldmatch", "mode=pc:combmatch=full"),
            # Where no field fits, at a cut of the video, say, the picture is left marked as interlaced.
            ("bwdif", "mode=send_frame:deint=interlaced"),
            ("decimate", "cycle=5"),
        ),
        Fraction(4, 5),
        "the fields that are of one frame of film",
    ),
    "off": Deinterlacing(),
}


def whole_frames(
    pictures: Iterable[av.VideoFrame], mode: str, source: object, rate: Fraction = Fraction(25)
) -> Iterator[av.VideoFrame]:
    """Deinterlace pictures, some behind what comes in, since each is made with the help of its neighbours.

    Args:
        pictures: of one size, in order.
        mode: one of :data:`DEINTERLACE` but ``'off'``. What comes first in an interlaced picture, the even or the odd
            lines, is what it says, or the even ones.
        source: name of the video, for the error.
        rate: pictures per second; with ``'film'`` timestamps are made from it.

    Yields:
        As many pictures, twice as many with ``'fields'``, four of five with ``'film'``, of the same format; their
        timestamps are in a unit of their own.

    Raises:
        MediaError: the filters cannot take a picture.
    """
    filters = _Filters(mode, source, rate)
    for picture in pictures:
        yield from filters(picture)
    if filters.are_ready:
        yield from filters(None)


def _content(pixels: av.VideoFormat) -> tuple[bool, list[tuple[int, bool]]]:
    """What a pixel format holds, whatever its arrangement."""
    return pixels.is_rgb, sorted((component.bits, component.is_alpha) for component in pixels.components)


class _Filters:
    """The filters, made for the first picture that comes."""

    def __init__(self, mode: str, source: object, rate: Fraction) -> None:
        self._mode, self._source, self._rate = mode, source, rate
        self._graph: av.filter.Graph | None = None
        self._format: av.VideoFormat | None = None

    @property
    def are_ready(self) -> bool:
        return self._graph is not None

    def __call__(self, picture: av.VideoFrame | None) -> list[av.VideoFrame]:
        """What comes out when a picture goes in, or the end."""
        out = []
        try:
            if self._graph is None:
                self._graph, self._format = self._make(picture), picture.format
            self._graph.vpush(picture)
            while True:
                out.append(self._graph.vpull())
        except (BlockingIOError, EOFError):  # they want another picture, or have no more
            pass
        except (FFmpegError, ValueError) as error:
            raise self._error(reason(error)) from error
        # What the filters do not take is converted without a word, to another arrangement of the same or to less.
        if out and _content(out[0].format) != _content(self._format):
            raise self._error(f"the filters take {out[0].format.name}, not {self._format.name}")
        return out

    def _error(self, why: str) -> MediaError:
        others = "on or off" if self._mode == "film" else "off"
        return MediaError(f"{self._source}: cannot be deinterlaced ({why}); use --deinterlace {others}")

    def _make(self, first: av.VideoFrame) -> av.filter.Graph:
        graph = av.filter.Graph()
        begin = graph.add(
            "buffer",
            f"video_size={first.width}x{first.height}:pix_fmt={first.format.name}:time_base={first.time_base}:"
            f"frame_rate={self._rate}",
        )
        filters = (graph.add(name, options) for name, options in DEINTERLACE[self._mode].filters)
        graph.link_nodes(begin, *filters, graph.add("buffersink")).configure()
        return graph
