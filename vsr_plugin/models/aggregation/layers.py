"""Layers that the parts of EDVR share."""

import torch.nn as nn
import torch.nn.functional as F
from mmcv.cnn import ConvModule
from torch import Tensor


def conv_lrelu(in_channels: int, out_channels: int, kernel_size: int = 3, stride: int = 1) -> nn.Module:
    """Convolution that keeps the size (but for the stride), then LeakyReLU with slope 0.1."""
    return ConvModule(
        in_channels,
        out_channels,
        kernel_size,
        stride=stride,
        padding=kernel_size // 2,
        act_cfg=dict(type="LeakyReLU", negative_slope=0.1),
    )


def upsample_x2(x: Tensor) -> Tensor:
    """Bilinear enlargement ``(n, c, h, w)`` to ``(n, c, 2h, 2w)``."""
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
