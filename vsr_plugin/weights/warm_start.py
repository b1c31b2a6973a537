"""IconVSR that starts from trained BasicVSR weights."""

import os

import torch
import torch.nn as nn
from torch import Tensor

from vsr_plugin.errors import WeightsError
from vsr_plugin.models import BasicVSRNet, IconVSRNet
from vsr_plugin.weights.loading import OPTIONAL, load_architecture


def _misses_channels(own: dict[str, Tensor], theirs: dict[str, Tensor]) -> bool:
    key = "backward_resblocks.main.0.weight"
    return key not in theirs or own[key].shape != theirs[key].shape


@torch.no_grad()
def warm_start(net: IconVSRNet, name_or_path: str | os.PathLike) -> None:
    """Give an IconVSR what a BasicVSR has learnt: flow, both branches, upsampling.

    What BasicVSR does not have starts neutral: at keyframes the propagated features pass unchanged, and the
    forward branch gives the backward features (coupled propagation) no weight yet. The keyframe extractor
    is left as it is, so load EDVR-M first. With bidirectional propagation the result is the BasicVSR. With coupled
    propagation it is a start for training, not yet a working network: the upsampling was trained behind a fusion layer
    that IconVSR has not.

    Args:
        net: network to fill, of the same widths and depth, with two branches and the same alignment.
        name_or_path: published name, path or OpenMMLab address of BasicVSR weights.

    Raises:
        WeightsError: the weights cannot be had, are not BasicVSR's, or have other sizes.
    """
    found = load_architecture(name_or_path)
    if found.net_class is not BasicVSRNet:
        raise WeightsError(f"{name_or_path}: weights of {found.net_class.__name__}; a warm start takes BasicVSR's")
    c, blocks = net.mid_channels, len(net.forward_resblocks.main[2])
    if any(found.arguments[size] != own for size, own in (("mid_channels", c), ("num_blocks", blocks))):
        sizes = "{mid_channels} channels and {num_blocks} blocks"
        raise WeightsError(
            f"{name_or_path}: has {sizes.format(**found.arguments)}, the network "
            f"{sizes.format(mid_channels=c, num_blocks=blocks)}; choose the same sizes"
        )
    own = net.state_dict()
    kept = {key for key in own if not key.startswith(("edvr.", "backward_fusion.", "forward_fusion."))}
    given = {key for key in found.tensors if not key.startswith("fusion.")} | (kept & set(found.tensors))
    if {key for key in kept ^ given if key not in OPTIONAL} or _misses_channels(own, found.tensors):
        raise WeightsError(
            f"{name_or_path}: a warm start needs two branches and the same alignment on both sides; the network has "
            f"{net.components}"
        )
    for key, tensor in found.tensors.items():
        if key in own and own[key].shape == tensor.shape:
            own[key].copy_(tensor)
    first, theirs = net.forward_resblocks.main[0].weight, found.tensors["forward_resblocks.main.0.weight"]
    if first.shape != theirs.shape:
        first.zero_()
        first[:, :3], first[:, 3 + c :] = theirs[:, :3], theirs[:, 3:]
    for fusion in (net.backward_fusion, net.forward_fusion):
        nn.init.dirac_(fusion.weight)
        nn.init.zeros_(fusion.bias)
