"""The networks that are compared."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn as nn
from torch import Tensor

from vsr_plugin.acceleration import accelerate
from vsr_plugin.acceleration.precision import feature_dtype
from vsr_plugin.errors import VSRError
from vsr_plugin.inference.planning import Plan
from vsr_plugin.inference.sequence import restore_sequence
from vsr_plugin.mmagic_host import import_quietly
from vsr_plugin.models import BasicVSRNet, BasicVSRPlusPlusNet, IconVSRNet, RealBasicVSRNet
from vsr_plugin.weights import load_into, load_net, warm_start

#: How a network can be run: MMagic's own, ours as it trains, ours accelerated.
IMPLEMENTATIONS = {
    "mmagic": "MMagic's network, eager, float32",
    "plain": "our network as it trains, eager, float32",
    "fp32": "ours, accelerated, float32",
    "int16": "ours, accelerated, products of 16-bit whole numbers",
    "bf16": "ours, accelerated, features in bfloat16",
    "fp16": "ours, accelerated, features in float16",
    "exact": "as fp32, in bounded memory by the exact strategy",
}
#: Networks that are compared, by the name that ``--model`` takes.
MODELS = {
    "basicvsr": BasicVSRNet,
    "iconvsr": IconVSRNet,
    "basicvsr_pp": BasicVSRPlusPlusNet,
    "realbasicvsr": RealBasicVSRNet,
}
#: What is compared unless a person chooses, with its precision.
USUAL = {"mmagic": "fp32", "fp32": "fp32", "int16": "int16", "bf16": "bf16"}


def computable(precisions: Mapping[str, str], device: str) -> tuple[list[str], list[str]]:
    """Implementations that a device can compute.

    Args:
        precisions: of each implementation.
        device: ``'cpu'`` or ``'cuda'``.

    Returns:
        Their names, and for each that is left out a line that says why.
    """
    usable, left_out = [], []
    for name, precision in precisions.items():
        try:
            feature_dtype(precision, torch.device(device))
            usable.append(name)
        except VSRError as error:
            left_out.append(f"{name} is left out: {error}")
    return usable, left_out


@dataclass(frozen=True)
class Setting:
    """What every implementation is given alike.

    Args:
        model: one of :data:`MODELS`.
        weights: a published name or a path; ``None`` for official BasicVSR weights, or for the others, whose weights
            no package carries, random ones with the parts of BasicVSR that fit.
        device: ``'cpu'`` or ``'cuda'``.
        threads: of PyTorch on the CPU; 0 for its default.
    """

    model: str = "basicvsr"
    weights: str | None = None
    device: str = "cpu"
    threads: int = 0


@torch.no_grad()
def _seeded_iconvsr() -> IconVSRNet:
    torch.manual_seed(0)
    net = IconVSRNet()
    # Parts that both networks have are taken from BasicVSR, so that magnitudes are those of trained features.
    warm_start(net, "basicvsr_reds4")
    c = net.mid_channels
    for fusion in (net.backward_fusion, net.forward_fusion):
        # Features of the extractor, which nobody trained, are a small part of the sum.
        fusion.weight[:, c:].normal_(std=0.1 / c)
    first = net.forward_resblocks.main[0].weight
    first[:, 3 : 3 + c] = 0.1 * first[:, 3 + c :]
    for name, parameter in net.edvr.named_parameters():
        if name.endswith("conv_offset.weight"):
            # Zeros by default: without displacements the deformable convolutions would read in order.
            parameter.normal_(std=4 / parameter[0].numel() ** 0.5)
    return net


@torch.no_grad()
def _seeded_basicvsr_pp() -> BasicVSRPlusPlusNet:
    torch.manual_seed(0)
    net = BasicVSRPlusPlusNet()
    load_into(net.spynet, "basicvsr_reds4")
    for name, parameter in net.deform_align.named_parameters():
        if name.endswith("conv_offset.6.weight"):
            # Zeros by default: displacements would be the flow alone.
            parameter.normal_(std=1 / parameter[0].numel() ** 0.5)
    return net


@torch.no_grad()
def _seeded_real_basicvsr() -> RealBasicVSRNet:
    torch.manual_seed(0)
    net = RealBasicVSRNet()
    load_into(net.spynet, "basicvsr_reds4")
    return net


def plain_net(setting: Setting) -> nn.Module:
    """Our network with the weights of a setting, in evaluation mode on its device.

    Raises:
        VSRError: the weights cannot be had, or are of another network.
    """
    seeded = {
        "iconvsr": _seeded_iconvsr,
        "basicvsr_pp": _seeded_basicvsr_pp,
        "realbasicvsr": _seeded_real_basicvsr,
    }
    if setting.weights is None and setting.model in seeded:
        net = seeded[setting.model]()
    else:
        net = load_net(setting.weights or "basicvsr_reds4")
    wanted = MODELS[setting.model]
    if type(net) is not wanted:
        raise VSRError(f"{setting.weights}: weights of {type(net).__name__}, not of {wanted.__name__}")
    return net.to(setting.device).eval()


def build(name: str, setting: Setting) -> nn.Module:
    """One of :data:`IMPLEMENTATIONS`, all with the same weights.

    Raises:
        VSRError: the weights cannot be had, or the device lacks the precision.
    """
    net = plain_net(setting)
    if name == "plain":
        return net
    if name == "exact":
        return InBoundedMemory(accelerate(net, precision="fp32"))
    if name != "mmagic":
        return accelerate(net, precision=name)
    return mmagic_twin(net).eval()


class InBoundedMemory(nn.Module):
    """A network whose sequences are restored by the exact strategy; only the result, on the CPU, is in memory whole."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        self.scale = net.scale

    def forward(self, lrs: Tensor) -> Tensor:
        """Restore ``(1, t, 3, h, w)``."""
        plan = Plan("whole", lrs.size(1)).smaller()
        with tempfile.TemporaryDirectory() as folder:
            restored = restore_sequence(self.net, list(lrs[0]), plan, folder=Path(folder))
            return torch.stack([hr.cpu() for _, hr in restored])[None]


