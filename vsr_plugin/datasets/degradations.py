"""Degradations of the paper (section 4): BI, MATLAB's bicubic ``imresize``, and BD, Gaussian blur and subsampling."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from .axis_filter import AxisFilter, filter_frames


def _cubic(x: np.ndarray) -> np.ndarray:
    """Keys' cubic convolution kernel with a = -1/2, support [-2, 2]."""
    x = np.abs(x)
    near = (1.5 * x - 2.5) * x**2 + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x <= 1, near, np.where(x <= 2, far, 0.0))


def _centres(count: int, factor: float) -> np.ndarray:
    """Centres of the output pixels, in input pixels counted from 0."""
    return (np.arange(count) + 0.5) / factor - 0.5


@functools.lru_cache(maxsize=32)
def _bicubic_filter(length: int, count: int, factor: float) -> AxisFilter:
    """When shrinking, the kernel is widened by ``1 / factor``; outside, the signal is mirrored, its edge repeated."""
    stretch = max(1.0, 1.0 / factor)
    centres = _centres(count, factor)[:, None]
    taps = math.ceil(4 * stretch) + 2
    index = np.floor(centres - 2 * stretch).astype(int) + np.arange(taps)
    mirrored = index % (2 * length)
    mirrored = np.where(mirrored < length, mirrored, 2 * length - 1 - mirrored)
    return AxisFilter.from_taps(mirrored, _cubic((centres - index) / stretch))


@functools.lru_cache(maxsize=32)
def _bicubic_filter_on(length: int, count: int, factor: float, dtype: torch.dtype, device: torch.device) -> AxisFilter:
    """The same with its weights where the tensors are: sent for every frame, they would keep a GPU waiting."""
    with torch.inference_mode(False):  # as in `from_taps`
        made = _bicubic_filter(length, count, factor)
        blocks = tuple((weights.to(device, dtype), needed) for weights, needed in made.blocks)
    return AxisFilter(blocks, made.exact_in_float32)


def _blur_reach(scale: int, sigma: float) -> float:
    """Distance of the outermost tap: 12 taps for scale 4 and sigma 1.6, 11 for scale 3."""
    return math.ceil(3 * sigma) + (0.5 if scale % 2 == 0 else 0)


@functools.lru_cache(maxsize=32)
def _blur_filter(length: int, scale: int, sigma: float) -> AxisFilter:
    reach = _blur_reach(scale, sigma)
    offsets = np.arange(-reach, reach + 1)
    index = np.rint(_centres(math.ceil(length * (1 / scale)), 1 / scale)[:, None] + offsets).astype(int)
    weights = np.broadcast_to(np.exp(-(offsets**2) / (2 * sigma**2)), index.shape)
    return AxisFilter.from_taps(index.clip(0, length - 1), weights)


def _sides(frames: np.ndarray | Tensor) -> tuple[int, int]:
    if isinstance(frames, Tensor):
        return tuple(frames.shape[-2:])
    if frames.ndim < 3 or frames.shape[-1] != 3:
        raise ValueError(f"`frames` must be an RGB array (..., h, w, 3), got shape {frames.shape}")
    return frames.shape[-3:-1]


def bicubic_resize(frames: np.ndarray | Tensor, factor: float | tuple[int, int]) -> np.ndarray | Tensor:
    """Resize frames as MATLAB's ``imresize(im2double(frame), factor)`` does, antialiased when shrinking.

    MATLAB gives slightly other numbers for ``imresize(frame, factor)`` with a uint8 frame: there it clips and rounds
    after the rows and again after the columns, which moves one pixel in ten, mostly by one. The scripts that make LR
    frames of Vimeo-90K convert to double first, and so does this function.

    Args:
        frames: RGB array ``(..., h, w, 3)``, integer or floating point, or tensor ``(..., 3, h, w)``, floating
            point. Integer results are clipped and rounded once, at the end; floating-point ones are neither.
        factor: new size over old size, or the new rows and columns, which MATLAB takes in its place; the edges of
            the picture then stay where they are, and each axis has a factor of its own.

    Returns:
        The same kind and dtype with sides ``ceil(h * factor)`` and ``ceil(w * factor)``, or those asked for.

    Raises:
        ValueError: an array without three channels last.
    """
    sides = _sides(frames)
    if isinstance(factor, tuple):
        wanted = [(side, count, count / side) for side, count in zip(sides, factor, strict=True)]
    else:
        wanted = [(side, math.ceil(side * factor), factor) for side in sides]
    if isinstance(frames, Tensor):
        filters = [_bicubic_filter_on(*axis, frames.dtype, frames.device) for axis in wanted]
    else:
        filters = [_bicubic_filter(*axis) for axis in wanted]
    return filter_frames(frames, *filters)


def bicubic_downsample(frames: np.ndarray | Tensor, scale: int = 4) -> np.ndarray | Tensor:
    """Make LR frames by the BI degradation; see :func:`bicubic_resize` for shapes and types.

    Example:
        >>> bicubic_downsample(np.zeros((8, 12, 3), np.uint8)).shape
        (2, 3, 3)
    """
    return bicubic_resize(frames, 1 / scale)


def bicubic_upsample(frames: np.ndarray | Tensor, scale: int = 4) -> np.ndarray | Tensor:
    """Enlarge frames bicubically, the usual baseline; see :func:`bicubic_resize` for shapes and types."""
    return bicubic_resize(frames, scale)


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
    h, w = _sides(frames)
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


#: What a config, a manifest or the command line may name.
DEGRADATIONS = {
    "BI": Degradation(bicubic_downsample, lambda scale: 1.5 * scale),
    "BD": Degradation(blur_downsample, lambda scale: _blur_reach(scale, 1.6) - (scale - 1) / 2),
}
