"""Frames of one sequence, in memory while they are few, else in a file."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from vsr_plugin.inference.record_file import RecordFile
from vsr_plugin.ops.frames import Frame, check_same_kind


class FrameStore(Sequence):
    """A sequence of frames of one kind and size that grows at its end.

    Args:
        folder: where the file goes once the frames do not fit into memory.
        max_in_memory: number of frames up to which no file is made.
    """

    def __init__(self, folder: Path, max_in_memory: int):
        self._folder = folder
        self._max_in_memory = max_in_memory
        self._held: list[Frame] = []
        self._file: RecordFile | None = None
        self._count = 0
        self.first: Frame | None = None

    def append(self, frame: Frame) -> None:
        """Add a frame.

        Raises:
            ValueError: it is of another kind or size than the first.
            MediaError: the disk is full.
        """
        if self.first is None:
            self.first = frame
        check_same_kind(frame, self.first)
        if self._file is None and self._count >= self._max_in_memory:
            self._spill()
        if self._file is None:
            self._held.append(frame)
        else:
            self._file.write(self._count, self._as_record(frame))
        self._count += 1

    def _spill(self) -> None:
        record = self._as_record(self.first)
        self._file = RecordFile(self._folder / "frames.bin", tuple(record.shape), record.dtype)
        for number, frame in enumerate(self._held):
            self._file.write(number, self._as_record(frame))
        self._held.clear()

    @staticmethod
    def _as_record(frame: Frame) -> torch.Tensor:
        if isinstance(frame, torch.Tensor):
            return frame
        bits = np.require(
            frame, requirements=["C", "W"]
        )  # PyTorch warns of what is read-only, such as images read by PIL
        return torch.from_numpy(bits.view(np.int16) if frame.dtype == np.uint16 else bits)

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, number: int) -> Frame:
        if not 0 <= number < self._count:
            raise IndexError(number)
        if self._file is None:
            return self._held[number]
        record = self._file.read(number)
        if isinstance(self.first, torch.Tensor):
            return record
        return record.numpy().view(self.first.dtype)

    def close(self) -> None:
        """Close the file; it stays until its folder goes."""
        if self._file is not None:
            self._file.close()
            self._file = None
