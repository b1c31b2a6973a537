"""IconVSR with fewer or more keyframes than it was trained with: quality against time (section 4 of the paper)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from vsr_plugin.benchmarks.inputs import psnr_per_frame
from vsr_plugin.benchmarks.machine import timed
from vsr_plugin.errors import VSRError
from vsr_plugin.inference import restore_frames
from vsr_plugin.models import BasicVSRNet, IconVSRNet
from vsr_plugin.ops.indices import keyframe_indices
from vsr_plugin.restoration.fingerprint import of_net
from vsr_plugin.studies.study import PROTOCOL, Part, Report, Study, Table, describe_clip
from vsr_plugin.studies.training import Training
from vsr_plugin.weights import PUBLISHED, load_net, locate_published

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Distances of the keyframes, from none to all frames; 5 is what IconVSR is trained with.
STRIDES = (None, 30, 10, 5, 3, 2, 1)
_BASICVSR, _ICONVSR = "basicvsr_reds4", "iconvsr_reds4"
#: Config of the network that is trained on the spot where there are no weights of IconVSR.
_ON_THE_SPOT = "iconvsr_small_clips_from_basicvsr"


class KeyframesStudy(Study):
    """PSNR and seconds per frame against the number of keyframes.

    No package carries IconVSR's weights. Where they are not on the machine, information-refill is added to a trained
    BasicVSR and its parts are trained, before anything is measured.
    """

    name = "keyframes"
    title = "IconVSR: quality and time against the number of keyframes (without its weights, trains first)"
    takes = ("weights", "clips", "train_clips", "steps")

    def parts(self) -> list[Part]:
        """The training, if there is one, and then one for each clip and distance of the keyframes."""
        frames = self.options.frames or 30
        distinct = {tuple(keyframe_indices(frames, stride)): stride for stride in STRIDES}
        if len(distinct) < 2:
            raise VSRError(f"{self.name}: of {frames} frames there is no choice of keyframes; use --frames 2 or more")
        self._choose_network()
        clips = self.options.clips or ("carphone_pristine", "bigbuckbunny")
        if self._settings is None:
            training, weights = [], of_net(self._net)
        else:
            clips = self.options.clips or (self._training.held_out,)
            training, weights = [Part("training", self._settings)], self._settings
        on = (
            torch.get_num_threads()
            if self.options.device.type == "cpu"
            else torch.cuda.get_device_name(self.options.device)
        )
        return training + [
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
            for clip in clips
            for keys, stride in distinct.items()
        ]

    def _choose_network(self) -> None:
        """Load an IconVSR, or plan to train one that is started from a BasicVSR.

        Raises:
            VSRError: the weights cannot be had, or are a part's.
        """
        name = self.options.weights or (_ICONVSR if locate_published()[_ICONVSR] else _BASICVSR)
        net = load_net(name, device=self.options.device)
        if isinstance(net, IconVSRNet):
            self._net, self._settings, self._words = net, None, f"IconVSR ({name})"
            return
        if not isinstance(net, BasicVSRNet):
            raise VSRError(f"{name}: weights of {type(net).__name__}; this study takes an IconVSR's or a BasicVSR's")
        if net.scale != 4:
            raise VSRError(
                f"{name}: weights of scale {net.scale}; refill is added to BasicVSR at scale 4, give an IconVSR's"
            )
        self._training = Training(self.folder.parent, self.options)
        start = str(name) if name in PUBLISHED else str(Path(name).resolve())
        self._settings = self._training.settings(
            "iconvsr" if self.options.paper_size else _ON_THE_SPOT,
            mid_channels=net.mid_channels,
            num_blocks=len(net.forward_resblocks.main[2]),
            init_cfg=dict(type="WarmStart", checkpoint=start),
            spynet_pretrained=None,
        )
        self._settings["start"] = of_net(net)
        self._net = None
        steps = self._settings["steps"]
        self._words = f"IconVSR warm-started from BasicVSR ({name}), extractor from random weights, {steps} steps"

    def measure(self, part: Part, progress: Callable[[float], None]) -> dict[str, Any]:
        """Train, or restore one clip with so many keyframes."""
        if part.settings is self._settings:
            return self._training.run(self._settings, progress)
        if self._net is None:
            trained = self._training.run(self._settings, lambda fraction: None)
            self._net = load_net(trained["checkpoint"], device=self.options.device)
        frames = part.settings["frames"]
        material = self.options.read(part.settings["clip"], frames, self._net.scale)
        self._net.keyframe_stride = part.settings["keyframe_stride"]
        list(restore_frames(self._net, material.lqs[:2], num_frames=2))  # to warm up
        with timed(str(self.options.device)) as time:
            restored = list(
                restore_frames(
                    self._net, material.lqs, num_frames=frames, progress=lambda count: progress(count / frames)
                )
            )
        return dict(
            psnr=psnr_per_frame(restored, material.gts).tolist(),
            seconds=time["seconds"] / frames,
            cpu_seconds=time["cpu_seconds"] / frames,
        )

    def report(self, results: Sequence[tuple[Part, dict[str, Any]]]) -> Report:
        """PSNR and time, and their differences to no keyframes."""
        training = [result for part, result in results if part.settings is self._settings]
        results = [(part, result) for part, result in results if part.settings is not self._settings]
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
            *(self._describe(result) for result in training),
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

    def _describe(self, training: dict[str, Any]) -> str:
        model, learnt = self._settings["model"], ", ".join(clip for clip, *_ in self._settings.get("train", ()))
        kept = ", ".join(name.removeprefix("generator.") for name in model.get("frozen", ()))
        return (
            f"trained on {learnt or 'REDS'}; not trained: {kept or 'nothing'}; propagation: "
            f"{model['generator'].get('propagation', 'coupled')}; checkpoint: {training['checkpoint']}"
        )


def _finding(clip: str, points: list[tuple[int, float, float]]) -> str:
    (_, without, time_without), (most, with_all, time_with) = points[0], points[-1]
    takes = "keyframes take" if most > 1 else "keyframe takes"
    slower = f"{most} {takes} {time_with / time_without:.2f} times the processor time of none"
    if len({psnr for _, psnr, _ in points}) == 1:
        return f"{clip}: the PSNR does not depend on the keyframes, whose features this network does not use; {slower}"
    best, psnr, time = max(points, key=lambda point: point[1])
    if best == 0:
        at_best = f"no keyframes are best, {most} have {with_all - without:+.3f} dB"
    else:
        at_best = (
            f"{best} keyframes are best, {psnr - without:+.3f} dB to none at {time / time_without:.2f} times the time"
        )
        if best < most:
            at_best += f", {most} have {with_all - without:+.3f} dB"
    return f"{clip}: {at_best}; {slower} (the paper: fewer keyframes are faster and cost PSNR)"


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
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    figure.suptitle(words, fontsize=10)
