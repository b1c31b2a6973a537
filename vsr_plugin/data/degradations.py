"""Degradations of the paper (section 4): BI, MATLAB's bicubic ``imresize``, and BD, Gaussian blur and subsampling."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from torch import Tensor

from vsr_plugin.ops.resize import AxisFilter, bicubic_downsample, filter_frames, frame_sides, pixel_centres


def _blur_reach(scale: int, sigma: float) -> float:
    """Distance of the outermost tap: 12 taps for scale 4 and sigma 1.6, 11 for scale 3."""
    return math.ceil(3 * sigma) + (0.5 if scale % 2 == 0 else 0)


@functools.lru_cache(maxsize=32)
def _blur_filter(length: int, scale: int, sigma: float) -> AxisFilter:
    reach = _blur_reach(scale, sigma)
    offsets = np.arange(-reach, reach + 1)
    index = np.rint(pixel_centres(math.ceil(length * (1 / scale)), 1 / scale)[:, None] + offsets).astype(int)
    weights = np.broadcast_to(np.exp(-(offsets**2) / (2 * sigma**2)), index.shape)
    return AxisFilter.from_taps(index.clip(0, length - 1), weights)


def blur_downsample(frames: np.ndarray | Tensor, scale: int = 4, sigma: float = 1.6) -> np.ndarray | Tensor:
    """Make LR frames by the BD degradation: Gaussian blur, then one of every ``scale`` pixels each way.

    This is the script that the paper's authors published (``BD_degradation.m`` in ckkelvinchan/BasicVSR-IconVSR, after
    RDN and RCAN) and that the BD weights were trained with: a kernel of ``2 * ceil(3 * sigma) + 2`` = 12 taps each way,
    edge pixels repeated outside, and ``img(2:4:end-2)`` kept. An even kernel has its centre half a pixel further, so
    the Gaussian stands in the middle of the LR pixel, as BI's kernel does. The usual other BD (DUF: 13 taps around
    pixels 0, 4, 8, ..., reflected outside) is shifted against it by 1.5 GT pixels; weights for one give 20 dB on the
    other (mmagic issues 318 and 948).

    Args:
        frames: RGB array ``(..., h, w, 3)``, integer or floating point, or tensor ``(..., 3, h, w)``, floating
            point. Integer results are clipped and rounded once, at the end; floating-point ones are neither.
        scale: ratio of the sides; for odd ones the kernel has ``2 * ceil(3 * sigma) + 1`` taps.
        sigma: standard deviation in pixels of ``frames``.

    Returns:
        The same kind and dtype with sides ``ceil(h / scale)`` and ``ceil(w / scale)``.

    Raises:
        ValueError: an array without three channels last.
    """
    h, w = frame_sides(frames)
    return filter_frames(frames, _blur_filter(h, scale, sigma), _blur_filter(w, scale, sigma))


class Degradation(NamedTuple):
    """One way to make LR frames.

    Attributes:
        downsample: ``(frames, scale) -> frames``.
        reach: how far outside its ``scale`` x ``scale`` ground-truth pixels an LR pixel looks, by scale.
    """

    downsample: Callable[[np.ndarray, int], np.ndarray]
    reach: Callable[[int], float]

    def margin(self, scale: int = 4) -> int:
        """Return by how many GT pixels, a multiple of ``scale``, a crop must be larger on each side to degrade equally.

        Example:
            >>> [DEGRADATIONS[kind].margin(4) for kind in ("BI", "BD")]
            [8, 4]
        """
        return scale * math.ceil(self.reach(scale) / scale)


#: In place of a degradation: a transform of the pipeline makes LR frames, since it needs whole clips.
BY_PIPELINE = "pipeline"

#: What a config, a manifest or the command line may name.
DEGRADATIONS = {
    "BI": Degradation(bicubic_downsample, lambda scale: 1.5 * scale),
    "BD": Degradation(blur_downsample, lambda scale: _blur_reach(scale, 1.6) - (scale - 1) / 2),
}
