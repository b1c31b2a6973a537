"""Replace the layers of a copied network by fused ones in the precision of the features."""

import functools
from collections.abc import Callable, Mapping

import torch
import torch.nn as nn
from torch import Tensor

from vsr_plugin.acceleration.fused_blocks import FusedResidualBlocksWithInputConv, FusedResidualChain
from vsr_plugin.acceleration.fused_conv import FusedConv
from vsr_plugin.models.alignment import Alignment, DeformableAlignment
from vsr_plugin.models.layers import ConvModule, ResidualBlockNoBN, ResidualBlocksWithInputConv


def _fused(module: nn.Module, dtype: torch.dtype) -> nn.Module | None:
    """The fused counterpart of a module, or ``None`` where only its children may have one."""
    if isinstance(module, ResidualBlocksWithInputConv):
        return FusedResidualBlocksWithInputConv(module, dtype)
    if isinstance(module, nn.Sequential) and len(module) and all(isinstance(m, ResidualBlockNoBN) for m in module):
        return FusedResidualChain.of(module, dtype)
    if isinstance(module, ConvModule):
        return FusedConv.of(module.conv, dtype, module.slope)
    if isinstance(module, nn.Conv2d):
        return FusedConv.of(module, dtype)
    return None


def fuse_layers(
    module: nn.Module, dtype: torch.dtype, others: Mapping[type, Callable[[nn.Module, torch.dtype], nn.Module | None]]
) -> None:
    """Replace, in place, every convolution below ``module``, together with what follows it where that is known.

    Args:
        module: what to convert the children of.
        dtype: precision of the new layers.
        others: what modules of further types are replaced by; ``None`` to go on with their children.
    """
    for name, child in module.named_children():
        fused = others[type(child)](child, dtype) if type(child) in others else _fused(child, dtype)
        if fused is None:
            fuse_layers(child, dtype, others)
        else:
            setattr(module, name, fused)


class FullPrecisionAlignment:
    """Mixed into an alignment over its own ``forward``: what comes in is brought to the precision of its layers."""

    def forward(self, state: Tensor, flow: Tensor | None, lr: Tensor) -> Tensor:
        """See :meth:`Alignment.forward`."""
        return super().forward(state.float(), flow, lr)


def keep_own(alignment: Alignment) -> dict[type, Callable[[nn.Module, torch.dtype], nn.Module | None]]:
    """For :func:`fuse_layers`, what an alignment is replaced by.

    Nothing is known of how somebody's own uses its layers, so it stays as it is, in float32.
    """
    known = isinstance(alignment, DeformableAlignment) or not any(True for _ in alignment.parameters())
    return {} if known else {type(alignment): lambda own, _: mixed(own, FullPrecisionAlignment)}


def mixed(module: nn.Module, components: type, prefix: str = "Accelerated") -> nn.Module:
    """A module that shares all parts with ``module``, an instance of its class whose ``components`` answer first."""
    cls = _mixed_class(type(module), components, prefix)
    other = cls.__new__(cls)
    other.__dict__.update(module.__dict__)
    return other


@functools.cache
def _mixed_class(cls: type, components: type, prefix: str) -> type:
    return type(f"{prefix}{cls.__name__}", (components, cls), {})
