"""Networks for the tests of exporting."""

from __future__ import annotations

import torch
from torch import nn


@torch.no_grad()
def lively(net: nn.Module) -> nn.Module:
    """A network none of whose parts is idle."""
    generator = torch.Generator().manual_seed(0)
    for parameter in net.parameters():
        fan_in = parameter[0].numel() if parameter.dim() > 1 else 100
        parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator) / fan_in**0.5)
    return net.eval()
