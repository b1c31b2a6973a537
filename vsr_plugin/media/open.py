"""How a path becomes a source of frames, or a place for them."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path

from vsr_plugin.errors import MediaError
from vsr_plugin.files import hidden_place, in_one_line
from vsr_plugin.media.deinterlacing import DEINTERLACE
from vsr_plugin.media.encoding import Encoding
from vsr_plugin.media.images.image_folder import IMAGE_SUFFIXES, AnimationSource, ImageFolderSource, is_animated
from vsr_plugin.media.images.image_segments import PNGFile, PNGSegments
from vsr_plugin.media.segmented import FrameSink, SegmentedOutput
from vsr_plugin.media.source import FrameSource
from vsr_plugin.media.video_reader import VideoSource
from vsr_plugin.media.video_segments import VideoSegments

VIDEO_SUFFIXES = (".mp4", ".mkv", ".mov", ".avi", ".webm", ".m4v")


def open_source(
    path: str | os.PathLike,
    *,
    assume_matrix: str | None = None,
    deinterlace: str = "auto",
    frame_rate: Fraction | None = None,
) -> FrameSource:
    """Open a video file, a folder of images or a single image for reading.

    Args:
        path: The input.
        assume_matrix: ``'bt601'`` or ``'bt709'`` for videos that declare no colour matrix; by
            default BT.2020 beside its primaries or for HDR, else BT.709 from 720 lines or 1280 columns on, BT.601
            below, as players do.
        deinterlace: of videos: ``'auto'`` makes whole frames where the video says that it is interlaced; ``'on'`` of
            all frames; ``'fields'`` one of every field, twice as many; ``'film'`` those of film that was made into
            video, four of five; ``'off'`` leaves frames as they are.
        frame_rate: frames per second of a video stream without a container, in place of what it says itself.

    Raises:
        MediaError: the path does not exist, holds no images, or is not a video that decodes.

    Example:
        >>> with open_source('clip.mp4') as source:        # doctest: +SKIP
        ...     for frame in source.frames(start=30, num_frames=5):
        ...         print(frame.pts, frame.rgb.shape)
    """
    if assume_matrix not in (None, "bt601", "bt709"):
        raise ValueError(f"assume_matrix must be 'bt601', 'bt709' or None, got {assume_matrix!r}")
    if deinterlace not in DEINTERLACE:
        raise ValueError(f"deinterlace must be one of {', '.join(DEINTERLACE)}, got {deinterlace!r}")
    source = Path(path)
    try:
        if not source.exists():
            raise MediaError(f"{source}: no such file or folder; check the path")
        is_folder = source.is_dir()
    except OSError as error:
        raise MediaError(f"{source}: cannot be read ({error.strerror}); check the path") from error
    if is_folder or source.suffix.lower() in IMAGE_SUFFIXES:
        if deinterlace not in ("auto", "off"):
            raise MediaError(f"{source}: images are not deinterlaced; leave --deinterlace {deinterlace} out")
        if not is_folder and is_animated(source):
            return AnimationSource(source)
        return ImageFolderSource(source)
    return VideoSource(source, assume_matrix=assume_matrix, deinterlace=deinterlace, frame_rate=frame_rate)


def scaled_size(source: FrameSource, scale: int | Fraction) -> tuple[int, int]:
    """Return rows and columns of the output; raises ``ValueError`` where they are not whole."""
    if scale <= 0:
        raise ValueError(f"scale must be positive, got {scale}")
    height, width = source.height * scale, source.width * scale
    if int(height) != height or int(width) != width:
        raise ValueError(f"scale {scale} makes no whole pixels of {source.width}x{source.height}")
    return int(height), int(width)


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
    existing folder makes PNG files; ``.png`` makes one of one image. Whatever can be checked before the long
    work is checked here. Use the result in ``with`` at once: a hidden file exists from here on.

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
    size = scaled_size(source, scale)
    target, _ = check_target(path, source)
    options = dict(start=start, num_frames=num_frames, overwrite=overwrite, encoding=encoding)
    return FrameSink(open_segmented(path, source, hidden_place(target), size=size, **options))


def open_segmented(
    path: str | os.PathLike,
    source: FrameSource,
    folder: Path,
    *,
    size: tuple[int, int],
    start: int = 0,
    num_frames: int | None = None,
    overwrite: bool = False,
    encoding: Encoding | None = None,
) -> SegmentedOutput:
    """Set up an output that is made of segments; writes nothing yet.

    Args:
        path: The output, a video, a folder for PNG files, or one of one image.
        source: Where the frames come from.
        folder: A working folder on the disk of the output.
        size: Rows and columns of the frames that will come.
        start: As for :func:`open_sink`, like all that follow.
        num_frames: See there.
        overwrite: See there.
        encoding: See there.

    Raises:
        MediaError: the output is the input, or codec, pixel format and size do not go together.
    """
    target, images = check_target(path, source)
    if images is not None:
        return images(target, source, folder, size=size, overwrite=overwrite)
    part = dict(start=start, num_frames=num_frames)
    encoding = encoding or Encoding()
    return VideoSegments(target, source, folder, size=size, **part, overwrite=overwrite, encoding=encoding)


def check_target(path: str | os.PathLike, source: FrameSource) -> tuple[Path, type[PNGSegments] | None]:
    """Return the output and what writes its PNG files; ``None`` for a video.

    Raises:
        MediaError: it is the input, or neither a video that can be written nor a folder, nor a PNG file for one image.
    """
    target = Path(path)
    check_not_read(target, source)
    if target.is_dir() or not target.suffix or os.fspath(path).endswith(("/", os.sep)):
        return target, PNGSegments
    if target.suffix.lower() == ".png" and isinstance(source, ImageFolderSource) and source.is_one_image:
        return target, PNGFile
    if target.suffix.lower() not in VIDEO_SUFFIXES:
        raise MediaError(
            f"{target}: cannot write {target.suffix} files; name a video ({' '.join(VIDEO_SUFFIXES)}) "
            "or a folder for PNG files (a name without extension, or ending in /); one image may become one .png"
        )
    return target, None


def check_not_read(target: Path, source: FrameSource, what: str = "the input") -> None:
    """Raise ``MediaError`` if ``target`` is what ``source`` reads, or its folder; ``what`` names the source."""
    read = [source.path]
    if isinstance(source, ImageFolderSource):
        read += [source.folder, *source.files]
    with in_one_line(target):
        target.resolve()  # which whoever writes there will do
        is_read = target.exists() and any(target.samefile(path) for path in read)
    if is_read:
        raise MediaError(f"{target}: is {what} as well; choose another name")
