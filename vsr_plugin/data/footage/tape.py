"""What analogue tape and interlaced recording leave behind."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from vsr_plugin.data.footage.step import Range, Step, walk


@dataclass(frozen=True)
class InterlacingLeftOver(Step):
    """Rows of two moments in one frame, or both moments mixed, as bad deinterlacing leaves them.

    Attributes:
        mixed: share of clips in which rows were mixed with their neighbours afterwards: ghosts in place of combs.
    """

    mixed: float = 0.5

    def __call__(self, frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        later = np.concatenate((frames[1:], frames[-1:]))
        woven = frames.copy()
        first = int(rng.integers(2))
        woven[:, first::2] = later[:, first::2]
        if rng.random() < self.mixed:
            column = np.array([0.25, 0.5, 0.25], np.float32)[:, None]
            woven = np.stack([cv2.filter2D(frame, -1, column) for frame in woven])
        return woven


@dataclass(frozen=True)
class Tape(Step):
    """Colour that lies beside its place and is coarse, edges with halos, lines that tremble, coloured noise.

    Attributes:
        chroma_shift: range of the shift in pixels to the right.
        chroma_width: range of the colour's blur along the lines, in pixels.
        halo: range of the share of a line's second difference that is added.
        jitter: largest tremble of a line, in pixels.
        noise: range of the noise of brightness, in 255ths; colour has twice as much.
    """

    chroma_shift: Range = (-3.0, 3.0)
    chroma_width: Range = (0.8, 3.0)
    halo: Range = (0.0, 1.2)
    jitter: float = 0.4
    noise: Range = (0.0, 6.0)

    def __call__(self, frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        t = len(frames)
        shift, width = rng.uniform(*self.chroma_shift), rng.uniform(*self.chroma_width)
        halo, delay = rng.uniform(*self.halo), int(rng.integers(1, 4))
        noise = walk(rng, self.noise, t).astype(np.float32) / 255
        return np.stack([self._play(f, rng, shift, width, halo, delay, s) for f, s in zip(frames, noise, strict=True)])

    def _play(
        self,
        frame: np.ndarray,
        rng: np.random.Generator,
        shift: float,
        width: float,
        halo: float,
        delay: int,
        noise: float,
    ) -> np.ndarray:
        h, w = frame.shape[:2]
        luma, *chroma = cv2.split(cv2.cvtColor(frame, cv2.COLOR_RGB2YCrCb))
        edges = 2 * luma - np.roll(luma, delay, axis=1) - np.roll(luma, -delay, axis=1)
        edges[:, :delay], edges[:, w - delay :] = 0, 0
        luma = luma + np.float32(halo / 4) * edges + noise * rng.standard_normal((h, w), dtype=np.float32)
        x, y = np.meshgrid(np.arange(w, dtype=np.float32), np.arange(h, dtype=np.float32))
        tremble = rng.uniform(-self.jitter, self.jitter, (h, 1)).astype(np.float32)
        border = cv2.BORDER_REPLICATE
        luma = cv2.remap(luma, x + tremble, y, cv2.INTER_LINEAR, borderMode=border)
        coarse = [
            cv2.remap(cv2.GaussianBlur(c, (0, 0), width, sigmaY=0.4), x + tremble - shift, y, 1, borderMode=border)
            + 2 * noise * cv2.GaussianBlur(rng.standard_normal((h, w), dtype=np.float32), (0, 0), 1.0)
            for c in chroma
        ]
        return cv2.cvtColor(cv2.merge((luma, *map(np.float32, coarse))), cv2.COLOR_YCrCb2RGB)
