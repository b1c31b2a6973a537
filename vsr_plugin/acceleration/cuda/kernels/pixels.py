"""What surrounds the convolutions of 64 channels: warping, deformable and first convolutions, the last one."""

import functools

import torch
from torch import Tensor

from vsr_plugin.acceleration.cuda.kernels.nvrtc import Kernel, architecture, compile_cubin, read_source

_TILE = 16  # as in the source
#: Values that a deformable convolution gathers at once, two bytes each: much of the L2 cache of a large GPU.
_COLUMN_VALUES = 2**15 * 576
_LAST_CONV_BYTES = 8 * ((_TILE + 2) ** 2 + 1) * 16 + 8 * 32 * 16


@functools.cache
def _cubin(device: torch.device, dtype: torch.dtype) -> bytes:
    options = (architecture(device), f"-DBF16={int(dtype == torch.bfloat16)}")
    return compile_cubin(read_source("pixels"), options)


@functools.cache
def _kernel(device: torch.device, dtype: torch.dtype, name: str, threads: int, shared_bytes: int = 0) -> Kernel:
    return Kernel(device, _cubin(device, dtype), name, threads=threads, shared_bytes=shared_bytes)


def warp(x: Tensor, flow: Tensor) -> Tensor:
    """:func:`vsr_plugin.ops.flow_warp` with zeros outside; positions and sums are float32.

    Args:
        x: ``(n, c, h, w)``, float16 or bfloat16 on CUDA, channels-last, ``c`` a multiple of 8.
        flow: float32 ``(n, 2, h, w)``, contiguous.

    Returns:
        As ``x``.
    """
    n, c, h, w = x.shape
    out = torch.empty_like(x, memory_format=torch.channels_last)
    blocks = -(-h * w * (c // 8) // 256)
    _kernel(x.device, x.dtype, "warp", 256)((blocks, n, 1), x, flow, out, h, w, c // 8)
    return out


def enlarge(x: Tensor, factor: float = 1.0) -> Tensor:
    """Bilinear enlargement to twice the size, times a factor.

    Args:
        x: ``(n, c, h, w)``, float16 or bfloat16 on CUDA, channels-last, ``c`` a multiple of 8.
        factor: of the result.

    Returns:
        ``(n, c, 2 * h, 2 * w)``, channels-last.
    """
    n, c, h, w = x.shape
    out = x.new_empty(n, 2 * h, 2 * w, c).permute(0, 3, 1, 2)
    blocks = -(-out.numel() // 8 // 256)
    _kernel(x.device, x.dtype, "enlarge", 256)((blocks, 1, 1), x, out, n, h, w, c // 8, float(factor))
    return out


def pack_deform_conv(weight: Tensor) -> Tensor:
    """Weights ``(c_out, c, 3, 3)`` as the matrix ``(9 * c, c_out)`` that :func:`deform_conv` multiplies by."""
    c_out, c = weight.shape[:2]
    return weight.reshape(c_out, c // 8, 8, 9).permute(3, 1, 2, 0).reshape(9 * c, c_out).contiguous()


def deform_conv(
    x: Tensor,
    guide: Tensor,
    guide_bias: Tensor,
    packed: Tensor,
    bias: Tensor,
    flow: Tensor | None = None,
    reach: float = 0.0,
) -> Tensor:
    """Deformable 3x3 convolution, of channels in groups that are displaced apart.

    Args:
        x: ``(n, c, h, w)``, float16 or bfloat16 on CUDA, channels-last; a multiple of 8 channels in each group.
        guide: displacements and factors before their sigmoid, ``(n, 27 * groups, h, w)``, channels-last, in the dtype
            of ``x`` or float32; see :class:`vsr_plugin.ops.deform_conv.ModulatedDCNPack`.
        guide_bias: to be added to them, float32 ``(27 * groups,)``.
        packed: weights by :func:`pack_deform_conv`, in the dtype of ``x``.
        bias: ``(c_out,)`` in the dtype of ``x``.
        flow: to each of the states that ``x`` joins, float32 ``(n, 2 * states, h, w)``, contiguous; displacements are
            then ``reach * tanh`` of those in ``guide``, added to it; see
            :class:`vsr_plugin.models.alignment.FlowGuidedDeformConv`.
        reach: in pixels.

    Returns:
        ``(n, c_out, h, w)``, channels-last, in the dtype of ``x``.
    """
    n, c, h, w = x.shape
    out = x.new_empty(n, h, w, packed.size(1)).permute(0, 3, 1, 2)
    pixels = out.permute(0, 2, 3, 1).view(n * h * w, -1)
    shape = h, w, c // 8, guide.size(1) // 27, 0 if flow is None else flow.size(1) // 2, float(reach)
    launch = _kernel(x.device, x.dtype, "deform_by_float" if guide.dtype == torch.float32 else "deform_by_half", 256)
    most = _COLUMN_VALUES // (9 * c)
    for first in range(0, n * h * w, most):
        count = min(most, n * h * w - first)
        columns = x.new_empty(count, 9 * c)
        blocks = -(-count * 9 * (c // 8) // 256)
        launch((blocks, 1, 1), x, guide, guide_bias, flow, columns, first, count, *shape)
        torch.addmm(bias, columns, packed, out=pixels[first : first + count])
    return out


def pack_frame_conv(weight: Tensor) -> Tensor:
    """Weights ``(64, 3, 3, 3)`` in the order that :func:`frame_conv` reads, ``(3, 3, 3, 64)``, float32."""
    return weight.float().permute(1, 2, 3, 0).contiguous()


def frame_conv(frame: Tensor, packed: Tensor, dtype: torch.dtype) -> Tensor:
    """3x3 convolution of a frame to 64 channels, without bias; sums are float32.

    Args:
        frame: float32 ``(n, 3, h, w)`` on CUDA, contiguous.
        packed: weights by :func:`pack_frame_conv`.
        dtype: of the result, float16 or bfloat16.

    Returns:
        ``(n, 64, h, w)``, channels-last.
    """
    n, _, h, w = frame.shape
    out = torch.empty(n, h, w, 64, device=frame.device, dtype=dtype).permute(0, 3, 1, 2)
    _kernel(frame.device, dtype, "frame_conv", 128)((-(-h * w // 64), n, 1), frame, packed, out, h, w)
    return out


def pack_last_conv(weight: Tensor) -> Tensor:
    """Weights ``(3, 64, 3, 3)`` in the order that :func:`last_conv` reads, ``(8, 32, 8)``.

    Input channels by eight, outputs and taps (filled with zeros), the eight input channels.
    """
    columns = weight.reshape(3, 8, 8, 9).permute(1, 0, 3, 2).flatten(1, 2)
    return torch.cat((columns, columns.new_zeros(8, 5, 8)), dim=1).contiguous()


def last_conv(x: Tensor, packed: Tensor, bias: Tensor, frame: Tensor, scale: int) -> Tensor:
    """3x3 convolution to the 3 channels of an HR frame, plus the bilinear enlargement of the LR frame.

    Args:
        x: ``(n, 64, scale * h, scale * w)``, float16 or bfloat16 on CUDA, channels-last.
        packed: weights by :func:`pack_last_conv`, in the dtype of ``x``.
        bias: float32 ``(3,)``.
        frame: float32 ``(n, 3, h, w)``, contiguous.
        scale: HR pixels per LR pixel and side.

    Returns:
        float32 ``(n, 3, scale * h, scale * w)``.
    """
    n, _, h, w = x.shape
    out = x.new_empty(n, 3, h, w, dtype=torch.float32)
    tiles = -(-h // _TILE) * -(-w // _TILE)
    launch = _kernel(x.device, x.dtype, "last_conv", 128, _LAST_CONV_BYTES)
    launch((tiles, n, 1), x, packed, bias, frame, out, h, w, scale)
    return out
