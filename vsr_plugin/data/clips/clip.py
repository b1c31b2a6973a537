"""What every clip offers, and clips that are folders of images or video files."""

from __future__ import annotations

import operator
import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from vsr_plugin.errors import DataError, MediaError
from vsr_plugin.media import IMAGE_SUFFIXES, VideoSource, natural_key, open_source
from vsr_plugin.media.image_file import read_header
from vsr_plugin.media.images.image_folder import find_gap
from vsr_plugin.media.video_file import MEDIA_FAULTS, demux, open_input, pick_video_stream
from vsr_plugin.ops.frames import to_uint8


class Window(NamedTuple):
    """A rectangle of a frame, in pixels."""

    top: int
    left: int
    height: int
    width: int

    def scaled(self, scale: int) -> Window:
        """Return the same place in frames whose sides are ``scale`` times as long."""
        return Window(*(scale * side for side in self))

    @property
    def slices(self) -> tuple[slice, slice]:
        """Rows and columns, to index an array ``(h, w, ...)`` with."""
        return slice(self.top, self.top + self.height), slice(self.left, self.left + self.width)


class Clip(ABC):
    """Frames of one size in order, read at any place.

    Making one touches no file; what is asked for is looked up then, and remembered. A clip keeps no file open, so
    that any number of them may exist, be pickled, and be read from several threads and processes at once.

    Attributes:
        name: POSIX path relative to the root it was found under, no suffix (``00001/0001``).
        path: The folder or file.
    """

    def __init__(self, name: str, path: Path) -> None:
        self.name = name
        self.path = path

    @property
    @abstractmethod
    def num_frames(self) -> int:
        """Number of frames; raises ``DataError`` where frames are missing or there are none."""

    @property
    @abstractmethod
    def height(self) -> int:
        """Rows of every frame, read from a header."""

    @property
    @abstractmethod
    def width(self) -> int:
        """Columns of every frame, read from a header."""

    def frame_name(self, index: int) -> str:
        """Return what a person calls frame ``index``, for messages and for names of files."""
        return f"{index:08d}"

    def read(self, indices: Sequence[int], window: Window | None = None) -> np.ndarray:
        """Read frames.

        Args:
            indices: Frame numbers from 0, in any order.
            window: The part to read; None for whole frames.

        Returns:
            ``(len(indices), h, w, 3)``, uint8 RGB, the caller's own to write into.

        Raises:
            DataError: A frame is damaged, or has another size than the first.
            IndexError: There is no such frame.
            ValueError: The window is not inside the frame.
        """
        indices = [operator.index(i) for i in indices]
        for i in indices:
            if not 0 <= i < self.num_frames:
                raise IndexError(f"clip {self.name} has frames 0 to {self.num_frames - 1}, got {i}")
        if window is None:
            window = Window(0, 0, self.height, self.width)
        elif not (
            0 <= window.top < window.top + window.height <= self.height
            and 0 <= window.left < window.left + window.width <= self.width
        ):
            raise ValueError(f"{window} is not inside the {self.width}x{self.height} frames of clip {self.name}")
        return self._read(indices, window)

    @abstractmethod
    def _read(self, indices: list[int], window: Window) -> np.ndarray:
        """Do the work of :meth:`read` with valid arguments."""

    def _check_frame_size(self, index: int, shape: tuple[int, ...]) -> None:
        height, width = shape[:2]
        if (height, width) != (self.height, self.width):
            raise self._fault(
                index,
                f"is {width}x{height}, but the first frame is {self.width}x{self.height}; "
                "all frames of a clip must have one size",
            )

    def _fault(self, index: int, what: str) -> DataError:
        return DataError(f"clip {self.name}, frame {self.frame_name(index)} ({self.path}): {what}")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, {str(self.path)!r})"


