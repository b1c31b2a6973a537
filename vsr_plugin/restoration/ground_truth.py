"""Ground truth beside what is restored."""

import numpy as np

from vsr_plugin.errors import MediaError
from vsr_plugin.media import FrameSource
from vsr_plugin.restoration.options import RestoreOptions


def check_ground_truth(gt: FrameSource, source: FrameSource, size: tuple[int, int], options: RestoreOptions) -> None:
    """Find out before the work whether there is ground truth for all that will be restored, and whether it fits.

    Args:
        gt: the ground truth.
        source: the input.
        size: rows and columns of the output.
        options: what is restored of the input, and how it is compared.

    Raises:
        MediaError: the ground truth has another size, or is known to end too early.
        VSRError: the frames are too small to be compared.
    """
    if (gt.height, gt.width) != size:
        raise MediaError(
            f"{gt.path}: ground truth of {gt.width}x{gt.height} does not fit: the input is "
            f"{source.width}x{source.height}, so it must be {size[1]}x{size[0]}, the size of the output, which --scale "
            "and --height set"
        )
    options.protocol.check_size(*size)
    stop, available = source.num_frames_exact, gt.num_frames_exact
    if stop is None or available is None:
        return
    if options.num_frames is not None:
        stop = min(stop, options.start + options.num_frames)
    if available < stop:
        raise _ends_before(gt.path, available)


def surplus_note(gt: FrameSource, source: FrameSource, options: RestoreOptions) -> str | None:
    """What to tell of ground truth that is known to go on behind the input's end: it may belong to another rate."""
    length, available = source.num_frames_exact, gt.num_frames_exact
    if options.num_frames is not None or length is None or available is None or available <= length:
        return None
    return (
        f"ground truth {gt.path} has {available} frames, the input {length}: frame by frame from the first, the rest "
        "was not compared"
    )


def _ends_before(path: object, index: int) -> MediaError:
    return MediaError(
        f"{path}: ground truth ends before frame {index}; it must have as many frames as the input, or fewer are "
        "restored with --num-frames"
    )


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
        raise _ends_before(self._path, self._start + index)
