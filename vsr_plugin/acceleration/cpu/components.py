"""A network's components as they are fastest on a CPU."""

import torch
import torch.nn as nn
from torch import Tensor

from vsr_plugin.acceleration.conversion import fuse_layers, keep_own, mixed
from vsr_plugin.acceleration.cpu.banded_upsampling import BandedUpsampling
from vsr_plugin.acceleration.cpu.block_conv import BlockConv
from vsr_plugin.acceleration.cpu.gather_deform_conv import GatherDCNPack, GatherFlowGuidedDeformConv
from vsr_plugin.acceleration.cpu.gather_warp import gather_warp
from vsr_plugin.acceleration.cpu.input_conv import InputConvByParts
from vsr_plugin.acceleration.cpu.refill_by_frame import ExtractionByFrame, refill_by_frame
from vsr_plugin.acceleration.fused_conv import FusedConv, onednn_fuses
from vsr_plugin.models.aggregation import InformationRefill
from vsr_plugin.models.alignment import FlowGuidedDeformConv
from vsr_plugin.ops.deform_conv import ModulatedDCNPack

#: Pixels of a batch of frame pairs in flow estimation. The widest layer has 64 channels in float32: 16 MB.
_FLOW_PIXELS = 2**16
_DEFORM_CONVS = {ModulatedDCNPack: GatherDCNPack, FlowGuidedDeformConv: GatherFlowGuidedDeformConv}


class CPUWarp:
    """Warping, mixed into an alignment over its own."""

    def warp(self, x: Tensor, flow: Tensor) -> Tensor:
        """See :meth:`Alignment.warp`."""
        return gather_warp(x, flow)


class CPUComponents:
    """Flow, refill and upsampling, mixed into a network over its own."""

    banded_upsampling: BandedUpsampling

    def estimate_flows(self, lrs: Tensor) -> tuple[Tensor, Tensor]:
        """See :meth:`VSRNet.estimate_flows`; in small batches, whose intermediates stay in the cache."""
        if not self.alignment.needs_flow:
            return super().estimate_flows(lrs)
        return self.spynet.neighbour_flows(self.flow_frames(lrs), max_pixels=_FLOW_PIXELS)

    def frame_features(self, lrs: Tensor) -> dict[int, Tensor]:
        """See :meth:`InformationRefill.frame_features`."""
        if not isinstance(self, InformationRefill):
            return super().frame_features(lrs)
        return refill_by_frame(self.edvr, lrs, self.feature_windows(lrs.size(1)))

    def run_branch(self, resblocks: nn.Module, lr: Tensor, *seen: Tensor) -> Tensor:
        """See :meth:`VSRNet.run_branch`; a branch that works in tiles takes everything joined."""
        first = getattr(resblocks, "first_by_parts", None)
        if first is None or not first.pays(lr):
            return super().run_branch(resblocks, lr, *seen)
        return resblocks.chain(first(lr, *seen))

    def upsample(self, feat: Tensor, lr: Tensor) -> Tensor:
        """See :meth:`PixelShuffleUpsampling.upsample`."""
        return self.banded_upsampling(feat, lr)


def convert(net: nn.Module, dtype: torch.dtype, *, integers: bool = False) -> nn.Module:
    """The network with its parts replaced; ``net`` is not to be used any more.

    Args:
        net: the network.
        dtype: of the features.
        integers: whether branches and upsampling multiply whole numbers of 16 bits; with features in float32.
    """
    net.banded_upsampling = BandedUpsampling(net, dtype)
    for name in (*net.shuffle_names(), "conv_hr", "conv_last"):
        delattr(net, name)
    if net.alignment.needs_flow:
        for level in net.spynet.basic_module:
            last = level.basic_module[-1]
            # 7x7 convolutions to the two channels of the flow: sixteen vectors' lanes for 2x4 pixels.
            level.basic_module[-1] = BlockConv(last.conv, torch.float32, block=(2, 4))
        fuse_layers(net.spynet, torch.float32, {})
    setattr(net, net.alignment_name, mixed(net.alignment, CPUWarp))
    branches = net.branches()
    fuse_layers(net, dtype, {**_DEFORM_CONVS, **keep_own(net.alignment)})
    for name, plain in branches.items():
        conv, activation, _ = plain.main
        # What an alignment carries behind the features comes in one tensor with them.
        if InputConvByParts.fits(conv) and not net.alignment.carried_channels:
            net.branches()[name].first_by_parts = InputConvByParts(conv, activation.negative_slope)
    if integers:
        for part in (net.banded_upsampling, *net.branches().values()):
            for layer in part.modules():
                if isinstance(layer, FusedConv | InputConvByParts):
                    layer.multiply_integers()
    if isinstance(net, InformationRefill):
        net.edvr = mixed(net.edvr, ExtractionByFrame)
    return mixed(net, CPUComponents)


def worthwhile(dtype: torch.dtype) -> bool:
    """Whether this build of PyTorch has the fused operators that the conversion rests on."""
    return onednn_fuses(torch.float32) and onednn_fuses(dtype)
