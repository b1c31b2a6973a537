"""A 3x3 convolution of 64 channels on tensor cores, with what comes before and after it in the same kernel."""

import functools

import torch
from torch import Tensor

from vsr_plugin.acceleration.cuda.kernels.nvrtc import Kernel, architecture, compile_cubin, read_source

#: Input channels, and what output channels are a multiple of.
CHANNELS = 64
_COLUMNS = 16  # of a tile, as in the source, like the bytes of shared memory that follow
_TAP_BYTES = CHANNELS * CHANNELS * 2
_BARRIER_BYTES = 128


def pack_conv3x3(weight: Tensor, shuffle: int = 1) -> Tensor:
    """Weights in the order that the kernel reads.

    Args:
        weight: ``(64 * shuffle**2, 64, 3, 3)``; with ``shuffle`` the output channels as ``F.pixel_shuffle`` takes them.

    Returns:
        ``(shuffle**2, 9, 8, 64, 8)``: places that one pixel becomes, taps, input channels by eight, output channels,
        the eight input channels.
    """
    groups = shuffle**2
    taps = weight.reshape(CHANNELS, groups, 8, 8, 9)
    return taps.permute(1, 4, 2, 0, 3).contiguous()


def _has_wgmma(device: torch.device) -> bool:
    # Hopper's own matrix instructions, which no later architecture has; else those of all since Ampere.
    return torch.cuda.get_device_capability(device) == (9, 0)


@functools.cache
def _kernel(device: torch.device, dtype: torch.dtype, rows: int) -> Kernel:
    wgmma = _has_wgmma(device)
    options = (
        architecture(device, specific=wgmma),
        f"-DBF16={int(dtype == torch.bfloat16)}",
        f"-DWGMMA={int(wgmma)}",
        f"-DROWS={rows}",
    )
    tile_bytes = 8 * ((rows + 2) * (_COLUMNS + 2) + 1) * 16
    return Kernel(
        device,
        compile_cubin(read_source("convolution"), options),
        "conv3x3",
        threads=256 if wgmma else 128,
        shared_bytes=tile_bytes + (9 * _TAP_BYTES + _BARRIER_BYTES if wgmma else 3 * _TAP_BYTES),
        overlaps=wgmma,
    )


def _rows_of_tile(device: torch.device, h: int) -> int:
    # 180 rows are twelve tiles of 16 rows or as many of 15.
    return 15 if _has_wgmma(device) and -(-h // 15) == -(-h // 16) else 16


def conv3x3(
    x: Tensor,
    packed: Tensor,
    bias: Tensor,
    residual: Tensor | None = None,
    *,
    slope: float = 1.0,
    slope_of_sum: float = 1.0,
    shuffle: int = 1,
) -> Tensor:
    """``leaky(residual + leaky(conv(x)))``, enlarged by pixel shuffle; sums are float32.

    Args:
        x: ``(n, 64, h, w)``, float16 or bfloat16 on CUDA, channels-last.
        packed: weights by :func:`pack_conv3x3`, in the dtype of ``x``.
        bias: float32 ``(64 * shuffle**2,)``, in the order of the packed weights: all channels of a place together.
        residual: of the kind of the result.
        slope: of the leaky ReLU after the convolution; 0 for ReLU, 1 for none.
        slope_of_sum: of the one after adding the residual; without a residual there is none.
        shuffle: factor of the pixel shuffle; 1 for none.

    Returns:
        ``(n, 64, shuffle * h, shuffle * w)``, channels-last.

    Raises:
        RuntimeError: the kernel cannot be compiled or launched.
    """
    n, _, h, w = x.shape
    out = x.new_empty(n, h * shuffle, w * shuffle, CHANNELS).permute(0, 3, 1, 2)
    rows = _rows_of_tile(x.device, h)
    launch = _kernel(x.device, x.dtype, rows)
    launch(
        (n * -(-h // rows) * -(-w // _COLUMNS), shuffle**2, 1),
        *(x, packed, bias, residual, out, h, w, shuffle, float(slope), float(slope_of_sum)),
    )
    return out
