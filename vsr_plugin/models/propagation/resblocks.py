"""The residual blocks R that turn a frame and aligned features into new features."""

import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from vsr_plugin.models.initialization import scaled_kaiming_


class ResidualBlockNoBN(nn.Module):
    """conv, ReLU, conv, plus the input; no normalisation."""

    def __init__(self, mid_channels: int = 64):
        super().__init__()
        self.conv1 = scaled_kaiming_(nn.Conv2d(mid_channels, mid_channels, 3, padding=1), scale=0.1)
        self.conv2 = scaled_kaiming_(nn.Conv2d(mid_channels, mid_channels, 3, padding=1), scale=0.1)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(n, c, h, w)`` to ``(n, c, h, w)``."""
        return x + self.conv2(F.relu(self.conv1(x), inplace=True))


class ResidualBlocksWithInputConv(nn.Module):
    """A convolution to ``out_channels`` with LeakyReLU, then ``num_blocks`` residual blocks."""

    def __init__(self, in_channels: int, out_channels: int = 64, num_blocks: int = 30):
        super().__init__()
        self.main = nn.Sequential(
            nn.Conv2d(in_channels, out_channels, 3, padding=1),
            nn.LeakyReLU(0.1, inplace=True),
            nn.Sequential(*(ResidualBlockNoBN(out_channels) for _ in range(num_blocks))),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(n, in_channels, h, w)`` to ``(n, out_channels, h, w)``."""
        return self.main(x)

    def split(self, blocks_at_once: int) -> list[tuple[nn.Module, int]]:
        """The same computation as runs of at most ``blocks_at_once`` blocks, each with its reach in pixels."""
        first, activation, blocks = self.main
        blocks = list(blocks)
        runs = [blocks[k : k + blocks_at_once] for k in range(0, len(blocks), blocks_at_once)] or [[]]
        return [
            (nn.Sequential(first, activation, *runs[0]), 1 + 2 * len(runs[0])),
            *((nn.Sequential(*run), 2 * len(run)) for run in runs[1:]),
        ]
