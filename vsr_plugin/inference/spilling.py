"""What the exact strategy keeps on disk between its sweeps, and what it does where there is no room for that."""

import errno
import shutil
from pathlib import Path

import torch.nn as nn

from vsr_plugin.errors import MediaError
from vsr_plugin.files import write_text
from vsr_plugin.inference.state_store import ALL_SWEPT, SWEPT

_FLOW_BYTES = 2 * 2 * 4  # of a pixel: both directions, two numbers in float32
_FRAME_BYTES = 3 * 4  # of a pixel of a cleaned frame
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
    cleaned = 0 if net.cleaning is None else num_frames * _FRAME_BYTES * pixels
    return cleaned + -(-pixels // net.feature_stride**2) * (num_frames * a_frame + borders + features)


class Spill:
    """The folder of one sequence: whether states are kept there, which later processes keep to.

    Args:
        folder: it.
        net, num_frames, pixels, block: see :func:`needed_bytes`.
    """

    def __init__(self, folder: Path, net: nn.Module, num_frames: int, pixels: int, block: int):
        self._folder, self._marker = folder, folder / "keeps_states"
        self._sweeps = [sweep.name for sweep in net.propagation.sweeps]
        self._on_gpu = next(net.parameters()).is_cuda
        self._least, self._with_states = (
            needed_bytes(net, num_frames, pixels, block, states=states) for states in (False, True)
        )

    def keeps_states(self) -> bool:
        """Whether keeping every backward state is possible and cheaper than computing it again.

        Raises:
            MediaError: the disk has no room without them either.
        """
        if self._on_gpu:
            keeps = False  # a GPU computes a state in less time than a disk takes to store and read it
        elif self._marker.exists():
            keeps = self._marker.read_text() == "yes"
        else:
            keeps = self._free() > 1.1 * self._with_states
            write_text(self._marker, "yes" if keeps else "no")
        if not keeps and self._free() < self._least:
            gib = 2**30
            raise MediaError(
                f"{self._folder}: has {self._free() / gib:.1f} GiB free, of {self._least / gib:.1f} GiB that the exact "
                "strategy keeps there for so long a scene; free space, choose another place, --scene-cuts on or "
                "--strategy window"
            )
        return keeps

    def give_up_states(self, error: MediaError) -> bool:
        """Make room where the disk has become full before the last sweep; false if that is not what happened."""
        full = isinstance(error.__cause__, OSError) and error.__cause__.errno in _FULL
        swept = self._folder / SWEPT
        done = swept.exists() and swept.read_text() == ALL_SWEPT
        if not full or done or self._on_gpu or self._marker.read_text() != "yes":
            return False
        for name in self._sweeps:
            for suffix in ("bin", "json"):
                (self._folder / f"{name}.{suffix}").unlink(missing_ok=True)
        write_text(self._marker, "no")
        return True

    def _free(self) -> int:
        """Bytes that are free, or taken by what this sequence has put there before."""
        own = sum(path.stat().st_blocks * 512 for path in self._folder.iterdir())
        return shutil.disk_usage(self._folder).free + own
