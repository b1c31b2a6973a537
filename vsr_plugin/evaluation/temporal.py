"""What neighbouring frames tell: tOF and warping error of a clip, PSNR where they hide something, by OpenCV's flow."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np

from vsr_plugin.evaluation.quality import Protocol
from vsr_plugin.mmagic_host import import_quietly

#: Farneback's parameters in the evaluation of TecoGAN (Chu et al., ACM TOG 2020), whose tOF is defined with them.
_FARNEBACK = dict(pyr_scale=0.5, levels=3, winsize=15, iterations=3, poly_n=5, poly_sigma=1.2, flags=0)


def _grey(frame: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)


def farneback_flow(frame: np.ndarray, neighbour: np.ndarray) -> np.ndarray:
    """Flow from a frame to its neighbour by Farneback's method: smooth, and the one that tOF is defined with.

    Args:
        frame: RGB ``(h, w, 3)`` of ``uint8``.
        neighbour: the same.

    Returns:
        ``(h, w, 2)`` in pixels, channel 0 to the right, 1 down.
    """
    return cv2.calcOpticalFlowFarneback(_grey(frame), _grey(neighbour), None, **_FARNEBACK)


def dis_flow(frame: np.ndarray, neighbour: np.ndarray) -> np.ndarray:
    """Flow by dense inverse search (Kroeger et al., ECCV 2016, OpenCV's medium preset): sharper; arguments as above."""
    # Smaller than its patches, OpenCV's estimator ends the process.
    if min(frame.shape[:2]) < 16:
        return farneback_flow(frame, neighbour)
    estimator = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    return estimator.calc(_grey(frame), _grey(neighbour), None)


def warp(image: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """Sample ``image`` ``(h, w)`` or ``(h, w, c)`` of float32 bilinearly at ``position + flow``; zero outside."""
    h, w = flow.shape[:2]
    x, y = np.meshgrid(np.arange(w, dtype=np.float32), np.arange(h, dtype=np.float32))
    return cv2.remap(image, x + flow[..., 0], y + flow[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)


def leaves_image(flow: np.ndarray) -> np.ndarray:
    """Whether a position plus its flow lies outside the image: ``(h, w)`` of bool."""
    h, w = flow.shape[:2]
    x, y = np.arange(w) + flow[..., 0], np.arange(h)[:, None] + flow[..., 1]
    return (x < 0) | (x > w - 1) | (y < 0) | (y > h - 1)


def is_occluded(flow: np.ndarray, backward: np.ndarray) -> np.ndarray:
    """Whether what a position shows is hidden in the neighbour, by the flows of both directions.

    The way there and back does not end where it began: ``|w + w'|^2 > 0.01 (|w|^2 + |w'|^2) + 0.5``, with ``w'`` the
    backward flow at ``position + w`` (Sundaram et al., ECCV 2010; Ruder et al., GCPR 2016).

    Args:
        flow: from the frame to its neighbour, ``(h, w, 2)``.
        backward: from the neighbour to the frame.

    Returns:
        ``(h, w)`` of bool; false where the flow leaves the image.
    """
    back = warp(np.ascontiguousarray(backward, dtype=np.float32), flow)
    lengths = (flow**2).sum(axis=-1) + (back**2).sum(axis=-1)
    return (((flow + back) ** 2).sum(axis=-1) > 0.01 * lengths + 0.5) & ~leaves_image(flow)


#: Pixels at every edge that tOF leaves out, where flow is least certain; of smaller frames a quarter of the side.
TOF_BORDER = 8

#: What each figure is, for the protocol that is printed with it.
DEFINITIONS = {
    "tof": (
        "tOF: mean length of the difference between the flows of restored and of GT frames (t - 1 to t) in pixels; "
        f"Farneback's flow with TecoGAN's parameters (Chu et al., ACM TOG 2020), {TOF_BORDER} pixels left out at every "
        "edge; lower is better"
    ),
    "warping": (
        "warping error: mean squared difference between a frame and the one before, warped onto it by the GT's flow, "
        "where that is neither occluded nor outside (after Lai et al., ECCV 2018), RGB in [0, 1], times 1000; OpenCV's "
        "DIS flow; warping_gt is the GT's own, below which a clip is smoother than the truth"
    ),
}


def tof(before: np.ndarray, frame: np.ndarray, gt_before: np.ndarray, gt: np.ndarray) -> float:
    """Difference of the motion in two restored frames from that in the ground truth, in pixels.

    tOF of TecoGAN (Chu et al., "Learning temporal coherence via self-supervision for GAN-based video generation", ACM
    TOG 2020): the Euclidean length of the difference of the flows, mean over the pixels.

    Args:
        before: RGB ``(h, w, 3)`` of ``uint8``.
        frame: the frame after it.
        gt_before: ground truth of the first.
        gt: ground truth of the second.
    """
    difference = farneback_flow(before, frame) - farneback_flow(gt_before, gt)
    h, w = (min(TOF_BORDER, side // 4) for side in frame.shape[:2])
    inner = difference[h : difference.shape[0] - h, w : difference.shape[1] - w]
    return float(np.hypot(inner[..., 0], inner[..., 1]).mean())


def warping_errors(before: np.ndarray, frame: np.ndarray, gt_before: np.ndarray, gt: np.ndarray) -> tuple[float, float]:
    """What is left between two frames after motion is compensated, of the restored pair and of the ground truth's.

    After Lai et al., "Learning blind video temporal consistency", ECCV 2018, with flow and occlusions from the ground
    truth for both pairs, so that they are compared at the same places. Blur makes it small as well: beside a sharp
    clip's figure the ground truth's own is what to come near to.

    Args:
        before: RGB ``(h, w, 3)`` of ``uint8``.
        frame: the frame after it.
        gt_before: ground truth of the first.
        gt: ground truth of the second.

    Returns:
        Mean squared differences over visible pixels and channels of RGB in [0, 1], times 1000; zero if nothing is
        visible in both frames.
    """
    flow = dis_flow(gt, gt_before)
    visible = ~leaves_image(flow) & ~is_occluded(flow, dis_flow(gt_before, gt))
    if not visible.any():
        return 0.0, 0.0

    def error(of: np.ndarray, previous: np.ndarray) -> float:
        difference = (of.astype(np.float32) - warp(previous.astype(np.float32), flow))[visible] / 255
        return 1e3 * float((difference**2).mean())

    return error(frame, before), error(gt, gt_before)


#: Regions of a frame, disjoint: hidden in a neighbour; else outside a neighbour; else seen in all neighbours.
REGIONS = ("occluded", "outside", "followed")
#: A region of fewer pixels has no figure, since a handful of them says nothing.
LEAST_PIXELS = 64

REGIONS_DEFINITION = (
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
