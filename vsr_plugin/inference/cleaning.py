"""Frames of a stream cleaned one by one, with as many in memory as a cleaning looks at."""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from vsr_plugin.models.cleaning import Cleaning
from vsr_plugin.ops.frames import Frame, frame_to_tensor


class _Tensors:
    """Frames of a sequence on the device; the last few are held, since windows overlap."""

    def __init__(self, frames: Sequence[Frame], device: torch.device, hold: int):
        self._frames, self._device, self._hold = frames, device, hold
        self._held: OrderedDict[int, Tensor] = OrderedDict()

    def __getitem__(self, i: int) -> Tensor:
        if i not in self._held:
            self._held[i] = frame_to_tensor(self._frames[i], self._device)
            if len(self._held) > self._hold:
                self._held.popitem(last=False)
        return self._held[i]


@torch.no_grad()
def _round(cleaning: Cleaning, frames: Sequence[Frame], device: torch.device, put: Callable[[Tensor], None]) -> float:
    """Clean a sequence once, hand each frame to ``put``, and return the mean absolute residue."""
    tensors = _Tensors(frames, device, hold=2 * cleaning.radius + 1)
    residues = 0.0
    for i in range(len(frames)):
        cleaned, residue = cleaning.clean_frame([tensors[j] for j in cleaning.window(i, len(frames))])
        put(cleaned)
        residues = residues + residue
    return float(residues) / len(frames)


def clean_frames(cleaning: Cleaning, frames: Sequence[Frame]) -> Iterator[Tensor]:
    """Clean a sequence that is in memory.

    Args:
        cleaning: on the device that computes.
        frames: the sequence, see :class:`vsr_plugin.ops.frames.Frame`.

    Yields:
        Cleaned frames ``(3, h, w)``, RGB in [0, 1], not clipped, on the device.
    """
    device = next(cleaning.parameters()).device
    for _ in cleaning.rounds():
        cleaned: list[Tensor] = []
        residue = _round(cleaning, frames, device, cleaned.append)
        frames = cleaned
        if cleaning.is_clean(residue):
            break
    yield from frames
