"""How the frames of a shot get to a worker on another machine: by the input's path where that is the same there, as the
bytes of the files where it is not, and as decoded frames of videos that cannot be entered in the middle.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from enum import IntEnum
from pathlib import Path
from threading import Event
from typing import Any

import cv2
import numpy as np

from vsr_plugin.errors import MediaError
from vsr_plugin.media import Frame, FrameSource, ImageFolderSource
from vsr_plugin.media.excerpt import VideoExcerpts, write_excerpt
from vsr_plugin.media.source import Entry
from vsr_plugin.media.video_reader import VideoSource
from vsr_plugin.restoration.pipeline import until
from vsr_plugin.restoration.shots import RangeReader

#: Bytes that are sent as one object.
_PART_BYTES = 16 * 2**20


class Way(IntEnum):
    """How frames are sent, each for where those before it do not do."""

    PATH = 0
    BYTES = 1
    FRAMES = 2


class NotSentError(Exception):
    """A worker cannot read frames by the way that they were sent.

    Attributes:
        way: by which they are to be sent.
    """

    def __init__(self, way: Way) -> None:
        super().__init__(way)
        self.way = way


@dataclass(frozen=True)
class Sent:
    """A run of frames on its way; what it holds are references to objects of the cluster.

    Attributes:
        first: number of its first frame, from 0 at the beginning of the source.
        known: path, size and time of the last change, in nanoseconds, of the files that hold the frames.
        way: how it is sent.
        size: of the whole video file in bytes, by the way ``BYTES``.
        parts: each a list of what the way sends: offsets and bytes of a video, names and bytes of images, or frames.
    """

    first: int
    known: tuple[tuple[str, int, int], ...]
    way: Way
    size: int = 0
    parts: tuple[Any, ...] = ()


class Sender:
    """Sends runs of frames of one source.

    Args:
        source: the source.
        start: its frame that has the number 0 here.
        put: makes an object of the cluster, and returns a reference to it.
        keep: so many of the last frames that were read are held, for runs that overlap.

    Attributes:
        num_bytes: that were sent for shots.
        head_bytes: that were sent once for all of them.
    """

    def __init__(self, source: FrameSource, start: int, put: Callable[[Any], Any], keep: int = 0) -> None:
        self._source, self._start, self._put = source, start, put
        self._reader = RangeReader(source, start, keep)
        self._excerpts: VideoExcerpts | None = None
        self._head: tuple[Any, ...] = ()
        self.num_bytes = self.head_bytes = 0

    def send(self, first: int, count: int, entry: Entry | None, way: Way, stop: Event) -> Sent:
        """Send a run by a way, or by the next one where that does not do.

        Args:
            first: number of its first frame.
            count: of its frames.
            entry: where decoding can begin.
            way: how.
            stop: set when it is not wanted any more.

        Raises:
            MediaError: it cannot be read.
            StoppedError: ``stop`` is set.
        """
        try:
            return self._send(first, count, entry, way, stop)
        except OSError as error:
            raise MediaError(
                f"{error.filename or self._source.path}: cannot be read any more ({error.strerror}); start afresh with "
                "--overwrite when it is there again"
            ) from error

    def _send(self, first: int, count: int, entry: Entry | None, way: Way, stop: Event) -> Sent:
        source, begin = self._source, self._start + first
        images = source.files[begin : begin + count] if isinstance(source, ImageFolderSource) else None
        sent = Sent(begin, known_files(images or [source.path]), way)
        if way == Way.PATH:
            return sent
        if images is not None:
            return replace(sent, way=Way.BYTES, parts=self._parts((path.name, path.read_bytes()) for path in images))
        if way == Way.BYTES and isinstance(source, VideoSource) and entry is not None:
            if self._excerpts is None:
                self._excerpts = VideoExcerpts(source)
                self._head = self._parts(self._excerpts.head)
                self.head_bytes, self.num_bytes = self.num_bytes, 0
            body = self._parts(self._excerpts.body(entry, begin + count))
            return replace(sent, size=self._excerpts.size, parts=self._head + body)
        frames = until(stop, self._reader.read(first, count))
        return replace(sent, way=Way.FRAMES, parts=self._parts(map(_packed, frames)))

    def close(self) -> None:
        """Close the file."""
        self._reader.close()

    def _parts(self, items: Iterable[tuple[Any, bytes]]) -> tuple[Any, ...]:
        parts, held, size = [], [], 0
        for item in items:
            held.append(item)
            size += len(item[1])
            self.num_bytes += len(item[1])
            if size >= _PART_BYTES:
                parts.append(self._put(held))
                held, size = [], 0
        return (*parts, *([self._put(held)] if held else ()))


def known_files(paths: Iterable[Path]) -> tuple[tuple[str, int, int], ...]:
    """Path, size and time of the last change of files."""
    found = ((path, path.stat()) for path in paths)
    return tuple((str(path.resolve()), status.st_size, status.st_mtime_ns) for path, status in found)


def received(source: FrameSource, sent: Sent, get: Callable[[Any], Any], folder: Path) -> FrameSource:
    """Return a source that reads the frames that were sent, under the numbers that they have in the whole one.

    Args:
        source: as it is where it was opened.
        sent: the frames.
        get: fetches an object of the cluster.
        folder: an existing folder, for files that were sent.

    Raises:
        NotSentError: the files are not here, or others, and only their paths were sent.
    """
    if _is_here(sent):
        return source
    if sent.way == Way.PATH:
        raise NotSentError(Way.BYTES)
    items = (item for part in sent.parts for item in get(part))
    if sent.way == Way.FRAMES:
        return _SentFrames(source, sent, get)
    here = copy.copy(source)
    if isinstance(source, ImageFolderSource):
        here.files = list(source.files)
        for number, (name, data) in enumerate(items, sent.first):
            here.files[number] = folder / name
            here.files[number].write_bytes(data)
        return here
    here.path = folder / source.path.name
    write_excerpt(here.path, sent.size, items)
    return _SentVideo(here)


def _is_here(sent: Sent) -> bool:
    # Frames are sent for what is in the files, too, where they are here: a decoder may not be able to begin in them.
    if sent.way == Way.FRAMES:
        return False
    try:
        return known_files(Path(path) for path, *_ in sent.known) == sent.known
    except OSError:
        return False


class _SentSource(FrameSource):
    """Stands for the source that frames were sent of."""

    def __init__(self, like: FrameSource) -> None:
        super().__init__(like.path)
        self.kind, self.height, self.width, self.bit_depth = like.kind, like.height, like.width, like.bit_depth
        self.orientation = like.orientation


class _SentVideo(_SentSource):
    """A video file that holds a part of what it should."""

    def __init__(self, source: VideoSource) -> None:
        super().__init__(source)
        self._source = source

    def frames(self, start: int = 0, num_frames: int | None = None, entry: Entry | None = None) -> Iterator[Frame]:
        """See :meth:`FrameSource.frames`; raises ``NotSentError`` without an entry."""
        if entry is None:
            raise NotSentError(Way.FRAMES)
        return self._source.frames(start, num_frames, entry)


class _SentFrames(_SentSource):
    """Frames that were decoded elsewhere; one part of them is in memory at a time."""

    def __init__(self, like: FrameSource, sent: Sent, get: Callable[[Any], Any]) -> None:
        super().__init__(like)
        self._sent, self._get = sent, get

    def frames(self, start: int = 0, num_frames: int | None = None, entry: Entry | None = None) -> Iterator[Frame]:
        """See :meth:`FrameSource.frames`."""
        number = self._sent.first
        for part in self._sent.parts:
            for item in self._get(part):
                if num_frames is not None and number >= start + num_frames:
                    return
                if number >= start:
                    yield _unpacked(item)
                number += 1


def _packed(frame: Frame) -> tuple[Frame, bytes]:
    """A frame whose pixels are a PNG, which loses nothing."""
    pixels = frame.rgb if frame.alpha is None else np.dstack([frame.rgb, frame.alpha])
    _, png = cv2.imencode(".png", np.ascontiguousarray(pixels), [cv2.IMWRITE_PNG_COMPRESSION, 1])
    return replace(frame, rgb=None, alpha=None, entry=None), png.tobytes()


def _unpacked(item: tuple[Frame, bytes]) -> Frame:
    frame, png = item
    pixels = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED)
    alpha = np.ascontiguousarray(pixels[..., 3]) if pixels.shape[2] == 4 else None
    return replace(frame, rgb=np.ascontiguousarray(pixels[..., :3]), alpha=alpha)
