"""A convolution and its activation."""

import torch.nn as nn
from torch import Tensor


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
