"""Self-ensemble: a sequence is restored mirrored and transposed as well, and the mean is taken.

Seven Ways to Improve Example-Based Single Image Super Resolution (arXiv 1511.02228, section 3.5); MMagic's
``SpatialTemporalEnsemble``, by which the networks of NTIRE 2021 were scored, takes all eight turns.
"""

import shutil
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import NamedTuple

import numpy as np
from torch import Tensor

from vsr_plugin.files import write_text
from vsr_plugin.inference.storage import DiskCache, MemoryCache, TensorCache
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

#: How often a sequence has been restored whole, in the folder of the attempt.
_TURNS_DONE = "turns_done"


def mean_of_turns(
    restore: Callable[[Turn, Path, bool], Generator[tuple[int, Tensor], None, None]],
    turns: int,
    folder: Path,
    *,
    on_disk: bool,
) -> Iterator[tuple[int, Tensor]]:
    """Restore a sequence turn after turn, and hand out the mean in the last one.

    So no more is in memory than what one turn takes, and the sum so far. On the disk, what an earlier process has done
    by whole turns is not done again.

    Args:
        restore: see there.
        turns: how many, 2 or more.
        folder: of the attempt.
        on_disk: keep the sums there.

    Yields:
        ``(i, HR frame (3, scale * h, scale * w))`` of what the last turn yields.
    """
    done = folder / _TURNS_DONE
    first = int(done.read_text()) if on_disk and done.exists() else 0
    with ExitStack() as stack:
        before = _sums(stack, folder, first - 1) if on_disk else MemoryCache()
        for number in range(first, turns):
            place, is_last = folder / f"turn-{number}", number == turns - 1
            place.mkdir(exist_ok=True)
            after = before if is_last or not on_disk else _sums(stack, folder, number)
            with closing(restore(TURNS[number], place, is_last)) as restored:
                for i, hr in restored:
                    total = TURNS[number].back(hr).float()
                    if number:
                        total = before.take("sum", i, hr.device) + total
                    if is_last:
                        yield i, total / turns
                    else:
                        after.put("sum", i, total)
            if not is_last and on_disk:
                after.sync()
                write_text(done, str(number + 1))
                for finished in (place, folder / f"sums-{number - 1}"):
                    shutil.rmtree(finished, ignore_errors=True)
            before = after


def _sums(stack: ExitStack, folder: Path, number: int) -> TensorCache | None:
    """Where the sums up to a turn are, which later ones leave as they are: a turn that is stopped begins again."""
    if number < 0:
        return None
    place = folder / f"sums-{number}"
    place.mkdir(exist_ok=True)
    return stack.enter_context(closing(DiskCache(place)))