class ImageClip(Clip):
    """Images of a folder in natural order, with any first number; see :class:`Clip`.

    Grey images get three equal channels, transparency is dropped, 16-bit samples are reduced to 8 bits.
    """

    _files: list[str] | None = None
    _size: tuple[int, int] | None = None

    @property
    def files(self) -> list[str]:
        """Names of the images, in order; raises ``DataError`` if there are none or a number is left out."""
        if self._files is None:
            self._files = self._list()
        return self._files

    @property
    def num_frames(self) -> int:
        return len(self.files)

    @property
    def height(self) -> int:
        return self._first_size()[0]

    @property
    def width(self) -> int:
        return self._first_size()[1]

    def frame_name(self, index: int) -> str:
        return os.path.splitext(self.files[index])[0]

    def _list(self) -> list[str]:
        try:
            names = os.listdir(self.path)
        except OSError as error:
            raise DataError(f"clip {self.name} ({self.path}): cannot be listed ({error.strerror})") from error
        # Interned, since the 91701 clips of Vimeo-90K share seven names.
        files = sorted((sys.intern(name) for name in names if is_image(name)), key=natural_key)
        if not files:
            raise DataError(f"clip {self.name} ({self.path}): the folder holds no images; put its frames there")
        fault = find_gap(files)
        if fault:
            raise DataError(f"clip {self.name} ({self.path}): {fault}; get a whole copy or renumber the files")
        return files

    def _first_size(self) -> tuple[int, int]:
        if self._size is None:
            try:
                header = read_header(self.path / self.files[0])
            except MediaError as error:
                raise self._fault(0, str(error)) from error
            self._size = header.height, header.width
        return self._size

    def _read(self, indices: list[int], window: Window) -> np.ndarray:
        frames = np.empty((len(indices), window.height, window.width, 3), np.uint8)
        for frame, i in zip(frames, indices, strict=True):
            pixels = self._decode(i)
            self._check_frame_size(i, pixels.shape)
            # Only what is wanted is turned from OpenCV's BGR.
            frame[:] = to_uint8(pixels[window.slices])[..., ::-1]
        return frames

    def _decode(self, index: int) -> np.ndarray:
        """Return BGR ``(h, w, 3)``, uint8 or uint16."""
        path = self.path / self.files[index]
        try:
            # OpenCV opens no path that Windows spells in other letters, so it gets the bytes.
            data = np.fromfile(path, np.uint8)
            pixels = cv2.imdecode(data, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH) if data.size else None
        except OSError as error:
            raise self._fault(index, f"{path.name} cannot be read ({error.strerror})") from error
        except cv2.error:
            pixels = None
        if pixels is None or pixels.dtype not in (np.uint8, np.uint16):
            raise self._fault(
                index, f"{path.name} does not decode as an 8- or 16-bit image; get a whole copy or remove the clip"
            )
        return pixels


def is_image(name: str) -> bool:
    """Whether a file is a frame by its name; hidden files are what file managers leave."""
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES


class VideoClip(Clip):
    """Frames of a video as stored (not turned upright); see :class:`Clip`.

    A video is decoded from its beginning up to the last frame that is wanted, so for random places in long videos
    pack it first (``tools/prepare_data.py``). Depths above 8 bits are reduced.
    """

    _source: VideoSource | None = None
    _count: int | None = None

    @property
    def num_frames(self) -> int:
        if self._count is None:
            self._count = self._count_packets()
        return self._count

    @property
    def height(self) -> int:
        return self._opened().height

    @property
    def width(self) -> int:
        return self._opened().width

    def _opened(self) -> VideoSource:
        if self._source is None:
            try:
                self._source = open_source(self.path)
            except MediaError as error:
                raise DataError(f"clip {self.name}: {error}") from error
        return self._source

    def _count_packets(self) -> int:
        # A container's own number counts frames that an edit list hides; packets are read without decoding.
        try:
            with open_input(self.path) as container:
                stream = pick_video_stream(container, self.path)
                count = sum(bool(packet.size) and not packet.is_discard for packet in demux(container, [stream]))
        except MediaError as error:
            raise DataError(f"clip {self.name}: {error}") from error
        except MEDIA_FAULTS as error:
            raise DataError(f"clip {self.name} ({self.path}): the video is damaged ({error}); replace it") from error
        if not count:
            raise DataError(f"clip {self.name} ({self.path}): the video holds no frames")
        return count

    def _read(self, indices: list[int], window: Window) -> np.ndarray:
        frames = np.empty((len(indices), window.height, window.width, 3), np.uint8)
        if not indices:
            return frames
        places: dict[int, list[int]] = {}
        for place, i in enumerate(indices):
            places.setdefault(i, []).append(place)
        first, last = min(indices), max(indices)
        number = first
        try:
            for number, frame in enumerate(self._opened().frames(first, last - first + 1), first):
                for place in places.pop(number, ()):
                    frames[place] = to_uint8(frame.rgb[window.slices])
        except MediaError as error:
            raise self._fault(number, str(error)) from error
        if places:
            raise self._fault(min(places), "does not decode, the video is damaged or cut off; replace it")
        return frames


def frames_in_order(clip: Clip) -> Iterator[np.ndarray]:
    """Yield every frame (h, w, 3), uint8 RGB, as :meth:`Clip.read` gives it.

    A video is decoded once; reading its frames by number would decode it from the beginning for each.

    Raises:
        DataError: a frame is damaged or missing.
    """
    if not isinstance(clip, VideoClip):
        for i in range(clip.num_frames):
            yield clip.read([i])[0]
        return
    count = 0
    try:
        with open_source(clip.path) as source:
            for frame in source.frames():
                yield to_uint8(frame.rgb)
                count += 1
    except MediaError as error:
        raise DataError(f"clip {clip.name}, frame {count}: {error}") from error
    if count != clip.num_frames:
        raise DataError(f"clip {clip.name} ({clip.path}): {count} of {clip.num_frames} frames decode; get a whole copy")
