"""EDVR-M as a feature extractor: E in section 3.2 of the paper."""

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from vsr_plugin.models.aggregation.layers import conv_lrelu, repeat_images
from vsr_plugin.models.aggregation.pcd_alignment import PCDAlignment
from vsr_plugin.models.aggregation.tsa_fusion import TSAFusion
from vsr_plugin.models.base_module import VSRModule
from vsr_plugin.models.propagation.resblocks import ResidualBlockNoBN
from vsr_plugin.ops.batching import batch_pixels
from vsr_plugin.ops.padding import pad_to_multiple
from vsr_plugin.registry import MODELS


@MODELS.register_module()
class EDVRFeatureExtractor(VSRModule):
    """Features of a frame from a window around it: pyramid features, PCD alignment, TSA fusion.

    The defaults are EDVR-M, as used by IconVSR; Wang et al., *EDVR*, CVPRW 2019.

    Args:
        in_channels: channels of the frames.
        mid_channels: channels of all features.
        num_frames: frames in the window.
        deform_groups: groups of the deformable convolutions; must divide ``mid_channels``.
        num_blocks_extraction: residual blocks of the first level.
        center_frame_idx: position of the reference frame; the middle if ``None``.
        with_tsa: fuse with temporal and spatial attention rather than with one convolution.
        init_cfg: ``dict(type='Pretrained', checkpoint='edvrm_reds')`` for published weights.
    """

    def __init__(
        self,
        in_channels: int = 3,
        mid_channels: int = 64,
        num_frames: int = 5,
        deform_groups: int = 8,
        num_blocks_extraction: int = 5,
        center_frame_idx: int | None = None,
        with_tsa: bool = True,
        init_cfg: dict | None = None,
    ):
        super().__init__(init_cfg)
        c = mid_channels
        self.num_frames = num_frames
        self.with_tsa = with_tsa
        self.center_frame_idx = num_frames // 2 if center_frame_idx is None else center_frame_idx
        self.conv_first = nn.Conv2d(in_channels, c, 3, padding=1)
        self.feature_extraction = nn.Sequential(*(ResidualBlockNoBN(c) for _ in range(num_blocks_extraction)))
        self.feat_l2_conv1 = conv_lrelu(c, c, stride=2)
        self.feat_l2_conv2 = conv_lrelu(c, c)
        self.feat_l3_conv1 = conv_lrelu(c, c, stride=2)
        self.feat_l3_conv2 = conv_lrelu(c, c)
        self.pcd_alignment = PCDAlignment(c, deform_groups)
        if with_tsa:
            self.fusion = TSAFusion(c, num_frames, self.center_frame_idx)
        else:
            self.fusion = nn.Conv2d(num_frames * c, c, 1)

    def pyramid_features(self, frames: Tensor) -> list[Tensor]:
        """Features of single frames ``(n, in_channels, h, w)`` at full, half and quarter size."""
        l1_feat = self.feature_extraction(F.leaky_relu(self.conv_first(frames), 0.1))
        l2_feat = self.feat_l2_conv2(self.feat_l2_conv1(l1_feat))
        l3_feat = self.feat_l3_conv2(self.feat_l3_conv1(l2_feat))
        return [l1_feat, l2_feat, l3_feat]

    def forward(self, frames: Tensor) -> Tensor:
        """Features of the reference frame of each window.

        Args:
            frames: RGB in [0, 1], ``(n, num_frames, in_channels, h, w)``, any ``h`` and ``w``.

        Returns:
            ``(n, mid_channels, h, w)``.

        Raises:
            ValueError: the window has not ``num_frames`` frames.
        """
        n, t, _, h, w = frames.shape
        if t != self.num_frames:
            raise ValueError(f"`frames` must hold windows of {self.num_frames} frames, got shape {tuple(frames.shape)}")
        frames = pad_to_multiple(frames, 4)
        feats = self.pyramid_features(frames.flatten(0, 1))
        # Every neighbour of every window beside its window's reference, so that all are aligned in one batch, or
        # without gradients in as few as the memory allows.
        refs = [repeat_images(level.view(n, t, *level.shape[1:])[:, self.center_frame_idx], t) for level in feats]
        h_pad, w_pad = frames.shape[-2:]
        batch = n * t if torch.is_grad_enabled() else max(1, batch_pixels(frames) // (h_pad * w_pad))
        aligned = torch.cat(
            [
                self.pcd_alignment([f[k : k + batch] for f in feats], [r[k : k + batch] for r in refs])
                for k in range(0, n * t, batch)
            ]
        )
        # Sizes written out, since a traced `unflatten` or `flatten` would fix them in an exported graph.
        aligned = aligned.reshape((n, t, -1, h_pad, w_pad) if self.with_tsa else (n, -1, h_pad, w_pad))
        return self.fusion(aligned)[..., :h, :w]
