"""Convolutions of channels-last features to very few channels: packing weights, launching."""

import torch
from torch import Tensor

from vsr_plugin.acceleration.cpu.kernels import jit, parallel
from vsr_plugin.acceleration.cpu.kernels.kernel_args import (
    FewChannelsArgs,
    channels_last,
    few_channels_scratch,
    parameters,
    scratch,
)


class FewChannelsConv:
    """A convolution of stride 1 to very few channels, in float32; the number of columns stays.

    Args:
        weight: ``(c_out, c_in, r, r)`` with an odd ``r``; ``c_in`` is a multiple of 4.
        bias: ``(c_out,)``.

    Raises:
        RuntimeError: there are no kernels for this processor or for such a convolution.
    """

    def __init__(self, weight: Tensor, bias: Tensor):
        self.outputs, self.channels, self.taps, _ = weight.shape
        lanes = jit.lanes_for(self.channels)
        if lanes is None:
            raise RuntimeError(f"no kernel for weights {tuple(weight.shape)}")
        self.lanes = lanes
        self.weight, self.bias = parameters(weight, bias)
        # (output, input channel, row, column) to (row, vector of channels, column, output, lane)
        self.packed = self.weight.unflatten(1, (-1, lanes)).permute(3, 1, 4, 0, 2).contiguous()

    @staticmethod
    def suits(weight: Tensor, padding: tuple[int, int]) -> bool:
        """Whether there is a kernel for such a convolution here; whether it works, ``self_test`` tells."""
        c_out, c_in, taps, columns = weight.shape
        known = taps == columns and taps % 2 == 1 and padding == (taps // 2, taps // 2)
        return known and c_out <= 3 and jit.lanes_for(c_in) is not None

    def __call__(self, x: Tensor, padding: tuple[int, int] | None = None) -> Tensor:
        """Convolve.

        Args:
            x: features ``(n, c_in, h, w)``, channels last, float32.
            padding: rows of zeros above and below, by default as many as keep the number of rows.

        Returns:
            ``(n, c_out, rows, w)``, as planes.

        Raises:
            ValueError: ``x`` is not float32, or has other channels.
        """
        above, below = padding or (self.taps // 2,) * 2
        x = channels_last(x, self.channels)
        n, _, h, w = x.shape
        rows = h + above + below - self.taps + 1
        out = torch.empty(n, self.outputs, rows, w, dtype=torch.float32, device="cpu")
        if not x.numel() or not out.numel():
            return out.zero_()
        threads = min(torch.get_num_threads(), n * rows)
        floats = few_channels_scratch(self.taps, self.outputs, self.channels)
        call = FewChannelsArgs(
            source=x.data_ptr(),
            target=out.data_ptr(),
            weights=self.packed.data_ptr(),
            bias=self.bias.data_ptr(),
            scratch=scratch(threads * floats).data_ptr(),
            scratch_floats=floats,
            source_image=x.stride(0),
            source_row=x.stride(2),
            source_column=x.stride(3),
            target_image=out.stride(0),
            target_plane=out.stride(1),
            target_row=out.stride(2),
            images=n,
            source_rows=h,
            target_rows=rows,
            columns=w,
            above=above,
            channels_in=self.channels,
        )
        parallel.run(jit.compiled("few_channels", self.taps, self.outputs, self.lanes), call, threads)
        return out
