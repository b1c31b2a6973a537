"""Clips in one ``.npy`` file, of which only the pixels that are wanted are read: reading and writing them."""

from __future__ import annotations

import os
import shutil
import struct
from pathlib import Path

import numpy as np

from vsr_plugin.data.clips.clip import Clip, Window
from vsr_plugin.errors import DataError, MediaError
from vsr_plugin.files import PartialFile, partial_path


class PackedClip(Clip):
    """One uncompressed array ``(t, h, w, 3)``, uint8 RGB; see :class:`Clip`.

    The file is mapped, so reading a window touches only the rows it lies in. Written by
    :mod:`vsr_plugin.data.clips.packed`.
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


#: The header has this length whatever the number of frames, so that it can be written last; pixels start at a
#: multiple of 64 bytes, as numpy wants them for mapping.
HEADER_BYTES = 128
_MAGIC = b"\x93NUMPY\x01\x00"


def packed_bytes(num_frames: int, height: int, width: int) -> int:
    """Size in bytes of a packed clip."""
    return HEADER_BYTES + num_frames * height * width * 3


def check_space(folder: Path, needed: int) -> None:
    """Make sure that ``needed`` bytes fit on the disk of ``folder``, which need not exist yet.

    Raises:
        MediaError: they do not.
    """
    there = folder.absolute()
    while not there.exists():
        there = there.parent
    free = shutil.disk_usage(there).free
    if needed > free:
        raise MediaError(
            f"{folder}: {needed / 1e9:.2f} GB are needed and {free / 1e9:.2f} GB are free; free space or choose "
            "another place"
        )


def _header(shape: tuple[int, ...]) -> bytes:
    described = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape!r}, }}".encode()
    length = HEADER_BYTES - len(_MAGIC) - 2
    return _MAGIC + struct.pack("<H", length) + described.ljust(length - 1) + b"\n"


class PackedWriter:
    """Writes frames of one clip into a ``.npy`` file of shape (t, h, w, 3), one at a time.

    The file appears under its name when the ``with`` block ends, and not at all when it ends by an exception.

    Args:
        path: the file, whose folder exists.
        height: rows of every frame.
        width: columns of every frame.
        num_frames: how many are expected, to make sure beforehand that they fit on the disk.

    Raises:
        MediaError: the file exists, cannot be written, or would not fit.

    Example:
        >>> with PackedWriter(Path("000.npy"), height=720, width=1280) as writer:  # doctest: +SKIP
        ...     for frame in frames:
        ...         writer.write(frame)
    """

    def __init__(self, path: Path, *, height: int, width: int, num_frames: int = 0) -> None:
        self.path = path
        self._size = (height, width, 3)
        self.num_written = 0
        check_space(path.parent, packed_bytes(num_frames, height, width))
        self._partial = PartialFile(path, overwrite=False, path=partial_path(path))
        self._file = open(self._partial.path, "wb")  # noqa: SIM115 (open for as long as this object is)
        self._file.seek(HEADER_BYTES)

    def write(self, frame: np.ndarray) -> None:
        """Append a frame (h, w, 3) of type uint8.

        Raises:
            MediaError: it has another size, or the disk is full.
            ValueError: it is no RGB frame of 8 bits.
        """
        if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
            raise ValueError(f"`frame` must be uint8 (h, w, 3), got {frame.dtype} {frame.shape}")
        if frame.shape != self._size:
            raise MediaError(
                f"{self.path}: frame {self.num_written} is {frame.shape[1]}x{frame.shape[0]}, those before are "
                f"{self._size[1]}x{self._size[0]}; all frames of a clip must have one size"
            )
        try:
            self._file.write(np.ascontiguousarray(frame).data)
        except OSError as error:
            raise self._failed(error) from error
        self.num_written += 1

    def _failed(self, error: OSError) -> MediaError:
        return MediaError(
            f"{self.path}: writing failed at frame {self.num_written} ({error.strerror}); free space or choose "
            "another place"
        )

    def _commit(self) -> None:
        if not self.num_written:
            raise MediaError(f"{self.path}: no frame was written")
        try:
            self._file.seek(0)
            self._file.write(_header((self.num_written, *self._size)))
            self._file.close()
            self._partial.commit()
        except OSError as error:
            raise self._failed(error) from error

    def _discard(self) -> None:
        try:
            # Closing writes what is buffered, which fails on a full disk.
            self._file.close()
        except OSError:
            pass
        finally:
            self._partial.discard()

    def __enter__(self) -> PackedWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *exc_info: object) -> None:
        try:
            if kind is None:
                self._commit()
        finally:
            self._discard()
