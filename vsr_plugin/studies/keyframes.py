"""IconVSR with fewer or more keyframes than it was trained with: quality against time (section 4 of the paper)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from vsr_plugin.errors import VSRError
from vsr_plugin.evaluation.benchmarking.machine import timed
from vsr_plugin.inference import restore_frames
from vsr_plugin.inference.fingerprint import of_net
from vsr_plugin.models import IconVSRNet
from vsr_plugin.models.aggregation import keyframe_indices
from vsr_plugin.studies.frame_psnr import PROTOCOL, describe_clip, frame_psnr
from vsr_plugin.studies.study import Part, Report, Study, Table
from vsr_plugin.weights import load_net, locate_published, warm_start

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Distances of the keyframes, from none to all frames; 5 is what IconVSR is trained with.
STRIDES = (None, 30, 10, 5, 3, 2, 1)
_BASICVSR, _ICONVSR = "basicvsr_reds4", "iconvsr_reds4"


def studied_iconvsr(weights: str | None, device: torch.device) -> tuple[IconVSRNet, str]:
    """IconVSR with the weights that can be had, and what they are in words.

    Args:
        weights: published name or path, of an IconVSR or of a BasicVSR to start from. By default the official
            IconVSR if it is on this machine, else a start from official BasicVSR weights.
        device: where it is to compute.

    Raises:
        VSRError: the weights cannot be had, or are a part's.
    """
    name = weights or (_ICONVSR if locate_published()[_ICONVSR] else _BASICVSR)
    net = load_net(name, device=device)
    if isinstance(net, IconVSRNet):
        return net, f"IconVSR ({name})"
    torch.manual_seed(0)
    sizes = dict(mid_channels=net.mid_channels, num_blocks=len(net.backward_resblocks.main[2]))
    net = IconVSRNet(**sizes)
    warm_start(net, name)
    return net.to(device).eval(), f"IconVSR warm-started from BasicVSR ({name}), keyframe extractor random, NOT trained"


class KeyframesStudy(Study):
    """PSNR and seconds per frame against the number of keyframes."""

    name = "keyframes"
    title = "IconVSR: quality and time against the number of keyframes"

    def parts(self) -> list[Part]:
        """One for each clip and distance of the keyframes."""
        frames = self.options.frames or 30
        self._net, self._words = studied_iconvsr(self.options.weights, self.options.device)
        weights = of_net(self._net)
        distinct = {tuple(keyframe_indices(frames, stride)): stride for stride in STRIDES}
        if len(distinct) < 2:
            raise VSRError(f"{self.name}: of {frames} frames there is no choice of keyframes; use --frames 2 or more")
        on = torch.get_num_threads() if self.options.device.type == "cpu" else torch.cuda.get_device_name()
        return [
            Part(
                f"{clip}, {len(keys)} keyframes",
                dict(
                    self.options.identify(clip, frames),
                    weights=weights,
                    keyframe_stride=stride,
                    keyframes=len(keys),
                    on=on,
                ),
            )
            for clip in self.options.clips or ("carphone_pristine", "bigbuckbunny")
            for keys, stride in distinct.items()
        ]

    def measure(self, part: Part, progress: Callable[[float], None]) -> dict[str, Any]:
        """Restore one clip with so many keyframes."""
        frames = part.settings["frames"]
        material = self.options.read(part.settings["clip"], frames)
        self._net.keyframe_stride = part.settings["keyframe_stride"]
        list(restore_frames(self._net, material.lqs[:2], num_frames=2))  # to warm up
        with timed(str(self.options.device)) as time:
            restored = list(
                restore_frames(
                    self._net, material.lqs, num_frames=frames, progress=lambda count: progress(count / frames)
                )
            )
        return dict(
            psnr=frame_psnr(np.stack(restored), material.gts),
            seconds=time["seconds"] / frames,
            cpu_seconds=time["cpu_seconds"] / frames,
        )

    def report(self, results: Sequence[tuple[Part, dict[str, Any]]]) -> Report:
        """PSNR and time, and their differences to no keyframes."""
        curves: dict[str, list[tuple[int, float, float]]] = {}
        rows, details = [], []
        for part, result in results:
            clip, count, stride = (part.settings[key] for key in ("clip", "keyframes", "keyframe_stride"))
            psnr = float(np.mean(result["psnr"]))
            curves.setdefault(clip, []).append((count, psnr, result["cpu_seconds"]))
            gain = psnr - curves[clip][0][1]
            rows.append([clip, count, stride or "none", psnr, gain, result["seconds"], result["cpu_seconds"]])
            details += [[clip, count, i, value] for i, value in enumerate(result["psnr"])]
        gain = "to no keyframes"
        columns = ["clip", "keyframes", "stride", "PSNR dB", gain, "s/frame", "CPU s/frame"]
        protocol = [
            f"network: {self._words}",
            f"PSNR: {PROTOCOL}",
            "time: one run of the whole sequence after a warm-up of two frames, accelerated network in float32; CPU s: "
            "of all threads, which other processes on the machine disturb less",
            *dict.fromkeys(describe_clip(part.settings) for part, _ in results),
        ]
        findings = [_finding(clip, points) for clip, points in curves.items()]
        return Report(
            Table(columns, rows, {"PSNR dB": ".3f", gain: "+.3f", "s/frame": ".3f", "CPU s/frame": ".3f"}),
            Table(["clip", "keyframes", "frame", "psnr"], details),
            protocol,
            findings,
            lambda figure: _draw(figure, curves, self._words),
            (10, 4.2),
        )


def _finding(clip: str, points: list[tuple[int, float, float]]) -> str:
    (_, without, time_without), (most, with_all, time_with) = points[0], points[-1]
    takes = "keyframes take" if most > 1 else "keyframe takes"
    slower = f"{most} {takes} {time_with / time_without:.2f} times the processor time of none"
    if len({psnr for _, psnr, _ in points}) == 1:
        return (
            f"{clip}: the PSNR does not depend on the keyframes, whose features this network does not use: a warm "
            f"start passes the propagated ones on unchanged; {slower}"
        )
    return (
        f"{clip}: from none to {most} keyframes the PSNR changes by {with_all - without:+.3f} dB; {slower} (the paper: "
        "fewer keyframes are faster and cost PSNR)"
    )


def _draw(figure: Figure, curves: dict[str, list[tuple[int, float, float]]], words: str) -> None:
    quality, time = figure.subplots(1, 2)
    for clip, points in curves.items():
        counts, psnr, seconds = zip(*points, strict=True)
        quality.plot(counts, np.array(psnr) - psnr[0], marker="o", label=f"{clip}: {psnr[0]:.2f} dB without")
        time.plot(counts, np.array(seconds) / seconds[0], marker="o", label=f"{clip}: {seconds[0]:.2f} s without")
    quality.set_ylabel("PSNR to that without keyframes, dB")
    time.set_ylabel("CPU time to that without keyframes")
    for axes in (quality, time):
        axes.set_xlabel("keyframes in the sequence")
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    figure.suptitle(words, fontsize=10)
