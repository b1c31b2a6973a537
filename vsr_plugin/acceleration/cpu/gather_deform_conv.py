"""Deformable convolution of channels-last features: the channels of a group are gathered together."""

import torch
import torch.nn as nn
from torch import Tensor

from vsr_plugin.acceleration.cpu.gather import bilinear_taps, weighted_rows
from vsr_plugin.acceleration.cpu.kernels import DeformConv, kernels_pay
from vsr_plugin.acceleration.fused_conv import FusedConv
from vsr_plugin.ops.deform_conv import ModulatedDCNPack

#: Sampled values that are held at once, in float32; so the many small steps from displacements to sums stay in the
#: cache.
_MAX_COLUMNS = 2**20


class GatherDCNPack(nn.Module):
    """:class:`ModulatedDCNPack` for CPUs.

    ``grid_sample`` reads value by value from planes; here the channels of a deformable group, which share their
    positions, are one row of a table. What is left is a 1x1 convolution. Large images are left to a kernel of our own,
    which keeps the samples in the cache.

    Args:
        plain: 3x3, stride 1.
        dtype: precision of features and result; displacements, positions and samples are float32.
    """

    def __init__(self, plain: ModulatedDCNPack, dtype: torch.dtype):
        super().__init__()
        self.groups = plain.deform_groups
        # Displacements are positions, so they are predicted in float32 whatever the features' precision.
        displacements = slice(2 * 9 * self.groups)
        factors = slice(2 * 9 * self.groups, None)
        self.conv_displacements = _some_channels(plain.conv_offset, displacements, torch.float32)
        self.conv_factors = _some_channels(plain.conv_offset, factors, dtype)
        c_out, c_in = plain.weight.shape[:2]
        # Columns are in the order group, tap, channel of the group.
        weight = plain.weight.detach().reshape(c_out, self.groups, c_in // self.groups, 9).transpose(2, 3)
        self._kernel = None
        if DeformConv.suits(plain.weight, self.groups):
            self._kernel = DeformConv(plain.weight, plain.bias, self.groups)
        self.conv = FusedConv(weight.reshape(c_out, -1, 1, 1), plain.bias, dtype, padding=(0, 0))

    def forward(self, x: Tensor, offset_feat: Tensor) -> Tensor:
        """Map features ``(n, c, h, w)``, displaced as ``offset_feat`` ``(n, c, h, w)`` says, to ``(n, c, h, w)``."""
        if self._kernel is not None and kernels_pay(x, self._kernel.weight):
            factors = self.conv_factors(offset_feat).float().sigmoid_()
            return self._kernel(x, self.conv_displacements(offset_feat), factors).to(x.dtype)
        return torch.cat([self._one(x[i : i + 1], offset_feat[i : i + 1]) for i in range(x.size(0))])

    def _one(self, x: Tensor, offset_feat: Tensor) -> Tensor:
        _, c, h, w = x.shape
        taps = self.groups * 9
        displacements = self.conv_displacements(offset_feat).permute(0, 2, 3, 1)[0]
        factors = self.conv_factors(offset_feat).permute(0, 2, 3, 1)[0]
        table = x.permute(0, 2, 3, 1).reshape(h * w * self.groups, c // self.groups).float()
        tap_y = torch.arange(-1.0, 2).repeat_interleave(3).repeat(self.groups)
        tap_x = torch.arange(-1.0, 2).repeat(3 * self.groups)
        # A row of the table is a pixel's channels of one group.
        group = torch.arange(self.groups, dtype=torch.int32).repeat_interleave(9)
        columns_x = torch.arange(w, dtype=torch.float32)[:, None] + tap_x
        band = max(1, _MAX_COLUMNS // (w * taps * table.size(1)))
        out = []
        for top in range(0, h, band):
            displaced = displacements[top : top + band]
            rows = displaced.size(0)
            rows_y = torch.arange(top, top + rows, dtype=torch.float32)[:, None, None] + tap_y
            index, weight = bilinear_taps(
                displaced[..., 1::2] + columns_x,
                displaced[..., 0::2] + rows_y,
                h,
                w,
                rows_per_pixel=self.groups,
                first_row=group,
                factor=factors[top : top + band].float().sigmoid_(),
            )
            columns = weighted_rows(table, index, weight).view(1, rows, w, -1)
            out.append(self.conv(columns.permute(0, 3, 1, 2)))
        return torch.cat(out, dim=2)


def _some_channels(conv: nn.Conv2d, channels: slice, dtype: torch.dtype) -> FusedConv:
    """A convolution with some of its output channels only."""
    return FusedConv(conv.weight[channels], conv.bias[channels], dtype, tuple(conv.padding), tuple(conv.stride))
