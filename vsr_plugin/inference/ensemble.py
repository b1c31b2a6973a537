"""Self-ensemble: a sequence is restored mirrored and transposed as well, and the mean is taken.

Seven Ways to Improve Example-Based Single Image Super Resolution (arXiv 1511.02228, enhanced prediction); MMagic's
``SpatialTemporalEnsemble``, by which the networks of NTIRE 2021 were scored, takes all eight turns.
"""

import shutil
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import NamedTuple

import numpy as np
from torch import Tensor

from vsr_plugin.inference.storage import TURNS_DONE, DiskCache, MemoryCache, TensorCache, write_note
from vsr_plugin.ops.frames import Frame


class Turn(NamedTuple):
    """How a frame is looked at.

    Attributes:
        up_down, left_right: it is mirrored so,
        transposed: and then its rows become columns.
    """

    up_down: bool = False
    left_right: bool = False
    transposed: bool = False

    def of(self, frame: Frame) -> Frame:
        """A frame, turned; an array ``(h, w, 3)`` or a tensor ``(3, h, w)``."""
        if isinstance(frame, Tensor):
            frame = frame.flip(self._mirrored(-2))
            return frame.transpose(-2, -1).contiguous() if self.transposed else frame
        frame = np.flip(frame, self._mirrored(0))
        return np.ascontiguousarray(frame.swapaxes(0, 1) if self.transposed else frame)

    def back(self, frame: Tensor) -> Tensor:
        """A turned frame ``(3, h, w)`` as it was."""
        return (frame.transpose(-2, -1) if self.transposed else frame).flip(self._mirrored(-2))

    def _mirrored(self, rows: int) -> tuple[int, ...]:
        return (rows,) * self.up_down + (rows + 1,) * self.left_right


#: The eight turns; an ensemble takes the first ones. Of all pairs and fours the first gain most on clean frames, where
#: rows become columns: kernels treat these least alike.
TURNS = (
    Turn(),
    Turn(up_down=True, left_right=True, transposed=True),
    Turn(transposed=True),
    Turn(up_down=True, transposed=True),
    Turn(up_down=True, left_right=True),
    Turn(left_right=True),
    Turn(up_down=True),
    Turn(left_right=True, transposed=True),
)


class TurnedFrames(Sequence):
    """A sequence whose frames are all turned, each when it is asked for."""

    def __init__(self, frames: Sequence[Frame], turn: Turn):
        self._frames, self._turn = frames, turn

    def __len__(self) -> int:
        return len(self._frames)

    def __getitem__(self, i: int) -> Frame:
        return self._turn.of(self._frames[i])


#: Restores all frames of a sequence, turned, in order. It is given a turn, an existing folder for it, and whether it is
#: the last one, of which an earlier process may have handed out some frames already.
Restore = Callable[[Turn, Path, bool], Generator[tuple[int, Tensor], None, None]]


def mean_of_turns(
    restore: Restore, turns: int, folder: Path, *, on_disk: bool, stop_frame: int | None = None
) -> Iterator[tuple[int, Tensor]]:
    """Restore a sequence turn after turn, and hand out the mean in the last one.

    So no more is in memory than what one turn takes, and the sum so far. On the disk, what an earlier process has done
    by whole turns is not done again.

    Args:
        restore: see there.
        turns: how many, 2 or more.
        folder: of the attempt.
        on_disk: keep the sums there.
        stop_frame: frames from this one on are not asked for.

    Yields:
        ``(i, HR frame (3, scale * h, scale * w))`` of what the last turn yields.

    Raises:
        MediaError: the disk is full or fails.
    """

    def place(number: int) -> Path:
        path = folder / f"turn-{number}"
        path.mkdir(exist_ok=True)
        return path

    done = folder / TURNS_DONE
    first = int(done.read_text()) if on_disk and done.exists() else 0
    if on_disk:  # what a process has left that was killed while it tidied up
        _remove(folder, f"turn-{first}", f"sums-{first - 1}")
    sums = MemoryCache()
    with ExitStack() as stack:
        if on_disk:
            sums = _sums_on_disk(stack, folder, first - 1) if first else None
        for number in range(first, turns - 1):
            # Sums of earlier turns stay as they are, so that a turn which is stopped may begin again.
            after = _sums_on_disk(stack, folder, number) if on_disk else sums
            for i, total in _added(restore(TURNS[number], place(number), False), number, sums, stop_frame):
                after.put("sum", i, total)
            if on_disk:
                after.sync()
                write_note(done, str(number + 1))
                if sums is not None:
                    sums.close()  # or the disk would not get back what it holds
                _remove(folder, f"sums-{number}")
            sums = after
        last = turns - 1
        for i, total in _added(restore(TURNS[last], place(last), True), last, sums, stop_frame):
            yield i, total / turns


def _added(
    restored: Generator[tuple[int, Tensor], None, None], number: int, sums: TensorCache | None, stop_frame: int | None
) -> Iterator[tuple[int, Tensor]]:
    """The frames of a turn, turned back, and those of the turns before it."""
    with closing(restored):
        for i, hr in restored:
            if i == stop_frame:
                return
            total = TURNS[number].back(hr).float()
            yield i, sums.take("sum", i, hr.device) + total if number else total


def _sums_on_disk(stack: ExitStack, folder: Path, number: int) -> DiskCache:
    place = folder / f"sums-{number}"
    place.mkdir(exist_ok=True)
    return stack.enter_context(closing(DiskCache(place)))


def _remove(folder: Path, *kept: str) -> None:
    """Remove the folders of all turns and sums but these."""
    for path in (*folder.glob("turn-*"), *folder.glob("sums-*")):
        if path.name not in kept:
            shutil.rmtree(path, ignore_errors=True)
