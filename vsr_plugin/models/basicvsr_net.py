"""BasicVSR (Chan et al., CVPR 2021, arXiv 2012.02181, section 3.1)."""

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from vsr_plugin.models.alignment import FlowAlignment
from vsr_plugin.models.base_module import VSRModule
from vsr_plugin.models.propagation import BidirectionalPropagation, ResidualBlocksWithInputConv
from vsr_plugin.models.upsampling import PixelShuffleUpsampling
from vsr_plugin.registry import MODELS


@MODELS.register_module()
class BasicVSRNet(BidirectionalPropagation, FlowAlignment, PixelShuffleUpsampling, VSRModule):
    """BasicVSR x4: bidirectional propagation, feature alignment by flow, concatenation, pixel shuffle.

    ``forward`` maps RGB sequences in [0, 1] ``(n, t, 3, h, w)`` to ``(n, t, 3, 4h, 4w)``.

    Args:
        mid_channels: channels of the propagated features.
        num_blocks: residual blocks in each branch.
        with_cp: gradient checkpointing: training holds the propagated features only and computes the insides of
            every step twice.
        spynet_pretrained: name, path or address of SPyNet weights that ``init_weights()`` loads.
        init_cfg: ``dict(type='Pretrained', checkpoint='basicvsr_reds4')`` for the weights of the whole network.

    Example:
        >>> net = BasicVSRNet(mid_channels=8, num_blocks=1)
        >>> net(torch.rand(1, 2, 3, 16, 24)).shape
        torch.Size([1, 2, 3, 64, 96])
    """

    def __init__(
        self,
        mid_channels: int = 64,
        num_blocks: int = 30,
        with_cp: bool = False,
        spynet_pretrained: str | None = None,
        init_cfg: dict | None = None,
    ):
        super().__init__(init_cfg)
        self.mid_channels = mid_channels
        self.with_cp = with_cp
        self.build_alignment(spynet_pretrained)
        self.backward_resblocks = ResidualBlocksWithInputConv(3 + mid_channels, mid_channels, num_blocks)
        self.forward_resblocks = ResidualBlocksWithInputConv(3 + mid_channels, mid_channels, num_blocks)
        self.fusion = nn.Conv2d(2 * mid_channels, mid_channels, 1)
        self.build_upsampling(mid_channels)

    def backward_step(
        self, lr: Tensor, flow: Tensor | None = None, state: Tensor | None = None, refill: Tensor | None = None
    ) -> Tensor:
        """Backward features of one frame: ``R_b(x_i, W(h_{i+1}, s_i))``.

        Args:
            lr: frame ``(n, 3, h, w)``.
            flow: from this frame to the next ``(n, 2, h, w)``; ``None`` at the last frame.
            state: backward features of the next frame; ``None`` at the last.
            refill: not used by this network, which has no keyframes.

        Returns:
            ``(n, mid_channels, h, w)``.
        """
        return self.backward_resblocks(torch.cat((lr, self.align(state, flow, lr)), dim=1))

    def forward_step(
        self,
        lr: Tensor,
        flow: Tensor | None = None,
        state: Tensor | None = None,
        backward_feat: Tensor | None = None,
        refill: Tensor | None = None,
    ) -> Tensor:
        """Forward features of one frame: ``R_f(x_i, W(h_{i-1}, s_i))``.

        Args:
            lr: frame ``(n, 3, h, w)``.
            flow: from this frame to the previous ``(n, 2, h, w)``; ``None`` at the first frame.
            state: forward features of the previous frame; ``None`` at the first.
            backward_feat: not used: the branches of this network do not see each other.
            refill: not used by this network, which has no keyframes.

        Returns:
            ``(n, mid_channels, h, w)``.
        """
        return self.forward_resblocks(torch.cat((lr, self.align(state, flow, lr)), dim=1))

    def reconstruct(self, lr: Tensor, backward_feat: Tensor, forward_feat: Tensor) -> Tensor:
        """HR frame ``(n, 3, 4h, 4w)`` from both branches: ``U(h_b, h_f)``."""
        feat = self.fusion(torch.cat((backward_feat, forward_feat), dim=1))
        return self.upsample(F.leaky_relu(feat, 0.1), lr)
