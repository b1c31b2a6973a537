"""Convolutions of channels-last features by Winograd's method: packing filters, calling."""

import ctypes
import functools
import itertools
import threading

import torch
import torch.nn.functional as F
from torch import Tensor

from vsr_plugin.inference.acceleration.cpu.kernels import jit, team
from vsr_plugin.inference.acceleration.cpu.kernels.call import (
    BLOCK,
    CHUNK,
    DeformCall,
    NarrowCall,
    WinogradCall,
    deform_scratch,
    float_bits,
    narrow_scratch,
    winograd_scratch,
)
from vsr_plugin.inference.acceleration.cpu.kernels.winograd import ALGORITHMS

#: Products of input and output channels from which on Winograd's method pays.
_MIN_CHANNELS = 256

_own = threading.local()


def _lanes(*channels: int) -> int | None:
    """The widest vectors of which all numbers of channels are multiples, if there are kernels here at all."""
    host, _ = jit.host()
    lanes = host.lanes if host else 0
    while lanes >= 4:
        if not any(number % lanes for number in channels):
            return lanes
        lanes //= 2
    return None


def _scratch(floats: int) -> Tensor:
    """Memory of this thread, kept from call to call: fresh memory would cost a page fault for each 4 KB."""
    scratch = getattr(_own, "scratch", None)
    if scratch is None or scratch.numel() < floats:
        scratch = _own.scratch = torch.empty(floats)
    return scratch


def _channels_last(x: Tensor) -> Tensor:
    """Features whose channels lie side by side; those of a slice of more channels do already."""
    return x if x.stride(1) == 1 else x.contiguous(memory_format=torch.channels_last)


