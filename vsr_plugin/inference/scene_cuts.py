"""Where one shot ends and the next begins: a detector of hard cuts that runs along with decoding.

Frames are reduced to 64 x 36 pixels. Two frames are as far apart as the least of three measures says, each divided
by what it reaches at a cut:

- mean absolute difference of luma and chroma, the least over shifts, so that pans and shakes count less;
- half the L1 distance of their joint colour histograms, which does not see motion at all;
- one minus the correlation of their luma, the greatest over shifts, which does not see changes of brightness.

A frame begins a shot if it is far from the one before it, several times farther than neighbouring pairs usually are
(which fades, dissolves and lasting fast motion are not), and if none of the frames that follow resembles one of the
frames before (which is so after a flash).
"""

from collections import deque
from collections.abc import Callable, Iterator
from itertools import accumulate, groupby
from operator import itemgetter
from typing import TypeVar

import cv2
import numpy as np

Item = TypeVar("Item")

_HEIGHT, _WIDTH = 36, 64
_SHIFTS = (0, -2, 2, -4, 4)
_MARGIN = max(_SHIFTS)
#: What the three measures reach at a cut. Largest on frames of one shot, and least at a cut, on real clips: see tests.
_DIFFERENCE, _HISTOGRAM, _DECORRELATION = 8.0, 0.25, 0.4
#: Contrast in levels of luma below which a picture counts as flat: noise must not decide.
_FLAT = 4.0
#: How much farther than the median of its neighbours a pair must be.
_OUTLIER = 3.0
#: Pairs before and after that count as neighbours.
_NEIGHBOURS = 6
#: The longest flash in frames.
_FLASH = 3
#: A pair this far apart is no resemblance.
_RESEMBLANCE = 0.5

#: Shortest distance between two cuts by default, in frames.
MIN_SCENE = 6


class _Thumbnail:
    """A frame as the detector keeps it."""

    def __init__(self, rgb: np.ndarray) -> None:
        small = cv2.resize(rgb, (_WIDTH, _HEIGHT), interpolation=cv2.INTER_AREA)
        if small.dtype == np.uint16:
            small = (small >> 8).astype(np.uint8)
        ycc = cv2.cvtColor(small, cv2.COLOR_RGB2YCrCb)
        self.histogram = cv2.calcHist([ycc], [0, 1, 2], None, [16, 8, 8], [0, 256] * 3).ravel() / (_HEIGHT * _WIDTH)
        self.ycc = ycc.astype(np.float32)


def _distance(a: _Thumbnail, b: _Thumbnail) -> float:
    """How far apart two frames are; 1 and more at cuts."""
    inner = a.ycc[_MARGIN:-_MARGIN, _MARGIN:-_MARGIN]
    luma = inner[..., 0] - inner[..., 0].mean()
    contrast = max(float(luma.std()), _FLAT)
    difference, correlation = np.inf, -1.0
    histogram = float(np.abs(a.histogram - b.histogram).sum()) / 2 / _HISTOGRAM
    for dy in _SHIFTS:
        for dx in _SHIFTS:
            # So near that it can neither be a cut nor hide one: most pairs are, and need one shift.
            near = min(difference / _DIFFERENCE, histogram, (1 - correlation) / _DECORRELATION)
            if near < 1 / _OUTLIER:
                return near
            moved = b.ycc[_MARGIN + dy : _HEIGHT - _MARGIN + dy, _MARGIN + dx : _WIDTH - _MARGIN + dx]
            per_channel = np.abs(inner - moved).mean((0, 1))
            difference = min(difference, float(per_channel @ (0.5, 0.25, 0.25)))
            other = moved[..., 0] - moved[..., 0].mean()
            scale = contrast * max(float(other.std()), _FLAT)
            correlation = max(correlation, float((luma * other).mean()) / scale)
    return min(difference / _DIFFERENCE, histogram, (1 - correlation) / _DECORRELATION)


