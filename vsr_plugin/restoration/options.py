"""What a restoration is asked for; of this come the command line, its help, and what a resumed job is compared by.

An option is one field here. This module must not import PyTorch, so that the help of the command comes at once.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vsr_plugin.defaults import AUTO, ENSEMBLES, LONG, OVERLAP, PRECISIONS, STRATEGIES, USUAL_RATE, WINDOW
from vsr_plugin.errors import VSRError
from vsr_plugin.media import Encoding, FrameSource
from vsr_plugin.media.deinterlacing import DEINTERLACE
from vsr_plugin.ops.windows import check_windows
from vsr_plugin.settings import (
    budget_in_bytes,
    check_share,
    cleaning,
    factor,
    gpus,
    memory_size,
    natural,
    part,
    positive,
    reduction,
    setting,
    share,
    turns,
    whole_share,
)

if TYPE_CHECKING:
    import argparse

    from vsr_plugin.evaluation import Protocol
    from vsr_plugin.inference.output_size import OutputSize

_INPUT, _FOOTAGE, _SIZE, _PROPAGATION = "input", "real footage", "size of the output", "propagation"
_CLUSTER = "more than one machine"
#: The headings of the help under which more stands than the options of this dataclass.
SPEED, _QUALITY = "speed, memory and quality", "quality"


@dataclass(frozen=True)
class RestoreOptions:
    """What to restore of an input and how to keep it.

    Attributes:
        start: first frame, counted from 0.
        num_frames: number of frames; all that follow if ``None``.
        deinterlace: of videos, see :func:`vsr_plugin.media.open_source`.
        clean: strength of the cleaning that frames go through first, 0 to 1, or ``'off'``; ``'auto'`` for all of it on
            video that is compressed or looks so, and on all else what the network does by itself.
        shrink: reduce the frames by this factor before all else.
        strength: share of the restored frames in the output, the rest being bicubic enlargement.
        scale: sides of the output over those of the input, if they are not to be as the network gives them.
        height: in place of it, rows of the output as it is shown; the columns follow. See
            :class:`vsr_plugin.inference.output_size.OutputSize`.
        scene_cuts: restart propagation where the picture changes to another shot: ``'on'``, ``'off'``, or
            ``'auto'`` for videos only.
        forgetting: share of its propagated features that a still pixel loses per frame, against the drift of long
            shots; ``None`` for the network's own, or if that is 0 and alignment not deformable, for 0.1 in scenes of
            videos of 45 frames or more.
        precision, ensemble, strategy, memory_budget, tile, window, overlap: see
            :func:`vsr_plugin.inference.restore_frames`; the budget is that of each worker.
        encoding: choices for a video output.
        gt: ground truth, a video or a folder, whose frame ``i`` belongs to frame ``i`` of the input.
        channel, crop_border: how quality is measured against it, see :class:`vsr_plugin.evaluation.Protocol`.
        comparison: where to put a comparison picture of the middle frame, a PNG.
        resume: go on with a job of the same output, input and settings that was stopped, if there is one.
        overwrite: replace results that exist.

    Raises:
        ValueError: a window has no frames, an overlap fewer than none, or there is no such ensemble.
        VSRError: the size of the output or of the memory is none, cleaning or strength no share, the comparison no
            PNG, or something is said of windows without that strategy.
    """

    start: int = setting(0, "first frame, counted from 0", group=_INPUT, metavar="N", parse=natural)
    num_frames: int | None = setting(
        None, "number of frames (default: to the end)", group=_INPUT, metavar="N", parse=positive
    )
    deinterlace: str = setting(
        "auto",
        "make whole frames of interlaced video: auto: where the video says that it is; on: of all frames; fields: "
        "one of every field, at twice the frame rate; film: the 24 frames a second of film on NTSC video; off: leave "
        "frames as they are",
        group=_INPUT,
        choices=tuple(DEINTERLACE),
    )
    clean: str | float = setting(
        "auto",
        "clean frames of what compression left behind before they are restored: how strongly, or off; auto: fully "
        "where a video is compressed or looks so, folders of images not at all",
        group=_FOOTAGE,
        metavar="auto|off|0..1",
        parse=cleaning,
    )
    shrink: float = setting(
        1.0,
        "reduce frames by this factor first, for footage that holds no detail at its full size, such as enlarged video",
        group=_FOOTAGE,
        metavar="S",
        parse=reduction,
    )
    strength: float = setting(
        1.0,
        "share of the restored frames in the output, the rest being bicubic enlargement",
        group=_FOOTAGE,
        metavar="0..1",
        parse=whole_share,
    )
    scale: float | None = setting(
        None,
        "sides of the output over those of the input, e.g. 2 or 1.5, rounded to whole pixels (default: the "
        "network's own); the restored frames are resized",
        group=_SIZE,
        metavar="S",
        parse=factor,
        excludes=True,
        compared_as="output size",
    )
    height: int | None = setting(
        None,
        "height of the output in pixels, as it is shown if the video is rotated; the width follows, even where "
        "the height is",
        group=_SIZE,
        metavar="N",
        parse=positive,
        excludes=True,
        compared_as="output size",
    )
    scene_cuts: str = setting(
        "auto",
        "restart propagation where the picture changes to another shot; auto: in videos, not in folders",
        group=_PROPAGATION,
        choices=("auto", "on", "off"),
    )
    forgetting: float | None = setting(
        None,
        "share of its propagated features that a still pixel loses per frame, so that long shots do not drift "
        f"(default: {USUAL_RATE} in scenes of videos of {LONG} frames or more, elsewhere, and with BasicVSR++, 0 as in "
        "the paper)",
        group=_PROPAGATION,
        metavar="R",
        parse=share,
        compared_as="forgetting",
    )
    precision: str = setting(
        "fp32",
        "of features; int16: float32, with products of 16-bit whole numbers, for CPUs; auto: the fastest here of those "
        "that cost at most 0.01 dB, found once in some seconds; flow, sampling and output stay float32",
        group=SPEED,
        choices=(*PRECISIONS, AUTO),
    )
    ensemble: int = setting(
        1,
        "restore so many times, mirrored and transposed, and take the mean: 0.13 dB better on Vid4 with 2, 0.22 with "
        "8, for as many times the time",
        group=SPEED,
        metavar="2|4|8",
        parse=turns,
    )
    strategy: str = setting(
        "auto",
        "whole: all in memory, if it fits; exact: the same result in bounded memory; window: overlapping windows, "
        "an approximation; auto: whole or exact",
        group=SPEED,
        choices=STRATEGIES,
    )
    memory_budget: int | str | None = setting(
        None,
        "of each process, such as 8G or 500M (default: half of what is free, shared out)",
        group=SPEED,
        metavar="SIZE",
        parse=memory_size,
        changes_result=False,
    )
    tile: int | None = setting(
        None,
        "work on tiles of N LR pixels (default: where a frame does not fit)",
        group=SPEED,
        metavar="N",
        parse=positive,
    )
    window: int | None = setting(
        None, f"frames kept of each window (default: {WINDOW})", group=SPEED, metavar="N", parse=positive
    )
    overlap: int | None = setting(
        None,
        f"frames that a window reads beyond each end (default: {OVERLAP})",
        group=SPEED,
        metavar="N",
        parse=natural,
    )
    encoding: Encoding = part(Encoding)
    gt: str | os.PathLike | None = setting(
        None,
        "ground truth (video or folder): prints PSNR and SSIM of the frames before encoding, writes OUTPUT_quality.csv",
        group=_QUALITY,
        metavar="PATH",
    )
    channel: str = setting("Y", "what PSNR and SSIM are taken on", group=_QUALITY, choices=("Y", "RGB"))
    crop_border: int = setting(0, "pixels left out at every edge", group=_QUALITY, metavar="N", parse=natural)
    comparison: str | os.PathLike | None = setting(
        None,
        "write a picture of the middle frame, bicubic beside restored",
        group=_QUALITY,
        metavar="PNG",
        compared=lambda path: path is not None,  # what it shows is kept, and it is written at the end
    )
    overwrite: bool = setting(False, "replace an output that exists", changes_result=False)
    resume: bool = setting(False, "go on with a run of the same command that was stopped", changes_result=False)

    def __post_init__(self) -> None:
        if not isinstance(self.clean, str):
            check_share("clean", self.clean)
        elif self.clean not in ("auto", "off"):
            raise ValueError(f"`clean` must be 'auto', 'off' or a number in [0, 1], got {self.clean!r}")
        check_share("strength", self.strength)
        if self.ensemble not in ENSEMBLES:
            raise ValueError(f"`ensemble` must be one of {ENSEMBLES}, got {self.ensemble!r}")
        # What they say is wrong is wrong with the options.
        _ = self.output_size, self.budget
        check_windows(self.window, self.overlap)
        for name in ("window", "overlap"):
            if getattr(self, name) is not None and self.strategy != "window":
                raise VSRError(f"--{name}: it is for --strategy window, which it does not choose by itself")
        if self.comparison is not None:
            from vsr_plugin.files import check_picture_name

            check_picture_name(self.comparison)

    @property
    def output_size(self) -> OutputSize:
        """Scale or height as one value.

        Raises:
            VSRError: both are given, or one is no positive number; so making the options raises it already.
        """
        from vsr_plugin.inference.output_size import OutputSize

        return OutputSize(self.scale, self.height, self.shrink)

    @property
    def budget(self) -> int | None:
        """The memory budget in bytes; ``None`` if there is none.

        Raises:
            VSRError: it is no size; so making the options raises it already.
        """
        return None if self.memory_budget is None else budget_in_bytes(self.memory_budget)

    @property
    def protocol(self) -> Protocol:
        """How quality is measured."""
        from vsr_plugin.evaluation import Protocol

        return Protocol(self.channel, self.crop_border)


@dataclass(frozen=True)
class ClusterOptions:
    """Where shots or trainings are handed to, if not to this machine alone.

    Attributes:
        cluster: ``host:port`` of a Ray cluster's head, ``'auto'`` for the one that this machine belongs to, ``None``
            for none.
        task_gpus: GPUs of each task, also a share of one, 0 for none; ``None`` for one where the cluster has some.
        task_cpus: cores of each task.
    """

    cluster: str | None = setting(
        None,
        "hand the work to a Ray cluster, by its head or the one that this machine belongs to (docs/cluster.md)",
        group=_CLUSTER,
        metavar="auto|HOST:PORT",
    )
    task_gpus: float | None = setting(
        None,
        "GPUs of each task on it: 1, a share such as 0.5, or 0 (default: 1 where the cluster has some)",
        group=_CLUSTER,
        metavar="N",
        parse=gpus,
    )
    task_cpus: int | None = setting(
        None,
        "cores of each task on it (default: 1 beside a GPU, else 4 or as many as the smallest node has)",
        group=_CLUSTER,
        metavar="N",
        parse=positive,
    )


def check_cluster(parser: argparse.ArgumentParser, args: argparse.Namespace, *devices: str) -> None:
    """End the command if what is said of a cluster does not go together.

    Args:
        parser: of the command.
        args: what it was given.
        devices: names of the arguments that say where this machine computes.
    """
    if args.cluster and any(getattr(args, name) not in (None, "auto") for name in devices):
        options = " or ".join(f"--{name}" for name in devices)
        parser.error(f"argument --cluster: not with {options}; --task-gpus and --task-cpus say what computes")
    if not args.cluster and (args.task_gpus, args.task_cpus) != (None, None):
        parser.error("arguments --task-gpus and --task-cpus: they are for --cluster")


def expected_frames(source: FrameSource, options: RestoreOptions) -> int | None:
    """Number of frames that will be restored, as far as the input tells before it is read."""
    if source.num_frames_estimate is None:
        return options.num_frames
    left = max(source.num_frames_estimate - options.start, 0)
    return left if options.num_frames is None else min(left, options.num_frames)
