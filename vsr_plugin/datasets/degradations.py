"""Degradations of the paper (section 4): BI, bicubic as MATLAB's ``imresize`` computes it."""

import functools
import math

import numpy as np
import torch
from torch import Tensor


def _cubic(x: np.ndarray) -> np.ndarray:
    """Keys' cubic convolution kernel with a = -1/2, support [-2, 2]."""
    x = np.abs(x)
    near = (1.5 * x - 2.5) * x**2 + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x <= 1, near, np.where(x <= 2, far, 0.0))


@functools.lru_cache(maxsize=32)
def _resize_matrix(length: int, factor: float) -> np.ndarray:
    """Weights ``(ceil(length * factor), length)`` of a one-dimensional resize, rows summing to 1.

    When shrinking, the kernel is widened by ``1 / factor`` (antialiasing). Outside, the signal is mirrored with
    its edge repeated.
    """
    stretch = max(1.0, 1.0 / factor)
    out = math.ceil(length * factor)
    # Centres of output pixels in input pixels counted from 0.
    centres = (np.arange(out) + 0.5) / factor - 0.5
    taps = math.ceil(4 * stretch) + 2
    index = np.floor(centres - 2 * stretch).astype(int)[:, None] + np.arange(taps)
    weights = _cubic((centres[:, None] - index) / stretch)
    weights /= weights.sum(axis=1, keepdims=True)
    mirrored = index % (2 * length)
    mirrored = np.where(mirrored < length, mirrored, 2 * length - 1 - mirrored)
    matrix = np.zeros((out, length))
    np.add.at(matrix, (np.arange(out)[:, None], mirrored), weights)
    matrix.setflags(write=False)
    return matrix


def _to_dtype(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    if np.issubdtype(dtype, np.integer):
        # Half up, as MATLAB rounds; values are positive after clipping, so this is floor(x + 1/2).
        return np.floor(np.clip(values, 0, np.iinfo(dtype).max) + 0.5).astype(dtype)
    return values.astype(dtype)


def bicubic_resize(frames: np.ndarray | Tensor, factor: float) -> np.ndarray | Tensor:
    """Resize frames as MATLAB's ``imresize(frame, factor)`` does, antialiased when shrinking.

    Args:
        frames: RGB array ``(..., h, w, 3)``, integer or floating point, or tensor ``(..., 3, h, w)``, floating
            point. Integer results are clipped and rounded once, at the end; floating-point ones are neither.
        factor: new size over old size.

    Returns:
        The same kind and dtype with sides ``ceil(h * factor)`` and ``ceil(w * factor)``.

    Raises:
        ValueError: an array without three channels last.
    """
    if isinstance(frames, Tensor):
        rows, columns = (
            torch.tensor(_resize_matrix(length, factor), dtype=frames.dtype, device=frames.device)
            for length in frames.shape[-2:]
        )
        return rows @ frames @ columns.T
    if frames.ndim < 3 or frames.shape[-1] != 3:
        raise ValueError(f"`frames` must be an RGB array (..., h, w, 3), got shape {frames.shape}")
    h, w = frames.shape[-3:-1]
    planes = np.moveaxis(frames, -1, -3).astype(np.float64)
    resized = _resize_matrix(h, factor) @ planes @ _resize_matrix(w, factor).T
    return _to_dtype(np.ascontiguousarray(np.moveaxis(resized, -3, -1)), frames.dtype)


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
