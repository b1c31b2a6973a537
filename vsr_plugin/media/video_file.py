"""Opening a video file, and saying in plain words what is wrong with it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

import av
from av.error import FFmpegError

from vsr_plugin.errors import MediaError
from vsr_plugin.media.display import Orientation

#: What PyAV raises for a fault of the file, the disk or the codec.
MEDIA_FAULTS = (FFmpegError, OSError, ValueError)

# FFmpeg opens these as "video" although they are text: it draws the characters.
_TEXT_DEMUXERS = {"tty", "bin", "xbin", "adf", "idf", "ansi"}


def reason(error: BaseException) -> str:
    """Return the short text of an error, without its file name and number."""
    return str(getattr(error, "strerror", None) or error).rstrip(".")


def file_url(path: Path) -> str:
    """Return ``path`` so that FFmpeg reads no protocol or pattern into its name."""
    return "file:" + os.fspath(path)


def open_input(path: Path, file: BinaryIO | None = None) -> av.container.InputContainer:
    """Open ``path`` for reading, by way of ``file``, open already and of the same name, if it is given.

    Raises:
        MediaError: it cannot be read or is no media file.
    """
    try:
        # A playlist must not make us fetch anything from elsewhere; and tags of old files are in any encoding.
        container = av.open(
            file or file_url(path), container_options={"protocol_whitelist": "file"}, metadata_errors="replace"
        )
    except PermissionError as error:
        raise MediaError(f"{path}: permission denied; check who may read it") from error
    except MEDIA_FAULTS as error:
        empty = path.is_file() and path.stat().st_size == 0
        why = "the file is empty" if empty else reason(error)
        raise MediaError(
            f"{path}: not a video that can be opened ({why}); check the file or convert it first"
        ) from error
    if container.format.name in _TEXT_DEMUXERS:
        container.close()
        raise MediaError(f"{path}: is a text file, not a video; give a video file or a folder of images")
    return container


def demux(container: av.container.InputContainer, streams: Iterable[av.stream.Stream]) -> Iterator[av.Packet]:
    """Yield the packets of some streams in the order of the file, each stream's empty one at its end.

    Raises:
        FFmpegError: the file is damaged.
    """
    streams = list(streams)
    while True:
        try:
            yield from container.demux(streams)
            return
        except IndexError:
            # FLV and MPEG have no list of streams at their beginning. PyAV does not know one that comes up later on,
            # nor does anything here: reading goes on behind its packet.
            continue


def is_attached_picture(stream: av.stream.Stream) -> bool:
    """Whether a stream is a cover picture rather than a video."""
    return bool(int(stream.disposition) & int(av.stream.Disposition.attached_pic))


def pick_video_stream(container: av.container.InputContainer, path: Path) -> av.VideoStream:
    """Return the stream to restore: FFmpeg's choice, unless that is a cover picture.

    Raises:
        MediaError: there is none.
    """
    candidates = [s for s in container.streams.video if not is_attached_picture(s)]
    if candidates and all(s.codec_context is None for s in candidates):
        raise MediaError(f"{path}: the video's codec is not known here; the file is damaged, or convert it first")
    candidates = [s for s in candidates if s.codec_context is not None]
    if not candidates:
        found = sorted({s.type for s in container.streams})
        raise MediaError(f"{path}: has no video stream (only {', '.join(found) or 'nothing'}); give a video file")
    best = container.streams.best("video")
    return next((s for s in candidates if best is not None and s.index == best.index), candidates[0])


def display_matrix(frame: av.VideoFrame) -> tuple[int, ...] | None:
    """Return the nine numbers of a frame's display matrix, or ``None`` without one."""
    for item in frame.side_data:
        if item.type.name == "DISPLAYMATRIX":
            values = memoryview(bytes(item)).cast("i")
            return tuple(values)
    return None


def read_orientation(matrix: tuple[int, ...] | None) -> Orientation | None:
    """Return the turn a display matrix describes, ``None`` for an odd angle."""
    return Orientation() if matrix is None else Orientation.from_display_matrix(matrix)


def matroska_end(stream: av.stream.Stream) -> Fraction | None:
    """Return the second at which a Matroska stream declares to end, which tells a cut-off file; else ``None``."""
    declared = re.fullmatch(r"(\d+):(\d+):(\d+(?:\.\d+)?)", stream.metadata.get("DURATION", ""))
    if declared is None:
        return None
    hours, minutes, seconds = (Fraction(part) for part in declared.groups())
    return 3600 * hours + 60 * minutes + seconds
