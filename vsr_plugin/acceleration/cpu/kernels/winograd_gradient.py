"""The gradient of a convolution's weights by Winograd's method: launching."""

import torch
from torch import Tensor

from vsr_plugin.acceleration.cpu.kernels import jit, parallel
from vsr_plugin.acceleration.cpu.kernels.kernel_args import (
    BLOCK,
    WinogradGradientArgs,
    channels_last,
    scratch,
    winograd_gradient_scratch,
)
from vsr_plugin.acceleration.cpu.kernels.winograd import ALGORITHMS


def weight_gradient(x: Tensor, gradient: Tensor, taps: int) -> tuple[Tensor, Tensor]:
    """Of weights and bias of a convolution of stride 1 that keeps the size.

    The same threads give the same bits.

    Args:
        x: what was convolved, ``(n, c_in, h, w)``, channels last, float32; both numbers of channels are multiples of 4.
        gradient: of the result, ``(n, c_out, h, w)``, likewise.
        taps: 3 or 7, the side of the filter.

    Returns:
        ``(c_out, c_in, r, r)``, whose output channels lie side by side, and ``(c_out,)``.

    Raises:
        RuntimeError: there are no kernels for this processor or for so many channels.
        ValueError: something is not float32.
    """
    (n, c_in, h, w), c_out = x.shape, gradient.size(1)
    x, gradient = channels_last(x, c_in), channels_last(gradient, c_out)
    lanes = jit.lanes_for(c_in, c_out)
    if taps not in ALGORITHMS or lanes is None:
        raise RuntimeError(f"no kernel for the gradient of weights {(c_out, c_in, taps, taps)}")
    algorithm = ALGORITHMS[taps]
    tile_rows, tile_columns = -(-h // algorithm.tile), -(-w // algorithm.tile)
    tiles = n * tile_rows * tile_columns
    blocks = -(-tiles // BLOCK)
    threads = max(1, min(torch.get_num_threads(), blocks))
    padded = c_out + -c_out % (2 * lanes)
    filters = taps**2 * padded * c_in
    result = torch.empty(threads, filters + c_out, dtype=torch.float32, device="cpu")
    floats = winograd_gradient_scratch(algorithm, c_in, padded)
    call = WinogradGradientArgs(
        source=x.data_ptr(),
        target=gradient.data_ptr(),
        result=result.data_ptr(),
        result_floats=result.size(1),
        scratch=scratch(threads * floats).data_ptr(),
        scratch_floats=floats,
        source_image=x.stride(0),
        source_row=x.stride(2),
        source_column=x.stride(3),
        target_image=gradient.stride(0),
        target_row=gradient.stride(2),
        target_column=gradient.stride(3),
        source_rows=h,
        source_columns=w,
        target_rows=h,
        target_columns=w,
        above=taps // 2,
        left=taps // 2,
        tile_rows=tile_rows,
        tile_columns=tile_columns,
        tiles=tiles,
        tiles_of_task=-(-blocks // threads) * BLOCK,
        channels_in=c_in,
        channels_out=c_out,
    )
    rows = 8 if jit.host()[0].registers == 32 and c_in % 8 == 0 else 4
    parallel.run(jit.compiled("winograd_gradient", taps, lanes, rows), call, threads)
    total = result.sum(0) if threads > 1 else result[0]
    by_tap = total[:filters].view(taps, taps, c_in, padded)
    return by_tap[..., :c_out].permute(3, 2, 0, 1), total[filters:]
