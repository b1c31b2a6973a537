"""PSNR and SSIM of whole clips as a metric of mmengine's runner, and the report of a data set: frames, clips, means."""

import csv
import io
import json
import math
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import fmean

import numpy as np
from mmengine.dist import all_gather_object, broadcast_object_list, is_main_process
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log
from torch import Tensor

from vsr_plugin.errors import VSRError
from vsr_plugin.evaluation.extra_metrics import check_metrics, definitions_of, extra_figures
from vsr_plugin.evaluation.quality import Protocol, frame_quality
from vsr_plugin.files import write_whole
from vsr_plugin.media import natural_key
from vsr_plugin.ops.frames import to_array
from vsr_plugin.ops.resize import bicubic_upsample
from vsr_plugin.registry import METRICS
from vsr_plugin.report import aligned_lines

#: Which frames of a clip can be scored.
SCORED = ("all", "centre")


@dataclass(frozen=True)
class ClipScores:
    """Figures of one clip.

    Args:
        clip: its name.
        frames: index of every scored frame in the clip.
        figures: ``'psnr'`` in dB, ``'ssim'``, perhaps those of ``extra_metrics``, and perhaps all of these again with
            ``_bicubic``; a value per frame, ``None`` for a frame that does not have the figure.
    """

    clip: str
    frames: Sequence[int]
    figures: dict[str, Sequence[float]]


@dataclass(frozen=True)
class QualityReport:
    """Figures of a data set, and how they were taken.

    Args:
        dataset: name of the data set.
        protocol: channel and border.
        clips: scores of every clip, at least one.
        scored: ``'all'`` frames of each clip, or its ``'centre'`` frame.
        weights: what was evaluated, as the person called it.
    """

    dataset: str
    protocol: Protocol
    clips: Sequence[ClipScores]
    scored: str = "all"
    weights: str | None = None

    @property
    def protocol_line(self) -> str:
        """The protocol in one line for a person."""
        if self.scored == "centre":
            return self.protocol.in_words(
                "centre frame of each clip (of a mirrored one the mean of its two restorations), mean over clips"
            )
        return self.protocol.in_words("mean over clips of the mean over frames")

    @property
    def definitions(self) -> list[str]:
        """What figures besides PSNR and SSIM are, a line each."""
        return definitions_of(self.clips[0].figures)

    @property
    def short_protocol(self) -> str:
        """What differs between data sets in the protocol, for a table."""
        border = f", border {self.protocol.crop_border}" if self.protocol.crop_border else ""
        return f"{self.protocol.channel}{border}{', centre frame' if self.scored == 'centre' else ''}"

    @property
    def num_frames(self) -> int:
        """Number of scored frames."""
        return sum(len(clip.frames) for clip in self.clips)

    def means(self) -> dict[str, float]:
        """Mean over clips of the mean over frames, of every figure."""
        names = self.clips[0].figures
        return {name: _mean(_mean(clip.figures[name]) for clip in self.clips) for name in names}

    def means_over_frames(self) -> dict[str, float]:
        """Mean over all frames of the set, which differs from :meth:`means` where clips differ in length."""
        names = self.clips[0].figures
        return {name: _mean(value for clip in self.clips for value in clip.figures[name]) for name in names}

    def to_json(self) -> str:
        """Everything, for a file; infinite values, which JSON lacks, stand as the text ``inf``."""
        means, over_frames = self.means(), self.means_over_frames()
        document = dict(
            dataset=self.dataset,
            weights=self.weights,
            protocol=self.protocol_line,
            definitions=self.definitions,
            channel=self.protocol.channel,
            crop_border=self.protocol.crop_border,
            scored=self.scored,
            num_clips=len(self.clips),
            num_frames=self.num_frames,
            mean=_finite(means),
        )
        if any(v is not None and not math.isclose(v, over_frames[name], rel_tol=1e-9) for name, v in means.items()):
            document["mean_over_all_frames"] = _finite(over_frames)
        document["clips"] = [
            dict(
                clip=clip.clip,
                mean=_finite({name: _mean(values) for name, values in clip.figures.items()}),
                frames=[
                    dict(frame=frame, **_finite({name: values[i] for name, values in clip.figures.items()}))
                    for i, frame in enumerate(clip.frames)
                ],
            )
            for clip in self.clips
        ]
        return json.dumps(document, indent=2, allow_nan=False) + "\n"

    def to_csv(self) -> str:
        """A row per frame, after a comment line that states the protocol."""
        text = io.StringIO()
        text.writelines(f"# {line}\n" for line in (self.protocol_line, *self.definitions))
        writer = csv.writer(text, lineterminator="\n")
        names = list(self.clips[0].figures)
        writer.writerow(["clip", "frame", *names])
        for clip in self.clips:
            for i, frame in enumerate(clip.frames):
                writer.writerow([clip.clip, frame, *(_cell(clip.figures[name][i]) for name in names)])
        return text.getvalue()

    def write(self, folder: Path) -> None:
        """Write ``DATASET.json`` and ``DATASET.csv`` into a folder, which is made; each appears whole."""
        folder.mkdir(parents=True, exist_ok=True)
        for suffix, text in ((".json", self.to_json()), (".csv", self.to_csv())):
            write_whole(folder / f"{self.dataset}{suffix}", partial(Path.write_text, data=text, encoding="utf-8"))


