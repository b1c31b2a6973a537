"""Replay a network's steps as CUDA graphs: one launch instead of some two hundred a step.

At 180x320 a convolution takes about as long as Python needs to launch it, so without graphs the GPU waits.
"""

import contextlib
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
import torch.nn as nn
from torch import Tensor

#: LR pixels of a batch beyond which kernels run longer than their launches and graphs would only take memory.
_MAX_PIXELS = 2**18
#: Kinds of steps: start, second and others of four branches, features, reconstruction, in two sizes.
_MAX_GRAPHS = 28

#: Where recordings are replayed one after the other, unless another lane is named.
MAIN_LANE = "main"
#: What a step gives.
Result = Tensor | tuple[Tensor, ...]


def pixels_of(frames: Tensor) -> int:
    """Pixels of a batch ``(n, ..., h, w)``, of one frame of each item."""
    return frames.size(0) * frames.size(-2) * frames.size(-1)


def records_steps(device: torch.device, pixels: int) -> bool:
    """Whether steps on so many LR pixels are recorded on a device, and so keep temporary memory for themselves."""
    return device.type == "cuda" and pixels <= _MAX_PIXELS


def _tensors(result: Result) -> tuple[Tensor, ...]:
    return result if isinstance(result, tuple) else (result,)


@dataclass(frozen=True)
class Recording:
    """A function recorded on fixed tensors.

    Attributes:
        inputs: what it reads; ``None`` for inputs that there are not.
        output: what it writes, overwritten by each replay.
        replay: computes ``output`` from what is in ``inputs`` now.
    """

    inputs: tuple[Tensor | None, ...]
    output: Result
    replay: Callable[[], None]

    def __call__(self, inputs: tuple[Tensor | None, ...]) -> Result:
        """The function of other inputs of the same kind; tensors of its own."""
        for fixed, given in zip(self.inputs, inputs, strict=True):
            if fixed is not None:
                fixed.copy_(given, non_blocking=True)
        self.replay()
        copies = tuple(x.clone(memory_format=torch.preserve_format) for x in _tensors(self.output))
        return copies if isinstance(self.output, tuple) else copies[0]


class CUDARecorder:
    """Records functions as CUDA graphs; those of a lane share memory, since a result is copied out at once."""

    def __init__(self) -> None:
        self._lanes: dict[str, tuple[tuple, torch.cuda.Stream]] = {}

    def __call__(
        self, function: Callable[..., Result], inputs: tuple[Tensor | None, ...], lane: str = MAIN_LANE
    ) -> Recording:
        """Record ``function(*inputs)``; recordings of different lanes may be replayed at the same time.

        Raises:
            RuntimeError: something in it cannot be recorded, or the memory does not suffice.
        """
        with torch.cuda.device(inputs[0].device):
            fixed = tuple(None if x is None else x.clone(memory_format=torch.preserve_format) for x in inputs)
            if lane not in self._lanes:
                # One stream for all recordings of a lane: libraries keep memory for every stream that they have seen,
                # which recordings go on using; and PyTorch deals 32 streams out in turn, so that one of many would be a
                # stream that the function uses itself.
                self._lanes[lane] = torch.cuda.graph_pool_handle(), torch.cuda.Stream()
            pool, aside = self._lanes[lane]
            # What libraries set up at their first call on a stream must not happen during the recording.
            aside.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(aside):
                for _ in range(2):
                    function(*fixed)
            torch.cuda.current_stream().wait_stream(aside)
            graph = torch.cuda.CUDAGraph()
            # Other threads decode and encode meanwhile and may pin memory; only this one must not.
            with torch.cuda.graph(graph, pool=pool, stream=aside, capture_error_mode="thread_local"):
                output = function(*fixed)
        return Recording(fixed, output, graph.replay)


def _kind(x: Tensor | None) -> tuple | None:
    return None if x is None else (tuple(x.shape), x.dtype)


