"""What lens and scaling do: blur by kernels of several kinds, ringing, changes of size."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from scipy.special import j1

from vsr_plugin.data.footage.step import Clip, Range, Step, walk, weighted_choice
from vsr_plugin.ops.resize import bicubic_resize

_INTERPOLATIONS = {"area": cv2.INTER_AREA, "bilinear": cv2.INTER_LINEAR, "bicubic": cv2.INTER_CUBIC}


def blur_kernel(
    size: int, sigma_x: float, sigma_y: float, angle: float = 0.0, *, kind: str = "gaussian", beta: float = 1.0
) -> np.ndarray:
    """A blur kernel of one of the families of Real-ESRGAN (arXiv 2107.10833, section 3.1).

    Args:
        size: taps each way, odd.
        sigma_x: extent along the first axis, in pixels.
        sigma_y: extent along the other.
        angle: of the first axis, in radians.
        kind: ``'gaussian'``, ``'generalized'`` (``exp(-(r^2)^beta / 2)``) or ``'plateau'`` (``1 / (1 + (r^2)^beta)``).
        beta: shape of the last two.

    Returns:
        ``(size, size)``, sum 1.

    Raises:
        ValueError: there is no such kind.
    """
    y, x = np.mgrid[:size, :size] - size // 2
    along, across = np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x
    squared = (along / sigma_x) ** 2 + (across / sigma_y) ** 2
    if kind == "gaussian":
        kernel = np.exp(-squared / 2)
    elif kind == "generalized":
        kernel = np.exp(-(squared**beta) / 2)
    elif kind == "plateau":
        kernel = 1 / (1 + squared**beta)
    else:
        raise ValueError(f"`kind` must be 'gaussian', 'generalized' or 'plateau', got {kind!r}")
    return (kernel / kernel.sum()).astype(np.float32)


def sinc_kernel(size: int, cutoff: float) -> np.ndarray:
    """The ideal low pass with a circular edge, whose ringing sharpened and compressed pictures show.

    Args:
        size: taps each way, odd.
        cutoff: in radians per pixel, up to pi.

    Returns:
        ``(size, size)``, sum 1.
    """
    y, x = np.mgrid[:size, :size] - size // 2
    r = np.hypot(x, y)
    with np.errstate(divide="ignore", invalid="ignore"):
        kernel = cutoff * j1(cutoff * r) / (2 * np.pi * r)
    kernel[r == 0] = cutoff**2 / (4 * np.pi)
    return (kernel / kernel.sum()).astype(np.float32)


@dataclass(frozen=True)
class Blur(Step):
    """Blur whose extents and angle walk within the clip.

    Attributes:
        sigma: range of the extents in pixels.
        sizes: range of half the kernel's side.
        isotropic: share of kernels that are round.
        kinds: share of each kind of :func:`blur_kernel`.
    """

    sigma: Range = (0.2, 3.0)
    sizes: tuple[int, int] = (3, 10)
    isotropic: float = 0.6
    kinds: tuple[float, float, float] = (0.7, 0.15, 0.15)

    def __call__(self, frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        t = len(frames)
        size = 2 * int(rng.integers(*self.sizes, endpoint=True)) + 1
        kind = weighted_choice(rng, ("gaussian", "generalized", "plateau"), self.kinds)
        beta = rng.uniform(0.5, 4) if kind == "generalized" else rng.uniform(1, 2)
        sigma_x = walk(rng, self.sigma, t)
        sigma_y = sigma_x if rng.random() < self.isotropic else walk(rng, self.sigma, t)
        angle = walk(rng, (-np.pi, np.pi), t)
        kernels = map(lambda *of: blur_kernel(size, *of, kind=kind, beta=beta), sigma_x, sigma_y, angle)
        return _filtered(frames, kernels)


@dataclass(frozen=True)
class Ringing(Step):
    """A sinc filter whose cutoff walks within the clip."""

    cutoff: Range = (np.pi / 3, np.pi)
    sizes: tuple[int, int] = (3, 10)

    def __call__(self, frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        size = 2 * int(rng.integers(*self.sizes, endpoint=True)) + 1
        return _filtered(frames, (sinc_kernel(size, cutoff) for cutoff in walk(rng, self.cutoff, len(frames))))


@dataclass(frozen=True)
class Sharpening(Step):
    """What cameras add against softness: an unsharp mask, with its halos.

    Attributes:
        amount: range of the share of the difference to the blurred picture that is added.
        sigma: range of that blur in pixels.
    """

    amount: Range = (0.2, 1.0)
    sigma: Range = (0.6, 1.6)

    def __call__(self, frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        amount, sigma = rng.uniform(*self.amount), rng.uniform(*self.sigma)
        soft = _filtered(frames, [blur_kernel(9, sigma, sigma)] * len(frames))
        return (frames + np.float32(amount) * (frames - soft)).clip(0, 1)


@dataclass(frozen=True)
class Resize(Step):
    """A change of size that later steps see, up or down; what follows brings the clip to its final size.

    Attributes:
        factors: range of the sides' ratio.
        up, down: how often the clip becomes larger and smaller; otherwise its size stays.
    """

    factors: Range = (0.15, 1.5)
    up: float = 0.2
    down: float = 0.7

    def __call__(self, frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        which = rng.random()
        if which >= self.up + self.down:
            return frames
        low, high = (1.0, self.factors[1]) if which < self.up else (self.factors[0], 1.0)
        factor = rng.uniform(low, high)
        h, w = (max(8, round(side * factor)) for side in frames.shape[1:3])
        return resized(frames, h, w, rng)


@dataclass(frozen=True)
class BicubicResize(Step):
    """A change of size by MATLAB's kernel, which does not alias; the size stays what it is then.

    Attributes:
        factor: sides of the result over those of the frames.
    """

    factor: float

    def degrade(self, clip: Clip, rng: np.random.Generator) -> Clip:
        """See :meth:`Step.degrade`; reduced by two or more, frames count as if no codec had touched them."""
        small = self(clip.frames, rng)
        return Clip(small) if self.factor <= 0.5 else clip.changed(small)

    def __call__(self, frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return bicubic_resize(frames, self.factor)


def resized(frames: np.ndarray, height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """A clip ``(t, h, w, 3)`` at another size, by an interpolation that is drawn."""
    if frames.shape[1:3] == (height, width):
        return frames
    interpolation = _INTERPOLATIONS[weighted_choice(rng, tuple(_INTERPOLATIONS), (1, 1, 1))]
    return np.stack([cv2.resize(frame, (width, height), interpolation=interpolation) for frame in frames])


def _filtered(frames: np.ndarray, kernels) -> np.ndarray:
    return np.stack(
        [cv2.filter2D(f, -1, k, borderType=cv2.BORDER_REFLECT_101) for f, k in zip(frames, kernels, strict=True)]
    )
