"""A network's layers in the features' precision and in channels-last layout, whatever the device.

On GPUs this is what lets cuDNN use tensor cores without transposing, and ``cuda/`` builds on it; on CPUs it is what
is left without oneDNN.
"""

from collections.abc import Callable, Mapping

import torch
import torch.nn as nn
from torch import Tensor

from vsr_plugin.acceleration.conversion import fuse_layers, keep_own, mixed
from vsr_plugin.acceleration.fused_conv import FusedConv
from vsr_plugin.models.alignment import FlowGuidedDeformConv


def guided_deform_conv(plain: FlowGuidedDeformConv, dtype: torch.dtype) -> FlowGuidedDeformConv:
    """The convolutions that predict displacements, in place: the first, which flows enter, and the last in float32."""
    convolutions = [k for k, layer in enumerate(plain.conv_offset) if isinstance(layer, nn.Conv2d)]
    for k in convolutions:
        precise = k in (convolutions[0], convolutions[-1])
        plain.conv_offset[k] = FusedConv.of(plain.conv_offset[k], torch.float32 if precise else dtype)
    return plain


class GenericComponents:
    """Upsampling, mixed into a network over its own."""

    def upsample(self, feat: Tensor, lr: Tensor) -> Tensor:
        """See :meth:`PixelShuffleUpsampling.upsample`; the result is float32."""
        return super().upsample(feat, lr.float()).float()


def convert(
    net: nn.Module,
    dtype: torch.dtype,
    flow_dtype: torch.dtype | None = torch.float32,
    others: Mapping[type, Callable[[nn.Module, torch.dtype], nn.Module | None]] | None = None,
) -> nn.Module:
    """Replace the layers of a network, in place, and return it with its upsampling.

    Args:
        net: the network.
        dtype: of the features.
        flow_dtype: of what the flow network's convolutions multiply; what they give as flow is float32. ``None`` if
            they were replaced before.
        others: what modules of further types are replaced by; see :func:`fuse_layers`.
    """
    if net.alignment.needs_flow and flow_dtype is not None:
        for level in net.spynet.basic_module:
            last = level.basic_module[-1]
            level.basic_module[-1] = FusedConv.of(last.conv, torch.float32)
        fuse_layers(net.spynet, flow_dtype, {})
    fuse_layers(net, dtype, {FlowGuidedDeformConv: guided_deform_conv, **keep_own(net.alignment), **(others or {})})
    return mixed(net, GenericComponents)
