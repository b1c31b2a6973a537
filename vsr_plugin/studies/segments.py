"""Local propagation: the sequence cut into K segments, each restored alone (section 3.1 of the paper, figure 3)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from vsr_plugin.benchmarks.inputs import psnr_per_frame
from vsr_plugin.errors import VSRError
from vsr_plugin.inference import restore_frames
from vsr_plugin.models.propagation import PROPAGATIONS
from vsr_plugin.models.vsr_net import load_restorer
from vsr_plugin.restoration.fingerprint import of_net
from vsr_plugin.studies.study import PROTOCOL, Part, Report, Study, Table, describe_clip

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Numbers of segments that are compared with one.
COUNTS = (1, 2, 4, 8)
#: So many frames on each side of a cut are its neighbourhood in the table.
NEAR = 1


def segment_bounds(num_frames: int, count: int) -> list[tuple[int, int]]:
    """First frame and end of each segment, those of the networks' local propagation.

    Example:
        >>> segment_bounds(7, 3)
        [(0, 2), (2, 4), (4, 7)]
    """
    local = PROPAGATIONS.build("local", segments=count)
    return [(segment.start, segment.stop) for segment in local.segments(num_frames)]


def near_cuts(num_frames: int, count: int) -> np.ndarray:
    """Whether a frame is the last before a cut or the first behind one: ``(num_frames,)`` of bool."""
    near = np.zeros(num_frames, bool)
    for begin, _ in segment_bounds(num_frames, count)[1:]:
        near[begin - NEAR : begin + NEAR] = True
    return near


class SegmentsStudy(Study):
    """PSNR of each frame for K segments less that of the whole sequence."""

    name = "segments"
    title = "Local propagation: the sequence in K segments, each restored alone"
    takes = ("weights", "clips")

    def parts(self) -> list[Part]:
        """One for each clip and number of segments."""
        frames = self.options.frames or 32
        counts = [count for count in COUNTS if count <= frames]
        if len(counts) < 2:
            raise VSRError(f"{self.name}: {frames} frames cannot be cut into segments; use --frames 2 or more")
        self._net = load_restorer(self.options.weights or "basicvsr_reds4", device=self.options.device)
        weights = of_net(self._net)
        return [
            Part(f"{clip}, K = {count}", dict(self.options.identify(clip, frames), weights=weights, segments=count))
            for clip in self.options.clips or ("bikes", "bigbuckbunny", "carphone_pristine")
            for count in counts
        ]

    def measure(self, part: Part, progress: Callable[[float], None]) -> dict[str, Any]:
        """Restore one clip in so many segments."""
        clip, frames = part.settings["clip"], part.settings["frames"]
        material = self.options.read(clip, frames, self._net.scale)
        restored = []
        for begin, end in segment_bounds(frames, part.settings["segments"]):
            restored += restore_frames(
                self._net,
                material.lqs[begin:end],
                num_frames=end - begin,
                progress=lambda count: progress(count / frames),
            )
        return dict(psnr=psnr_per_frame(restored, material.gts).tolist())

    def report(self, results: Sequence[tuple[Part, dict[str, Any]]]) -> Report:
        """Differences per frame, at the cuts and away from them."""
        curves: dict[str, dict[int, np.ndarray]] = {}
        for part, result in results:
            curves.setdefault(part.settings["clip"], {})[part.settings["segments"]] = np.array(result["psnr"])
        rows, details = [], []
        for clip, by_count in curves.items():
            for count, psnr in by_count.items():
                difference = psnr - by_count[1]
                near = near_cuts(len(psnr), count)
                cells = [difference.mean(), _mean(difference[near]), _mean(difference[~near]), difference.min()]
                shown = [None] * 4 if count == 1 else [None if cell is None else float(cell) for cell in cells]
                rows.append([clip, count, float(psnr.mean()), *shown])
                details += [[clip, count, i, float(psnr[i]), float(difference[i])] for i in range(len(psnr))]
        difference = "difference to K = 1"
        columns = ["clip", "K", "PSNR dB", difference, "beside cuts", "elsewhere", "worst frame"]
        protocol = [
            f"network: {self.options.weights or 'basicvsr_reds4'}; K segments of equal length, each restored as a "
            "sequence of its own; no overlap",
            f"PSNR: {PROTOCOL}",
            "beside cuts: the last frame before each cut and the first behind it; all differences in dB",
            *dict.fromkeys(describe_clip(part.settings) for part, _ in results),
        ]
        return Report(
            Table(columns, rows, dict.fromkeys(columns[3:], "+.3f") | {"PSNR dB": ".3f"}),
            Table(["clip", "K", "frame", "psnr", "difference"], details),
            protocol,
            [_finding(clip, by_count) for clip, by_count in curves.items()],
            lambda figure: _draw(figure, curves),
            (10, 2.8 * len(curves)),
        )


def _mean(values: np.ndarray) -> float | None:
    # With segments of two frames every frame is beside a cut.
    return values.mean() if len(values) else None


def _finding(clip: str, by_count: dict[int, np.ndarray]) -> str:
    means = [float(psnr.mean()) for _, psnr in sorted(by_count.items())]
    falls = all(a > b for a, b in pairwise(means))
    most = max(by_count)
    difference, near = by_count[most] - by_count[1], near_cuts(len(by_count[most]), most)
    at_cuts = difference[near].mean() < difference[~near].mean() if (~near).any() else None
    where = {True: "most beside the cuts", False: "not most beside the cuts", None: "all frames being beside cuts"}
    return (
        f"{clip}: the mean PSNR {'falls with every step to more segments' if falls else 'does not fall at every step'} "
        f"(the paper: falls); at K = {most} it changes by {difference.mean():+.3f} dB, "
        f"{where[at_cuts]} (the paper: most there)"
    )


def _draw(figure: Figure, curves: dict[str, dict[int, np.ndarray]]) -> None:
    panels = figure.subplots(len(curves), sharex=True, squeeze=False)[:, 0]
    for axes, (clip, by_count) in zip(panels, curves.items(), strict=True):
        axes.axhline(0, color="black", linewidth=1)
        for count, psnr in by_count.items():
            if count > 1:
                (line,) = axes.plot(psnr - by_count[1], marker="o", markersize=3, label=f"K = {count}")
                for begin, _ in segment_bounds(len(psnr), count)[1:]:
                    axes.axvline(begin - 0.5, color=line.get_color(), alpha=0.35, linestyle=":")
        axes.set_title(f"{clip}: {by_count[1].mean():.2f} dB with K = 1", fontsize=10)
        axes.set_ylabel("dB to K = 1")
        axes.grid(alpha=0.3)
    panels[0].legend(fontsize=8, ncols=3)
    panels[-1].set_xlabel("frame (dotted: cuts)")
    panels[-1].xaxis.get_major_locator().set_params(integer=True)
