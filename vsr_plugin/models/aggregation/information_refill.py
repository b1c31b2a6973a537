"""The aggregation component of IconVSR: information-refill at keyframes (section 3.2)."""

import math
from collections.abc import Callable

import torch
import torch.nn as nn
from torch import Tensor

from vsr_plugin.models.aggregation.edvr_feature_extractor import EDVRFeatureExtractor
from vsr_plugin.models.base_module import pretrained
from vsr_plugin.models.propagation.propagation import Propagation
from vsr_plugin.ops.indices import keyframe_indices, neighbourhood_indices


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
