"""Frames, and what every source of them offers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vsr_plugin.errors import MediaError, printable
from vsr_plugin.media.colour import Colour
from vsr_plugin.media.display import Orientation


class Notes(list[str]):
    """Lines worth telling a person, in order, none twice."""

    def add(self, *lines: str) -> None:
        """Append those that are not there yet."""
        self.extend(line for line in dict.fromkeys(map(printable, lines)) if line not in self)


class Entry(NamedTuple):
    """A frame of a video at which decoding can begin, with what those behind it depend on.

    Attributes:
        number: Counted from 0.
        pts: Its presentation timestamp.
        first_pts: That of frame 0.
    """

    number: int
    pts: int
    first_pts: int


@dataclass(frozen=True)
class Frame:
    """A decoded picture with what a writer needs to put it back in its place.

    Attributes:
        rgb: ``(h, w, 3)``, ``uint8`` in 0..255 or ``uint16`` in 0..65535 (always the full 16-bit
            range, whatever the depth of the source).
        alpha: ``(h, w)`` of the same dtype, or ``None``. Only images carry one.
        grey: The source image has a single colour channel; a folder sink writes it back as grey.
        pts: Presentation timestamp in units of the source's ``time_base`` (video only).
        duration: How long the picture is shown, in the same units (video only).
        name: Stem of the image file (folder only).
        entry: The last frame up to this one at which decoding can begin, if there is one (video only).
    """

    rgb: np.ndarray
    alpha: np.ndarray | None = None
    grey: bool = False
    pts: int | None = None
    duration: int | None = None
    name: str | None = None
    entry: Entry | None = None


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
        constant_rate: Whether frames are known to follow at equal distances.
        has_own_rate: It says when its frames are shown; of images and streams without a container, nothing does.
        codec: Of a video, FFmpeg's name of the codec, ``None`` for images.
        bits_per_pixel: Of a video, as its stream or its file's size tells, ``None`` when unknown.
        orientation: The turn that makes a frame upright; frames come as stored, not turned.
        sample_aspect_ratio: Width to height of a pixel, ``None`` when unknown.
        audio_indices: Of a video, stream numbers of the audio streams.
        has_subtitles: Whether there are subtitle streams.
        whole: The source that this one is a part of, see :meth:`entered_at`; otherwise itself.
    """

    kind: str
    height: int
    width: int
    num_frames: int | None
    bit_depth: int
    colour: Colour
    time_base: Fraction | None = None
    average_rate: Fraction | None = None
    constant_rate: bool = True
    has_own_rate: bool = False
    codec: str | None = None
    bits_per_pixel: float | None = None
    orientation: Orientation = Orientation()
    sample_aspect_ratio: Fraction | None = None
    audio_indices: tuple[int, ...] = ()
    has_subtitles: bool = False

    def __init__(self, path: Path) -> None:
        self.path = path
        self.notes = Notes()
        self.whole: FrameSource = self

    @property
    def quantiser_step(self) -> float | None:
        """How coarsely it was quantised, see :mod:`vsr_plugin.media.quantiser`; ``None`` when nothing tells."""
        return None

    @abstractmethod
    def frames(self, start: int = 0, num_frames: int | None = None, entry: Entry | None = None) -> Iterator[Frame]:
        """Decode frame ``start`` and up to ``num_frames`` in order, one at a time.

        Args:
            start: Counted from 0.
            num_frames: All that follow if ``None``.
            entry: What an earlier pass gave with frame ``start`` or one before it: decoding begins there, or at the
                beginning of a file that cannot be entered there.

        Raises:
            MediaError: nothing is left at ``start``, a frame has another size, or an image cannot
                be read.
            ValueError: ``start`` is negative or ``num_frames`` below one.
        """

    def numbers(self, start: int, num_frames: int | None) -> range | None:
        """Numbers of the frames that :meth:`frames` would yield, where that is known without decoding, else ``None``.

        Raises:
            MediaError: nothing is left at ``start``.
            ValueError: ``start`` is negative or ``num_frames`` below one.
        """
        return None

    @property
    def num_frames_exact(self) -> int | None:
        """Number of frames where it is sure but for damage inside, so that it can be a reason to refuse something."""
        return self.num_frames

    @property
    def num_frames_estimate(self) -> int | None:
        """Number of frames for a progress display; may be off where ``num_frames`` is ``None``."""
        return self.num_frames

    def entered_at(self, seconds: float) -> FrameSource:
        """The same source, of which frame 0 is one a little before a moment, where it can be entered without decoding.

        Args:
            seconds: of a video, as players count them.

        Raises:
            MediaError: it cannot be read.
        """
        return self

    def covers_all(self, start: int, num_frames: int | None) -> bool:
        """Whether ``frames(start, num_frames)`` is known to yield the whole source."""
        if start != 0:
            return False
        return num_frames is None or (self.num_frames is not None and num_frames >= self.num_frames)

    def __enter__(self) -> FrameSource:
        return self

    def __exit__(self, *exc_info: object) -> None:
        return None

    @staticmethod
    def _check_range(start: int, num_frames: int | None) -> None:
        if start < 0:
            raise ValueError(f"start must be 0 or more, got {start}")
        if num_frames is not None and num_frames < 1:
            raise ValueError(f"num_frames must be 1 or more, got {num_frames}")

    def _range_of(self, available: int, start: int, num_frames: int | None) -> range:
        """The frames asked for of so many; raises as :meth:`numbers` does."""
        self._check_range(start, num_frames)
        if start >= available:
            raise self._too_short(start, available)
        stop = available if num_frames is None else start + num_frames
        if stop > available:
            self.notes.add(f"{available - start} frames from {start} on exist, {num_frames} were asked for")
        return range(start, min(stop, available))

    def _too_short(self, start: int, available: int) -> MediaError:
        return MediaError(
            f"{self.path}: has {available} frames, numbered from 0; none is left at start {start}, "
            "choose a smaller start"
        )
