"""What restoring in windows costs against the whole sequence, frame by frame."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch.nn as nn

from vsr_plugin.benchmarks.inputs import psnr_per_frame
from vsr_plugin.inference import restore_frames
from vsr_plugin.ops.resize import bicubic_downsample


@dataclass(frozen=True)
class WindowCost:
    """PSNR of a window strategy less that of the whole sequence, in dB per frame.

    Attributes:
        window: frames kept of a window.
        overlap: frames that a window reads beyond each end.
        difference: ``(t,)``; negative where the window is worse.
    """

    window: int
    overlap: int
    difference: np.ndarray

    def __str__(self) -> str:
        """Mean and extremes."""
        d = self.difference
        figures = f"mean {d.mean():+.3f} worst {d.min():+.3f} best {d.max():+.3f}"
        return f"window {self.window:3}, overlap {self.overlap:2}: {figures}"


def measure_windows(
    net: nn.Module, gt: list[np.ndarray], settings: Iterable[tuple[int, int]]
) -> tuple[float, Iterable[WindowCost]]:
    """Mean PSNR of the whole sequence in dB (Y channel), and lazily the cost of each (window, overlap)."""
    lrs = [bicubic_downsample(frame, net.scale) for frame in gt]

    def psnr(**options: object) -> np.ndarray:
        return psnr_per_frame(restore_frames(net, lrs, num_frames=len(lrs), **options), gt)

    whole = psnr(strategy="whole")
    costs = (
        WindowCost(window, overlap, psnr(strategy="window", window=window, overlap=overlap) - whole)
        for window, overlap in settings
    )
    return float(whole.mean()), costs
