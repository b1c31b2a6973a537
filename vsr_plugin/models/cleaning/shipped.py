"""The cleaning that ships with the package, and how much of a cleaning a network is to use."""

import copy
import functools

import torch.nn as nn

from vsr_plugin.models.cleaning.cleaning import Cleaning, with_cleaning
from vsr_plugin.settings import check_share
from vsr_plugin.weights import load_net

#: Name of its weights.
SHIPPED_CLEANING = "footage_cleaning"


@functools.cache
def _loaded() -> Cleaning:
    return load_net(SHIPPED_CLEANING)


def clean_by(net: nn.Module, strength: float | None) -> nn.Module:
    """The same network with its frames cleaned so much; it shares its parameters with ``net``, which stays as it is.

    Args:
        net: a ``VSRNet`` on its device.
        strength: share of what cleaning changes: 0 for frames as they are, 1 as the cleaning was trained; ``None`` for
            what the network does by itself. The cleaning is the network's own, or the one that ships.

    Raises:
        VSRError: the strength is not in [0, 1].
    """
    if strength is None:
        return net
    check_share("clean", strength)
    if not strength:
        return with_cleaning(net, None)
    own = net.cleaning
    if own is None:
        own = copy.deepcopy(_loaded()).to(next(net.parameters()).device)
    return with_cleaning(net, own.at(strength))
