"""Deformable convolution of channels-last features: the channels of a group are gathered together."""

from collections.abc import Sequence

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from vsr_plugin.acceleration.cpu.gather import bilinear_taps, weighted_rows
from vsr_plugin.acceleration.cpu.kernels import DeformConv, kernels_pay
from vsr_plugin.acceleration.fused_conv import FusedConv
from vsr_plugin.models.alignment import FlowGuidedDeformConv
from vsr_plugin.ops.deform_conv import ModulatedDCNPack

#: Sampled values that are held at once, in float32; so the many small steps from displacements to sums stay in the
#: cache.
_MAX_COLUMNS = 2**20
#: Channels that the widest vectors hold in float32; a convolution of another multiple is left to narrower ones.
_LANES = 16


class GatherDeformConv(nn.Module):
    """A modulated deformable 3x3 convolution of stride 1 and padding 1 for CPUs.

    ``grid_sample`` reads value by value from planes; here the channels of a deformable group, which share their
    positions, are one row of a table. What is left is a 1x1 convolution. Large images are left to a kernel of our own,
    which keeps the samples in the cache.

    Args:
        weight: ``(c_out, c_in, 3, 3)``.
        bias: ``(c_out,)``.
        groups: deformable groups.
        dtype: precision of features and result; displacements, positions and samples are float32.
    """

    def __init__(self, weight: Tensor, bias: Tensor, groups: int, dtype: torch.dtype):
        super().__init__()
        self.groups = groups
        c_out, c_in = weight.shape[:2]
        # Columns are in the order group, tap, channel of the group.
        matrix = weight.detach().reshape(c_out, groups, c_in // groups, 9).transpose(2, 3)
        self._kernel = DeformConv(weight, bias, groups) if DeformConv.suits(weight, groups) else None
        self.conv = FusedConv(matrix.reshape(c_out, -1, 1, 1), bias, dtype, padding=(0, 0))

    def forward(self, x: Tensor, displacements: Tensor, factors: Tensor) -> Tensor:
        """Convolve.

        Args:
            x: features ``(n, c_in, h, w)``.
            displacements: in pixels, float32 ``(n, 18 * groups, h, w)``: for every group and tap y, x.
            factors: of the samples, ``(n, 9 * groups, h, w)``.

        Returns:
            ``(n, c_out, h, w)`` in the precision of the features.
        """
        if self._kernel is not None and kernels_pay(x, self._kernel.weight):
            return self._kernel(x, displacements, factors.float()).to(self.conv.dtype)
        images = zip(x.split(1), displacements.split(1), factors.split(1), strict=True)
        return torch.cat([self._one(*image) for image in images])

    def _one(self, x: Tensor, displacements: Tensor, factors: Tensor) -> Tensor:
        _, c, h, w = x.shape
        taps = self.groups * 9
        displacements, factors = (t.permute(0, 2, 3, 1)[0] for t in (displacements, factors))
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
                factor=factors[top : top + band].float(),
            )
            columns = weighted_rows(table, index, weight).view(1, rows, w, -1)
            out.append(self.conv(columns.permute(0, 3, 1, 2)))
        return torch.cat(out, dim=2)


class GatherDCNPack(nn.Module):
    """:class:`ModulatedDCNPack` for CPUs.

    Args:
        plain: as it trains.
        dtype: of the features.
    """

    def __init__(self, plain: ModulatedDCNPack, dtype: torch.dtype):
        super().__init__()
        self.predict = _DisplacementsAndFactors(plain.conv_offset, plain.deform_groups, dtype)
        self.deform_conv = GatherDeformConv(plain.weight, plain.bias, plain.deform_groups, dtype)

    def forward(self, x: Tensor, offset_feat: Tensor) -> Tensor:
        """Map features ``(n, c, h, w)``, displaced as ``offset_feat`` ``(n, c, h, w)`` says, to ``(n, c, h, w)``."""
        return self.deform_conv(x, *self.predict(offset_feat))


class GatherFlowGuidedDeformConv(nn.Module):
    """:class:`FlowGuidedDeformConv` for CPUs.

    Args:
        plain: as it trains.
        dtype: of the features.
    """

    def __init__(self, plain: FlowGuidedDeformConv, dtype: torch.dtype):
        super().__init__()
        self.max_residue_magnitude, self.order = plain.max_residue_magnitude, plain.order
        convolutions = [layer for layer in plain.conv_offset if isinstance(layer, nn.Conv2d)]
        first, *others, last = convolutions
        slope = plain.conv_offset[1].negative_slope
        self.fill = -first.weight.size(1) % _LANES
        weight = F.pad(first.weight.detach(), (0, 0, 0, 0, 0, self.fill))
        # The flows enter here, for which bfloat16 has too few bits.
        widened = FusedConv(weight, first.bias, torch.float32, slope=slope)
        self.hidden = nn.Sequential(widened, *(FusedConv.of(conv, dtype, slope) for conv in others))
        self.predict = _DisplacementsAndFactors(last, plain.deform_groups, dtype)
        self.deform_conv = GatherDeformConv(plain.weight, plain.bias, plain.deform_groups, dtype)

    def join(self, parts: Sequence[Tensor]) -> Tensor:
        """See :meth:`FlowGuidedDeformConv.join`; filled up with zeros to whole vectors of channels."""
        parts = [part.float().contiguous(memory_format=torch.channels_last) for part in parts]
        n, _, h, w = parts[0].shape
        zeros = parts[0].new_zeros(n, h, w, self.fill).permute(0, 3, 1, 2)
        return torch.cat((*parts, zeros), dim=1)

    def forward(self, states: Tensor, condition: Tensor, flows: Sequence[Tensor]) -> Tensor:
        """See :meth:`FlowGuidedDeformConv.forward`."""
        residues, factors = self.predict(self.hidden(condition))
        # Of every state the flow to it, y before x, for all its groups and taps; numbers of a pixel lie side by side.
        pixels = residues.permute(0, 2, 3, 1).tanh_().mul_(self.max_residue_magnitude).unflatten(3, (self.order, -1, 2))
        pixels += torch.stack([flow.flip(1).permute(0, 2, 3, 1) for flow in flows], dim=3).unsqueeze(4)
        return self.deform_conv(states, residues, factors)


class _DisplacementsAndFactors(nn.Module):
    """The convolution that predicts displacements in float32, whatever the features' precision, and factors."""

    def __init__(self, conv: nn.Conv2d, groups: int, dtype: torch.dtype):
        super().__init__()
        self.displacements = _some_channels(conv, slice(18 * groups), torch.float32)
        self.factors = _some_channels(conv, slice(18 * groups, None), dtype)

    def forward(self, feat: Tensor) -> tuple[Tensor, Tensor]:
        return self.displacements(feat), self.factors(feat).float().sigmoid_()


def _some_channels(conv: nn.Conv2d, channels: slice, dtype: torch.dtype) -> FusedConv:
    """A convolution with some of its output channels only."""
    return FusedConv(conv.weight[channels], conv.bias[channels], dtype, tuple(conv.padding), tuple(conv.stride))
