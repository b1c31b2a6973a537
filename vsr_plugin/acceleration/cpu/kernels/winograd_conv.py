"""Convolutions of channels-last features by Winograd's method: packing filters, launching."""

import ctypes
import functools
import itertools

import torch
import torch.nn.functional as F
from torch import Tensor

from vsr_plugin.acceleration.cpu.kernels import jit, parallel
from vsr_plugin.acceleration.cpu.kernels.kernel_args import (
    BLOCK,
    CHUNK,
    LARGEST_FILTER,
    WinogradArgs,
    channels_last,
    float_bits,
    parameters,
    scratch,
    winograd_scratch,
)
from vsr_plugin.acceleration.cpu.kernels.winograd import ALGORITHMS

#: Products of input and output channels from which on Winograd's method pays.
_MIN_CHANNELS = 256


class WinogradConv:
    """A 3x3 or 7x7 convolution of stride 1 with what follows it, in float32.

    Args:
        weight: ``(c_out, c_in, r, r)`` with ``r`` 3 or 7; both numbers of channels are multiples of 4.
        bias: ``(c_out,)``.
        slope: of leaky ReLU; 0 for ReLU, ``None`` for none.

    Raises:
        RuntimeError: there are no kernels for this processor or for such a convolution.
    """

    def __init__(self, weight: Tensor, bias: Tensor, slope: float | None, *, integers: bool = False):
        c_out, c_in, self.taps, columns = weight.shape
        lanes = jit.lanes_for(c_in, c_out)
        if self.taps not in ALGORITHMS or columns != self.taps or lanes is None:
            raise RuntimeError(f"no kernel for weights {tuple(weight.shape)}")
        self.lanes, self.integers = lanes, self.multiplies_integers(weight) if integers else 0
        self.slope = 1.0 if slope is None else slope
        self.channels = c_in, c_out
        self.weight, self.bias = parameters(weight, bias)

    @staticmethod
    def suits(weight: Tensor, padding: tuple[int, int], stride: tuple[int, int]) -> bool:
        """Whether there is a kernel for such a convolution here; whether it works, ``self_test`` tells."""
        c_out, c_in, taps, columns = weight.shape
        known = taps == columns and taps in ALGORITHMS and padding == (taps // 2, taps // 2) and stride == (1, 1)
        return known and c_in * c_out >= _MIN_CHANNELS and jit.lanes_for(c_in, c_out) is not None

    @staticmethod
    def multiplies_integers(weight: Tensor) -> int:
        """What multiplies whole numbers in such a convolution here; 0 where it must be float32."""
        host, _ = jit.host()
        return host.integers if host and weight.size(2) == 3 and weight.size(1) % 8 == 0 else 0

    @staticmethod
    def shuffles_to(weight: Tensor, factor: int) -> bool:
        """Whether the results of a convolution that has a kernel can be written in shuffled order, see `__call__`."""
        lanes = jit.lanes_for(weight.size(1), weight.size(0))
        return factor == 1 or weight.size(0) % (2 * lanes * factor**2) == 0

    @functools.cached_property
    def filters(self) -> tuple[Tensor, Tensor]:
        """Transformed, and for whole numbers their units: larger than the weights, so only made when they are used."""
        panel, (c_in, c_out) = 2 * self.lanes, self.channels
        algorithm = ALGORITHMS[self.taps]
        weight = F.pad(self.weight.flatten(1), (0, 0, 0, -c_out % panel))
        # By tap, and then (panel of outputs, input, output of the panel); by PyTorch, since numpy has its own threads.
        taps = weight.view(-1, panel, c_in, self.taps**2).permute(3, 0, 2, 1).double().flatten(1)
        filters = (torch.from_numpy(algorithm.filter_transform) @ taps).view(algorithm.patch**2, -1, c_in, panel)
        if not self.integers:
            return filters.float(), filters.new_empty(0)
        filters *= torch.from_numpy(algorithm.input_bounds).view(-1, 1, 1, 1)
        # As fine as sums of 32 bits allow.
        units = torch.maximum(filters.abs().sum(2) / LARGEST_FILTER, filters.abs().amax(2) / (2**15 - 1))
        filters = (filters / units.clamp_min(torch.finfo(torch.float32).tiny).unsqueeze(2)).round().to(torch.int16)
        # Inputs in pairs, which lie beside each other: (..., pair of inputs, output of the panel, one of the pair).
        return filters.unflatten(2, (-1, 2)).transpose(3, 4).contiguous(), units.float().contiguous()

    def shuffles(self, factor: int) -> bool:
        """Whether results can be written in shuffled order: each pixel has whole vectors' channels of its own."""
        return self.shuffles_to(self.weight, factor)

    def __call__(
        self,
        x: Tensor,
        padding: tuple[int, int] | None = None,
        *,
        residual: Tensor | None = None,
        gate: Tensor | None = None,
        gate_slope: float = 0.0,
        into: Tensor | None = None,
        shuffle: int = 1,
    ) -> Tensor:
        """Convolve, add, activate and shuffle.

        Args:
            x: features ``(n, c_in, h, w)``, channels last, float32.
            padding: rows of zeros above and below, by default as many as keep the number of rows. That of the columns
                is always kept.
            residual: what is added before activating, of the result's shape.
            gate: instead of activating, multiply by the derivative of the leaky ReLU that gave this, of the result's
                shape.
            gate_slope: of that leaky ReLU.
            into: where the result is written to, channels last, perhaps ``residual`` but not ``x``; new memory without
                it, or where it has another shape.
            shuffle: pixels of the result, in each direction, whose channels one pixel of the convolution holds, in the
                order row, column, channel; this is not the order of ``F.pixel_shuffle``. See :meth:`shuffles`.

        Returns:
            ``(n, c_out / shuffle**2, shuffle * rows, shuffle * w)``, channels last.

        Raises:
            ValueError: something is not float32, or has other channels.
        """
        above, below = padding or (self.taps // 2,) * 2
        algorithm = ALGORITHMS[self.taps]
        x = channels_last(x, self.channels[0])
        n, c_in, h, w = x.shape
        rows, c_out = h + above + below - self.taps + 1, self.channels[1] // shuffle**2
        if into is None or into.shape != (n, c_out, shuffle * rows, shuffle * w):
            shape = n, c_out, shuffle * rows, shuffle * w
            # No view, which autograd would not let be written to.
            into = torch.empty(shape, dtype=torch.float32, device="cpu", memory_format=torch.channels_last)
        if not x.numel() or not into.numel():
            return into.zero_()
        if into.stride(1) != 1 or into.dtype != torch.float32:
            raise ValueError(f"into: must be float32 and channels last, got {into.dtype}, strides {into.stride()}")
        residual, gate = (
            torch.empty_strided(into.shape, into.stride()).copy_(other)
            if other is not None and (other.dtype != torch.float32 or other.stride() != into.stride())
            else other
            for other in (residual, gate)
        )
        filters, units = self.filters  # held until the call is over, whoever else makes them meanwhile
        image, _, row, column = into.stride()
        chunks = [
            (
                (dy * shuffle + dx) * c_out + first,
                min(CHUNK, c_out - first),
                dy * row + dx * column + first,
            )
            for dy in range(shuffle)
            for dx in range(shuffle)
            for first in range(0, c_out, CHUNK)
        ]
        chunk_table = (ctypes.c_int64 * (3 * len(chunks)))(*itertools.chain(*chunks))
        tile_rows, tile_columns = -(-rows // algorithm.tile), -(-w // algorithm.tile)
        blocks = -(-n * tile_rows * tile_columns // BLOCK)
        threads = min(torch.get_num_threads(), blocks)
        floats = winograd_scratch(algorithm, c_in)
        call = WinogradArgs(
            source=x.data_ptr(),
            target=into.data_ptr(),
            residual=0 if residual is None else residual.data_ptr(),
            gate=0 if gate is None else gate.data_ptr(),
            filters=filters.data_ptr(),
            units=units.data_ptr(),
            bias=self.bias.data_ptr(),
            scratch=scratch(threads * floats).data_ptr(),
            scratch_floats=floats,
            source_image=x.stride(0),
            source_row=x.stride(2),
            source_column=x.stride(3),
            target_image=image,
            target_row=shuffle * row,
            target_column=shuffle * column,
            source_rows=h,
            source_columns=w,
            target_rows=rows,
            target_columns=w,
            above=above,
            left=self.taps // 2,
            tile_rows=tile_rows,
            tile_columns=tile_columns,
            tiles=n * tile_rows * tile_columns,
            channels_in=c_in,
            channels_out=self.channels[1],
            chunks=len(chunks),
            chunk_table=ctypes.addressof(chunk_table),
            slope=float_bits(self.slope if gate is None else gate_slope),
        )
        kernel = jit.compiled("winograd", self.taps, self.lanes, jit.host()[0].registers, self.integers)
        parallel.run(kernel, call, threads)
        return into
