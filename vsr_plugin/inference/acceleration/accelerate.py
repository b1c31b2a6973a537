"""Make a copy of a network that computes the same, faster."""

import copy

import torch.nn as nn

from vsr_plugin.inference.acceleration import cpu
from vsr_plugin.inference.acceleration.precision import feature_dtype


def accelerate(net: nn.Module, *, precision: str = "fp32") -> nn.Module:
    device = next(net.parameters()).device
    dtype = feature_dtype(precision, device)
    fast = copy.deepcopy(net).requires_grad_(False).eval()
    cpu.convert(fast, dtype)
    return fast
