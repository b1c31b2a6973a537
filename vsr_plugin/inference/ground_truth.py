"""Ground truth beside what is restored."""

import numpy as np

from vsr_plugin.errors import MediaError
from vsr_plugin.media import FrameSource


class GroundTruth:
    """Frames of the ground truth by number: in rising order at no cost, and back at that of opening it again.

    Args:
        source: the video or folder.
        start: its frame that belongs to frame 0.
        num_frames: how many are wanted at most.
    """

    def __init__(self, source: FrameSource, start: int, num_frames: int | None) -> None:
        self._source, self._start, self._num_frames = source, start, num_frames
        self._open(0)

    def _open(self, index: int) -> None:
        left = None if self._num_frames is None else self._num_frames - index
        self._frames, self._next = self._source.frames(self._start + index, left), index

    def close(self) -> None:
        """Close the file."""
        self._frames.close()

    def at(self, index: int) -> np.ndarray:
        """Frame ``index``, ``(4h, 4w, 3)``.

        Raises:
            MediaError: there are not so many.
        """
        if index < self._next:
            self.close()
            self._open(index)
        for frame in self._frames:
            self._next += 1
            if self._next > index:
                return frame.rgb
        raise MediaError(
            f"{self._source.path}: ground truth ends before frame {self._start + index}; it must have as many frames "
            "as the input"
        )
