"""Keyframe features with every frame's pyramid computed once, and neighbours aligned one at a time."""

import torch
from torch import Tensor

from vsr_plugin.ops.padding import pad_to_multiple


class ExtractionByFrame:
    """Mixed into an :class:`EDVRFeatureExtractor` over its own ``forward``.

    One neighbour at a time: on CPUs a batch gains nothing, and its intermediates leave the cache.
    """

    def forward(self, frames: Tensor) -> Tensor:
        """See :meth:`EDVRFeatureExtractor.forward`."""
        h, w = frames.shape[-2:]
        padded = pad_to_multiple(frames, 4)
        return self.extract([self.pyramid_features(frame) for frame in padded.unbind(1)])[..., :h, :w]

    def extract(self, pyramids: list[list[Tensor]]) -> Tensor:
        """Features of a window's reference frame from the pyramids of its frames, all sides multiples of 4."""
        ref = pyramids[self.center_frame_idx]
        # Joined along the channels, so that a pixel's values of all frames lie side by side, as the fusion reads them.
        aligned = torch.cat([self.pcd_alignment(pyramid, ref) for pyramid in pyramids], dim=1)
        return self.fusion(aligned.unflatten(1, (len(pyramids), -1)) if self.with_tsa else aligned)


def refill_by_frame(edvr: ExtractionByFrame, lrs: Tensor, windows: dict[int, list[int]]) -> dict[int, Tensor]:
    """Features of keyframes by frame index; windows that share frames share their pyramids.

    Args:
        edvr: the extractor.
        lrs: RGB in [0, 1], ``(n, t, 3, h, w)``.
        windows: see :meth:`InformationRefill.feature_windows`.

    Returns:
        ``{i: (n, mid_channels, h, w)}``.
    """
    h, w = lrs.shape[-2:]
    padded = pad_to_multiple(lrs, 4)
    last_use = {frame: i for i, window in windows.items() for frame in window}
    pyramids: dict[int, list[Tensor]] = {}
    features = {}
    for i, window in windows.items():
        for frame in window:
            if frame not in pyramids:
                pyramids[frame] = edvr.pyramid_features(padded[:, frame])
        features[i] = edvr.extract([pyramids[frame] for frame in window])[..., :h, :w]
        for frame in set(window):
            if last_use[frame] == i:
                del pyramids[frame]
    return features
