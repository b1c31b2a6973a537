"""The part of ``mmcv.ops`` that MMagic's video networks use, on our own deformable convolution.

MMagic's modules find these two names in ``mmcv.ops`` where mmcv is not compiled; see `finder`.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.modules.utils import _pair

__all__ = ["ModulatedDeformConv2d", "modulated_deform_conv2d"]


def modulated_deform_conv2d(
    x: Tensor,
    offset: Tensor,
    mask: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | tuple[int, int] = 1,
    padding: int | tuple[int, int] = 0,
    dilation: int | tuple[int, int] = 1,
    groups: int = 1,
    deform_groups: int = 1,
) -> Tensor:
    """Deformable convolution, version 2, with mmcv's signature.

    Args:
        x: ``(n, in_channels, h, w)``.
        offset: ``(n, deform_groups * kh * kw * 2, h_out, w_out)``, in pixels, y before x.
        mask: ``(n, deform_groups * kh * kw, h_out, w_out)``.
        weight: ``(out_channels, in_channels // groups, kh, kw)``.
        bias: ``(out_channels,)`` or None.
        stride, padding, dilation: As in ``torch.nn.functional.conv2d``.
        groups: Groups of the convolution.
        deform_groups: Groups of channels that share their offsets.

    Returns:
        ``(n, out_channels, h_out, w_out)``.
    """
    # Late, because the import of MMagic must not need our networks.
    from vsr_plugin.ops.deform_conv import modulated_deform_conv2d as ours

    return ours(x, offset, mask, weight, bias, stride, padding, dilation, groups, deform_groups)


class ModulatedDeformConv2d(nn.Module):
    """Deformable convolution, version 2, as a layer, with mmcv's arguments, attributes and parameters.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        kernel_size, stride, padding, dilation: One number or ``(vertical, horizontal)``.
        groups: Groups of the convolution.
        deform_groups: Groups of channels that share their offsets.
        bias: Whether it has a bias.

    Raises:
        ValueError: If `groups` does not divide both channel numbers.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] = 1,
        padding: int | tuple[int, int] = 0,
        dilation: int | tuple[int, int] = 1,
        groups: int = 1,
        deform_groups: int = 1,
        bias: bool = True,
    ) -> None:
        super().__init__()
        if in_channels % groups or out_channels % groups:
            raise ValueError(
                f"`groups` must divide in_channels and out_channels, got groups={groups}, "
                f"in_channels={in_channels}, out_channels={out_channels}"
            )
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size = _pair(kernel_size)
        self.stride = _pair(stride)
        self.padding = _pair(padding)
        self.dilation = _pair(dilation)
        self.groups = groups
        self.deform_groups = deform_groups
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels // groups, *self.kernel_size))
        if bias:
            self.bias = nn.Parameter(torch.empty(out_channels))
        else:
            self.register_parameter("bias", None)
        self.init_weights()

    def init_weights(self) -> None:
        """Draw the weight uniformly within ``1 / sqrt(fan_in)``; zero the bias."""
        bound = 1 / math.sqrt(self.in_channels * math.prod(self.kernel_size))
        nn.init.uniform_(self.weight, -bound, bound)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, x: Tensor, offset: Tensor, mask: Tensor) -> Tensor:
        """See `modulated_deform_conv2d`."""
        return modulated_deform_conv2d(
            x,
            offset,
            mask,
            self.weight,
            self.bias,
            self.stride,
            self.padding,
            self.dilation,
            self.groups,
            self.deform_groups,
        )