def _mean(values: Iterable[float | None]) -> float | None:
    """Mean over the frames that have the figure."""
    there = [value for value in values if value is not None]
    return fmean(there) if there else None


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.6f}"


def _finite(figures: dict[str, float | None]) -> dict[str, float | str | None]:
    return {name: v if v is None or math.isfinite(v) else str(v) for name, v in figures.items()}


def report_table(reports: Iterable[QualityReport]) -> str:
    """A row per data set in Markdown: clips, frames, and every figure that was taken of any set.

    Below stand the protocols in full, and what figures besides PSNR and SSIM are.
    """
    reports = list(reports)
    names = list(dict.fromkeys(name for report in reports for name in report.means()))
    rows = [["data set", "clips", "frames", *map(_title, names), "protocol"]]
    for report in reports:
        means = report.means()
        cells = [_shown(name, means.get(name)) for name in names]
        rows.append([report.dataset, str(len(report.clips)), str(report.num_frames), *cells, report.short_protocol])
    lines = aligned_lines(*rows)
    sets_of: dict[str, list[str]] = {}
    for report in reports:
        sets_of.setdefault(report.protocol_line, []).append(report.dataset)
    lines += [f"{', '.join(sets)}: {protocol}" for protocol, sets in sets_of.items()]
    return "\n".join([*lines, *dict.fromkeys(line for report in reports for line in report.definitions)])


def _title(name: str) -> str:
    """``psnr_bicubic`` as ``PSNR bicubic``."""
    first, _, rest = name.partition("_")
    first = {"psnr": "PSNR", "ssim": "SSIM", "tof": "tOF", "lpips": "LPIPS"}.get(first, first)
    return f"{first} {rest}".strip()


def _shown(name: str, value: float | None) -> str:
    return "" if value is None else format(value, ".2f" if name.startswith("psnr") else ".4f")


