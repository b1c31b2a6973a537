"""The decoded frames of a sequence, by index: in memory while they are few, else on disk."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from vsr_plugin.inference.record_file import RecordFile

#: Beyond this many bytes frames go to the disk.
_MEMORY_BYTES = 256 * 2**20


class FrameStore(Sequence):
    """RGB arrays ``(h, w, 3)`` of ``uint8`` or ``uint16``, all of one size, appended and then read in any order.

    Args:
        path: the file to use once they are too many; made then, removed by :meth:`close`.
        memory_bytes: how many bytes of frames may be in memory.
    """

    def __init__(self, path: Path, memory_bytes: int = _MEMORY_BYTES) -> None:
        self._path = path
        self._memory_bytes = memory_bytes
        self._held: list[np.ndarray] = []
        self._file: RecordFile | None = None
        self._count = 0

    def append(self, frame: np.ndarray) -> None:
        """Add a frame.

        Raises:
            MediaError: the disk is full.
        """
        if self._file is None and (self._count + 1) * frame.nbytes > self._memory_bytes and self._count:
            self._move_to_disk()
        if self._file is None:
            self._held.append(frame)
        else:
            self._write(self._count, frame)
        self._count += 1

    def _move_to_disk(self) -> None:
        first = self._held[0]
        self._shape, self._dtype = first.shape, first.dtype
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = RecordFile(self._path, (first.nbytes,), torch.uint8)
        for i, frame in enumerate(self._held):
            self._write(i, frame)
        self._held.clear()

    def _write(self, number: int, frame: np.ndarray) -> None:
        self._file.write(number, torch.from_numpy(np.ascontiguousarray(frame).reshape(-1).view(np.uint8)))

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, i: int) -> np.ndarray:
        if not 0 <= i < self._count:
            raise IndexError(f"frame {i} of {self._count}")
        if self._file is None:
            return self._held[i]
        return self._file.read(i).numpy().view(self._dtype).reshape(self._shape)

    def close(self) -> None:
        """Give memory and disk back; the store is empty then."""
        self._held.clear()
        self._count = 0
        if self._file is not None:
            self._file.close()
            self._file = None
            self._path.unlink(missing_ok=True)
