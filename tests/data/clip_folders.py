"""Small clips on disk for the tests of data sets."""

import cv2
import numpy as np


def make_frames(t=5, h=32, w=48, seed=0):
    """Random frames ``(t, h, w, 3)`` with some structure, uint8 RGB."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (t, -(-h // 4), -(-w // 4), 3))
    smooth = coarse.repeat(4, 1).repeat(4, 2)[:, :h, :w]
    return (smooth // 2 + rng.integers(0, 128, (t, h, w, 3))).astype(np.uint8)


def write_images(folder, frames, names=None):
    """Write PNG files, by default 00000000.png, 00000001.png, ..."""
    folder.mkdir(parents=True, exist_ok=True)
    for i, frame in enumerate(frames):
        assert cv2.imwrite(str(folder / (names[i] if names else f"{i:08d}.png")), frame[..., ::-1])
    return folder


def write_packed(path, frames):
    """Write one packed clip."""
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, frames)
    return path


def write_video(path, frames, media):
    """Write an FFV1 video in RGB, which keeps every bit; ``media`` is the fixture."""
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = dict(codec="ffv1", pix_fmt="bgr0", options={"g": "1"})
    return media.make_clip(path, n=len(frames), size=frames.shape[1:3], pictures=frames, **kind)
