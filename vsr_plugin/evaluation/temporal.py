"""How well a restored clip holds together in time: tOF and warping error."""

from __future__ import annotations

import numpy as np

from vsr_plugin.evaluation.optical_flow import dis_flow, farneback_flow, is_occluded, leaves_image, warp

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
