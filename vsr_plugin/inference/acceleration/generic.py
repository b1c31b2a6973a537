"""A network's layers in the features' precision and in channels-last layout, whatever the device.

On GPUs this is what lets cuDNN use tensor cores without transposing, and ``cuda.py`` builds on it; on CPUs it is what
is left without oneDNN.
"""

import torch
import torch.nn as nn
from torch import Tensor

from vsr_plugin.inference.acceleration.conversion import fuse_layers, keep, mix_in


class GenericComponents:
    """Upsampling, mixed into a network over its own."""

    def upsample(self, feat: Tensor, lr: Tensor) -> Tensor:
        """See :meth:`PixelShuffleUpsampling.upsample`; the result is float32."""
        return super().upsample(feat, lr.float()).float()


def convert(net: nn.Module, dtype: torch.dtype) -> None:
    """Replace the layers of a network, in place."""
    if net.alignment.needs_flow:
        fuse_layers(net.spynet, torch.float32, {})
    fuse_layers(net, dtype, {type(net.alignment): keep})
    mix_in(net, GenericComponents)
