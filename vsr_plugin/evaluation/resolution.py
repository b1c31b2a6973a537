"""What resolution frames really hold, since footage may have been enlarged, or be softer than its pixels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vsr_plugin.ops.resize import bicubic_resize

#: Factors that are tried, and the largest ratio that speaks for each. On whole frames of eight clips the ratio for 2
#: was 0.49 to 1.2 as they are, and 0.23 to 0.48 enlarged by 2 or 3, compressed (CRF 26) or not; for 3 it was 0.43 and
#: more as they are or enlarged by 2, and 0.43 and less enlarged by 3.
_LIMITS = {3.0: 0.44, 2.0: 0.44}


def detail_ratio(frames: Sequence[np.ndarray], factor: float) -> float:
    """How much stands in the finest details, over what stands in those twice as coarse.

    Args:
        frames: RGB ``(h, w, 3)``, ``uint8`` or ``uint16``.
        factor: what is lost by reducing sides by it is what counts as finest; the coarser is what reducing by twice of
            it loses beyond that.

    Returns:
        Ratio of the root mean squares on luma. It is near 1 for sharp pictures; compression, which takes fine details
        out, lowers it little.
    """
    fine = coarse = 0.0
    for frame in frames:
        luma = frame.astype(np.float32) @ np.float32([0.299, 0.587, 0.114])
        luma = np.repeat(luma[..., None], 3, axis=2)
        once, twice = (_through(luma, times * factor) for times in (1, 2))
        fine += float(((luma - once) ** 2).mean())
        coarse += float(((once - twice) ** 2).mean())
    return float(np.sqrt(fine / coarse)) if coarse else 1.0


def _through(luma: np.ndarray, factor: float) -> np.ndarray:
    small = tuple(max(1, round(side / factor)) for side in luma.shape[:2])
    return bicubic_resize(bicubic_resize(luma, small), luma.shape[:2])


def held_factor(frames: Sequence[np.ndarray]) -> float:
    """By how much frames can be reduced without losing anything that they show: 3, 2, or 1.

    Args:
        frames: RGB ``(h, w, 3)``, ``uint8`` or ``uint16``; those of a shot, or of several.
    """
    if not frames or min(frames[0].shape[:2]) < 32:
        return 1.0
    return next((factor for factor, limit in _LIMITS.items() if detail_ratio(frames, factor) < limit), 1.0)
