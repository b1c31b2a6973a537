"""Aggregation: information refill at keyframes (section 3.2), by features of EDVR-M (Wang et al., EDVR, CVPRW 2019)."""

import math
from collections.abc import Callable

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from vsr_plugin.models.component import VSRModule, pretrained
from vsr_plugin.models.layers import ConvModule, ResidualBlockNoBN
from vsr_plugin.models.propagation import Propagation
from vsr_plugin.ops.deform_conv import ModulatedDCNPack
from vsr_plugin.ops.device import batch_pixels
from vsr_plugin.ops.indices import keyframe_indices, neighbourhood_indices
from vsr_plugin.ops.padding import pad_to_multiple
from vsr_plugin.registry import MODELS


def conv_lrelu(in_channels: int, out_channels: int, kernel_size: int = 3, stride: int = 1) -> nn.Module:
    """Convolution that keeps the size (but for the stride), then LeakyReLU with slope 0.1."""
    return ConvModule(in_channels, out_channels, kernel_size, stride=stride, slope=0.1)


def upsample_x2(x: Tensor, factor: float = 1.0) -> Tensor:
    """Bilinear enlargement ``(n, c, h, w)`` to ``(n, c, 2h, 2w)``, times ``factor``."""
    enlarged = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
    return enlarged if factor == 1 else factor * enlarged


def repeat_images(images: Tensor, times: int) -> Tensor:
    """Each image ``(n, c, h, w)`` ``times`` times in a row, in the layout that it has."""
    if images.stride(1) == 1:  # channels-last, which PyTorch would not keep
        return images.permute(0, 2, 3, 1).repeat_interleave(times, dim=0).permute(0, 3, 1, 2)
    return images.repeat_interleave(times, dim=0)


def join_frames(feats: Tensor) -> Tensor:
    """Features of several frames ``(n, t, c, h, w)`` as one map ``(n, t * c, h, w)``, in the layout that they have."""
    n, t, c, h, w = feats.shape
    if feats.stride(2) == 1:  # channels-last: one copy instead of one here and one in the next convolution
        return feats.permute(0, 3, 4, 1, 2).reshape(n, h, w, t * c).permute(0, 3, 1, 2)
    return feats.reshape(n, t * c, h, w)


class PCDAlignment(nn.Module):
    """Align features to a reference, from the coarsest pyramid level to the finest, then once more at full size.

    Args:
        mid_channels: channels of all features.
        deform_groups: groups of the deformable convolutions; must divide ``mid_channels``.
    """

    #: A member, so that accelerated networks can put their own in its place.
    upsample_x2 = staticmethod(upsample_x2)

    def __init__(self, mid_channels: int = 64, deform_groups: int = 8):
        super().__init__()
        c = mid_channels
        coarse_to_fine = ("l3", "l2", "l1")
        self.offset_conv1 = nn.ModuleDict({level: conv_lrelu(2 * c, c) for level in coarse_to_fine})
        self.offset_conv2 = nn.ModuleDict(
            {level: conv_lrelu(c if level == "l3" else 2 * c, c) for level in coarse_to_fine}
        )
        self.offset_conv3 = nn.ModuleDict({level: conv_lrelu(c, c) for level in ("l2", "l1")})
        self.dcn_pack = nn.ModuleDict({level: ModulatedDCNPack(c, deform_groups) for level in coarse_to_fine})
        self.feat_conv = nn.ModuleDict({"l2": conv_lrelu(2 * c, c), "l1": ConvModule(2 * c, c)})
        self.cas_offset_conv1 = conv_lrelu(2 * c, c)
        self.cas_offset_conv2 = conv_lrelu(c, c)
        self.cas_dcnpack = ModulatedDCNPack(c, deform_groups)

    def forward(self, neighbour_feats: list[Tensor], ref_feats: list[Tensor]) -> Tensor:
        """Align the features of neighbours to those of the reference.

        Args:
            neighbour_feats: levels 1 to 3, ``(n, c, h, w)``, ``(n, c, h/2, w/2)``, ``(n, c, h/4, w/4)``.
            ref_feats: the same for the reference frame.

        Returns:
            ``(n, c, h, w)``.
        """
        level, nb, ref = "l3", neighbour_feats[2], ref_feats[2]
        offset = self.offset_conv2[level](self.offset_conv1[level](torch.cat((nb, ref), dim=1)))
        feat = F.leaky_relu(self.dcn_pack[level](nb, offset), 0.1)
        for level, nb, ref in (("l2", neighbour_feats[1], ref_feats[1]), ("l1", neighbour_feats[0], ref_feats[0])):
            # Displacements are in pixels of their level, so they double with the size.
            coarse_offset, coarse_feat = self.upsample_x2(offset, 2.0), self.upsample_x2(feat)
            offset = self.offset_conv1[level](torch.cat((nb, ref), dim=1))
            offset = self.offset_conv2[level](torch.cat((offset, coarse_offset), dim=1))
            offset = self.offset_conv3[level](offset)
            feat = self.dcn_pack[level](nb, offset)
            feat = self.feat_conv[level](torch.cat((feat, coarse_feat), dim=1))
        offset = self.cas_offset_conv2(self.cas_offset_conv1(torch.cat((feat, ref_feats[0]), dim=1)))
        return F.leaky_relu(self.cas_dcnpack(feat, offset), 0.1)


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


