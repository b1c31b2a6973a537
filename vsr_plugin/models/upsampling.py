"""Upsampling: U in section 3.1 of the paper, features to an HR frame by pixel shuffle."""

import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from vsr_plugin.errors import ComponentError
from vsr_plugin.models.layers import scaled_kaiming_
from vsr_plugin.weights.recognition import SHUFFLES


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
    """Upsampling, mixed into a network: U in the paper.

    The network gets the submodules ``upsample1`` (and ``upsample2``, ``upsample3`` as the scale needs them),
    ``conv_hr`` and ``conv_last``.
    """

    scale: int
    #: See :class:`SequenceNet`.
    feature_stride: int

    def build_upsampling(self, mid_channels: int, scale: int) -> None:
        """Add the layers; those at HR size are 64 wide whatever ``mid_channels``, as published.

        Raises:
            ComponentError: there is no such scale.
        """
        if self.feature_stride == 1 and scale not in SHUFFLES:
            raise ComponentError(f"`scale` must be one of {', '.join(map(str, SHUFFLES))}, got {scale!r}")
        self.scale = int(scale)
        factors = SHUFFLES[self.enlargement]
        for name, factor in zip(self.shuffle_names(), factors, strict=True):
            out_channels = 64 if name == f"upsample{len(factors)}" else mid_channels
            self.add_module(name, PixelShufflePack(mid_channels, out_channels, factor))
        self.conv_hr = nn.Conv2d(64, 64, 3, padding=1)
        self.conv_last = nn.Conv2d(64, 3, 3, padding=1)

    @property
    def enlargement(self) -> int:
        """HR pixels per pixel of the features and side."""
        return self.scale * self.feature_stride

    def shuffle_names(self) -> list[str]:
        """Names of the layers that enlarge, from the first to the last."""
        return [f"upsample{number}" for number, _ in enumerate(SHUFFLES[self.enlargement], start=1)]

    def upsample(self, feat: Tensor, lr: Tensor) -> Tensor:
        """Turn features into an HR frame.

        Args:
            feat: ``(n, mid_channels, h / feature_stride, w / feature_stride)``.
            lr: the frame that they belong to, RGB in [0, 1], ``(n, 3, h, w)``.

        Returns:
            ``(n, 3, scale * h, scale * w)``: the bilinear enlargement of ``lr`` plus the learned residue.
        """
        for name in self.shuffle_names():
            feat = F.leaky_relu(getattr(self, name)(feat), 0.1, inplace=True)
        feat = F.leaky_relu(self.conv_hr(feat), 0.1, inplace=True)
        return self.conv_last(feat) + enlarged(lr, self.scale)


def enlarged(lr: Tensor, scale: int) -> Tensor:
    """Frames ``(n, 3, h, w)`` enlarged bilinearly to ``(n, 3, scale * h, scale * w)``; themselves at scale 1."""
    return lr if scale == 1 else F.interpolate(lr, scale_factor=scale, mode="bilinear", align_corners=False)
