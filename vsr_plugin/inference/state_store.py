"""Where a restoration keeps flows, keyframe features and states between its two sweeps: in memory or on disk."""

import json
import os
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from vsr_plugin.errors import MediaError
from vsr_plugin.files import write_text
from vsr_plugin.inference.record_file import RecordFile

#: The file of a folder that says how far the sweeps have come, and what it says when only the last one is left.
SWEPT, ALL_SWEPT = "swept", "all"


class TensorCache(Protocol):
    """Tensors by kind and number; all of one kind have one shape and dtype."""

    def put(self, kind: str, number: int, tensor: Tensor) -> None:
        """Store a tensor."""

    def take(self, kind: str, number: int, device: torch.device) -> Tensor:
        """A stored tensor on ``device``; ``KeyError`` or ``MediaError`` if there is none. It is read once or twice."""

    def drop(self, kind: str, number: int) -> None:
        """Say that a tensor is not needed any more."""

    def sync(self) -> None:
        """Have what was stored survive a power cut, if it survives the process."""


class MemoryCache:
    """Keeps tensors where they are."""

    def __init__(self):
        self._tensors: dict[tuple[str, int], Tensor] = {}

    def put(self, kind: str, number: int, tensor: Tensor) -> None:
        """Store a tensor without copying it."""
        self._tensors[kind, number] = tensor

    def take(self, kind: str, number: int, device: torch.device) -> Tensor:
        """The tensor itself."""
        return self._tensors[kind, number]

    def drop(self, kind: str, number: int) -> None:
        """Forget a tensor."""
        self._tensors.pop((kind, number), None)

    def sync(self) -> None:
        """Nothing: it ends with the process."""


class DiskCache:
    """Keeps tensors in a folder, one file and one open file a kind; survives the process.

    Args:
        folder: an existing folder; what an earlier process put there can be taken.
    """

    def __init__(self, folder: str | os.PathLike):
        self.folder = Path(folder)
        self._files: dict[str, tuple[RecordFile, bool]] = {}

    def put(self, kind: str, number: int, tensor: Tensor) -> None:
        """Write a tensor.

        Raises:
            MediaError: the disk is full or fails.
        """
        channels_last = (
            tensor.dim() == 4 and not tensor.is_contiguous() and tensor.is_contiguous(memory_format=torch.channels_last)
        )
        stored = tensor.permute(0, 2, 3, 1) if channels_last else tensor
        if kind not in self._files:
            self._files[kind] = self._create(kind, stored, channels_last)
        file, as_channels_last = self._files[kind]
        if as_channels_last and not channels_last:
            stored = tensor.permute(0, 2, 3, 1)
        elif channels_last and not as_channels_last:
            stored = tensor
        file.write(number, stored)

    def take(self, kind: str, number: int, device: torch.device) -> Tensor:
        """Read a tensor.

        Raises:
            MediaError: there is none.
        """
        if kind not in self._files:
            self._files[kind] = self._open(kind)
        file, channels_last = self._files[kind]
        tensor = file.read(number)
        return (tensor.permute(0, 3, 1, 2) if channels_last else tensor).to(device)

    def holds(self, kind: str, number: int) -> bool:
        """Whether a tensor was put here, by this process or an earlier one; only for kinds put in rising order."""
        if not (self.folder / f"{kind}.json").exists():
            return False
        if kind not in self._files:
            self._files[kind] = self._open(kind)
        file, _ = self._files[kind]
        return file.path.stat().st_size >= (number + 1) * file.record_bytes

    def drop(self, kind: str, number: int) -> None:
        """Nothing: the file goes with the folder, and a resumed run may read the record again."""

    def sync(self) -> None:
        """Have what was stored on the disk, not on its way there; in any thread.

        Raises:
            MediaError: the disk is full or fails.
        """
        for file, _ in list(self._files.values()):
            file.sync()

    def close(self) -> None:
        """Close the files; they stay."""
        for file, _ in self._files.values():
            file.close()
        self._files.clear()

    def _create(self, kind: str, stored: Tensor, channels_last: bool) -> tuple[RecordFile, bool]:
        layout = dict(shape=list(stored.shape), dtype=str(stored.dtype), channels_last=channels_last)
        path = self.folder / f"{kind}.json"
        if path.exists():
            # A resumed run goes on in the file of the first one.
            layout = json.loads(path.read_text())
        else:
            try:
                write_text(path, json.dumps(layout))
            except OSError as error:
                raise MediaError(f"{path}: cannot be written ({error.strerror}); free space") from error
        return self._record_file(kind, layout)

    def _open(self, kind: str) -> tuple[RecordFile, bool]:
        try:
            layout = json.loads((self.folder / f"{kind}.json").read_text())
        except OSError as error:
            raise MediaError(f"{self.folder}: holds no {kind} tensors to go on from") from error
        return self._record_file(kind, layout)

    def _record_file(self, kind: str, layout: dict) -> tuple[RecordFile, bool]:
        dtype = getattr(torch, layout["dtype"].removeprefix("torch."))
        return RecordFile(self.folder / f"{kind}.bin", tuple(layout["shape"]), dtype), layout["channels_last"]
