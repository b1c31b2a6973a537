"""Windows over a scene: where they are cut, and how neighbours fade into each other. Without PyTorch.

The frames around a joint are restored by both windows, and are the mean of the two. Near its end a window knows little
of what comes, near its beginning little of what was, so the two err differently. Weights that pass from one to the
other leave no jump between two frames; what that gives and costs in dB stands in docs/restoring.md.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

Item = TypeVar("Item")

#: Frames on each side of a joint, at most.
_FADE = 2
#: White in a contribution: it is kept in ``uint16``, since what is rounded twice to 8 bits is rounded worse.
TOP = 65535.0


def check_windows(window: int | None, overlap: int | None) -> None:
    """Raise ``ValueError`` for a window of no frames, or an overlap of fewer than none; ``None`` is for the usual."""
    if (window is not None and window < 1) or (overlap is not None and overlap < 0):
        raise ValueError(f"`window` must be at least 1 and `overlap` at least 0, got {window} and {overlap}")


def fade_frames(window: int, overlap: int) -> int:
    """Frames on each side of a joint that both windows contribute to.

    Few, since there both have nearly the whole overlap as context; farther out one is near its end, and where content
    changes there, worse than the other alone (docs/restoring.md). Few enough, too, that the last windows of a scene,
    which may be half as long, keep frames between two joints.

    Args:
        window: frames kept of each window.
        overlap: frames that it reads beyond each end.
    """
    return max(0, min(_FADE, overlap // 2, (window // 2 - 1) // 2))


@dataclass
class Window(Generic[Item]):
    """A run of frames of a scene that is restored as one sequence.

    Attributes:
        frames: it reads, margins included.
        start: number in the scene of the first frame that it keeps.
        keep: indices into ``frames`` of those that it keeps, beginning with ``lead``.
        lead: indices of those that the window before contributes to as well.
        tail: indices of those behind ``keep`` that it contributes to in turn; the window after keeps them.
        is_part: it is not the whole scene.
    """

    frames: list[Item]
    start: int
    keep: range
    lead: range
    tail: range
    is_part: bool

    @property
    def core(self) -> range:
        """Indices of the frames that it alone restores."""
        return self.keep[len(self.lead) :]


def cut_windows(frames: Iterable[Item], window: int, overlap: int) -> Iterator[Window[Item]]:
    """Yield the windows of a scene; where they are depends on its length alone, which need not be known.

    A window of a scene that is longer than one keeps ``window`` frames; the last two are of equal length, so that
    neither is too short to be any good. Memory: two windows with their margins.

    Args:
        frames: of one scene, of any kind.
        window: frames kept of each window.
        overlap: frames that it reads beyond each end.

    Example:
        >>> [(w.start, len(w.keep), len(w.frames)) for w in cut_windows(range(200), 60, 15)]
        [(0, 58, 75), (58, 60, 90), (118, 40, 70), (158, 42, 55)]
    """
    fade = fade_frames(window, overlap)
    enough = max(2 * window + overlap, window + 2 * overlap)
    incoming, ended = iter(frames), False
    held: deque[Item] = deque()
    joint = margin = 0  # number in the scene, and index in `held`, of the frame behind the last joint
    while True:
        while not ended and len(held) - margin < enough:
            try:
                held.append(next(incoming))
            except StopIteration:
                ended = True
        left = len(held) - margin
        if left == 0:
            return
        if ended and left <= (window if margin else window + 2 * overlap):
            kept = left
        elif ended and left < 2 * window:
            kept = -(-left // 2)
        else:
            kept = window
        stop = margin + kept
        before, after = (fade if margin else 0), (0 if ended and kept == left else fade)
        keep = range(margin - before, stop - after)
        yield Window(
            list(held)[: stop + overlap],
            joint - before,
            keep,
            keep[: 2 * before],
            range(keep.stop, keep.stop + 2 * after),
            is_part=joint > 0 or not ended or kept < left,
        )
        joint += kept
        margin = min(stop, overlap)
        for _ in range(stop - margin):
            held.popleft()


def blend_values(before: np.ndarray, after: np.ndarray, position: int, count: int) -> np.ndarray:
    """Mean of two contributions to one frame, ``float32`` from 0 to :data:`TOP`.

    Args:
        before: of the window that ends, ``uint16``.
        after: of the one that begins, whose weight grows evenly.
        position: of the frame among those around the joint.
        count: of the frames around the joint.
    """
    weight = np.float32((position + 0.5) / count)
    return before * (1 - weight) + after * weight
