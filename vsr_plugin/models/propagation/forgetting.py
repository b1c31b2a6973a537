"""Long shots without drift: where the picture stands still, propagated features fade from frame to frame.

Recurrent networks trained on short sequences diverge on long ones with little motion: high frequencies build up in what
is propagated until they drown the picture (Chiche et al., Stable Long-Term Recurrent Video Super-Resolution, CVPR 2022,
arXiv 2112.08950). BasicVSR and IconVSR as published do. The remedy here is ours and needs no training: a pixel that
stands still sees the same sample of the scene in every frame, so that frames of long ago have nothing to add to it.
"""

import copy

import torch
import torch.nn as nn
from torch import Tensor

from vsr_plugin.errors import ComponentError

#: Motion in LR pixels per frame at which the share has fallen to 1/e; about the error of the flow where nothing moves.
_STILL = 0.1


def forget(feat: Tensor, flow: Tensor, rate: float) -> Tensor:
    """Weaken features that were propagated to pixels that do not move: times ``1 - rate * exp(-|flow|^2 / 0.1^2)``.

    Args:
        feat: aligned features ``(n, c, h, w)``.
        flow: that they were aligned with ``(n, 2, h, w)``, in LR pixels.
        rate: share that is lost where the flow is zero, in [0, 1).
    """
    stillness = torch.exp(flow.float().square().sum(dim=1, keepdim=True) / -(_STILL**2))
    return feat * (1 - rate * stillness).to(feat.dtype)


def check_forgetting(rate: float, *, has_flow: bool) -> float:
    """``rate`` itself, if a network can forget at it.

    Raises:
        ComponentError: it is not in [0, 1), or the network has no flow to tell what moves.
    """
    if not 0 <= rate < 1:
        raise ComponentError(f"forgetting {rate} is no share of what is propagated; use 0 (none) to less than 1")
    if rate and not has_flow:
        raise ComponentError("forgetting needs optical flow to tell what moves, and this alignment has none; use 0")
    return float(rate)


def with_forgetting(net: nn.Module, rate: float) -> nn.Module:
    """The same network with another rate of forgetting; it shares its parameters with ``net``, which stays as it is.

    Args:
        net: ``BasicVSRNet`` or ``IconVSRNet``.
        rate: share of a still pixel's propagated features that is lost per frame; 0 for the paper's propagation.

    Raises:
        ComponentError: see :func:`check_forgetting`.
    """
    other = copy.copy(net)
    other.forgetting = check_forgetting(rate, has_flow=net.alignment.needs_flow)
    return other
