"""A folder of images as a clip."""

from __future__ import annotations

import os
import sys

import cv2
import numpy as np

from vsr_plugin.data.clips.clip import Clip, Window
from vsr_plugin.errors import DataError, MediaError
from vsr_plugin.media import IMAGE_SUFFIXES, natural_key
from vsr_plugin.media.image_file import read_header
from vsr_plugin.media.images.image_folder import find_gap
from vsr_plugin.ops.frames import to_uint8


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