class CutDetector:
    """Decides for frame after frame whether it begins a new shot; the same frames give the same answers.

    Answers come up to :attr:`delay` frames late. Memory: some twenty thumbnails, whatever the length.

    Args:
        min_scene: no cut comes fewer than so many frames after another one or after the start.

    Example:
        >>> detector = CutDetector()
        >>> dark, light = np.zeros((36, 64, 3), np.uint8), np.full((36, 64, 3), 200, np.uint8)
        >>> cuts = [cut for frame in [dark] * 10 + [light] * 10 for cut in detector.push(frame)] + detector.flush()
        >>> cuts.index(True), sum(cuts), len(cuts)
        (10, 1, 20)
    """

    delay = _NEIGHBOURS

    def __init__(self, min_scene: int = MIN_SCENE) -> None:
        if min_scene < 1:
            raise ValueError(f"`min_scene` must be at least 1, got {min_scene}")
        self._min_scene = min_scene
        self._frames: deque[_Thumbnail] = deque()
        # steps[k] is the distance between frames[k - 1] and frames[k].
        self._steps: deque[float] = deque()
        self._next = 0  # position in `_frames` of the frame to be judged next
        self._since_cut = 0

    def push(self, rgb: np.ndarray) -> list[bool]:
        """Take a frame ``(h, w, 3)`` of ``uint8`` or ``uint16``; return answers for frames in order, one or none."""
        frame = _Thumbnail(rgb)
        self._steps.append(_distance(self._frames[-1], frame) if self._frames else 0.0)
        self._frames.append(frame)
        if len(self._frames) - self._next <= self.delay:
            return []
        return [self._judge()]

    def flush(self) -> list[bool]:
        """Return the answers that are left after the last frame."""
        return [self._judge() for _ in range(len(self._frames) - self._next)]

    def _judge(self) -> bool:
        position = self._next
        cut = position > 0 and self._since_cut >= self._min_scene and self._is_cut(position)
        self._since_cut = 1 if cut else self._since_cut + 1
        self._next += 1
        while self._next > _NEIGHBOURS + 1:
            self._frames.popleft()
            self._steps.popleft()
            self._next -= 1
        return cut

    def _is_cut(self, position: int) -> bool:
        step = self._steps[position]
        if step < 1:
            return False
        near = range(max(1, position - _NEIGHBOURS), min(len(self._steps), position + _NEIGHBOURS + 1))
        others = [self._steps[k] for k in near if k != position]
        if others and step < _OUTLIER * float(np.median(others)):
            return False
        before = [self._frames[k] for k in range(max(0, position - _FLASH - 1), position)]
        after = [self._frames[k] for k in range(position, min(len(self._frames), position + _FLASH + 1))]
        return all(_distance(a, b) >= _RESEMBLANCE for a in before for b in after)


def mark_cuts(
    frames: Iterator[Item], min_scene: int = MIN_SCENE, *, view: Callable[[Item], np.ndarray] = lambda frame: frame
) -> Iterator[tuple[Item, bool]]:
    """Yield every frame with whether it begins a new shot; holds :attr:`CutDetector.delay` frames.

    Args:
        frames: of any kind.
        min_scene: see :class:`CutDetector`.
        view: what makes a frame an array ``(h, w, 3)`` of ``uint8`` or ``uint16``.
    """
    detector = CutDetector(min_scene)
    held: deque[Item] = deque()
    for frame in frames:
        held.append(frame)
        for cut in detector.push(view(frame)):
            yield held.popleft(), cut
    for cut in detector.flush():
        yield held.popleft(), cut


def split_shots(frames: Iterator[Item], view: Callable[[Item], np.ndarray]) -> Iterator[Iterator[Item]]:
    """Yield the shots, each an iterator of its frames that is to be used up before the next; see :func:`mark_cuts`."""
    marked = mark_cuts(frames, view=view)
    numbered = accumulate(marked, lambda before, now: (now[0], before[1] + now[1]))
    for _, shot in groupby(numbered, key=itemgetter(1)):
        yield map(itemgetter(0), shot)