class StepGraphs:
    """The recorded steps of one network.

    A step is computed as usual when a kind of input comes for the first time, since many come only once. The second
    time it is recorded, and its replay must give the numbers of the usual way; else, or if it cannot be recorded,
    this kind is always computed as usual.

    Args:
        net: the network that the steps belong to; steps of a copy, such as one that works in tiles, are not recorded.
        record: makes recordings.

    Attributes:
        paused: compute every step as usual, and everything in turn.
        in_turn: nothing beside anything else, so that a step's time is its own.
        refusals: name of each step that is computed as usual after its recording failed, with the reason.
    """

    def __init__(
        self,
        net: nn.Module,
        record: Callable[[Callable[..., Result], tuple[Tensor | None, ...], str], Recording] | None = None,
    ) -> None:
        self._net = weakref.ref(net)
        self._record = CUDARecorder() if record is None else record
        self.paused = self.in_turn = False
        self.refusals: dict[str, str] = {}
        self._seen: Counter[tuple] = Counter()
        self._recordings: dict[tuple, Recording | None] = {}

    def records(self, net: nn.Module, frames: Tensor) -> bool:
        """Whether steps of ``net`` on frames ``(n, ..., h, w)`` are recorded, when such come often enough."""
        return (
            net is self._net() and not self.paused and pixels_of(frames) <= _MAX_PIXELS and not torch.is_grad_enabled()
        )

    def run(
        self, net: nn.Module, function: Callable[..., Result], *inputs: Tensor | None, lane: str = MAIN_LANE
    ) -> Result:
        """``function(*inputs)``, replayed if it was recorded for such inputs.

        Args:
            net: the network whose step it is.
            function: from tensors ``(n, c, h, w)`` or ``(n, t, c, h, w)`` of one size to one tensor or several.
            inputs: its inputs, the first never ``None``.
            lane: steps of different lanes may be on their way at the same time.
        """
        if not self.records(net, inputs[0]):
            return function(*inputs)
        kind = (lane, function.__name__, *map(_kind, inputs))
        if kind not in self._recordings:
            self._seen[kind] += 1
            if self._seen[kind] == 1 or len(self._recordings) == _MAX_GRAPHS:
                return function(*inputs)
            self._recordings[kind] = self._try(function, inputs, lane)
        recording = self._recordings[kind]
        return function(*inputs) if recording is None else recording(inputs)

    def clear(self) -> None:
        """Give the memory of all recordings back."""
        self._recordings.clear()
        self._seen.clear()

    def _try(self, function: Callable[..., Result], inputs: tuple[Tensor | None, ...], lane: str) -> Recording | None:
        expected = function(*inputs)
        try:
            recording = self._record(function, inputs, lane)
        except torch.cuda.OutOfMemoryError:
            raise  # the caller goes on with less
        except RuntimeError as error:
            self.refusals[function.__name__] = str(error)
            return None
        # Kernels may add in another order, no more.
        for got, right in zip(_tensors(recording(inputs)), _tensors(expected), strict=True):
            if not bool(torch.isclose(got, right, rtol=1e-2, atol=1e-2, equal_nan=True).all()):
                self.refusals[function.__name__] = f"its replay differs by up to {float((got - right).abs().max()):.3g}"
                return None
        return recording


def release_graphs(net: nn.Module) -> None:
    """Give back what the recorded steps of a network hold, if it has any."""
    graphs = getattr(net, "step_graphs", None)
    if graphs is not None:
        graphs.clear()


@contextlib.contextmanager
def _while_set(net: nn.Module, name: str) -> Iterator[None]:
    graphs = getattr(net, "step_graphs", None)
    if graphs is None:
        yield
        return
    setattr(graphs, name, True)
    try:
        yield
    finally:
        setattr(graphs, name, False)


def steps_unrecorded(net: nn.Module) -> contextlib.AbstractContextManager[None]:
    """Compute the steps of a network as usual and in turn meanwhile, if they would be replayed."""
    return _while_set(net, "paused")


def steps_in_turn(net: nn.Module) -> contextlib.AbstractContextManager[None]:
    """Compute nothing beside the steps of a network meanwhile, which are replayed if they would be."""
    return _while_set(net, "in_turn")
