"""What windows leave to each other: their contributions to the frames around a joint, from memory or from files."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vsr_plugin.files import partial_path, publish
from vsr_plugin.inference.storage import RecordFile, writing
from vsr_plugin.ops.frames import Frame, FrameDownload
from vsr_plugin.ops.windows import TOP, blend_values

#: Contributions are kept finer than 8 bits, since what is rounded twice is rounded worse.
_FINE = np.empty(0, np.uint16)


def contribution(hr: Tensor) -> FrameDownload:
    """A restored frame ``(3, H, W)`` on its way to the host, as ``(H, W, 3)`` of ``uint16``."""
    return FrameDownload(hr, _FINE)


def blend(before: np.ndarray, after: np.ndarray, position: int, count: int, like: Frame) -> Frame:
    """Mean of two contributions to one frame.

    Args:
        before: of the window that ends.
        after: of the one that begins, whose weight grows evenly.
        position: of the frame among those around the joint.
        count: of the frames around the joint.
        like: a frame of the kind and dtype that is wanted.
    """
    values = blend_values(before, after, position, count)
    if isinstance(like, Tensor):
        return torch.from_numpy(values / np.float32(TOP)).permute(2, 0, 1).contiguous().to(like)
    return np.rint(values * np.float32(np.iinfo(like.dtype).max / TOP)).astype(like.dtype)


class ContributionFile:
    """Contributions of one window to one joint, in a file that appears whole.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._partial = partial_path(path)

    @property
    def is_whole(self) -> bool:
        """Whether it was committed, by whichever process, and not removed since."""
        return self.path.exists()

    def write(self, position: int, download: FrameDownload) -> None:
        """Store the contribution to frame ``position``.

        Raises:
            MediaError: the disk is full.
        """
        bits = torch.from_numpy(download.frame().view(np.int16))
        with RecordFile(self._partial, tuple(bits.shape), bits.dtype) as file:
            file.write(position, bits)

    def commit(self) -> None:
        """Give the file its name.

        Raises:
            MediaError: the disk is full or fails.
        """
        with writing(self.path):
            publish(self._partial, self.path)

    def read(self, position: int, shape: tuple[int, ...]) -> np.ndarray:
        """The contribution to frame ``position``, ``(H, W, 3)`` of ``uint16``.

        Raises:
            MediaError: it is not there.
        """
        with RecordFile(self.path, shape, torch.int16) as file:
            return file.read(position).numpy().view(np.uint16)

    def remove(self) -> None:
        """Give the space back."""
        self.path.unlink(missing_ok=True)
