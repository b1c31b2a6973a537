"""Real sequences to measure with, and the quality of what is made of them."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vsr_plugin.data.degraded_clip import crop, read_frames
from vsr_plugin.errors import VSRError
from vsr_plugin.evaluation.quality import frame_quality
from vsr_plugin.ops.resize import bicubic_downsample

#: Height and width of the ground truth taken of each clip, from the top left.
CROPS = {"bikes": (272, 640), "carphone_pristine": (144, 176), "bigbuckbunny": (288, 512)}
#: First frame taken of each clip.
START = 30


@dataclass(frozen=True)
class Sequence:
    """LR frames and what they were made from.

    Args:
        lrs: RGB in [0, 1], ``(1, t, 3, h, w)``.
        gts: ``uint8`` RGB ``(t, scale * h, scale * w, 3)``.
    """

    lrs: Tensor
    gts: np.ndarray

    def psnr(self, hrs: Tensor) -> float:
        """Mean Y-PSNR of restored frames ``(1, t, 3, H, W)`` in dB, rounded to 8 bits, no border cropped."""
        frames = (hrs[0].clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
        return float(np.mean([frame_quality(f, gt)[0] for f, gt in zip(frames, self.gts, strict=True)]))


def load_sequence(clip: str, frames: int, size: tuple[int, int] | None = None, scale: int = 4) -> Sequence:
    """Read a sample clip from its frame 30 on and degrade it by BI, rounded to 8 bits.

    Args:
        clip: one of :data:`vsr_plugin.data.sample_clips.SAMPLE_CLIPS`.
        frames: length of the sequence.
        size: LR height and width; the clip is cut from the top left, and mirrored where it is too small. By
            default that of :data:`CROPS`, cut to multiples of ``scale``.
        scale: sides of the ground truth over those of LR.

    Raises:
        VSRError: the clip is not installed or too short.
    """
    lr_size = size or [side // scale for side in CROPS[clip]]
    height, width = (scale * side for side in lr_size)
    taken = []
    for frame in read_frames(clip, start=START, num_frames=frames):
        rgb = frame[:height, :width]
        extra = (height - rgb.shape[0], width - rgb.shape[1])
        taken.append(np.pad(rgb, ((0, extra[0]), (0, extra[1]), (0, 0)), mode="symmetric"))
    if len(taken) < frames:
        raise VSRError(f"{clip}: {frames} frames from frame {START} on were asked for, there are {len(taken)}")
    gts = np.stack(taken)
    lqs = np.stack([bicubic_downsample(gt, scale) for gt in gts])
    return Sequence(torch.from_numpy(lqs).permute(0, 3, 1, 2)[None].float() / 255, gts)


def load_gt(clip: str, num_frames: int, height: int, width: int, scale: int = 4) -> list[np.ndarray]:
    """First frames of a sample clip, cropped to at most ``height`` x ``width`` at the bottom left.

    Sides are multiples of ``scale``.
    """
    frames = read_frames(clip, num_frames=num_frames)
    return [np.ascontiguousarray(crop(frame, height, width, scale, bottom=True)) for frame in frames]


def psnr_per_frame(frames: Iterable[np.ndarray], gt: list[np.ndarray]) -> np.ndarray:
    """Y-PSNR of RGB arrays in dB, ``(t,)``."""
    return np.array([frame_quality(frame, true)[0] for frame, true in zip(frames, gt, strict=True)])
