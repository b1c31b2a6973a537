"""What a restoration is asked for and what it gives back."""

import os
from dataclasses import dataclass
from pathlib import Path

from vsr_plugin.evaluation import Protocol
from vsr_plugin.inference.output_size import OutputSize
from vsr_plugin.inference.planning import budget_in_bytes
from vsr_plugin.media import Encoding, FrameSource
from vsr_plugin.restoration.quality_log import QualityLog
from vsr_plugin.visualization.picture_name import check_picture_name


@dataclass(frozen=True)
class RestoreOptions:
    """What to restore of an input and how to keep it.

    Attributes:
        start: first frame, counted from 0.
        num_frames: number of frames; all that follow if ``None``.
        strategy, memory_budget, precision, tile, window, overlap: see :func:`vsr_plugin.inference.restore_frames`.
        scene_cuts: restart propagation where the picture changes to another shot: ``'on'``, ``'off'``, or
            ``'auto'`` for videos only.
        forgetting: share of its propagated features that a still pixel loses per frame, against the drift of long
            shots; ``None`` for the network's own, or if that is 0, for 0.1 in scenes of videos of 45 frames or more.
        scale: sides of the output over those of the input, if they are not to be as the network gives them.
        height: in place of it, rows of the output as it is shown; the columns follow. See
            :class:`vsr_plugin.inference.output_size.OutputSize`.
        deinterlace: of videos, see :func:`vsr_plugin.media.open_source`.
        resume: go on with a job of the same output, input and settings that was stopped, if there is one.
        gt: ground truth, a video or a folder, whose frame ``i`` belongs to frame ``i`` of the input.
        protocol: how quality is measured against it.
        comparison: where to put a comparison picture of the middle frame, a PNG.
        overwrite: replace results that exist.
        encoding: choices for a video output.

    Raises:
        VSRError: the size of the output is none, or the comparison no PNG.
    """

    start: int = 0
    num_frames: int | None = None
    window: int | None = None
    overlap: int | None = None
    strategy: str = "auto"
    memory_budget: int | str | None = None
    precision: str = "fp32"
    tile: int | None = None
    scene_cuts: str = "auto"
    forgetting: float | None = None
    scale: float | None = None
    height: int | None = None
    deinterlace: str = "auto"
    resume: bool = False
    gt: str | os.PathLike | None = None
    protocol: Protocol = Protocol()
    comparison: str | os.PathLike | None = None
    overwrite: bool = False
    encoding: Encoding = Encoding()

    def __post_init__(self) -> None:
        _ = self.output_size  # which says what is wrong with it
        if (self.window is not None and self.window < 1) or (self.overlap is not None and self.overlap < 0):
            raise ValueError(
                f"`window` must be at least 1 and `overlap` at least 0, got {self.window} and {self.overlap}"
            )
        if self.memory_budget is not None:
            object.__setattr__(self, "memory_budget", budget_in_bytes(self.memory_budget))
        if self.comparison is not None:
            check_picture_name(self.comparison)

    @property
    def output_size(self) -> OutputSize:
        """Scale or height as one value.

        Raises:
            VSRError: both are given, or one is no positive number; so making the options raises it already.
        """
        return OutputSize(self.scale, self.height)


@dataclass(frozen=True)
class RestoreResult:
    """What a restoration produced.

    Attributes:
        num_frames: frames written.
        quality: per-frame figures, or ``None`` without ground truth.
        quality_path: the CSV with them.
        notes: lines worth telling a person, from reading and writing.
    """

    num_frames: int
    quality: QualityLog | None
    quality_path: Path | None
    notes: list[str]


def expected_frames(source: FrameSource, options: RestoreOptions) -> int | None:
    """Number of frames that will be restored, as far as the input tells before it is read."""
    if source.num_frames_estimate is None:
        return options.num_frames
    left = max(source.num_frames_estimate - options.start, 0)
    return left if options.num_frames is None else min(left, options.num_frames)


def quality_csv_path(output: str | os.PathLike) -> Path:
    """Where the per-frame figures of ``output`` go: beside it, its name plus ``_quality.csv``."""
    output = Path(output)
    return output.with_name(f"{output.stem}_quality.csv")
