"""A network's components by our CUDA kernels: half precision, 64 channels."""

from collections.abc import Sequence

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from vsr_plugin.acceleration import generic
from vsr_plugin.acceleration.conversion import mixed
from vsr_plugin.acceleration.cuda import kernels
from vsr_plugin.models.aggregation import upsample_x2
from vsr_plugin.models.alignment import FlowGuidedDeformConv
from vsr_plugin.models.upsampling import SHUFFLES
from vsr_plugin.ops.deform_conv import ModulatedDCNPack, ModulatedDeformConv

_SLOPE = 0.1
_HALF = (torch.float16, torch.bfloat16)


def _channels_last(x: Tensor, dtype: torch.dtype) -> Tensor:
    # Not by `to` alone: it takes a slice of a channels-last tensor for one.
    return x.to(dtype).contiguous(memory_format=torch.channels_last)


def enlarge_by_kernel(x: Tensor, factor: float = 1.0) -> Tensor:
    """See :func:`vsr_plugin.models.aggregation.upsample_x2`."""
    if x.dtype not in _HALF or x.size(1) % 8:
        return upsample_x2(x, factor)
    return kernels.enlarge(_channels_last(x, x.dtype), factor)


class FirstConvByParts(nn.Module):
    """The first convolution of a branch without joining what it sees: it is the sum of convolutions of the parts.

    The frame's part is computed in float32.

    Args:
        conv: from ``3 + 64 k`` to 64 channels.
        dtype: of the features.
    """

    def __init__(self, conv: nn.Conv2d, dtype: torch.dtype):
        super().__init__()
        frame, *features = conv.weight.detach().split((3, *[kernels.CHANNELS] * (conv.weight.size(1) // 64)), dim=1)
        self.dtype = dtype
        self.register_buffer("frame", kernels.pack_frame_conv(frame), persistent=False)
        packed = torch.stack([kernels.pack_conv3x3(part.to(dtype)) for part in features])
        self.register_buffer("features", packed, persistent=False)
        self.register_buffer("bias", conv.bias.detach().float(), persistent=False)
        self.register_buffer("no_bias", torch.zeros_like(self.bias), persistent=False)

    @staticmethod
    def fits(conv: nn.Conv2d) -> bool:
        """Whether a convolution can be computed like this."""
        c = kernels.CHANNELS
        return conv.weight.size(0) == c and conv.weight.size(1) > 3 and conv.weight.size(1) % c == 3

    def forward(self, lr: Tensor, *seen: Tensor) -> Tensor:
        """Map a frame ``(n, 3, h, w)`` and feature maps ``(n, 64, h, w)`` to activated features ``(n, 64, h, w)``."""
        total = kernels.frame_conv(lr.float().contiguous(), self.frame, self.dtype)
        for number, (feat, packed) in enumerate(zip(seen, self.features, strict=True), start=1):
            last = number == len(seen)
            total = kernels.conv3x3(
                _channels_last(feat, self.dtype),
                packed,
                self.bias if last else self.no_bias,
                total,
                slope_of_sum=_SLOPE if last else 1,
            )
        return total


class FusionByParts(nn.Module):
    """The 1x1 convolution that fuses two branches, as matrix products without joining them.

    Args:
        conv: from 128 to 64 channels.
        dtype: of the features.
    """

    def __init__(self, conv: nn.Conv2d, dtype: torch.dtype):
        super().__init__()
        matrices = conv.weight.detach().flatten(1).t().to(dtype).view(-1, kernels.CHANNELS, kernels.CHANNELS)
        self.register_buffer("matrices", matrices.contiguous(), persistent=False)
        self.register_buffer("bias", conv.bias.detach().to(dtype), persistent=False)

    def forward(self, *feats: Tensor) -> Tensor:
        """Map feature maps ``(n, 64, h, w)`` to one that is activated."""
        dtype = self.matrices.dtype
        pixels = [_channels_last(feat, dtype).permute(0, 2, 3, 1) for feat in feats]
        total = self.bias
        for part, matrix in zip(pixels, self.matrices, strict=True):
            total = torch.addmm(total, part.flatten(0, 2), matrix)
        return F.leaky_relu_(total, _SLOPE).view_as(pixels[0]).permute(0, 3, 1, 2)


class UpsamplingByKernels(nn.Module):
    """Upsampling in which every layer is one kernel: pixel shuffle, activation and the base frame cost no pass.

    Args:
        net: a network with ``upsample1``, ..., ``conv_hr`` and ``conv_last`` as it trains, of 64 channels.
        dtype: of the features.
    """

    def __init__(self, net: nn.Module, dtype: torch.dtype):
        super().__init__()
        self.scale = net.scale
        self.dtype = dtype
        self.factors = (*SHUFFLES[net.enlargement], 1)
        convs = [*(getattr(net, name).upsample_conv for name in net.shuffle_names()), net.conv_hr]
        for number, (conv, factor) in enumerate(zip(convs, self.factors, strict=True)):
            bias = conv.bias.detach().float().view(kernels.CHANNELS, factor**2).t().reshape(-1)
            packed = kernels.pack_conv3x3(conv.weight.detach().to(dtype), factor)
            self.register_buffer(f"weight{number}", packed, persistent=False)
            self.register_buffer(f"bias{number}", bias.contiguous(), persistent=False)
        last = kernels.pack_last_conv(net.conv_last.weight.detach().to(dtype))
        self.register_buffer("last_weight", last, persistent=False)
        self.register_buffer("last_bias", net.conv_last.bias.detach().float(), persistent=False)

    def forward(self, feat: Tensor, lr: Tensor) -> Tensor:
        """See :meth:`PixelShuffleUpsampling.upsample`; the result is float32."""
        feat = _channels_last(feat, self.dtype)
        for number, factor in enumerate(self.factors):
            weight, bias = getattr(self, f"weight{number}"), getattr(self, f"bias{number}")
            feat = kernels.conv3x3(feat, weight, bias, slope=_SLOPE, shuffle=factor)
        return kernels.last_conv(feat, self.last_weight, self.last_bias, lr.float().contiguous(), self.scale)


class KernelWarp:
    """Warping, mixed into an alignment over its own."""

    def warp(self, x: Tensor, flow: Tensor) -> Tensor:
        """See :meth:`Alignment.warp`."""
        if x.dtype not in _HALF or x.size(1) % 8 or flow.shape[-2:] != x.shape[-2:]:
            return super().warp(x, flow)
        return kernels.warp(_channels_last(x, x.dtype), flow.float().contiguous())


class KernelDCNPack(nn.Module):
    """:class:`ModulatedDCNPack` of which each group has a multiple of 8 channels.

    Args:
        plain: as it trains.
        dtype: of the features.
    """

    def __init__(self, plain: ModulatedDCNPack, dtype: torch.dtype):
        super().__init__()
        # Displacements need more than the 8 bits of bfloat16; the 11 of float16 are those of TF32.
        guide_dtype = dtype if dtype == torch.float16 else torch.float32
        guide_weight = plain.conv_offset.weight.detach().to(guide_dtype, memory_format=torch.channels_last)
        self.dtype = dtype
        self.register_buffer("guide_weight", guide_weight, persistent=False)
        self.register_buffer("guide_bias", plain.conv_offset.bias.detach().float(), persistent=False)
        self.register_buffer("weight", kernels.pack_deform_conv(plain.weight.detach().to(dtype)), persistent=False)
        self.register_buffer("bias", plain.bias.detach().to(dtype), persistent=False)

    @staticmethod
    def fits(plain: ModulatedDCNPack) -> bool:
        """Whether a deformable convolution can be computed like this."""
        return _in_whole_chunks(plain)

    def forward(self, x: Tensor, offset_feat: Tensor) -> Tensor:
        """See :meth:`ModulatedDCNPack.forward`."""
        guide = F.conv2d(_channels_last(offset_feat, self.guide_weight.dtype), self.guide_weight, padding=1)
        guide = guide.contiguous(memory_format=torch.channels_last)
        return kernels.deform_conv(_channels_last(x, self.dtype), guide, self.guide_bias, self.weight, self.bias)


class KernelGuidedDeform:
    """Sampling, mixed into a :class:`FlowGuidedDeformConv` over its own.

    Displacements are bounded and added to the flow where they are used, and never held.
    """

    def sample(self, states: Tensor, predicted: Tensor, flows: Sequence[Tensor]) -> Tensor:
        """See :meth:`FlowGuidedDeformConv.sample`."""
        guide = _channels_last(predicted, torch.float32)
        flow = torch.cat([flow.float() for flow in flows], dim=1)
        parts = guide, self.no_bias, self.packed, self.packed_bias, flow, self.max_residue_magnitude
        return kernels.deform_conv(_channels_last(states, self.packed.dtype), *parts)


def guided_deform_conv(plain: FlowGuidedDeformConv, dtype: torch.dtype) -> FlowGuidedDeformConv:
    """:func:`vsr_plugin.acceleration.generic.guided_deform_conv`, which samples by a kernel where it fits."""
    fast = generic.guided_deform_conv(plain, dtype)
    if not _in_whole_chunks(plain):
        return fast
    fast.register_buffer("no_bias", plain.bias.new_zeros(27 * plain.deform_groups).float(), persistent=False)
    fast.register_buffer("packed", kernels.pack_deform_conv(plain.weight.detach().to(dtype)), persistent=False)
    fast.register_buffer("packed_bias", plain.bias.detach().to(dtype), persistent=False)
    return mixed(fast, KernelGuidedDeform)


def _in_whole_chunks(plain: ModulatedDeformConv) -> bool:
    """Whether each deformable group has a multiple of the 8 channels that a thread samples."""
    return plain.weight.size(1) % (8 * plain.deform_groups) == 0


class KernelComponents:
    """First convolutions, fusion and upsampling, mixed into a network over its own."""

    upsampling: UpsamplingByKernels

    def run_branch(self, resblocks: nn.Module, lr: Tensor, *seen: Tensor) -> Tensor:
        """See :meth:`VSRNet.run_branch`; a branch that works in tiles takes everything joined."""
        by_parts = getattr(resblocks, "first_by_parts", None)
        if by_parts is None:
            return super().run_branch(resblocks, lr, *seen)
        return resblocks.chain(by_parts(lr, *seen))

    def fuse_branches(self, *feats: Tensor) -> Tensor:
        """See :meth:`VSRNet.fuse_branches`."""
        by_parts = isinstance(getattr(self, "fusion", None), FusionByParts)
        return self.fusion(*feats) if by_parts else super().fuse_branches(*feats)

    def upsample(self, feat: Tensor, lr: Tensor) -> Tensor:
        """See :meth:`PixelShuffleUpsampling.upsample`."""
        return self.upsampling(feat, lr)
