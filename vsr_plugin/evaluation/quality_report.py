"""PSNR and SSIM of a whole data set: per frame, per clip, means, and their files."""

import csv
import io
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import fmean

from vsr_plugin.evaluation.quality import Protocol
from vsr_plugin.media.atomic import write_whole

#: Which frames of a clip can be scored.
SCORED = ("all", "centre")


@dataclass(frozen=True)
class ClipScores:
    """Figures of one clip.

    Args:
        clip: its name.
        frames: index of every scored frame in the clip.
        figures: ``'psnr'`` in dB, ``'ssim'``, and perhaps ``'psnr_bicubic'`` and ``'ssim_bicubic'``; a value per frame.
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
            return self.protocol.in_words("centre frame of each clip, mean over clips")
        return self.protocol.in_words("mean over clips of the mean over frames")

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
            channel=self.protocol.channel,
            crop_border=self.protocol.crop_border,
            scored=self.scored,
            num_clips=len(self.clips),
            num_frames=self.num_frames,
            mean=_finite(means),
        )
        if any(not math.isclose(means[name], over_frames[name], rel_tol=1e-9) for name in means):
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
        text.write(f"# {self.protocol_line}\n")
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
    """A row per data set in Markdown: clips, frames, PSNR and SSIM, bicubic's if taken, and the protocol."""
    reports = list(reports)
    with_bicubic = any("psnr_bicubic" in report.means() for report in reports)
    bicubic = ["PSNR bicubic", "SSIM bicubic"] if with_bicubic else []
    rows = [["data set", "clips", "frames", "PSNR", "SSIM", *bicubic, "protocol"]]
    for report in reports:
        means = report.means()
        row = [report.dataset, str(len(report.clips)), str(report.num_frames)]
        names = ("psnr", "ssim", "psnr_bicubic", "ssim_bicubic") if with_bicubic else ("psnr", "ssim")
        for name in names:
            row.append("" if name not in means else format(means[name], ".4f" if name.startswith("ssim") else ".2f"))
        rows.append([*row, report.protocol_line])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["| " + " | ".join(cell.ljust(n) for cell, n in zip(row, widths, strict=True)) + " |" for row in rows]
    lines.insert(1, "| " + " | ".join("-" * n for n in widths) + " |")
    return "\n".join(lines)
