"""Results on their way from a GPU to the host, for which the computation does not wait."""

from collections import deque
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from vsr_plugin.ops.frames import Frame, from_values, to_values


class Download:
    """A tensor on its way to the host.

    Where it is on a GPU, the copy is queued behind what computes the tensor, into pinned memory, and the constructor
    does not wait; elsewhere there is nothing to do.

    Args:
        tensor: must not be written to before :meth:`result`.
    """

    def __init__(self, tensor: Tensor) -> None:
        self._tensor, self._arrived = tensor, None
        if tensor.is_cuda:
            self._tensor = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
            self._tensor.copy_(tensor, non_blocking=True)
            self._arrived = torch.cuda.Event()
            self._arrived.record(torch.cuda.current_stream(tensor.device))

    def result(self) -> Tensor:
        """The tensor on the host; waits for the copy, in any thread, and in that thread alone."""
        if self._arrived is None:
            return self._tensor
        self._arrived.synchronize()
        return self._tensor.clone()  # pinned memory is scarce and goes back at once


class FrameDownload:
    """A restored frame on its way to the kind, dtype and device of the caller's frames.

    Args:
        hr: ``(3, H, W)``, clipped here to [0, 1].
        like: a frame of the caller. If it is a tensor, the result stays or goes where that is.
    """

    def __init__(self, hr: Tensor, like: Frame) -> None:
        self._like = like
        self._values = to_values(hr, like) if isinstance(like, Tensor) else Download(to_values(hr, like))

    def frame(self) -> Frame:
        """The frame; waits for it, in any thread."""
        values = self._values
        return from_values(values.result() if isinstance(values, Download) else values, self._like)


def downloaded(restored: Iterable[Tensor], like: Frame) -> Iterator[Frame]:
    """Frames of the caller's kind, each handed out when the next one is queued on the GPU; on CPUs at once.

    Args:
        restored: HR tensors ``(3, H, W)``.
        like: see :class:`FrameDownload`.
    """
    waiting: deque[FrameDownload] = deque()
    for hr in restored:
        waiting.append(FrameDownload(hr, like))
        if len(waiting) > hr.is_cuda:
            yield waiting.popleft().frame()
    while waiting:
        yield waiting.popleft().frame()
