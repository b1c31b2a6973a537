"""What all convolutions need to call their tasks: vectors, scratch memory, layout."""

import threading

import torch
from torch import Tensor

from vsr_plugin.acceleration.cpu.kernels import jit

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
        memory = _own.memory = torch.empty(floats, dtype=torch.float32, device="cpu")
    return memory


def parameters(weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """A layer's own, as kernels read them."""
    return weight.detach().float().contiguous(), bias.detach().float().contiguous()


def channels_last(x: Tensor, channels: int) -> Tensor:
    """Features whose channels lie side by side; those of a slice of more channels do already.

    Raises:
        ValueError: they are not float32, or not so many, so that a kernel would read what is not theirs.
    """
    if x.dim() != 4 or x.size(1) != channels or x.dtype != torch.float32 or x.device.type != "cpu":
        raise ValueError(
            f"expected float32 features (n, {channels}, h, w) on the CPU, got {tuple(x.shape)}, {x.dtype}, {x.device}"
        )
    return x if x.stride(1) == 1 else x.contiguous(memory_format=torch.channels_last)
