"""Where frames go: what every sink offers, and how a path becomes one."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from fractions import Fraction
from pathlib import Path

from vsr_plugin.errors import MediaError
from vsr_plugin.media.encoding import Encoding
from vsr_plugin.media.frame import Frame
from vsr_plugin.media.image_folder import ImageFolderSource
from vsr_plugin.media.source import FrameSource

VIDEO_SUFFIXES = (".mp4", ".mkv", ".mov", ".avi", ".webm", ".m4v")


def scaled_size(source: FrameSource, scale: int | Fraction) -> tuple[int, int]:
    """Return rows and columns of the output; raises ``ValueError`` where they are not whole."""
    if scale <= 0:
        raise ValueError(f"scale must be positive, got {scale}")
    height, width = source.height * scale, source.width * scale
    if int(height) != height or int(width) != width:
        raise ValueError(f"scale {scale} makes no whole pixels of {source.width}x{source.height}")
    return int(height), int(width)


def check_frame(frame: Frame, size: tuple[int, int]) -> None:
    """Raise ``ValueError`` unless colour and alpha have ``size`` (rows, columns) and one dtype of 8 or 16 bits."""
    if frame.rgb.shape != (*size, 3):
        raise ValueError(f"frame.rgb must have shape {(*size, 3)}, got {frame.rgb.shape}")
    if frame.rgb.dtype.name not in ("uint8", "uint16"):
        raise ValueError(f"frame.rgb must be uint8 or uint16, got {frame.rgb.dtype}")
    alpha = frame.alpha
    if alpha is not None and (alpha.shape, alpha.dtype) != (size, frame.rgb.dtype):
        raise ValueError(
            f"frame.alpha must have shape {size} and the dtype of rgb ({frame.rgb.dtype}), "
            f"got {alpha.shape} {alpha.dtype}"
        )


class FrameSink(ABC):
    """Takes frames one by one; the result appears under its final name when ``with`` ends well.

    On any exception, ``KeyboardInterrupt`` included, nothing appears and what was written is
    removed.

    Attributes:
        path: The output.
        kind: ``'video'`` or ``'folder'``.
        notes: Lines worth telling a person; grows while writing.
        num_written: Frames taken so far.
    """

    kind: str

    def __init__(self, path: Path, source: FrameSource, scale: int | Fraction) -> None:
        self.path = path
        self.notes: list[str] = []
        self.num_written = 0
        self._source = source
        self._size = scaled_size(source, scale)

    def write(self, frame: Frame) -> None:
        """Write an upscaled frame, ``(h * scale, w * scale, 3)``, as the source would show it.

        Args:
            frame: ``pts``, ``duration``, ``name``, ``grey`` and (upscaled) ``alpha`` copied from
                the frame it was made from.

        Raises:
            MediaError: the disk is full, or the encoder fails.
            ValueError: the shape or the dtype is not what the sink was opened for.
        """
        check_frame(frame, self._size)
        self._write(frame)
        self.num_written += 1

    @abstractmethod
    def _write(self, frame: Frame) -> None:
        """Write a checked frame."""

    @abstractmethod
    def _finish(self) -> None:
        """Complete the result and give it its final name."""

    @abstractmethod
    def discard(self) -> None:
        """Close everything and remove what was written; also called by a ``with`` that fails."""

    def __enter__(self) -> FrameSink:
        return self

    def __exit__(self, exc_type: type[BaseException] | None, *exc_info: object) -> None:
        if exc_type is not None:
            self.discard()
            return
        try:
            if not self.num_written:
                raise MediaError(f"{self.path}: no frame was written; nothing is left there")
            self._finish()
        except BaseException:
            self.discard()
            raise

    def _note(self, line: str) -> None:
        if line not in self.notes:
            self.notes.append(line)


def open_sink(
    path: str | os.PathLike,
    source: FrameSource,
    *,
    scale: int | Fraction = 4,
    start: int = 0,
    num_frames: int | None = None,
    overwrite: bool = False,
    encoding: Encoding | None = None,
) -> FrameSink:
    """Open a video file or a folder for the upscaled frames of ``source``.

    The name decides: a known video extension makes a video; no extension, a trailing slash or an
    existing folder makes PNG files. Whatever can be checked before the long work is checked here.
    Use the result in ``with`` at once: a hidden file exists from here on.

    Args:
        path: The output.
        source: Where the frames come from; timestamps, audio, colour and shape of pixels follow it.
        scale: Enlargement, or ``Fraction(1, 4)`` and the like for degraded frames; frames must be ``scale``
            times the source's size.
        start: As given to ``source.frames``; with ``num_frames`` it says what part of the audio is
            kept and that timestamps start at zero.
        num_frames: As given to ``source.frames``.
        overwrite: Replace an existing video, or files of the same name in an existing folder.
        encoding: Choices for a video; ``None`` means :class:`Encoding` as it stands.

    Raises:
        MediaError: the output exists, cannot be written, is the input, or the codec, the container
            and the audio do not go together.

    Example:
        >>> with open_source('in.mp4') as source, open_sink('out.mp4', source) as sink:  # doctest: +SKIP
        ...     for frame in source.frames():
        ...         sink.write(replace(frame, rgb=upscale(frame.rgb)))
    """
    # Imported here because both build on this module.
    from vsr_plugin.media.folder_writer import PNGFolderSink
    from vsr_plugin.media.video_writer import VideoSink

    target, is_folder = check_target(path, source)
    if is_folder:
        return PNGFolderSink(target, source, scale=scale, overwrite=overwrite)
    return VideoSink(
        target,
        source,
        scale=scale,
        whole=source.covers_all(start, num_frames),
        overwrite=overwrite,
        encoding=encoding or Encoding(),
    )


def check_target(path: str | os.PathLike, source: FrameSource) -> tuple[Path, bool]:
    """Return the output and whether it is a folder for PNG files.

    Raises:
        MediaError: it is the input, or neither a video that can be written nor a folder.
    """
    target = Path(path)
    check_not_read(target, source)
    if target.is_dir() or not target.suffix or os.fspath(path).endswith(("/", os.sep)):
        return target, True
    if target.suffix.lower() not in VIDEO_SUFFIXES:
        raise MediaError(
            f"{target}: cannot write {target.suffix} files; name a video ({' '.join(VIDEO_SUFFIXES)}) "
            "or a folder for PNG files (a name without extension, or ending in /)"
        )
    return target, False


def check_not_read(target: Path, source: FrameSource, what: str = "the input") -> None:
    """Raise ``MediaError`` if ``target`` is what ``source`` reads, or the folder of it; ``what`` names the source."""
    read = [source.path]
    if isinstance(source, ImageFolderSource):
        read += [source.folder, *source.files]
    if target.exists() and any(target.samefile(path) for path in read):
        raise MediaError(f"{target}: is {what} as well; choose another name")
