"""A network's steps as they are trained fastest on a CPU: convolutions by kernels of our own, channels last."""

import copy
from typing import Any

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from vsr_plugin.acceleration.conversion import mixed
from vsr_plugin.acceleration.cpu.gradients import TrainedConv, last_conv, residual_block
from vsr_plugin.acceleration.cpu.kernels import FewChannelsConv, WinogradConv, kernels_pay
from vsr_plugin.models.layers import ConvModule, ResidualBlockNoBN, ResidualBlocksWithInputConv
from vsr_plugin.models.spynet import SPyNet
from vsr_plugin.models.upsampling import enlarged

#: Of every leaky ReLU in front of residual blocks and in the upsampling.
_SLOPE = 0.1


class _Trained:
    """Mixed into a module over its own for one forward pass: what was prepared of weights must not change any more."""

    prepared: dict[nn.Conv2d, TrainedConv]

    @classmethod
    def of(cls, plain: nn.Module) -> nn.Module:
        """A module that shares all parameters with a plain one, and whose parts are mixed as well."""
        module = mixed(plain, cls)
        module.prepared = {}
        module._modules = {name: _with_trained_parts(child) for name, child in plain.named_children()}
        return module

    def trained(self, conv: nn.Conv2d, weight: Tensor, bias: Tensor | None, **settings: Any) -> TrainedConv:
        """The convolution with a weight that is all or a part of that of ``conv``, the same at every call."""
        if conv not in self.prepared:
            self.prepared[conv] = TrainedConv(weight, bias, **settings)
        return self.prepared[conv]


def _with_trained_parts(module: nn.Module) -> nn.Module:
    if type(module) in _PARTS:
        return _PARTS[type(module)].of(module)
    if not any(True for _ in module.children()):
        return module
    other = copy.copy(module)
    other._modules = {name: _with_trained_parts(child) for name, child in module.named_children()}
    return other


class _TrainedBlock(_Trained):
    """Mixed into :class:`ResidualBlockNoBN`."""

    def forward(self, x: Tensor, slope_before: float | None = None) -> Tensor:
        """See :meth:`ResidualBlockNoBN.forward`; ``slope_before`` as of :class:`TrainedConv`, where kernels pay."""
        if not _pays(x, self.conv1):
            return super().forward(x)
        first = self.trained(self.conv1, self.conv1.weight, self.conv1.bias, slope=0.0, slope_before=slope_before)
        second = self.trained(self.conv2, self.conv2.weight, self.conv2.bias, slope_before=0.0)
        return residual_block(x, first, second)


class _TrainedConvModule(_Trained):
    """Mixed into :class:`ConvModule`."""

    def forward(self, x: Tensor) -> Tensor:
        """See :meth:`ConvModule.forward`."""
        if not _pays(x, self.conv):
            return super().forward(x)
        x = self.trained(self.conv, self.conv.weight, self.conv.bias)(x)
        return x if self.slope is None else self.activate(x)


class _TrainedFlow(_Trained):
    """Mixed into :class:`SPyNet`."""

    def residue(self, level: int, x: Tensor) -> Tensor:
        """See :meth:`SPyNet.residue`."""
        *convs, last = (layer.conv for layer in self.basic_module[level].basic_module)
        few = FewChannelsConv.suits(last.weight, tuple(last.padding))
        if not (few and all(_pays(x, conv) for conv in convs)):
            return super().residue(level, x)
        slope = None
        for conv in convs:
            x = self.trained(conv, conv.weight, conv.bias, slope=0.0, slope_before=slope)(x)
            slope = 0.0
        return last_conv(x, last.weight, last.bias, slope)


_PARTS = {ResidualBlockNoBN: _TrainedBlock, ConvModule: _TrainedConvModule, SPyNet: _TrainedFlow}


class CPUTraining(_Trained):
    """Mixed into a network."""

    def run_branch(self, resblocks: nn.Module, lr: Tensor, *seen: Tensor) -> Tensor:
        """See :meth:`VSRNet.run_branch`."""
        blocks = list(resblocks.main[2]) if isinstance(resblocks, ResidualBlocksWithInputConv) else []
        if not (blocks and isinstance(blocks[0], _TrainedBlock) and _pays(lr, blocks[0].conv1)):
            return super().run_branch(resblocks, lr, *seen)
        conv, activation, _ = resblocks.main
        # Kernels want whole vectors of channels: the frame's three are convolved apart, and what they give is added.
        of_frame, weight = conv.weight.split((lr.size(1), conv.weight.size(1) - lr.size(1)), dim=1)
        slope = activation.negative_slope
        if _suits(weight):
            frame = F.conv2d(lr, of_frame, conv.bias, padding=1)
            rest = torch.cat(seen, dim=1) if len(seen) > 1 else seen[0]
            feat = self.trained(conv, weight, None, slope=slope)(rest, residual=frame)
        else:
            feat, slope = activation(conv(torch.cat((lr, *seen), dim=1))), None
        first, *others = blocks
        feat = first(feat, slope)
        for block in others:
            feat = block(feat)
        return feat

    def upsample(self, feat: Tensor, lr: Tensor) -> Tensor:
        """See :meth:`PixelShuffleUpsampling.upsample`."""
        layers = [getattr(self, name) for name in self.shuffle_names()]
        convs = [layer.upsample_conv for layer in layers] + [self.conv_hr]
        last = self.conv_last
        few = FewChannelsConv.suits(last.weight, tuple(last.padding))
        if not (few and all(_pays(feat, conv) for conv in convs)):
            return super().upsample(feat, lr)
        slope = None
        for conv, factor in (*((layer.upsample_conv, layer.scale_factor) for layer in layers), (self.conv_hr, 1)):
            fused = WinogradConv.shuffles_to(conv.weight, factor)
            after = dict(slope=_SLOPE, shuffle=factor) if fused else {}
            feat = self.trained(conv, conv.weight, conv.bias, slope_before=slope, **after)(feat)
            if not fused:
                feat = F.leaky_relu(F.pixel_shuffle(feat, factor), _SLOPE)
            slope = _SLOPE if fused else None
        return last_conv(feat, last.weight, last.bias, _SLOPE) + enlarged(lr, self.scale)


def _suits(weight: Tensor) -> bool:
    """Whether a convolution of stride 1 that keeps the size can be computed by kernels, as its gradients can."""
    return weight.dtype == torch.float32 and WinogradConv.suits(weight, (weight.size(2) // 2,) * 2, (1, 1))


def _pays(x: Tensor, conv: nn.Conv2d) -> bool:
    """Whether a convolution is left to kernels, for images of this size."""
    known = conv.stride == (1, 1) and conv.padding == (conv.kernel_size[0] // 2,) * 2 and conv.dilation == (1, 1)
    return known and x.dtype == torch.float32 and _suits(conv.weight) and kernels_pay(x, conv.weight, training=True)
