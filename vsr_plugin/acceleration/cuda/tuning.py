"""Several functions that compute the same: the fastest for each kind of input, found out by trying them."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

#: How far apart two candidates may be, relative to the largest value, in float32 (TF32 has 10 bits) and below.
_TOLERANCE = {torch.float64: 1e-9, torch.float32: 3e-3, torch.float16: 1e-2, torch.bfloat16: 4e-2}
_CALLS = 10
#: Clock cycles of a GPU in which Python queues one call; some 0.2 ms.
_CYCLES_TO_QUEUE = 300_000


def cuda_seconds(function: Callable, *arguments: Any, calls: int = _CALLS) -> float:
    """Seconds that one of ``calls`` calls takes on the current CUDA stream, after two that are not counted."""
    for _ in range(2):
        function(*arguments)
    # Something to do for the GPU while the calls are queued, or short ones would be measured by Python's speed.
    torch.cuda._sleep(calls * _CYCLES_TO_QUEUE)
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    for _ in range(calls):
        function(*arguments)
    end.record()
    end.synchronize()
    return begin.elapsed_time(end) / 1000 / calls


def _kind(argument: Any) -> Any:
    if not isinstance(argument, Tensor):
        return argument
    channels_last = argument.dim() == 4 and argument.is_contiguous(memory_format=torch.channels_last)
    return tuple(argument.shape), argument.dtype, argument.device, channels_last


class Fastest:
    """Calls the fastest of several functions; which one that is, is measured once for each kind of input.

    A candidate that raises, or whose result is not that of the reference, is left out; so kernels that exist only in
    some builds can be named without asking for versions.

    Args:
        reference: right, and always possible.
        others: candidates. Like the reference they take the same positional arguments (tensors and hashable values),
            change none of them and return one tensor.
        seconds: time of one call, given a candidate and its arguments; by the GPU's clock unless told.

    Example:
        >>> double = Fastest(lambda x: x + x, lambda x: 2 * x, lambda x: 3 * x, seconds=lambda function, x: 1.0)
        >>> double(torch.ones(2))
        tensor([2., 2.])
    """

    def __init__(
        self,
        reference: Callable[..., Tensor],
        *others: Callable[..., Tensor],
        seconds: Callable[..., float] = cuda_seconds,
    ) -> None:
        self._reference, self._others, self._seconds = reference, others, seconds
        self._chosen: dict[tuple, Callable[..., Tensor]] = {}

    def __call__(self, *arguments: Any) -> Tensor:
        """Compute with the candidate of this kind of input."""
        kind = tuple(map(_kind, arguments))
        if kind not in self._chosen:
            capturing = torch.cuda.is_available() and torch.cuda.is_current_stream_capturing()
            if capturing or torch.backends.cudnn.deterministic:
                # Nothing can be timed while a graph is recorded, and times differ from run to run.
                return self._reference(*arguments)
            self._chosen[kind] = self._choose(arguments)
        return self._chosen[kind](*arguments)

    def chosen(self) -> dict[tuple, str]:
        """Name of what was chosen for each kind of input so far."""
        return {kind: function.__name__ for kind, function in self._chosen.items()}

    def _choose(self, arguments: tuple) -> Callable[..., Tensor]:
        expected = self._reference(*arguments)
        right = [self._reference, *(other for other in self._others if self._agrees(other, arguments, expected))]
        if len(right) == 1:
            return self._reference
        return min(right, key=lambda function: self._seconds(function, *arguments))

    def _agrees(self, candidate: Callable[..., Tensor], arguments: tuple, expected: Tensor) -> bool:
        try:
            got = candidate(*arguments)
        except (RuntimeError, AttributeError, TypeError, NotImplementedError):
            return False  # not in this build of PyTorch, or not for these sizes
        if got.shape != expected.shape or got.dtype != expected.dtype:
            return False
        largest = float(expected.abs().max()) if expected.numel() else 0.0
        return bool((got - expected).abs().max() <= _TOLERANCE[expected.dtype] * largest) if expected.numel() else True
