"""A piece of any clip as ground truth, and the LR frames that are made of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vsr_plugin.data.sample_clips import SAMPLE_CLIPS, sample_clip
from vsr_plugin.errors import MediaError
from vsr_plugin.media import open_source
from vsr_plugin.ops.frames import to_uint8
from vsr_plugin.ops.resize import bicubic_downsample


def clip_path(clip: str) -> Path:
    """Path of a clip that a person named: a sample clip by its name, or a video or a folder of images.

    Raises:
        MediaError: it is neither.
    """
    if clip in SAMPLE_CLIPS:
        return sample_clip(clip)
    if not Path(clip).exists():
        raise MediaError(f"{clip}: no such video or folder, and no sample clip; those are {', '.join(SAMPLE_CLIPS)}")
    return Path(clip)


def read_frames(clip: str, *, start: int = 0, num_frames: int | None = None) -> Iterator[np.ndarray]:
    """RGB frames ``(h, w, 3)`` of ``uint8``, as many as there are up to ``num_frames``.

    Raises:
        MediaError: see :func:`clip_path`; or nothing is left at ``start``.
    """
    with open_source(clip_path(clip)) as source:
        for frame in source.frames(start, num_frames):
            yield to_uint8(frame.rgb)


def crop(frame: np.ndarray, height: int, width: int, scale: int = 4, *, bottom: bool = False) -> np.ndarray:
    """A view of at most ``height`` x ``width`` at the top left (or bottom left), both multiples of ``scale``."""
    height, width = (
        min(limit, side) // scale * scale for limit, side in zip((height, width), frame.shape, strict=False)
    )
    return frame[-height:, :width] if bottom else frame[:height, :width]


@dataclass(frozen=True)
class DegradedClip:
    """Frames and their ground truth.

    Args:
        name: what the person called the clip, without folder and suffix.
        lqs: ``(t, h, w, 3)``, ``uint8`` RGB.
        gts: ``(t, scale * h, scale * w, 3)``, or ``None`` where the clip itself is what is restored.
    """

    name: str
    lqs: np.ndarray
    gts: np.ndarray | None

    def tensor(self, device: str | torch.device = "cpu") -> Tensor:
        """LR frames as a network takes them: RGB in [0, 1], ``(1, t, 3, h, w)``."""
        return torch.from_numpy(self.lqs).permute(0, 3, 1, 2)[None].to(device).float() / 255


def degraded_clip(
    clip: str,
    *,
    start: int,
    num_frames: int,
    size: tuple[int, int] | None = None,
    degrade: bool = True,
    scale: int = 4,
) -> DegradedClip:
    """Read frames and make LR frames of them by BI, rounded to 8 bits.

    Args:
        clip: name of a sample clip, or path of a video or folder.
        start: first frame.
        num_frames: how many.
        size: at most this height and width of the frames that are read, from the top left.
        degrade: ``False`` takes the frames as they are for LR frames, without ground truth.
        scale: sides of the frames over those of the LR frames.

    Raises:
        MediaError: there is no such clip, or it is too short.
    """
    frames = list(read_frames(clip, start=start, num_frames=num_frames))
    if len(frames) < num_frames:
        raise MediaError(
            f"{clip}: {num_frames} frames from frame {start} on were asked for, there are {len(frames)}; "
            "choose fewer, or an earlier start"
        )
    height, width = size or frames[0].shape[:2]
    name = clip if clip in SAMPLE_CLIPS else Path(clip).stem
    if not degrade:
        return DegradedClip(name, np.stack([frame[:height, :width] for frame in frames]), None)
    if min(frames[0].shape[:2]) < scale:
        raise MediaError(f"{clip}: frames of {frames[0].shape[1]}x{frames[0].shape[0]} are too small to degrade")
    gts = np.stack([crop(frame, height, width, scale) for frame in frames])
    return DegradedClip(name, np.stack([bicubic_downsample(gt, scale) for gt in gts]), gts)
