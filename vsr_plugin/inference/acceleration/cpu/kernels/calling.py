"""What all convolutions need to call their tasks: vectors, scratch memory, layout."""

import threading

import torch
from torch import Tensor

from vsr_plugin.inference.acceleration.cpu.kernels import jit

_own = threading.local()


def lanes_for(*channels: int) -> int | None:
    """The widest vectors of which all numbers of channels are multiples, if there are kernels here at all."""
    host, _ = jit.host()
    lanes = host.lanes if host else 0
    while lanes >= 4:
        if not any(number % lanes for number in channels):
            return lanes
        lanes //= 2
    return None


def scratch(floats: int) -> Tensor:
    """Memory of this thread, kept from call to call: fresh memory would cost a page fault for each 4 KB."""
    memory = getattr(_own, "memory", None)
    if memory is None or memory.numel() < floats:
        memory = _own.memory = torch.empty(floats)
    return memory


def channels_last(x: Tensor) -> Tensor:
    """Features whose channels lie side by side; those of a slice of more channels do already."""
    return x if x.stride(1) == 1 else x.contiguous(memory_format=torch.channels_last)
