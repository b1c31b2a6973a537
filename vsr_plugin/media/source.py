"""Where frames come from: what every source offers, and how a path becomes one."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

from vsr_plugin.errors import MediaError
from vsr_plugin.media.colour import Colour
from vsr_plugin.media.frame import Frame
from vsr_plugin.media.orientation import Orientation

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")


class FrameSource(ABC):
    """Frames of equal size in order, with what a sink needs to write them back.

    A source can be read more than once: every call of :meth:`frames` starts afresh and holds a
    file open only while its generator runs. As a context manager it needs no clean-up of its own;
    ``with`` makes the scope visible.

    Attributes:
        path: The input as given.
        kind: ``'video'`` or ``'folder'`` (a single image is a folder of one).
        height: Rows of a frame as :meth:`frames` yields it.
        width: Columns of a frame.
        num_frames: What the container says, exact for folders, ``None`` when it says nothing.
        notes: Lines worth telling a person; grows while reading, never repeats a line.
        bit_depth: Bits per sample; above 8 the frames are ``uint16``.
        colour: How the source's samples stand for colours.
        time_base: Unit of timestamps in seconds, ``None`` for images.
        average_rate: Frames per second, ``None`` for images.
        orientation: The turn that makes a frame upright; frames come as stored, not turned.
        sample_aspect_ratio: Width to height of a pixel, ``None`` when unknown.
    """

    kind: str
    height: int
    width: int
    num_frames: int | None
    bit_depth: int
    colour: Colour
    time_base: Fraction | None = None
    average_rate: Fraction | None = None
    orientation: Orientation = Orientation()
    sample_aspect_ratio: Fraction | None = None

    def __init__(self, path: Path) -> None:
        self.path = path
        self.notes: list[str] = []

    @abstractmethod
    def frames(self, start: int = 0, num_frames: int | None = None) -> Iterator[Frame]:
        """Decode frame ``start`` and up to ``num_frames`` in order, one at a time.

        Raises:
            MediaError: nothing is left at ``start``, a frame has another size, or an image cannot
                be read.
            ValueError: ``start`` is negative or ``num_frames`` below one.
        """

    @property
    def num_frames_exact(self) -> int | None:
        """Number of frames where it is sure but for damage inside, so that it can be a reason to refuse something."""
        return self.num_frames

    @property
    def num_frames_estimate(self) -> int | None:
        """Number of frames for a progress display; may be off where ``num_frames`` is ``None``."""
        return self.num_frames

    def covers_all(self, start: int, num_frames: int | None) -> bool:
        """Whether ``frames(start, num_frames)`` is known to yield the whole source."""
        if start != 0:
            return False
        return num_frames is None or (self.num_frames is not None and num_frames >= self.num_frames)

    def __enter__(self) -> FrameSource:
        return self

    def __exit__(self, *exc_info: object) -> None:
        return None

    def _note(self, line: str) -> None:
        if line not in self.notes:
            self.notes.append(line)

    @staticmethod
    def _check_range(start: int, num_frames: int | None) -> None:
        if start < 0:
            raise ValueError(f"start must be 0 or more, got {start}")
        if num_frames is not None and num_frames < 1:
            raise ValueError(f"num_frames must be 1 or more, got {num_frames}")

    def _too_short(self, start: int, available: int) -> MediaError:
        return MediaError(
            f"{self.path}: has {available} frames, numbered from 0; none is left at start {start}, "
            "choose a smaller start"
        )


def open_source(path: str | os.PathLike, *, assume_matrix: str | None = None, deinterlace: str = "auto") -> FrameSource:
    """Open a video file, a folder of images or a single image for reading.

    Args:
        path: The input.
        assume_matrix: ``'bt601'`` or ``'bt709'`` for videos that declare no colour matrix; by
            default BT.709 from 720 lines or 1280 columns on, BT.601 below, as players do.
        deinterlace: of videos: ``'auto'`` makes whole frames where the video says that it is interlaced; ``'on'`` of
            all frames; ``'fields'`` one of every field, twice as many; ``'film'`` those of film that was made into
            video, four of five; ``'off'`` leaves frames as they are.

    Raises:
        MediaError: the path does not exist, holds no images, or is not a video that decodes.

    Example:
        >>> with open_source('clip.mp4') as source:        # doctest: +SKIP
        ...     for frame in source.frames(start=30, num_frames=5):
        ...         print(frame.pts, frame.rgb.shape)
    """
    # Imported here because both build on this module.
    from vsr_plugin.media.deinterlacing import DEINTERLACE
    from vsr_plugin.media.image_folder import ImageFolderSource
    from vsr_plugin.media.video_reader import VideoSource

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
        return ImageFolderSource(source)
    return VideoSource(source, assume_matrix=assume_matrix, deinterlace=deinterlace)
