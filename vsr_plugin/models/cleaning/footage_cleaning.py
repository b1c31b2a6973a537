"""Cleaning of compressed footage at a few hundredths of the cost of the network behind it; it sees neighbours too."""

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from vsr_plugin.models.cleaning.cleaning import CLEANINGS, Cleaning
from vsr_plugin.models.propagation.resblocks import ResidualBlocksWithInputConv
from vsr_plugin.registry import MODELS

#: Side of the square whose mean is taken from a frame before its layers see it, and what is left is multiplied with.
#: Compression leaves a few 255ths of what stands out, and nothing of how bright the picture is; so scaled, both what
#: comes in and what goes out are near 1, which training needs, and bfloat16 loses nothing.
_MEAN_OF, _GAIN = 9, 8.0


@MODELS.register_module()
@CLEANINGS.register("footage")
class FootageCleaning(Cleaning):
    """Residual blocks at half the resolution on a frame and its neighbours, all at once.

    Pixels of 2x2 squares become channels, as in FFDNet (arXiv 1710.04026): 64 channels there cost what 32 do at full
    resolution, see twice as far (the 16x16 blocks of codecs), and fit the kernels that the branches have. The frames
    are stacked without alignment, as in FastDVDnet (arXiv 1907.01361): flow would cost more than all the rest.

    Args:
        mid_channels: channels of the features.
        num_blocks: residual blocks.
        radius: neighbours to each side.
        init_cfg: see :class:`VSRModule`.
    """

    def __init__(self, mid_channels: int = 64, num_blocks: int = 8, radius: int = 2, init_cfg: dict | None = None):
        super().__init__(init_cfg=init_cfg)
        self.radius = radius
        self.reach = 2 * (2 * num_blocks + 2) + 1 + _MEAN_OF // 2
        self.channels_per_pixel = mid_channels / 4
        self.resblocks = ResidualBlocksWithInputConv((2 * radius + 1) * 3 * 4, mid_channels, num_blocks)
        self.conv_last = nn.Conv2d(mid_channels, 3 * 4, 3, padding=1)
        # Larger than in the branches, where hundreds of steps pass a feature on: this net is to learn in hours.
        for module in self.resblocks.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)
                if module.in_channels == mid_channels:
                    module.weight.data *= 0.5
        # An untrained cleaning leaves frames as they are.
        nn.init.zeros_(self.conv_last.weight)
        nn.init.zeros_(self.conv_last.bias)

    def residue(self, windows: Tensor) -> Tensor:
        """See :meth:`Cleaning.residue`."""
        n, _, _, h, w = windows.shape
        around = (_MEAN_OF // 2,) * 4
        mean = F.avg_pool2d(F.pad(windows[:, self.radius], around, mode="replicate"), _MEAN_OF, stride=1)
        detail = ((windows - mean[:, None]) * _GAIN).reshape(n, -1, h, w)
        stacked = F.pad(detail, (0, w % 2, 0, h % 2), mode="replicate")
        # In this layout CPUs and GPUs convolve fastest; the layers keep to it.
        inputs = F.pixel_unshuffle(stacked, 2).contiguous(memory_format=torch.channels_last)
        features = self.resblocks(inputs)
        return F.pixel_shuffle(self.conv_last(features), 2)[..., :h, :w].float() / _GAIN
