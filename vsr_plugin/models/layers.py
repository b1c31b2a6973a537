"""Layers that several parts share: convolutions, how they start, and the residual blocks R."""

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor


@torch.no_grad()
def scaled_kaiming_(conv: nn.Conv2d, scale: float = 1.0) -> nn.Conv2d:
    """Kaiming-normal weights times ``scale`` and zero bias, in place.

    A scale of 0.1 keeps 30 stacked residual blocks close to the identity at the start of training, as the
    published networks were started (ESRGAN, supplementary material).
    """
    nn.init.kaiming_normal_(conv.weight, a=0, mode="fan_in")
    conv.weight.mul_(scale)
    nn.init.zeros_(conv.bias)
    return conv


class ConvModule(nn.Module):
    """A convolution that keeps the size (but for the stride), and an activation.

    Parameters have the names, and the random start, that they have in ``mmcv.cnn.ConvModule``, whose import takes
    longer than that of all nets here.

    Args:
        in_channels, out_channels: of the convolution, which has a bias.
        kernel_size: odd.
        stride: of the convolution.
        slope: of negative values: 0 for ReLU, more for LeakyReLU, ``None`` for no activation.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int = 3, *, stride: int = 1, slope: float | None = None
    ) -> None:
        super().__init__()
        self.slope = slope
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride=stride, padding=kernel_size // 2)
        if slope is not None:
            self.activate = nn.LeakyReLU(slope, inplace=True) if slope else nn.ReLU(inplace=True)
        self.init_weights()

    def init_weights(self) -> None:
        """Draw the weights from Kaiming's normal distribution and set the bias to zero."""
        kind = "leaky_relu" if self.slope else "relu"
        nn.init.kaiming_normal_(self.conv.weight, a=self.slope or 0, mode="fan_out", nonlinearity=kind)
        nn.init.zeros_(self.conv.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(n, in_channels, h, w)`` to ``(n, out_channels, h, w)``, smaller with a stride."""
        x = self.conv(x)
        return x if self.slope is None else self.activate(x)


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