def mmagic_twin(net: BasicVSRNet | BasicVSRPlusPlusNet | IconVSRNet | RealBasicVSRNet) -> nn.Module:
    """MMagic's network of the same sizes, with the same weights, on the same device.

    Raises:
        VSRError: the network has components that MMagic does not have.
    """
    if not net.is_published:
        raise VSRError(f"MMagic has no {type(net).__name__} with {net.components}; leave its implementation out")
    branch, *_ = net.branches().values()
    sizes = dict(mid_channels=net.mid_channels, num_blocks=len(branch.main[2]))
    if isinstance(net, BasicVSRPlusPlusNet):
        residue = net.alignment.max_residue_magnitude
        sizes.update(max_residue_magnitude=residue, is_low_res_input=net.is_low_res_input)
        folder = "mmagic.models.editors.basicvsr_plusplus_net"
        theirs = import_quietly(f"{folder}.basicvsr_plusplus_net").BasicVSRPlusPlusNet(**sizes)
    elif isinstance(net, RealBasicVSRNet):
        theirs = import_quietly("mmagic.models.editors.real_basicvsr.real_basicvsr_net").RealBasicVSRNet(
            mid_channels=net.mid_channels,
            num_propagation_blocks=sizes["num_blocks"],
            num_cleaning_blocks=len(getattr(net.cleaning, "0").main[2]),
            dynamic_refine_thres=255 * net.cleaning.threshold,
        )
    elif isinstance(net, BasicVSRNet):
        theirs = import_quietly("mmagic.models.editors.basicvsr.basicvsr_net").BasicVSRNet(**sizes)
    else:
        sizes.update(keyframe_stride=net.keyframe_stride, padding=net.padding)
        theirs = import_quietly("mmagic.models.editors.iconvsr.iconvsr_net").IconVSRNet(**sizes)
    theirs.load_state_dict(net.state_dict())
    return theirs.to(net.conv_last.weight.device)
