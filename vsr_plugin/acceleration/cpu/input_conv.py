"""The first convolution of a branch as the sum of convolutions of what it sees."""

import torch
import torch.nn as nn
from torch import Tensor

from vsr_plugin.acceleration.cpu.kernels import WinogradConv, kernels_pay
from vsr_plugin.acceleration.fused_conv import FusedConv


class InputConvByParts(nn.Module):
    """The convolution from a frame and feature maps to features, with leaky ReLU, without joining them.

    So the feature maps, whose number of channels our kernels can divide, are left to these, and nothing is copied.

    Args:
        conv: from ``3 + k mid_channels`` to ``mid_channels``; see :meth:`fits`.
        slope: of the leaky ReLU.
    """

    def __init__(self, conv: nn.Conv2d, slope: float):
        super().__init__()
        c = conv.weight.size(0)
        frame, *parts = conv.weight.detach().split((3, *[c] * (conv.weight.size(1) // c)), dim=1)
        self.frame = FusedConv(frame, conv.bias, torch.float32, tuple(conv.padding))
        zeros = torch.zeros(c, dtype=torch.float32, device="cpu")
        slopes = (*[None] * (len(parts) - 1), slope)
        self.parts = [WinogradConv(part, zeros, slope) for part, slope in zip(parts, slopes, strict=True)]

    def multiply_integers(self) -> None:
        """Have kernels multiply whole numbers of 16 bits, where they can."""
        self.parts = [WinogradConv(part.weight, part.bias, part.slope, integers=True) for part in self.parts]

    @staticmethod
    def fits(conv: nn.Conv2d) -> bool:
        """Whether a convolution can be computed like this here."""
        c_out, c_in = conv.weight.shape[:2]
        one = conv.weight[:, 3 : 3 + c_out]
        known = c_in > 3 and c_in % c_out == 3
        return known and WinogradConv.suits(one, tuple(conv.padding), tuple(conv.stride))

    def pays(self, lr: Tensor) -> bool:
        """Whether it is to be used for frames ``(n, 3, h, w)`` of that size."""
        return kernels_pay(lr, self.parts[0].weight)

    def forward(self, lr: Tensor, *seen: Tensor) -> Tensor:
        """Activated features ``(n, c, h, w)`` from a frame ``(n, 3, h, w)`` and feature maps ``(n, c, h, w)``."""
        total = self.frame(lr)
        for part, feat in zip(self.parts, seen, strict=True):
            total = part(self.frame.prepare(feat), residual=total, into=total)
        return total
