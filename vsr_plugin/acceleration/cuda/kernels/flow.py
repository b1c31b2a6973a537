"""The flow network's 7x7 convolutions on Hopper's tensor cores, and what each pyramid level starts from."""

import functools

import torch
from torch import Tensor

from vsr_plugin.acceleration.cuda.kernels.nvrtc import Kernel, architecture, compile_cubin, read_source

_TILE = 16  # as in the source, like what follows
_PLANE_BYTES = ((_TILE + 6) ** 2 + 1) * 16


@functools.cache
def _conv_kernel(device: torch.device, inputs: int, outputs: int) -> Kernel:
    stages = 7 if inputs >= 32 else 1  # few weights are loaded at once
    options = architecture(device, specific=True), f"-DINPUTS={inputs}", f"-DOUTPUTS={outputs}", f"-DSTAGES={stages}"
    weights_bytes = _pieces(inputs) // stages * outputs * 16
    return Kernel(
        device,
        compile_cubin(read_source("flow"), options),
        "flow_conv",
        threads=256,
        shared_bytes=inputs // 8 * _PLANE_BYTES + min(stages, 2) * weights_bytes,
    )


@functools.cache
def _start_kernel(device: torch.device) -> Kernel:
    cubin = compile_cubin(read_source("flow"), [architecture(device, specific=True)])
    return Kernel(device, cubin, "flow_start", threads=256)


def _pieces(inputs: int) -> int:
    """Pieces of 8 input channels at a tap that a convolution sums up, an even number."""
    return -(-49 * (inputs // 8) // 2) * 2


def pack_flow_conv(weight: Tensor) -> Tensor:
    """Weights in the order that :func:`flow_conv` reads, in float16.

    Args:
        weight: ``(c_out, c_in, 7, 7)``, ``c_in`` a multiple of 8.

    Returns:
        ``(pieces, c_out, 8)``: taps by eight input channels, output channels (filled with zeros to a multiple of 8),
        the eight input channels.
    """
    c_out, c_in = weight.shape[:2]
    filled = torch.cat((weight, weight.new_zeros(-c_out % 8, c_in, 7, 7))).half()
    pieces = filled.reshape(-1, c_in // 8, 8, 49).permute(3, 1, 0, 2).flatten(0, 1)
    return torch.cat((pieces, pieces.new_zeros(_pieces(c_in) - len(pieces), *pieces.shape[1:]))).contiguous()


def flow_start(reference: Tensor, neighbour: Tensor, coarse: Tensor | None) -> tuple[Tensor, Tensor]:
    """What a pyramid level starts from.

    Args:
        reference, neighbour: float32 ``(n, 3, h, w)`` on CUDA, contiguous.
        coarse: flow of the level before, float32 ``(n, 2, h / 2, w / 2)``, contiguous; ``None`` at the first.

    Returns:
        The coarse flow enlarged, float32 ``(n, 2, h, w)``; and the input of the first convolution, float16
        ``(n, 8, h, w)``, channels-last: reference, warped neighbour, flow.
    """
    n, _, h, w = reference.shape
    flow = reference.new_empty(n, 2, h, w)
    out = reference.new_empty(n, h, w, 8, dtype=torch.float16).permute(0, 3, 1, 2)
    blocks = -(-n * h * w // 256)
    _start_kernel(reference.device)((blocks, 1, 1), reference, neighbour, coarse, flow, out, n, h, w)
    return flow, out


def _run_conv(x: Tensor, packed: Tensor, bias: Tensor, out: Tensor | None, flow: Tensor | None) -> None:
    n, c, h, w = x.shape
    blocks = n * -(-h // _TILE) * -(-w // _TILE)
    _conv_kernel(x.device, c, packed.size(1))((blocks, 1, 1), x, packed, bias, out, flow, h, w)


def flow_conv(x: Tensor, packed: Tensor, bias: Tensor) -> Tensor:
    """7x7 convolution with ReLU.

    Args:
        x: float16 ``(n, c_in, h, w)`` on CUDA, channels-last.
        packed: weights by :func:`pack_flow_conv`.
        bias: float32 ``(c_out,)``.

    Returns:
        float16 ``(n, c_out, h, w)``, channels-last.
    """
    n, _, h, w = x.shape
    out = x.new_empty(n, h, w, packed.size(1)).permute(0, 3, 1, 2)
    _run_conv(x, packed, bias, out, None)
    return out


def flow_conv_add_(flow: Tensor, x: Tensor, packed: Tensor, bias: Tensor) -> Tensor:
    """Add a 7x7 convolution to the two channels of a flow, in place.

    Args:
        flow: float32 ``(n, 2, h, w)`` on CUDA, contiguous.
        x, packed: see :func:`flow_conv`, from 16 to 2 channels.
        bias: float32 ``(2,)``.
    """
    _run_conv(x, packed, bias, None, flow)
    return flow
