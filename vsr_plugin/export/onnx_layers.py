"""What a network's copy has in place of parts that the exporter cannot follow as they are."""

import copy
from typing import Any

import torch
import torch.nn as nn
from torch import Tensor

from vsr_plugin.acceleration.conversion import mixed
from vsr_plugin.ops.deform_conv import ModulatedDCNPack, modulated_deform_conv2d, sample_columns


class _DeformConv(torch.autograd.Function):
    """One ``DeformConv`` node (opset 19), whose offsets lie as ours do: group, tap, vertical before horizontal."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, offset: Tensor, bias: Tensor, mask: Tensor, deform_groups: int
    ) -> Tensor:
        return modulated_deform_conv2d(x, offset, mask, weight, bias, padding=1, deform_groups=deform_groups)

    @staticmethod
    def symbolic(g: Any, x: Any, weight: Any, offset: Any, bias: Any, mask: Any, deform_groups: int) -> Any:
        node = g.op(
            "DeformConv", x, weight, offset, bias, mask,
            kernel_shape_i=[3, 3], pads_i=[1, 1, 1, 1], offset_group_i=deform_groups,
        )  # fmt: skip
        return node.setType(x.type())


class DeformConvPack(nn.Module):
    """:class:`ModulatedDCNPack` as a ``DeformConv`` node."""

    def __init__(self, plain: ModulatedDCNPack):
        super().__init__()
        self.plain = plain

    def _offset_and_mask(self, offset_feat: Tensor) -> tuple[Tensor, Tensor]:
        taps = 9 * self.plain.deform_groups
        offset, mask = self.plain.conv_offset(offset_feat).split((2 * taps, taps), dim=1)
        return offset, mask.sigmoid()

    def forward(self, x: Tensor, offset_feat: Tensor) -> Tensor:
        """Map features ``(n, c, h, w)``, displaced as ``offset_feat`` ``(n, c, h, w)`` says, to ``(n, c, h, w)``."""
        offset, mask = self._offset_and_mask(offset_feat)
        return _DeformConv.apply(x, self.plain.weight, offset, self.plain.bias, mask, self.plain.deform_groups)


class GridSamplePack(DeformConvPack):
    """The same as samples (``GridSample``) times a matrix, for runtimes without ``DeformConv``; takes more memory."""

    def forward(self, x: Tensor, offset_feat: Tensor) -> Tensor:
        """Map features ``(n, c, h, w)``, displaced as ``offset_feat`` ``(n, c, h, w)`` says, to ``(n, c, h, w)``."""
        offset, mask = self._offset_and_mask(offset_feat)
        geometry = ((3, 3), (1, 1), (1, 1), (1, 1), self.plain.deform_groups)
        columns = sample_columns(x, offset, mask, 0, geometry).flatten(1, 2)
        out = self.plain.weight.flatten(1) @ columns
        return out.view(x.shape) + self.plain.bias.view(1, -1, 1, 1)


#: What deformable convolutions become, with the first opset that has it.
DEFORM_CONVS: dict[str, tuple[type[DeformConvPack], int]] = {
    "DeformConv": (DeformConvPack, 19),
    "GridSample": (GridSamplePack, 16),
}


class _SelectedRefill:
    """``refill`` of a network whose keyframes are known only when the model runs.

    The features come with a flag. The fusion is computed at every frame, which is one convolution beside the 60 of
    the residual blocks, and its result is taken at keyframes.
    """

    def refill(self, aligned_feat: Tensor, refill: tuple[Tensor, Tensor], fusion: nn.Module) -> Tensor:
        feat, is_keyframe = refill
        return torch.where(is_keyframe, fusion(torch.cat((aligned_feat, feat), dim=1)), aligned_feat)


def exportable_copy(net: nn.Module, deform_conv: str) -> nn.Module:
    """A copy of a network that the exporter can follow at any size, with the same steps and weights.

    Args:
        net: ``BasicVSRNet`` or ``IconVSRNet``.
        deform_conv: one of :data:`DEFORM_CONVS`.
    """
    net = copy.deepcopy(net).cpu().float().eval().requires_grad_(False)
    pack = DEFORM_CONVS[deform_conv][0]
    for module in list(net.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, ModulatedDCNPack) and not isinstance(module, DeformConvPack):
                setattr(module, name, pack(child))
    if getattr(net.cleaning, "sequential", False):  # a loop over the batch, whose length a trace would freeze
        net.cleaning.sequential = False
    if has_keyframes(net):
        return mixed(net, _SelectedRefill, "Exportable")
    return net


def has_keyframes(net: nn.Module) -> bool:
    """Whether a network refills features at keyframes; not without any, whatever its weights could do."""
    return bool(net.feature_windows(1))
