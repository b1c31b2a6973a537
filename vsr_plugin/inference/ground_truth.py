"""Ground truth beside what is restored."""

import numpy as np

from vsr_plugin.errors import MediaError
from vsr_plugin.media import FrameSource


class GroundTruth:
    """Frames of the ground truth by number, read once.

    They are asked for in rising order, but for those that :meth:`hold` was told of.

    Args:
        source: the video or folder.
        start: its frame that belongs to frame 0.
        num_frames: how many are wanted at most.
    """

    def __init__(self, source: FrameSource, start: int, num_frames: int | None) -> None:
        self._path, self._start = source.path, start
        self._reader = source.frames(start, num_frames)
        self._frames = enumerate(self._reader)
        self._later: set[int] = set()
        self._held: dict[int, np.ndarray] = {}

    def close(self) -> None:
        """Close the file."""
        self._reader.close()

    def hold(self, indices: range) -> None:
        """Keep frames when they are passed, until they are asked for: each will be, after later ones."""
        self._later.update(indices)

    def at(self, index: int) -> np.ndarray:
        """Frame ``index``, ``(H, W, 3)``.

        Raises:
            MediaError: there are not so many.
        """
        if index in self._held:
            return self._held.pop(index)
        for number, frame in self._frames:
            if number == index:
                self._later.discard(index)
                return frame.rgb
            if number in self._later:
                self._later.discard(number)
                self._held[number] = frame.rgb
        raise MediaError(
            f"{self._path}: ground truth ends before frame {self._start + index}; it must have as many frames as the "
            "input"
        )
