"""What sensors do: noise of constant strength and of light, and still pictures' compression."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from vsr_plugin.data.footage.step import Clip, Range, Step, walk


def _noise(rng: np.random.Generator, frame: np.ndarray, grey: bool) -> np.ndarray:
    shape = (*frame.shape[:2], 1) if grey else frame.shape
    return rng.standard_normal(shape, dtype=np.float32)


@dataclass(frozen=True)
class GaussianNoise(Step):
    """Noise of the same strength everywhere.

    Attributes:
        sigma: range of the standard deviation, in 255ths, which walks within the clip.
        grey: share of clips in which all channels have the same noise.
    """

    sigma: Range = (1.0, 30.0)
    grey: float = 0.4

    def __call__(self, frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        grey = rng.random() < self.grey
        strengths = walk(rng, self.sigma, len(frames)).astype(np.float32) / 255
        return np.stack([f + s * _noise(rng, f, grey) for f, s in zip(frames, strengths, strict=True)])


@dataclass(frozen=True)
class PoissonNoise(Step):
    """Noise of light: its variance grows with brightness, here as the normal distribution that Poisson's comes near.

    Attributes:
        scale: range of the strength, 1 for a sensor that counts 255 electrons at white; it walks within the clip.
        grey: share of clips in which all channels have the same noise.
    """

    scale: Range = (0.05, 3.0)
    grey: float = 0.4

    def __call__(self, frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        grey = rng.random() < self.grey
        scales = walk(rng, self.scale, len(frames)).astype(np.float32)
        return np.stack([self._noisy(rng, f, s, grey) for f, s in zip(frames, scales, strict=True)])

    @staticmethod
    def _noisy(rng: np.random.Generator, frame: np.ndarray, scale: float, grey: bool) -> np.ndarray:
        light = frame.mean(axis=2, keepdims=True) if grey else frame
        return frame + scale * np.sqrt(light.clip(0, 1) / 255) * _noise(rng, frame, grey)


@dataclass(frozen=True)
class JPEG(Step):
    """Each frame as a JPEG of its own.

    Attributes:
        quality: range of libjpeg's quality, which walks within the clip.
    """

    quality: Range = (30.0, 95.0)

    def degrade(self, clip: Clip, rng: np.random.Generator) -> Clip:
        """See :meth:`Step.degrade`; every frame has tables of its own."""
        return Clip(self(clip.frames, rng), coarsest_step=None)

    def __call__(self, frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        qualities = walk(rng, self.quality, len(frames))
        return np.stack([_through_jpeg(f, round(q)) for f, q in zip(frames, qualities, strict=True)])


def _through_jpeg(frame: np.ndarray, quality: int) -> np.ndarray:
    bgr = (frame[..., ::-1].clip(0, 1) * 255).round().astype(np.uint8)
    _, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1].astype(np.float32) / 255
