"""PSNR by what the neighbouring frames show: where they hide something, and beyond their edges (section 3.2)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from vsr_plugin.evaluation.optical_flow import dis_flow, is_occluded, leaves_image
from vsr_plugin.evaluation.quality import Protocol
from vsr_plugin.mmagic_host import import_quietly

#: Regions of a frame, disjoint: hidden in a neighbour; else outside a neighbour; else seen in all neighbours.
REGIONS = ("occluded", "outside", "followed")
#: A region of fewer pixels has no figure, since a handful of them says nothing.
LEAST_PIXELS = 64

DEFINITION = (
    "regions: PSNR by what the frames before and after show, by the GT's flow (OpenCV's DIS) in both directions: "
    "occluded, hidden in one of them (Sundaram et al., ECCV 2010); outside, beyond the edge of one; followed, seen in "
    f"both; of a region with fewer than {LEAST_PIXELS} pixels in a frame there is none"
)


def label_regions(gt: np.ndarray, neighbours: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    """Which pixels of a frame belong to which region.

    Args:
        gt: RGB ``(h, w, 3)`` of ``uint8``.
        neighbours: the frames before and after it, as far as there are any.

    Returns:
        ``(h, w)`` of bool for each of :data:`REGIONS`; every pixel is in exactly one.
    """
    occluded, outside = (np.zeros(gt.shape[:2], bool) for _ in range(2))
    for neighbour in neighbours:
        flow = dis_flow(gt, neighbour)
        occluded |= is_occluded(flow, dis_flow(neighbour, gt))
        outside |= leaves_image(flow)
    outside &= ~occluded
    return dict(zip(REGIONS, (occluded, outside, ~(occluded | outside)), strict=True))


def region_psnr(
    restored: np.ndarray, gt: np.ndarray, neighbours: Sequence[np.ndarray], protocol: Protocol = Protocol()
) -> dict[str, float | None]:
    """PSNR of a frame in each of :data:`REGIONS`.

    Args:
        restored: RGB ``(h, w, 3)`` of ``uint8``.
        gt: its ground truth.
        neighbours: ground truth of the frames before and after it, as far as there are any.
        protocol: channel and border.

    Returns:
        ``psnr_REGION`` in dB, infinite where all pixels are equal, ``None`` where there are too few of them.
    """
    to_channel = import_quietly("mmagic.evaluation.metrics.metrics_utils").img_transform
    border = protocol.crop_border
    options = dict(crop_border=border, convert_to="Y" if protocol.channel == "Y" else None)
    errors = ((to_channel(restored, **options) - to_channel(gt, **options)) ** 2).mean(axis=2)
    inner = slice(border, -border or None)
    figures: dict[str, float | None] = {}
    for name, region in label_regions(gt, neighbours).items():
        of_region = errors[region[inner, inner]]
        error = float(of_region.mean()) if of_region.size >= LEAST_PIXELS else None
        figures[f"psnr_{name}"] = error if error is None else 10 * math.log10(255**2 / error) if error else math.inf
    return figures
