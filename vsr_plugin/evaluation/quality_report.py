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

from vsr_plugin.evaluation.extra_metrics import definitions_of
from vsr_plugin.evaluation.quality import Protocol
from vsr_plugin.files import write_whole
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
