"""Temporal and spatial attention (TSA) fusion (Wang et al., EDVR, CVPRW 2019, section 3.3)."""

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from vsr_plugin.models.aggregation.layers import conv_lrelu, join_frames, upsample_x2


def _pool(x: Tensor) -> Tensor:
    """Halve the size by maximum and by average, ``(n, c, h, w)`` to ``(n, 2c, h/2, w/2)``."""
    options = dict(kernel_size=3, stride=2, padding=1)
    return torch.cat((F.max_pool2d(x, **options), F.avg_pool2d(x, **options)), dim=1)


class TSAFusion(nn.Module):
    """Fuse aligned frames, each weighted by its likeness to the centre, then by spatial attention.

    Args:
        mid_channels: channels per frame and of the result.
        num_frames: frames in the window.
        center_frame_idx: position of the reference frame in it.
    """

    #: A member, so that accelerated networks can put their own in its place.
    upsample_x2 = staticmethod(upsample_x2)

    def __init__(self, mid_channels: int = 64, num_frames: int = 5, center_frame_idx: int = 2):
        super().__init__()
        c = mid_channels
        self.center_frame_idx = center_frame_idx
        self.temporal_attn1 = nn.Conv2d(c, c, 3, padding=1)
        self.temporal_attn2 = nn.Conv2d(c, c, 3, padding=1)
        self.feat_fusion = conv_lrelu(num_frames * c, c, 1)
        self.spatial_attn1 = conv_lrelu(num_frames * c, c, 1)
        self.spatial_attn2 = conv_lrelu(2 * c, c, 1)
        self.spatial_attn3 = conv_lrelu(c, c)
        self.spatial_attn4 = conv_lrelu(c, c, 1)
        self.spatial_attn5 = nn.Conv2d(c, c, 3, padding=1)
        self.spatial_attn_l1 = conv_lrelu(c, c, 1)
        self.spatial_attn_l2 = conv_lrelu(2 * c, c)
        self.spatial_attn_l3 = conv_lrelu(c, c)
        self.spatial_attn_add1 = conv_lrelu(c, c, 1)
        self.spatial_attn_add2 = nn.Conv2d(c, c, 1)

    def forward(self, aligned_feats: Tensor) -> Tensor:
        """Map aligned features ``(n, t, c, h, w)``, sides multiples of 4, to ``(n, c, h, w)``."""
        n, t, c, h, w = aligned_feats.shape
        ref = self.temporal_attn1(aligned_feats[:, self.center_frame_idx]).unsqueeze(1)
        embeddings = self.temporal_attn2(aligned_feats.reshape(n * t, c, h, w)).view(n, t, c, h, w)
        likeness = (embeddings * ref).sum(dim=2, keepdim=True).sigmoid()
        weighted = join_frames(aligned_feats * likeness)
        feat = self.feat_fusion(weighted)

        half = self.spatial_attn2(_pool(self.spatial_attn1(weighted)))
        quarter = self.spatial_attn_l3(self.spatial_attn_l2(_pool(self.spatial_attn_l1(half))))
        half = self.spatial_attn4(self.spatial_attn3(half) + self.upsample_x2(quarter))
        attn = self.spatial_attn5(self.upsample_x2(half))
        return 2 * feat * attn.sigmoid() + self.spatial_attn_add2(self.spatial_attn_add1(attn))