class InformationRefill:
    """Keyframe features that are merged into the propagated ones, mixed into a network over its own steps.

    Where flow points outside the image or is wrong (borders, occlusions), propagated features are empty or
    misplaced; features computed from a window around the keyframe fill them again. The network gets the
    submodule ``edvr`` and the convolutions C, such as ``forward_fusion``, one per branch.
    """

    edvr: EDVRFeatureExtractor
    keyframe_stride: int | None
    padding: int
    propagation: Propagation

    def build_refill(
        self, mid_channels: int, keyframe_stride: int | None, padding: int, edvr_pretrained: str | None
    ) -> None:
        """Add the extractor and C; ``edvr_pretrained`` is loaded by ``init_weights()``.

        Raises:
            ValueError: the stride is less than 1 or the padding negative.
        """
        if keyframe_stride is not None and keyframe_stride < 1:
            raise ValueError(f"`keyframe_stride` must be at least 1, or None for no keyframes, got {keyframe_stride}")
        if padding < 0:
            raise ValueError(f"`padding` must be at least 0 frames, got {padding}")
        self.keyframe_stride = keyframe_stride
        self.padding = padding
        self.edvr = EDVRFeatureExtractor(
            mid_channels=mid_channels,
            num_frames=2 * padding + 1,
            # 8 as published wherever it divides the channels.
            deform_groups=math.gcd(mid_channels, 8),
            init_cfg=pretrained(edvr_pretrained),
        )
        for sweep in self.propagation.sweeps:
            self.add_module(f"{sweep.name}_fusion", nn.Conv2d(2 * mid_channels, mid_channels, 3, padding=1))

    def feature_windows(self, t: int) -> dict[int, list[int]]:
        """Keyframes of a ``t``-frame sequence, each with the ``2 * padding + 1`` frames around it.

        Segments of local propagation have keyframes, and frames around them, of their own.
        """
        return {
            segment.start + i: [segment.start + j for j in neighbourhood_indices(i, len(segment), self.padding)]
            for segment in self.propagation.segments(t)
            for i in keyframe_indices(len(segment), self.keyframe_stride)
        }

    def frame_feature(self, window: Tensor) -> Tensor:
        """Features ``(n, mid_channels, h, w)`` of a keyframe from its window ``(n, 2 * padding + 1, 3, h, w)``: E."""
        return self.edvr(window)

    def refill(self, aligned_feat: Tensor, refill: Tensor, fusion: Callable[[Tensor], Tensor]) -> Tensor:
        """Merge keyframe features into the aligned ones by C; what is aligned behind the features stays as it is."""
        feat, carried = aligned_feat[:, : refill.size(1)], aligned_feat[:, refill.size(1) :]
        refilled = fusion(torch.cat((feat, refill), dim=1))
        return torch.cat((refilled, carried), dim=1) if carried.size(1) else refilled
