"""NIQE, a measure of frames without ground truth, as MMagic computes it."""

from __future__ import annotations

import numpy as np

DEFINITION = (
    "NIQE: Mittal et al., IEEE SPL 2013, on Y with MMagic's model of pristine pictures, blocks of 96x96, without "
    "ground truth; lower is better"
)
#: Side of one of its blocks.
_BLOCK = 96


def niqe(frame: np.ndarray) -> float | None:
    """NIQE of a frame, RGB ``(h, w, 3)`` of ``uint8``; ``None`` where fewer than two blocks fit into it."""
    if (frame.shape[0] // _BLOCK) * (frame.shape[1] // _BLOCK) < 2:
        return None
    from mmagic.evaluation.metrics.niqe import niqe as of_bgr

    return float(of_bgr(np.ascontiguousarray(frame[..., ::-1]), crop_border=0))
