"""Resampling by separable filters, fast and with results that do not depend on place; MATLAB's bicubic ``imresize``."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

# Output rows worked on at once: small enough that most of the zeros of a block's weights are left out, large
# enough for a matrix product.
_BLOCK = 32


@dataclass(frozen=True)
class AxisFilter:
    """Weights of a filter along an axis; make one by :meth:`from_taps`.

    Attributes:
        blocks: For consecutive runs of output samples, the weights ``(out, needed)``, float64, rows summing to 1, and
            the inputs that they need.
        exact_in_float32: Whether products with 8-bit integers and their sums need at most 24 bits, so that float32
            gives the same numbers as float64.
    """

    blocks: tuple[tuple[Tensor, slice], ...]
    exact_in_float32: bool

    @classmethod
    def from_taps(cls, index: np.ndarray, weights: np.ndarray) -> AxisFilter:
        """Make a filter from what each output sample takes.

        Args:
            index: ``(out, taps)``, input samples; one that comes twice counts twice.
            weights: ``(out, taps)``, normalised here.
        """
        weights = weights / weights.sum(axis=1, keepdims=True)
        blocks = []
        for start in range(0, len(index), _BLOCK):
            taken, some = index[start : start + _BLOCK], weights[start : start + _BLOCK]
            needed = slice(int(taken.min()), int(taken.max()) + 1)
            matrix = np.zeros((len(taken), needed.stop - needed.start))
            np.add.at(matrix, (np.arange(len(taken))[:, None], taken - needed.start), some)
            with torch.inference_mode(False):  # filters are kept, and must serve callers who differentiate, too
                blocks.append((torch.from_numpy(matrix), needed))
        # Multiples of 2**-12 times 8 bits, with sums below 2**9: 21 bits.
        dyadic = (weights * 4096 == np.rint(weights * 4096)).all() and np.abs(weights).sum(axis=1).max() < 2
        return cls(tuple(blocks), bool(dyadic))

    def __call__(self, signals: Tensor) -> Tensor:
        """Filter ``(..., length, n)`` along ``length``, in the dtype and on the device of ``signals``.

        Autocast does not reach it: 8 bits do not fit into bfloat16.
        """
        with torch.autocast(signals.device.type, enabled=False):
            parts = [matrix.to(signals) @ signals[..., needed, :] for matrix, needed in self.blocks]
        return torch.cat(parts, dim=-2)


def filter_frames(frames: np.ndarray | Tensor, rows: AxisFilter, columns: AxisFilter) -> np.ndarray | Tensor:
    """Filter frames along both axes.

    Args:
        frames: RGB array ``(..., h, w, 3)``, integer or floating point, or tensor ``(..., 3, h, w)``, floating
            point.
        rows: filter for the axis of length h.
        columns: filter for the axis of length w.

    Returns:
        The same kind and dtype. Integers are clipped and rounded once, at the end, half up as MATLAB rounds;
        floating-point results are neither.
    """
    if isinstance(frames, Tensor):
        return columns(rows(frames).transpose(-1, -2)).transpose(-1, -2)
    h, w = frames.shape[-3:-1]
    # PyTorch's products keep to one thread in a data loader's worker, which numpy's do not.
    if frames.dtype == np.uint8:
        exact = torch.float32 if rows.exact_in_float32 else torch.float64
        signals = torch.from_numpy(np.require(frames, requirements=["C", "W"])).to(exact)
    else:
        signals = torch.from_numpy(np.ascontiguousarray(frames, np.float64))
    batch = frames.shape[:-3]
    signals = rows(signals.reshape(*batch, h, w * 3)).to(torch.float64)
    signals = signals.reshape(*batch, -1, w, 3).transpose(-3, -2)
    out_h = signals.shape[-2]
    signals = columns(signals.reshape(*batch, w, out_h * 3))
    signals = signals.reshape(*batch, -1, out_h, 3).transpose(-3, -2)
    if frames.dtype == np.uint8:
        return _rounded(signals, 255).to(torch.uint8).contiguous().numpy()
    if np.issubdtype(frames.dtype, np.integer):
        signals = _rounded(signals, np.iinfo(frames.dtype).max)
    return np.ascontiguousarray(signals.numpy(), frames.dtype)


def _rounded(values: Tensor, largest: int) -> Tensor:
    # A symmetric edge gives exact ties, and the order of a product's sum depends on the place in the frame.
    # The small term takes all of them up, so that a crop's result is the crop of the whole result.
    return values.clamp(0, largest).add(0.5 + 1e-9).floor()


def _cubic(x: np.ndarray) -> np.ndarray:
    """Keys' cubic convolution kernel with a = -1/2, support [-2, 2]."""
    x = np.abs(x)
    near = (1.5 * x - 2.5) * x**2 + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x <= 1, near, np.where(x <= 2, far, 0.0))


def pixel_centres(count: int, factor: float) -> np.ndarray:
    """Centres of the output pixels, in input pixels counted from 0."""
    return (np.arange(count) + 0.5) / factor - 0.5


@functools.lru_cache(maxsize=32)
def _bicubic_filter(length: int, count: int, factor: float) -> AxisFilter:
    """When shrinking, the kernel is widened by ``1 / factor``; outside, the signal is mirrored, its edge repeated."""
    stretch = max(1.0, 1.0 / factor)
    centres = pixel_centres(count, factor)[:, None]
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


def frame_sides(frames: np.ndarray | Tensor) -> tuple[int, int]:
    """Rows and columns of frames, an RGB array ``(..., h, w, 3)`` or a tensor ``(..., 3, h, w)``.

    Raises:
        ValueError: an array without three channels last.
    """
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
    sides = frame_sides(frames)
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
