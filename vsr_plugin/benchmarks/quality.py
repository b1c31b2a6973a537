"""What choices of a restoration cost or gain in dB: windows, forgetting in long shots, sizes, interlaced video."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain

import av
import numpy as np
import torch.nn as nn

from vsr_plugin.benchmarks.inputs import psnr_per_frame
from vsr_plugin.inference import restore_frames
from vsr_plugin.media.deinterlacing import whole_frames
from vsr_plugin.ops.resize import bicubic_downsample, bicubic_upsample
from vsr_plugin.report import table_lines


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
        net: a ``VSRNet``, such as ``BasicVSRNet``, in evaluation mode.
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


def drift_table(courses: Iterable[Course], length: int) -> Iterator[str]:
    """Lines of a table with a row for each course, as they come."""
    courses = iter(courses)
    first = next(courses)
    t = len(first.psnr)
    spans = [f"{i} to {min(i + length, t) - 1}" for i in range(0, t, length)]
    figures = ((course.label, *course.stretches(length), course.psnr.mean()) for course in chain([first], courses))
    return table_lines(["", *spans, "all"], ([label, *(f"{x:.2f}" for x in row)] for label, *row in figures))


def measure_sizes(
    net: nn.Module, gt: list[np.ndarray], scales: Iterable[int]
) -> Iterator[tuple[int, tuple[int, int], float, float]]:
    """Degrade ground truth by each scale, and restore it to its size.

    Args:
        net: of any scale of its own.
        gt: ``uint8`` RGB ``(h, w, 3)``; cut at the right and at the bottom to multiples of the scale.
        scales: by which frames are reduced, BI, rounded to 8 bits, and then enlarged.

    Yields:
        Scale, height and width of the LR frames, mean Y-PSNR in dB of bicubic enlargement, and that of restored frames.
    """
    for scale in scales:
        rows, columns = (side // scale * scale for side in gt[0].shape[:2])
        cut = [np.ascontiguousarray(frame[:rows, :columns]) for frame in gt]
        lrs = [bicubic_downsample(frame, scale) for frame in cut]
        bicubic = psnr_per_frame((bicubic_upsample(lr, scale) for lr in lrs), cut)
        restored = psnr_per_frame(restore_frames(net, lrs, num_frames=len(lrs), scale=scale), cut)
        yield scale, lrs[0].shape[:2], float(bicubic.mean()), float(restored.mean())


def measure_interlaced(net: nn.Module, gt: list[np.ndarray]) -> Iterator[tuple[str, float, float]]:
    """Degrade a progressive clip, make interlaced and telecined video of it, and restore that.

    In interlaced video every second frame has the odd lines of the next; in telecined video two and three fields in
    turn are of one frame.

    Args:
        net: a ``VSRNet``, such as ``BasicVSRNet``, in evaluation mode.
        gt: RGB arrays ``(scale * h, scale * w, 3)``, a multiple of four, which are degraded by BI.

    Yields:
        What was restored (``'progressive'`` stands for a camera that took whole frames), mean Y-PSNR in dB of bicubic
        enlargement, and that of restored frames, both against the frames of those moments.
    """
    lrs = [bicubic_downsample(frame, net.scale) for frame in gt]
    telecined, shown = _telecine(lrs)
    woven = [_weave(*pair) for pair in zip(lrs[::2], lrs[1::2], strict=True)]
    cases = {
        "off": (woven, gt[::2]),
        "on": (_deinterlaced(woven, "on"), gt[::2]),
        "progressive": (lrs[::2], gt[::2]),
        "fields": (_deinterlaced(woven, "fields"), gt),
        "progressive, twice the rate": (lrs, gt),
        "off, telecined": (telecined, [gt[i] for i in shown]),
        "on, telecined": (_deinterlaced(telecined, "on"), [gt[i] for i in shown]),
        "film": (_deinterlaced(telecined, "film"), gt),
    }
    for name, (frames, true) in cases.items():
        bicubic = psnr_per_frame((bicubic_upsample(frame, net.scale) for frame in frames), true)
        restored = psnr_per_frame(restore_frames(net, frames, num_frames=len(frames)), true)
        yield name, float(bicubic.mean()), float(restored.mean())


def _weave(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    picture = first.copy()
    picture[1::2] = second[1::2]
    return picture


def _telecine(frames: list[np.ndarray]) -> tuple[list[np.ndarray], list[int]]:
    """Five pictures for every four frames, and the number of the frame that the even lines of each are of."""
    fields = [i for i in range(len(frames)) for _ in range(2 + i % 2)]
    even, odd = fields[::2], fields[1::2]
    return [_weave(frames[a], frames[b]) for a, b in zip(even, odd, strict=True)], even


def _deinterlaced(frames: list[np.ndarray], mode: str) -> list[np.ndarray]:
    def pictures() -> Iterator[av.VideoFrame]:
        for i, rgb in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(rgb, format="rgb24")
            if mode == "film":  # its filter knows no RGB
                picture = picture.reformat(format="yuv444p")
            picture.pts, picture.time_base = i, 1
            yield picture

    return [picture.to_ndarray(format="rgb24") for picture in whole_frames(pictures(), mode, "woven frames")]
