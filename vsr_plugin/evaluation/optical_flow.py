"""Optical flow for evaluation: estimated by OpenCV, and not by the network that is evaluated."""

from __future__ import annotations

import cv2
import numpy as np

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
