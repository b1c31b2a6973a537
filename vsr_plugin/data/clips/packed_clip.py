"""A clip in one ``.npy`` file, of which only the pixels that are wanted are read."""

from __future__ import annotations

import os

import numpy as np

from vsr_plugin.data.clips.clip import Clip, Window
from vsr_plugin.errors import DataError


class PackedClip(Clip):
    """One uncompressed array ``(t, h, w, 3)``, uint8 RGB; see :class:`Clip`.

    The file is mapped, so reading a window touches only the rows it lies in. Written by
    :mod:`vsr_plugin.data.clips.packing`.
    """

    _layout: tuple[tuple[int, ...], int] | None = None

    @property
    def num_frames(self) -> int:
        return self._shape[0]

    @property
    def height(self) -> int:
        return self._shape[1]

    @property
    def width(self) -> int:
        return self._shape[2]

    @property
    def _shape(self) -> tuple[int, ...]:
        if self._layout is None:
            # Opened once this way, which checks that header and length of the file agree.
            try:
                array = np.load(self.path, mmap_mode="r", allow_pickle=False)
            except (OSError, ValueError, EOFError) as error:
                raise DataError(
                    f"clip {self.name} ({self.path}): cannot be read as a packed clip ({error}); pack it again"
                ) from error
            fits = array.ndim == 4 and array.shape[-1] == 3 and array.dtype == np.uint8 and array.size > 0
            if not fits or not array.flags.c_contiguous:
                raise DataError(
                    f"clip {self.name} ({self.path}): holds {array.dtype} {array.shape}, a packed clip is "
                    "uint8 (t, h, w, 3) in C order; pack it again"
                )
            self._layout = array.shape, array.offset
        return self._layout[0]

    def _read(self, indices: list[int], window: Window) -> np.ndarray:
        shape, offset = self._layout
        try:
            # Mapped anew at each read, since a mapping holds a file descriptor.
            with open(self.path, "rb") as file:
                self._ask_ahead(file.fileno(), indices, window)
                mapped = np.memmap(file, np.uint8, "r", offset, shape)
        except (OSError, ValueError) as error:
            raise DataError(f"clip {self.name} ({self.path}): was changed or removed while in use ({error})") from error
        # A plain view: slicing the subclass costs more than copying a small crop.
        pixels = mapped.view(np.ndarray)
        frames = np.empty((len(indices), window.height, window.width, 3), np.uint8)
        for frame, i in zip(frames, indices, strict=True):
            frame[:] = pixels[i][window.slices]
        return frames

    def _ask_ahead(self, descriptor: int, indices: list[int], window: Window) -> None:
        """Let the disk fetch the rows of all frames at once; one after the other takes three times as long."""
        if not hasattr(os, "posix_fadvise"):
            return
        (_, height, width, channels), offset = self._layout
        row = width * channels
        for i in indices:
            start = offset + (i * height + window.top) * row
            os.posix_fadvise(descriptor, start, window.height * row, os.POSIX_FADV_WILLNEED)
