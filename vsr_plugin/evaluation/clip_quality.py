"""PSNR and SSIM of whole clips as a metric of mmengine's runner."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from mmengine.dist import all_gather_object, broadcast_object_list, is_main_process
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log
from torch import Tensor

from vsr_plugin.errors import VSRError
from vsr_plugin.evaluation.extra_metrics import check_metrics, extra_figures
from vsr_plugin.evaluation.quality import Protocol, frame_quality
from vsr_plugin.evaluation.quality_report import SCORED, ClipScores, QualityReport
from vsr_plugin.media import natural_key
from vsr_plugin.ops.resize import bicubic_upsample
from vsr_plugin.registry import METRICS


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
        figures = self._figures(scored, lambda i: _rgb(restored[i]), gt)
        if self.baseline:
            if clip not in self._baselines:
                # Not in the scoring threads: the enlargement is a matrix product, which has threads of its own.
                lrs = sample["input"][: len(gt)]
                enlarged = [bicubic_upsample(_rgb(lr), gt.shape[-1] // lr.shape[-1]) for lr in lrs]
                self._baselines[clip] = self._figures(scored, enlarged.__getitem__, gt)
            baseline = self._baselines[clip].items()
            # What is the ground truth's own is the same for both.
            figures |= {f"{name}_bicubic": values for name, values in baseline if not name.endswith("_gt")}
        indices = sample.get("frames") or range(len(gt))
        return ClipScores(clip, [int(indices[i]) for i in scored], figures)

    def _figures(self, scored: list[int], frame: Callable[[int], np.ndarray], gt: Tensor) -> dict[str, list]:
        def extras(i: int) -> dict[str, float | None]:
            return extra_figures(self.extra, frame, lambda k: _rgb(gt[k]), i, len(gt), self.protocol)

        def score(i: int) -> dict[str, float | None]:
            psnr, ssim = frame_quality(frame(i), _rgb(gt[i]), self.protocol)
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


def _rgb(frame: Tensor) -> np.ndarray:
    return np.ascontiguousarray(frame.permute(1, 2, 0).cpu().numpy())


def _size(frames: Tensor) -> str:
    return f"{len(frames)} frames of {frames.shape[-1]}x{frames.shape[-2]}"
