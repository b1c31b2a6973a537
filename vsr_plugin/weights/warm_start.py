"""Networks that start from what another one has learnt, such as IconVSR and RealBasicVSR from BasicVSR."""

import os

import torch
import torch.nn as nn
from mmengine.logging import print_log
from torch import Tensor

from vsr_plugin.errors import WeightsError
from vsr_plugin.weights.loading import OPTIONAL, load_architecture
from vsr_plugin.weights.recognition import BASICVSR, Architecture

#: What IconVSR has and BasicVSR has not.
_REFILL = ("edvr.", "backward_fusion.", "forward_fusion.")
#: What a network has that cleans frames first.
_CLEANING = ("cleaning.", "image_cleaning.")
#: What takes the weights of a BasicVSR besides its own kind.
_FROM_BASICVSR = ("IconVSRNet", "RealBasicVSRNet")


def _is_same(own: dict[str, Tensor], theirs: dict[str, Tensor]) -> bool:
    """Whether both have the same tensors, but for fixed buffers."""
    if any(key not in OPTIONAL for key in own.keys() ^ theirs.keys()):
        return False
    return all(own[key].shape == theirs[key].shape for key in own.keys() & theirs.keys())


def _goes_into_iconvsr(own: dict[str, Tensor], theirs: dict[str, Tensor]) -> bool:
    """Whether a BasicVSR has all that an IconVSR needs of it: two branches, and flow where that has flow."""
    kept = {key for key in own if not key.startswith(_REFILL)}
    given = {key for key in theirs if not key.startswith("fusion.")} | (kept & theirs.keys())
    first = "backward_resblocks.main.0.weight"
    if first not in own or first not in theirs or own[first].shape != theirs[first].shape:
        return False
    return all(key in OPTIONAL for key in kept ^ given)


def _check_kind(net: nn.Module, found: Architecture, source: str) -> None:
    kind = type(net).__name__
    if found.net == kind or (found.net == "BasicVSRNet" and kind in _FROM_BASICVSR):
        return
    takes = "BasicVSR's or its own" if kind in _FROM_BASICVSR else "its own"
    raise WeightsError(f"{source}: weights of {found.net}; a warm start of {kind} takes {takes}")


def _check_sizes(net: nn.Module, found: Architecture, source: str) -> None:
    blocks = found.arguments.get("num_blocks", found.arguments.get("num_propagation_blocks"))
    theirs, own = (found.arguments["mid_channels"], blocks), (net.mid_channels, len(net.forward_resblocks.main[2]))
    if theirs != own:
        sizes = "{} channels and {} blocks"
        raise WeightsError(
            f"{source}: has {sizes.format(*theirs)}, the network {sizes.format(*own)}; choose the same sizes"
        )


def _bare(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """A RealBasicVSR's BasicVSR under the keys of one by itself."""
    return {key.removeprefix(BASICVSR): tensor for key, tensor in tensors.items()}


@torch.no_grad()
def warm_start(net: nn.Module, name_or_path: str | os.PathLike) -> None:
    """Give a network what another one has learnt.

    **A network of another scale** gives flow, branches and their fusion, for IconVSR the refill, and of the upsampling
    the layers that both have in the same size: the two at HR size, and the first shuffles, at the usual width in any
    case unless one scale is 3. The others stay as they are, and the log names them.

    **BasicVSR gives IconVSR** flow, both branches, and the upsampling. What BasicVSR does not have starts neutral: at
    keyframes the propagated features pass unchanged, and the forward branch gives the backward features (coupled
    propagation) no weight yet. The keyframe extractor is left as it is, so load EDVR-M first. With bidirectional
    propagation the result is the BasicVSR. With coupled propagation it is a start for training, not yet a working
    network: the upsampling was trained behind a fusion layer that IconVSR has not.

    **A network that cleans frames first**, RealBasicVSR or another, takes the weights of one that does not; its
    cleaning stays as it is.

    Args:
        net: network to fill, of the same widths and depth and with the same alignment; an IconVSR that starts from a
            BasicVSR has two branches.
        name_or_path: published name, path or OpenMMLab address of the weights.

    Raises:
        WeightsError: the weights cannot be had, are of another network, or have other sizes.
    """
    found = load_architecture(name_or_path)
    source = str(name_or_path)
    _check_kind(net, found, source)
    _check_sizes(net, found, source)
    own, theirs = _bare(net.state_dict()), _bare(found.tensors)
    compared = own, theirs
    if not any(key.startswith(_CLEANING) for key in theirs):
        compared = {key: tensor for key, tensor in own.items() if not key.startswith(_CLEANING)}, theirs
    if found.scale != net.scale:
        compared = ({key: t for key, t in tensors.items() if not key.startswith("upsample")} for tensors in compared)
    refills = found.net == "BasicVSRNet" and type(net).__name__ == "IconVSRNet"
    if not (_goes_into_iconvsr if refills else _is_same)(*compared):
        needs = "two branches and the same alignment" if refills else "the same components"
        raise WeightsError(f"{source}: a warm start needs {needs} on both sides; the network has {net.components}")
    taken = {key for key, tensor in theirs.items() if key in own and own[key].shape == tensor.shape}
    for key in taken:
        own[key].copy_(theirs[key])
    if found.scale != net.scale:
        fresh = [name for name in net.shuffle_names() if f"{name}.upsample_conv.weight" not in taken]
        print_log(
            f"{source}: weights of scale {found.scale} for a network of scale {net.scale}; "
            f"{' and '.join(fresh)} must be learnt anew",
            logger="current",
        )
    if refills:
        _start_neutral(net, theirs["forward_resblocks.main.0.weight"])


def _start_neutral(net: nn.Module, first: Tensor) -> None:
    """Let refill and coupling change nothing yet, given the first weight of BasicVSR's forward branch."""
    own, c = net.forward_resblocks.main[0].weight, net.mid_channels
    if own.shape != first.shape:
        own.zero_()
        own[:, :3], own[:, 3 + c :] = first[:, :3], first[:, 3:]
    for fusion in (net.backward_fusion, net.forward_fusion):
        nn.init.dirac_(fusion.weight)
        nn.init.zeros_(fusion.bias)
