"""What every clip offers, whatever its frames are stored in."""

from __future__ import annotations

import operator
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vsr_plugin.errors import DataError


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