class WinogradConv:
    """A 3x3 or 7x7 convolution of stride 1 with what follows it, in float32.

    Args:
        weight: ``(c_out, c_in, r, r)`` with ``r`` 3 or 7; both numbers of channels are multiples of 4.
        bias: ``(c_out,)``.
        slope: of leaky ReLU; 0 for ReLU, ``None`` for none.

    Raises:
        RuntimeError: there are no kernels for this processor or for such a convolution.
    """

    def __init__(self, weight: Tensor, bias: Tensor, slope: float | None):
        c_out, c_in, self.taps, columns = weight.shape
        lanes = _lanes(c_in, c_out)
        if self.taps not in ALGORITHMS or columns != self.taps or lanes is None:
            raise RuntimeError(f"no kernel for weights {tuple(weight.shape)}")
        self.lanes = lanes
        self.slope = 1.0 if slope is None else slope
        self.channels = c_in, c_out
        self.weight, self.bias = weight.detach(), bias.detach().contiguous()

    @staticmethod
    def suits(weight: Tensor, padding: tuple[int, int], stride: tuple[int, int]) -> bool:
        """Whether there is a kernel for such a convolution here; whether it works, ``trial`` tells."""
        c_out, c_in, taps, columns = weight.shape
        known = taps == columns and taps in ALGORITHMS and padding == (taps // 2, taps // 2) and stride == (1, 1)
        return known and c_in * c_out >= _MIN_CHANNELS and _lanes(c_in, c_out) is not None

    @functools.cached_property
    def filters(self) -> Tensor:
        """Transformed: four times as large as the weights for 3x3, so only made when they are used."""
        panel = 2 * self.lanes
        filters = torch.from_numpy(ALGORITHMS[self.taps].transform_filters(self.weight.numpy())).flatten(0, 1)
        filters = F.pad(filters, (0, 0, 0, -self.channels[1] % panel)).unflatten(1, (-1, panel)).transpose(2, 3)
        return filters.float().contiguous()

    def shuffles(self, factor: int) -> bool:
        """Whether results can be written in shuffled order: each pixel has whole vectors' channels of its own."""
        return self.channels[1] % (2 * self.lanes * factor**2) == 0

    def __call__(
        self,
        x: Tensor,
        padding: tuple[int, int] | None = None,
        *,
        residual: Tensor | None = None,
        into: Tensor | None = None,
        shuffle: int = 1,
    ) -> Tensor:
        """Convolve, add, activate and shuffle.

        Args:
            x: features ``(n, c_in, h, w)``, channels last, float32.
            padding: rows of zeros above and below, by default as many as keep the number of rows. That of the columns
                is always kept.
            residual: what is added before activating, of the result's shape.
            into: where the result is written to, channels last, perhaps ``residual`` but not ``x``; new memory without
                it.
            shuffle: pixels of the result, in each direction, whose channels one pixel of the convolution holds, in the
                order row, column, channel; this is not the order of ``F.pixel_shuffle``. See :meth:`shuffles`.

        Returns:
            ``(n, c_out / shuffle**2, shuffle * rows, shuffle * w)``, channels last.
        """
        above, below = padding or (self.taps // 2,) * 2
        algorithm = ALGORITHMS[self.taps]
        n, c_in, h, w = x.shape
        rows, c_out = h + above + below - self.taps + 1, self.channels[1] // shuffle**2
        if into is None:
            into = torch.empty(n, shuffle * rows, shuffle * w, c_out).permute(0, 3, 1, 2)
        if not x.numel() or not into.numel():
            return into.zero_()
        x = _channels_last(x)
        if residual is not None and residual.stride() != into.stride():
            residual = torch.empty_like(into).copy_(residual)
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
        call = WinogradCall(
            source=x.data_ptr(),
            target=into.data_ptr(),
            residual=0 if residual is None else residual.data_ptr(),
            filters=self.filters.data_ptr(),
            bias=self.bias.data_ptr(),
            scratch=_scratch(threads * floats).data_ptr(),
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
            slope=float_bits(self.slope),
        )
        team.run(jit.compiled("winograd_task", self.taps, self.lanes, jit.host()[0].registers), call, threads)
        return into


class NarrowConv:
    """A convolution of stride 1 to very few channels, in float32; the number of columns stays.

    Args:
        weight: ``(c_out, c_in, r, r)`` with an odd ``r``; ``c_in`` is a multiple of 4.
        bias: ``(c_out,)``.

    Raises:
        RuntimeError: there are no kernels for this processor or for such a convolution.
    """

    def __init__(self, weight: Tensor, bias: Tensor):
        self.outputs, self.channels, self.taps, _ = weight.shape
        lanes = _lanes(self.channels)
        if lanes is None:
            raise RuntimeError(f"no kernel for weights {tuple(weight.shape)}")
        self.lanes = lanes
        self.weight = weight.detach()
        self.bias = bias.detach().contiguous()
        # (output, input channel, row, column) to (row, vector of channels, column, output, lane)
        self.packed = self.weight.unflatten(1, (-1, lanes)).permute(3, 1, 4, 0, 2).contiguous()

    @staticmethod
    def suits(weight: Tensor, padding: tuple[int, int]) -> bool:
        """Whether there is a kernel for such a convolution here; whether it works, ``trial`` tells."""
        c_out, c_in, taps, columns = weight.shape
        known = taps == columns and taps % 2 == 1 and padding == (taps // 2, taps // 2)
        return known and c_out <= 3 and _lanes(c_in) is not None

    def __call__(self, x: Tensor, padding: tuple[int, int] | None = None) -> Tensor:
        """Convolve.

        Args:
            x: features ``(n, c_in, h, w)``, channels last, float32.
            padding: rows of zeros above and below, by default as many as keep the number of rows.

        Returns:
            ``(n, c_out, rows, w)``, as planes.
        """
        above, below = padding or (self.taps // 2,) * 2
        n, _, h, w = x.shape
        rows = h + above + below - self.taps + 1
        out = torch.empty(n, self.outputs, rows, w)
        if not x.numel() or not out.numel():
            return out.zero_()
        threads = min(torch.get_num_threads(), n * rows)
        floats = narrow_scratch(self.taps, self.outputs, self.channels)
        x = _channels_last(x)
        call = NarrowCall(
            source=x.data_ptr(),
            target=out.data_ptr(),
            weights=self.packed.data_ptr(),
            bias=self.bias.data_ptr(),
            scratch=_scratch(threads * floats).data_ptr(),
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
        team.run(jit.compiled("narrow_task", self.taps, self.outputs, self.lanes), call, threads)
        return out


class DeformConv:
    """A modulated deformable 3x3 convolution of stride 1 and padding 1, in float32.

    Args:
        weight: ``(c_out, c_in, 3, 3)``; see :meth:`suits`.
        bias: ``(c_out,)``.
        groups: deformable groups.

    Raises:
        RuntimeError: there are no kernels for this processor or for such a convolution.
    """

    def __init__(self, weight: Tensor, bias: Tensor, groups: int):
        lanes = self._both_lanes(weight, groups)
        if lanes is None:
            raise RuntimeError(f"no kernel for weights {tuple(weight.shape)} in {groups} deformable groups")
        self.lanes, self.matrix_lanes = lanes
        self.groups = groups
        self.weight, self.bias = weight.detach(), bias.detach().contiguous()
        c_in = weight.size(1)
        # (output, group, channel, tap) to (panel of outputs, group, tap, channel, output of the panel)
        packed = self.weight.reshape(-1, 2 * self.matrix_lanes, groups, c_in // groups, 9)
        self.packed = packed.permute(0, 2, 4, 3, 1).contiguous()
        y, x = torch.arange(-1.0, 2).repeat_interleave(3), torch.arange(-1.0, 2).repeat(3)
        self.positions = torch.cat([y.repeat(groups), x.repeat(groups)])

    @staticmethod
    def _both_lanes(weight: Tensor, groups: int) -> tuple[int, int] | None:
        """Lanes for sampling, and for the product with the weights."""
        c_out, c_in = weight.shape[:2]
        lanes, matrix_lanes = _lanes(c_in // groups, 9 * groups), _lanes(c_out // 2)
        return (lanes, matrix_lanes) if lanes and matrix_lanes and c_in % groups == c_out % 2 == 0 else None

    @classmethod
    def suits(cls, weight: Tensor, groups: int) -> bool:
        """Whether there is a kernel for such a convolution here; whether it works, ``trial`` tells."""
        return tuple(weight.shape[2:]) == (3, 3) and cls._both_lanes(weight, groups) is not None

    def __call__(self, x: Tensor, displacements: Tensor, factors: Tensor) -> Tensor:
        """Convolve.

        Args:
            x: features ``(n, c_in, h, w)``.
            displacements: in pixels, ``(n, 2 * 9 * groups, h, w)``: for every group and tap y, x. What is not a number
                samples nothing, and neither does what lies outside the image.
            factors: of the samples, ``(n, 9 * groups, h, w)``.

        Returns:
            ``(n, c_out, h, w)``, channels last.
        """
        given = [t.float().permute(0, 2, 3, 1).contiguous() for t in (x, displacements, factors)]
        n, h, w, c_in = given[0].shape
        c_out = self.weight.size(0)
        out = torch.empty(n, h, w, c_out)
        if out.numel():
            threads = min(torch.get_num_threads(), -(-n * h * w // BLOCK))
            floats = deform_scratch(self.groups, c_in // self.groups, c_out)
            call = DeformCall(
                source=given[0].data_ptr(),
                target=out.data_ptr(),
                displacements=given[1].data_ptr(),
                factors=given[2].data_ptr(),
                positions=self.positions.data_ptr(),
                filters=self.packed.data_ptr(),
                bias=self.bias.data_ptr(),
                scratch=_scratch(threads * floats).data_ptr(),
                scratch_floats=floats,
                images=n,
                rows=h,
                columns=w,
                channels_out=c_out,
            )
            parameters = self.groups, c_in // self.groups, self.lanes, self.matrix_lanes, jit.host()[0].registers
            team.run(jit.compiled("deform_task", *parameters), call, threads)
        return out.permute(0, 3, 1, 2)