@METRICS.register_module()
class ClipQuality(BaseMetric):
    """Quality of restored clips, by MMagic's definitions.

    ``evaluate`` returns ``DATASET/PSNR`` in dB and ``DATASET/SSIM``, means over clips of the means over frames, and
    with ``baseline`` also ``DATASET/PSNR_bicubic`` and ``DATASET/SSIM_bicubic``.

    Args:
        dataset: name of the data set, which begins the figures' names and those of the files.
        channel: ``'RGB'`` or ``'Y'``.
        crop_border: pixels left out at every edge.
        frames: ``'all'``, or ``'centre'`` for the frame ``len(gt) // 2`` alone, as for Vimeo-90K-T.
        baseline: also score bicubic enlargement (MATLAB's) of the LR frames, once per clip.
        extra: figures besides PSNR and SSIM: ``'tof'``, ``'warping'``, ``'regions'``, ``'lpips'``; see
            :mod:`vsr_plugin.evaluation.extra_metrics`.
        out_dir: where rank 0 writes ``DATASET.json`` and ``DATASET.csv``; ``None`` for no files.
        weights: what is evaluated, for the files.

    Raises:
        VSRError: an argument that does not exist, or a metric whose package is absent.
    """

    def __init__(
        self,
        dataset: str,
        *,
        channel: str = "RGB",
        crop_border: int = 0,
        frames: str = "all",
        baseline: bool = False,
        extra: Sequence[str] = (),
        out_dir: str | None = None,
        weights: str | None = None,
    ) -> None:
        if channel not in ("RGB", "Y"):
            raise VSRError(f"ClipQuality of {dataset}: channel {channel!r} does not exist; use 'RGB' or 'Y'")
        if frames not in SCORED:
            raise VSRError(f"ClipQuality of {dataset}: frames {frames!r} does not exist; use {' or '.join(SCORED)}")
        if not dataset or Path(dataset).name != dataset:
            raise VSRError(f"ClipQuality: {dataset!r} cannot name a data set, since files are called after it")
        try:
            check_metrics(extra, all_frames=frames == "all")
        except VSRError as error:
            raise VSRError(f"ClipQuality of {dataset}: {error}") from None
        super().__init__(prefix=dataset)
        self.protocol = Protocol(channel, crop_border)
        self.frames = frames
        self.baseline = baseline
        self.extra = tuple(extra)
        self.out_dir = None if out_dir is None else Path(out_dir)
        self.weights = weights
        #: The last evaluation, on rank 0.
        self.report: QualityReport | None = None
        # Bicubic frames are the same at every validation.
        self._baselines: dict[str, dict[str, list[float]]] = {}
        self._protocol_logged = False

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Score the clips of a batch.

        Args:
            data_batch: not used.
            data_samples: of each clip ``output.pred_img`` (t', 3, H, W) and ``gt_img`` (t, 3, H, W), ``uint8`` RGB with
                t' >= t, of which the first t belong together; ``key``, the clip's name; perhaps ``frames``, the
                indices of the GT frames; for ``baseline`` also ``input`` (t', 3, h, w).

        Raises:
            VSRError: there is no ground truth, or the restored clip does not fit it.
        """
        for sample in data_samples:
            self.results.append(self._score(sample))

    def _score(self, sample: dict) -> ClipScores:
        clip = sample["key"]
        if sample.get("gt_img") is None:
            raise VSRError(f"{self.prefix}, clip {clip}: has no ground truth to compare with; give the set a GT folder")
        gt, restored = sample["gt_img"], sample["output"]["pred_img"]
        if len(restored) < len(gt) or restored.shape[1:] != gt.shape[1:]:
            raise VSRError(
                f"{self.prefix}, clip {clip}: restored to {_size(restored)}, but the ground truth has {_size(gt)}; "
                "the sides of LR frames times the network's scale must be those of the ground truth"
            )
        scored = [len(gt) // 2] if self.frames == "centre" else list(range(len(gt)))
        figures = self._figures(scored, lambda i: to_array(restored[i]), gt)
        if self.baseline:
            if clip not in self._baselines:
                # Not in the scoring threads: the enlargement is a matrix product, which has threads of its own.
                lrs = sample["input"][: len(gt)]
                enlarged = [bicubic_upsample(to_array(lr), gt.shape[-1] // lr.shape[-1]) for lr in lrs]
                self._baselines[clip] = self._figures(scored, enlarged.__getitem__, gt)
            baseline = self._baselines[clip].items()
            # What is the ground truth's own is the same for both.
            figures |= {f"{name}_bicubic": values for name, values in baseline if not name.endswith("_gt")}
        indices = sample.get("frames") or range(len(gt))
        return ClipScores(clip, [int(indices[i]) for i in scored], figures)

    def _figures(self, scored: list[int], frame: Callable[[int], np.ndarray], gt: Tensor) -> dict[str, list]:
        def extras(i: int) -> dict[str, float | None]:
            return extra_figures(self.extra, frame, lambda k: to_array(gt[k]), i, len(gt), self.protocol)

        def score(i: int) -> dict[str, float | None]:
            psnr, ssim = frame_quality(frame(i), to_array(gt[i]), self.protocol)
            return dict(psnr=psnr, ssim=ssim, **extras(i))

        # Scoring a frame of 720p takes 0.2 s, longer than a GPU needs to restore it; numpy and OpenCV work in threads.
        with ThreadPoolExecutor(min(len(scored), os.cpu_count() or 1, 16)) as pool:
            figures = list(pool.map(score, scored))
        return {name: [of_frame[name] for of_frame in figures] for name in figures[0]}

    def evaluate(self, size: int) -> dict[str, float]:
        """Figures of the whole set, the same on every process.

        Args:
            size: number of clips; not needed, since clips that a sampler repeated are recognised by their names.

        Raises:
            VSRError: no clip was scored.
        """
        # mmengine's own gathering would pass files through the current folder, and cut processes to equal length.
        gathered = [scores for of_rank in all_gather_object(self.results) for scores in of_rank]
        self.results.clear()
        if not gathered:
            raise VSRError(f"{self.prefix}: there was no clip to score; is the data set empty?")
        metrics = [None]
        if is_main_process():
            figures = self.compute_metrics(gathered)
            metrics = [{f"{self.prefix}/{name}": value for name, value in figures.items()}]
        broadcast_object_list(metrics)
        return metrics[0]

    def compute_metrics(self, results: Sequence[ClipScores]) -> dict[str, float]:
        """Make the report of the clips, log its protocol once, write its files, and return its means."""
        clips = {scores.clip: scores for scores in results}
        ordered = [clips[name] for name in sorted(clips, key=natural_key)]
        self.report = QualityReport(self.prefix, self.protocol, ordered, self.frames, self.weights)
        if not self._protocol_logged:
            for line in (self.report.protocol_line, *self.report.definitions):
                print_log(f"{self.prefix}: {line}", logger="current")
            self._protocol_logged = True
        if self.out_dir is not None:
            self.report.write(self.out_dir)
        means = {name: value for name, value in self.report.means().items() if value is not None}
        return {name.replace("psnr", "PSNR").replace("ssim", "SSIM"): value for name, value in means.items()}


def _size(frames: Tensor) -> str:
    return f"{len(frames)} frames of {frames.shape[-1]}x{frames.shape[-2]}"
