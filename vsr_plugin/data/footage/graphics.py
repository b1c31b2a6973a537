"""What is no picture of a camera: writing and lines on plain areas, and pixels that were enlarged as squares."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from vsr_plugin.data.footage.step import Step

_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,:;-+()[] "


@dataclass(frozen=True)
class Writing(Step):
    """Lines of text, boxes and strokes over a clip, which stand still.

    Attributes:
        plain: share of clips whose picture is replaced by one colour first, as on a screen.
        smooth: share of clips whose letters have soft edges.
    """

    plain: float = 0.6
    smooth: float = 0.7

    def __call__(self, frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        h, w = frames.shape[1:3]
        edges = cv2.LINE_AA if rng.random() < self.smooth else cv2.LINE_8
        ground = np.broadcast_to(rng.choice((0.0, 1.0, rng.random())) * np.ones(3, np.float32), (h, w, 3))
        clip = np.repeat(ground[None], len(frames), axis=0) if rng.random() < self.plain else frames.copy()
        bytes_of = (clip.clip(0, 1) * 255).round().astype(np.uint8)
        size, colour = rng.uniform(0.25, 0.9), [int(c) for c in rng.integers(0, 256, 3)]
        lines = [
            ("".join(rng.choice(list(_LETTERS), 24)), (int(rng.integers(-20, w // 2)), y))
            for y in range(int(rng.integers(4, 16)), h + 8, max(6, int(34 * size)))
        ]
        boxes = rng.integers(0, max(h, w), (int(rng.integers(0, 3)), 2, 2))
        for frame in bytes_of:
            for a, b in boxes:
                cv2.rectangle(frame, a.tolist(), b.tolist(), colour[::-1], -1 if a[0] % 2 else 1)
            for text, place in lines:
                cv2.putText(frame, text, place, cv2.FONT_HERSHEY_SIMPLEX, size, colour, 1, edges)
        return bytes_of.astype(np.float32) / 255


@dataclass(frozen=True)
class SquarePixels(Step):
    """A clip of fewer pixels, each shown as a square of several, as games and enlargements by nearest neighbours are.

    Attributes:
        sides: of the squares, to choose from.
    """

    sides: tuple[int, ...] = (2, 3, 4, 8)

    def __call__(self, frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        side = int(rng.choice(self.sides))
        h, w = frames.shape[1:3]
        small = -(-w // side), -(-h // side)
        fewer = [cv2.resize(frame, small, interpolation=cv2.INTER_AREA) for frame in frames]
        return np.stack([frame.repeat(side, axis=0).repeat(side, axis=1)[:h, :w] for frame in fewer])
