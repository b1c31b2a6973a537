"""How quality develops along a long shot, by strategy and rate of forgetting."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain

import numpy as np
import torch.nn as nn

from vsr_plugin.benchmarks.inputs import psnr_per_frame
from vsr_plugin.inference import restore_frames
from vsr_plugin.ops.resize import bicubic_downsample, bicubic_upsample
from vsr_plugin.report import table_lines


@dataclass(frozen=True)
class Course:
    """PSNR along a shot.

    Attributes:
        label: how it was restored.
        psnr: ``(t,)`` in dB, Y channel.
    """

    label: str
    psnr: np.ndarray

    def stretches(self, length: int) -> list[float]:
        """Means of ``length`` frames each, the last of what is left."""
        return [float(self.psnr[i : i + length].mean()) for i in range(0, len(self.psnr), length)]


def measure_drift(
    net: nn.Module, gt: list[np.ndarray], rates: Iterable[float], strategies: Iterable[str]
) -> Iterator[Course]:
    """Yield how PSNR goes with bicubic enlargement, then for each strategy with each rate of forgetting.

    Args:
        net: ``BasicVSRNet`` or ``IconVSRNet`` in evaluation mode.
        gt: RGB arrays ``(scale * h, scale * w, 3)`` of one shot, which are degraded by BI.
        rates: see :func:`vsr_plugin.inference.restore_frames`.
        strategies: the same.
    """
    lrs = [bicubic_downsample(frame, net.scale) for frame in gt]
    yield Course("bicubic", psnr_per_frame((bicubic_upsample(lr, net.scale) for lr in lrs), gt))
    for strategy in strategies:
        for rate in rates:
            restored = restore_frames(net, lrs, num_frames=len(lrs), strategy=strategy, forgetting=rate)
            yield Course(f"{strategy}, forgetting {rate:g}", psnr_per_frame(restored, gt))


def table(courses: Iterable[Course], length: int) -> Iterator[str]:
    """Lines of a table with a row for each course, as they come."""
    courses = iter(courses)
    first = next(courses)
    t = len(first.psnr)
    spans = [f"{i} to {min(i + length, t) - 1}" for i in range(0, t, length)]
    figures = ((course.label, *course.stretches(length), course.psnr.mean()) for course in chain([first], courses))
    return table_lines(["", *spans, "all"], ([label, *(f"{x:.2f}" for x in row)] for label, *row in figures))
