"""IconVSR (Chan et al., CVPR 2021, arXiv 2012.02181, section 3.2): refill and coupled propagation."""

import torch
import torch.nn as nn
from torch import Tensor

from vsr_plugin.models.aggregation import InformationRefill
from vsr_plugin.models.alignment import FlowAlignment
from vsr_plugin.models.base_module import VSRModule
from vsr_plugin.models.propagation import BidirectionalPropagation, ResidualBlocksWithInputConv
from vsr_plugin.models.upsampling import PixelShuffleUpsampling
from vsr_plugin.registry import MODELS


@MODELS.register_module()
class IconVSRNet(InformationRefill, BidirectionalPropagation, FlowAlignment, PixelShuffleUpsampling, VSRModule):
    """IconVSR x4: BasicVSR with information-refill at keyframes and coupled propagation.

    ``forward`` maps RGB sequences in [0, 1] ``(n, t, 3, h, w)`` to ``(n, t, 3, 4h, 4w)``.

    Args:
        mid_channels: channels of the propagated features and of the extractor.
        num_blocks: residual blocks in each branch.
        keyframe_stride: every that many frames, and the last frame, are keyframes; ``None`` for no keyframes.
        padding: frames on each side of a keyframe that its features are computed from; 2 for the REDS weights,
            3 for those of Vimeo-90K.
        with_cp: gradient checkpointing: training holds the propagated features only and computes the insides of
            every step twice.
        spynet_pretrained: name, path or address of SPyNet weights that ``init_weights()`` loads.
        edvr_pretrained: the same for the extractor, e.g. ``'edvrm_reds'``.
        init_cfg: ``dict(type='Pretrained', checkpoint='iconvsr_reds4')`` for the weights of the whole network.

    Example:
        >>> net = IconVSRNet(mid_channels=8, num_blocks=1)
        >>> net(torch.rand(1, 2, 3, 16, 24)).shape
        torch.Size([1, 2, 3, 64, 96])
    """

    #: The extractor's pyramid has three levels.
    size_multiple = 4

    def __init__(
        self,
        mid_channels: int = 64,
        num_blocks: int = 30,
        keyframe_stride: int | None = 5,
        padding: int = 2,
        with_cp: bool = False,
        spynet_pretrained: str | None = None,
        edvr_pretrained: str | None = None,
        init_cfg: dict | None = None,
    ):
        super().__init__(init_cfg)
        self.mid_channels = mid_channels
        self.with_cp = with_cp
        self.build_alignment(spynet_pretrained)
        self.build_refill(mid_channels, keyframe_stride, padding, edvr_pretrained)
        self.backward_fusion = nn.Conv2d(2 * mid_channels, mid_channels, 3, padding=1)
        self.forward_fusion = nn.Conv2d(2 * mid_channels, mid_channels, 3, padding=1)
        self.backward_resblocks = ResidualBlocksWithInputConv(3 + mid_channels, mid_channels, num_blocks)
        self.forward_resblocks = ResidualBlocksWithInputConv(3 + 2 * mid_channels, mid_channels, num_blocks)
        self.build_upsampling(mid_channels)

    def backward_step(
        self, lr: Tensor, flow: Tensor | None = None, state: Tensor | None = None, refill: Tensor | None = None
    ) -> Tensor:
        """Backward features of one frame, refilled at keyframes: ``R_b(x_i, C(e_i, W(h_{i+1}, s_i)))``.

        Args:
            lr: frame ``(n, 3, h, w)``, sides multiples of 4.
            flow: from this frame to the next ``(n, 2, h, w)``; ``None`` at the last frame.
            state: backward features of the next frame; ``None`` at the last.
            refill: features of this frame if it is a keyframe, else ``None``.

        Returns:
            ``(n, mid_channels, h, w)``.
        """
        feat = self.refill(self.align(state, flow, lr), refill, self.backward_fusion)
        return self.backward_resblocks(torch.cat((lr, feat), dim=1))

    def forward_step(
        self,
        lr: Tensor,
        flow: Tensor | None,
        state: Tensor | None,
        backward_feat: Tensor,
        refill: Tensor | None = None,
    ) -> Tensor:
        """Forward features of one frame, which also see the backward ones (coupled propagation).

        Args:
            lr: frame ``(n, 3, h, w)``, sides multiples of 4.
            flow: from this frame to the previous ``(n, 2, h, w)``; ``None`` at the first frame.
            state: forward features of the previous frame; ``None`` at the first.
            backward_feat: backward features of this frame.
            refill: features of this frame if it is a keyframe, else ``None``.

        Returns:
            ``(n, mid_channels, h, w)``.
        """
        feat = self.refill(self.align(state, flow, lr), refill, self.forward_fusion)
        return self.forward_resblocks(torch.cat((lr, backward_feat, feat), dim=1))

    def reconstruct(self, lr: Tensor, backward_feat: Tensor, forward_feat: Tensor) -> Tensor:
        """HR frame ``(n, 3, 4h, 4w)`` from the forward features, which carry the backward ones: ``U(h_f)``."""
        return self.upsample(forward_feat, lr)
