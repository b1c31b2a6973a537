"""Tensors of one shape in one file, written and read by number: what a long video keeps on disk."""

import os
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vsr_plugin.errors import MediaError

#: bfloat16 has no numpy type; its bits travel as int16.
_BITS = {torch.bfloat16: torch.int16, torch.float16: torch.int16}


class RecordFile:
    """Fixed-size records in a file, one open file however many there are.

    Reads and writes go through the page cache and not through a memory map, so that they count neither as memory
    of the process nor against its limits.

    Args:
        path: the file, made if it is not there; its records survive the process.
        shape: of every record.
        dtype: of every record.
    """

    def __init__(self, path: str | os.PathLike, shape: tuple[int, ...], dtype: torch.dtype):
        self.path = Path(path)
        self.shape = tuple(shape)
        self.dtype = dtype
        self.record_bytes = torch.empty(0, dtype=dtype).element_size() * int(np.prod(shape))
        self._file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        self._written = False

    def write(self, number: int, tensor: Tensor) -> None:
        """Store a record.

        Raises:
            ValueError: it has another shape or dtype.
            MediaError: the disk is full or fails.
        """
        if tuple(tensor.shape) != self.shape or tensor.dtype != self.dtype:
            raise ValueError(f"records are {self.dtype} {self.shape}, got {tensor.dtype} {tuple(tensor.shape)}")
        bits = tensor.detach().contiguous().cpu().view(_BITS.get(self.dtype, self.dtype))
        data, offset = memoryview(bits.numpy()).cast("B"), number * self.record_bytes
        self._written = True
        try:
            while data:
                written = os.pwrite(self._file, data, offset)
                data, offset = data[written:], offset + written
        except OSError as error:
            raise self._failed(error) from error

    def sync(self) -> None:
        """Wait until what was written is on the disk.

        Raises:
            MediaError: the disk is full or fails.
        """
        if self._written:
            self._written = False  # first, since another thread may write meanwhile
            try:
                os.fsync(self._file)
            except OSError as error:
                raise self._failed(error) from error

    def _failed(self, error: OSError) -> MediaError:
        return MediaError(f"{self.path}: cannot be written ({error.strerror}); free space or use another folder")

    def read(self, number: int) -> Tensor:
        """A stored record, on the CPU.

        Raises:
            MediaError: there is no such record, or the disk fails.
        """
        buffer = np.empty(self.record_bytes, np.uint8)
        view, offset = memoryview(buffer), number * self.record_bytes
        while view:
            count = os.preadv(self._file, [view], offset)
            if count == 0:
                raise MediaError(f"{self.path}: record {number} is missing; the file was cut off or changed")
            view, offset = view[count:], offset + count
        return torch.from_numpy(buffer).view(self.dtype).view(self.shape)

    def close(self) -> None:
        """Close the file; it stays."""
        os.close(self._file)

    def __enter__(self) -> "RecordFile":
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()
