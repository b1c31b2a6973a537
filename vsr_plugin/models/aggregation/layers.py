"""Layers that the parts of EDVR share."""

import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from vsr_plugin.models.conv_module import ConvModule


def conv_lrelu(in_channels: int, out_channels: int, kernel_size: int = 3, stride: int = 1) -> nn.Module:
    """Convolution that keeps the size (but for the stride), then LeakyReLU with slope 0.1."""
    return ConvModule(in_channels, out_channels, kernel_size, stride=stride, slope=0.1)


def upsample_x2(x: Tensor, factor: float = 1.0) -> Tensor:
    """Bilinear enlargement ``(n, c, h, w)`` to ``(n, c, 2h, 2w)``, times ``factor``."""
    enlarged = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
    return enlarged if factor == 1 else factor * enlarged


def repeat_images(images: Tensor, times: int) -> Tensor:
    """Each image ``(n, c, h, w)`` ``times`` times in a row, in the layout that it has."""
    if images.stride(1) == 1:  # channels-last, which PyTorch would not keep
        return images.permute(0, 2, 3, 1).repeat_interleave(times, dim=0).permute(0, 3, 1, 2)
    return images.repeat_interleave(times, dim=0)


def join_frames(feats: Tensor) -> Tensor:
    """Features of several frames ``(n, t, c, h, w)`` as one map ``(n, t * c, h, w)``, in the layout that they have."""
    n, t, c, h, w = feats.shape
    if feats.stride(2) == 1:  # channels-last: one copy instead of one here and one in the next convolution
        return feats.permute(0, 3, 4, 1, 2).reshape(n, h, w, t * c).permute(0, 3, 1, 2)
    return feats.reshape(n, t * c, h, w)
