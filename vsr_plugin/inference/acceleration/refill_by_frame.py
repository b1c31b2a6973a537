"""Keyframe features with every frame's pyramid computed once, and neighbours aligned one at a time."""

import torch
from torch import Tensor

from vsr_plugin.models.aggregation import EDVRFeatureExtractor, keyframe_indices
from vsr_plugin.models.padding import neighbourhood_indices, pad_to_multiple


def extract_by_frame(edvr: EDVRFeatureExtractor, pyramids: list[list[Tensor]]) -> Tensor:
    """Features of a window's reference frame from the pyramids of its frames, all sides multiples of 4.

    One neighbour at a time: on CPUs a batch gains nothing, and its intermediates would leave the cache.
    """
    ref = pyramids[edvr.center_frame_idx]
    aligned = torch.stack([edvr.pcd_alignment(pyramid, ref) for pyramid in pyramids], dim=1)
    return edvr.fusion(aligned if edvr.with_tsa else aligned.flatten(1, 2))


def refill_by_frame(
    edvr: EDVRFeatureExtractor, lrs: Tensor, keyframe_stride: int | None, padding: int
) -> dict[int, Tensor]:
    """See :meth:`InformationRefill.refill_features`; windows that share frames share their pyramids."""
    h, w = lrs.shape[-2:]
    t = lrs.size(1)
    padded = pad_to_multiple(lrs, 4)
    windows = {i: neighbourhood_indices(i, t, padding) for i in keyframe_indices(t, keyframe_stride)}
    last_use = {frame: i for i, window in windows.items() for frame in window}
    pyramids: dict[int, list[Tensor]] = {}
    features = {}
    for i, window in windows.items():
        for frame in window:
            if frame not in pyramids:
                pyramids[frame] = edvr.pyramid_features(padded[:, frame])
        features[i] = extract_by_frame(edvr, [pyramids[frame] for frame in window])[..., :h, :w]
        for frame in set(window):
            if last_use[frame] == i:
                del pyramids[frame]
    return features
