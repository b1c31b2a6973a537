"""Cleaning of compressed footage at a few hundredths of the cost of the network behind it; it sees neighbours too."""

import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from vsr_plugin.models.cleaning.cleaning import CLEANINGS, Cleaning
from vsr_plugin.models.propagation.resblocks import ResidualBlocksWithInputConv
from vsr_plugin.registry import MODELS


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

    def __init__(self, mid_channels: int = 64, num_blocks: int = 12, radius: int = 2, init_cfg: dict | None = None):
        super().__init__(init_cfg=init_cfg)
        self.radius = radius
        self.resblocks = ResidualBlocksWithInputConv((2 * radius + 1) * 3 * 4, mid_channels, num_blocks)
        self.conv_last = nn.Conv2d(mid_channels, 3 * 4, 3, padding=1)
        # An untrained cleaning leaves frames as they are.
        nn.init.zeros_(self.conv_last.weight)
        nn.init.zeros_(self.conv_last.bias)

    def residue(self, windows: Tensor) -> Tensor:
        """See :meth:`Cleaning.residue`."""
        n, _, _, h, w = windows.shape
        stacked = F.pad(windows.reshape(n, -1, h, w), (0, w % 2, 0, h % 2), mode="replicate")
        features = self.resblocks(F.pixel_unshuffle(stacked, 2))
        return F.pixel_shuffle(self.conv_last(features), 2)[..., :h, :w]
