"""The upsampling component: convolutions and pixel shuffle on top of the bilinear frame (section 3.1)."""

import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from vsr_plugin.models.initialization import scaled_kaiming_


class PixelShufflePack(nn.Module):
    """A 3x3 convolution to ``scale_factor**2`` times the channels, rearranged to ``scale_factor`` times the size."""

    def __init__(self, in_channels: int, out_channels: int, scale_factor: int = 2):
        super().__init__()
        self.scale_factor = scale_factor
        self.upsample_conv = scaled_kaiming_(nn.Conv2d(in_channels, out_channels * scale_factor**2, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(n, in_channels, h, w)`` to ``(n, out_channels, s * h, s * w)``."""
        return F.pixel_shuffle(self.upsample_conv(x), self.scale_factor)


class PixelShuffleUpsampling:
    """Upsampling x4, mixed into a network: U in the paper.

    The network gets the submodules ``upsample1``, ``upsample2``, ``conv_hr`` and ``conv_last``.
    """

    def build_upsampling(self, mid_channels: int) -> None:
        """Add the layers; the two layers at HR size are 64 wide whatever ``mid_channels``, as published."""
        self.upsample1 = PixelShufflePack(mid_channels, mid_channels)
        self.upsample2 = PixelShufflePack(mid_channels, 64)
        self.conv_hr = nn.Conv2d(64, 64, 3, padding=1)
        self.conv_last = nn.Conv2d(64, 3, 3, padding=1)

    def upsample(self, feat: Tensor, lr: Tensor) -> Tensor:
        """Turn features into an HR frame.

        Args:
            feat: ``(n, mid_channels, h, w)``.
            lr: the frame that they belong to, RGB in [0, 1], ``(n, 3, h, w)``.

        Returns:
            ``(n, 3, 4h, 4w)``: the bilinear enlargement of ``lr`` plus the learned residue.
        """
        feat = F.leaky_relu(self.upsample1(feat), 0.1, inplace=True)
        feat = F.leaky_relu(self.upsample2(feat), 0.1, inplace=True)
        feat = F.leaky_relu(self.conv_hr(feat), 0.1, inplace=True)
        return self.conv_last(feat) + F.interpolate(lr, scale_factor=4, mode="bilinear", align_corners=False)
