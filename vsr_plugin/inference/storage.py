"""What a restoration keeps while it goes on: frames, and what the sweeps hand to each other, in memory or in files."""

import errno
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
import torch.nn as nn
from torch import Tensor

from vsr_plugin.errors import MediaError
from vsr_plugin.files import write_text
from vsr_plugin.ops.frames import Frame, check_same_kind

#: bfloat16 has no numpy type; its bits travel as int16.
_BITS = {torch.bfloat16: torch.int16, torch.float16: torch.int16}


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Say what failed where a file is written.

    Raises:
        MediaError: the disk is full or fails, in place of ``OSError``.
    """
    try:
        yield
    except OSError as error:
        raise MediaError(f"{path}: cannot be written ({error.strerror}); free space or use another folder") from error


def write_note(path: Path, text: str) -> None:
    """Write a small file that a later process reads; see :func:`vsr_plugin.files.write_text`.

    Raises:
        MediaError: the disk is full or fails.
    """
    with writing(path):
        write_text(path, text)


class RecordFile:
    """Fixed-size records in a file, one open file however many there are.

    Reads and writes go through the page cache and not through a memory map, so that they count neither as memory
    of the process nor against its limits.

    Args:
        path: the file, made if it is not there; its records survive the process.
        shape: of every record.
        dtype: of every record.

    Raises:
        MediaError: the file cannot be made.
    """

    def __init__(self, path: str | os.PathLike, shape: tuple[int, ...], dtype: torch.dtype):
        self.path = Path(path)
        self.shape = tuple(shape)
        self.dtype = dtype
        self.record_bytes = torch.empty(0, dtype=dtype).element_size() * int(np.prod(shape))
        with writing(self.path):
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
        with writing(self.path):
            while data:
                written = os.pwrite(self._file, data, offset)
                data, offset = data[written:], offset + written

    def sync(self) -> None:
        """Wait until what was written is on the disk.

        Raises:
            MediaError: the disk is full or fails.
        """
        if self._written:
            self._written = False  # first, since another thread may write meanwhile
            with writing(self.path):
                os.fsync(self._file)

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


#: The file of a folder that says how far the sweeps have come, and what it says when only the last one is left.
SWEPT, ALL_SWEPT = "swept", "all"
#: Likewise how many turns of an ensemble have been made.
TURNS_DONE = "turns_done"


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
        if kind not in self._files:
            self._files[kind] = self._create(kind, tensor)
        file, channels_last = self._files[kind]
        file.write(number, tensor.permute(0, 2, 3, 1) if channels_last else tensor)

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

    def _create(self, kind: str, tensor: Tensor) -> tuple[RecordFile, bool]:
        path = self.folder / f"{kind}.json"
        if path.exists():
            # A resumed run goes on in the file of the first one.
            return self._open(kind)
        channels_last = (
            tensor.dim() == 4 and not tensor.is_contiguous() and tensor.is_contiguous(memory_format=torch.channels_last)
        )
        stored = tensor.permute(0, 2, 3, 1) if channels_last else tensor
        layout = dict(shape=list(stored.shape), dtype=str(stored.dtype), channels_last=channels_last)
        write_note(path, json.dumps(layout))
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


_FLOW_BYTES = 2 * 2 * 4  # of a pixel: both directions, two numbers in float32
_FRAME_BYTES = 3 * 4  # of a pixel of a cleaned frame, or of one that others are added to
_FULL = (errno.ENOSPC, errno.EDQUOT)


def needed_bytes(net: nn.Module, num_frames: int, pixels: int, block: int, *, states: bool) -> int:
    """What a sequence takes on disk at most.

    Args:
        net: a network with the steps of a ``VSRNet``.
        num_frames: length of the sequence.
        pixels: of an LR frame.
        block: frames at a time; at each border of blocks every sweep keeps as many states as its steps take.
        states: those of every frame are kept as well, but for the last sweep's.
    """
    state = 4 * net.state_channels
    sweeps = net.propagation.sweeps
    a_frame = (_FLOW_BYTES if net.alignment.needs_flow else 0) + (len(sweeps) - 1) * (state if states else 0)
    borders = sum(sweep.order for sweep in sweeps) * -(-num_frames // block) * state
    features = len(net.feature_windows(num_frames)) * 4 * net.mid_channels
    # Those of a round and of the one before, see `clean_sequence`.
    cleaned = 0 if net.cleaning is None else min(net.cleaning.max_rounds, 2) * num_frames * _FRAME_BYTES * pixels
    # Those of the turn before and of this one.
    sums = 0 if net.ensemble == 1 else 2 * num_frames * _FRAME_BYTES * net.scale**2 * pixels
    return cleaned + sums + -(-pixels // net.feature_stride**2) * (num_frames * a_frame + borders + features)


class Spill:
    """The folder of one sequence: whether states are kept there, which later processes keep to.

    Args:
        folder: it.
        net, num_frames, pixels, block: see :func:`needed_bytes`.
        whole: the folder that this and all else of the sequence lies in, if it is not alone.
    """

    def __init__(
        self, folder: Path, net: nn.Module, num_frames: int, pixels: int, block: int, whole: Path | None = None
    ):
        self._folder, self._marker, self._whole = folder, folder / "keeps_states", whole or folder
        self._sweeps = [sweep.name for sweep in net.propagation.sweeps]
        self._on_gpu = next(net.parameters()).is_cuda
        self._least, self._with_states = (
            needed_bytes(net, num_frames, pixels, block, states=states) for states in (False, True)
        )

    def keeps_states(self) -> bool:
        """Whether keeping every backward state is possible and cheaper than computing it again.

        Raises:
            MediaError: the disk has no room without them either, or fails.
        """
        if self._on_gpu:
            keeps = False  # a GPU computes a state in less time than a disk takes to store and read it
        elif self._marker.exists():
            keeps = self._marker.read_text() == "yes"
        else:
            keeps = self._free() > 1.1 * self._with_states
            write_note(self._marker, "yes" if keeps else "no")
        if not keeps and self._free() < self._least:
            gib = 2**30
            raise MediaError(
                f"{self._folder}: has {self._free() / gib:.1f} GiB free, of {self._least / gib:.1f} GiB that the exact "
                "strategy keeps there for so long a scene; free space, choose another place, --scene-cuts on or "
                "--strategy window"
            )
        return keeps

    def give_up_states(self, error: MediaError) -> bool:
        """Make room where the disk has become full before the last sweep; false if that is not what happened.

        Raises:
            MediaError: it is full even then.
        """
        full = isinstance(error.__cause__, OSError) and error.__cause__.errno in _FULL
        swept = self._folder / SWEPT
        done = swept.exists() and swept.read_text() == ALL_SWEPT
        if not full or done or self._on_gpu or self._marker.read_text() != "yes":
            return False
        for name in self._sweeps:
            for suffix in ("bin", "json"):
                (self._folder / f"{name}.{suffix}").unlink(missing_ok=True)
        write_note(self._marker, "no")
        return True

    def _free(self) -> int:
        """Bytes that are free, or taken by what this sequence has put there before."""
        own = sum(path.stat().st_blocks * 512 for path in self._whole.rglob("*"))
        return shutil.disk_usage(self._folder).free + own
