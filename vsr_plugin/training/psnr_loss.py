"""The loss that PSNR itself is."""

import torch
import torch.nn as nn
from torch import Tensor

from vsr_plugin.registry import MODELS


@MODELS.register_module()
class PSNRLoss(nn.Module):
    """Minus PSNR in dB, mean over sequences, each with its own mean squared error.

    A decibel counts the same in a clip that is hardly damaged and in one that is badly: an L1 loss on what is nearly
    right already asks for the median of the error, which is zero.

    Args:
        floor: error in 255ths below which little is to be won. It keeps the loss finite for perfect sequences; where it
            is small they count so much that a cleaning learns to leave everything alone.
        loss_weight: factor of the loss.
    """

    def __init__(self, floor: float = 2.0, loss_weight: float = 1.0):
        super().__init__()
        self.floor = floor
        self.loss_weight = loss_weight

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """Compare sequences ``(n, t, c, h, w)`` in [0, 1]; a scalar in dB."""
        error = (pred.float() - target).square().flatten(1).mean(dim=1)
        return self.loss_weight * 10 * torch.log10(error + (self.floor / 255) ** 2).mean()
