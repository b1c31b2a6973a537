"""Convolutions to very few channels, computed for a block of pixels at once."""

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from vsr_plugin.acceleration.cpu.kernels import FewChannelsConv, kernels_pay
from vsr_plugin.acceleration.fused_conv import FusedConv, Pair


class BlockConv(nn.Module):
    """A convolution whose output channels for ``block`` pixels become the channels of one strided convolution.

    Kernels compute 16 output channels per vector on CPUs, so 64 -> 3 leaves 13 of 16 idle. The outputs of 2x2
    pixels read 4x4 inputs instead of 3x3, which is 1.8 times the work in one vector of 12 channels rather than in
    four of 3: twice to thrice as fast in the end. In float32 large images are left to a kernel of our own, which is
    as much faster again.

    Args:
        conv: stride 1, with padding that keeps the size.
        dtype: precision of inputs, weights and result.
        block: height and width of the block.
    """

    def __init__(self, conv: nn.Conv2d, dtype: torch.dtype, block: Pair):
        super().__init__()
        bh, bw = self.block = block
        c_out, c_in, kh, kw = conv.weight.shape
        self.kernel_size, self.padding = (kh, kw), tuple(conv.padding)
        weight = conv.weight.new_zeros(c_out, bh, bw, c_in, kh + bh - 1, kw + bw - 1)
        for dy in range(bh):
            for dx in range(bw):
                weight[:, dy, dx, :, dy : dy + kh, dx : dx + kw] = conv.weight.detach()
        self._few_channels = None
        if dtype == torch.float32 and FewChannelsConv.suits(conv.weight, self.padding):
            self._few_channels = FewChannelsConv(conv.weight, conv.bias)
        self.conv = FusedConv(
            weight.flatten(0, 2), conv.bias.repeat_interleave(bh * bw), dtype, self.padding, stride=block
        )

    def forward(self, x: Tensor, padding: Pair | None = None) -> Tensor:
        """Convolve ``(n, c_in, h, w)``; ``padding`` is as for :class:`FusedConv`."""
        if self._few_channels is not None and kernels_pay(x, self._few_channels.weight):
            return self._few_channels(self.conv.prepare(x), padding)
        (bh, bw), (kh, kw), (above, below) = self.block, self.kernel_size, padding or (self.padding[0],) * 2
        h, w = x.size(2) + above + below - kh + 1, x.size(3) + 2 * self.padding[1] - kw + 1
        if h % bh or w % bw:
            # What is computed from these zeros beyond the image is cut off again.
            x = F.pad(x, (0, -w % bw, 0, -h % bh))
        out = self.conv(x, (above, below))
        if bh == bw:
            out = F.pixel_shuffle(out, bh)
        else:
            n, _, rows, columns = out.shape
            out = out.view(n, -1, bh, bw, rows, columns).permute(0, 1, 4, 2, 5, 3)
            out = out.reshape(n, -1, rows * bh, columns * bw)
        return out[..., :h, :w]
