"""Restore a video or a folder of images into a video or a folder: files in, files out."""

import os
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch.nn as nn

from vsr_plugin.datasets.degradations import bicubic_upsample
from vsr_plugin.errors import MediaError
from vsr_plugin.evaluation import Protocol
from vsr_plugin.evaluation.quality import to_uint8
from vsr_plugin.inference.quality_log import QualityLog
from vsr_plugin.inference.restorer import restore_frames
from vsr_plugin.media import Encoding, Frame, FrameSource, open_sink, open_source
from vsr_plugin.media.atomic import PartialFile
from vsr_plugin.visualization import comparison_picture


@dataclass(frozen=True)
class RestoreOptions:
    """What to restore of an input and how to keep it.

    Attributes:
        start: first frame, counted from 0.
        num_frames: number of frames; all that follow if ``None``.
        strategy, memory_budget, tile, window, overlap: see :func:`vsr_plugin.inference.restore_frames`.
        gt: ground truth, a video or a folder, whose frame ``i`` belongs to frame ``i`` of the input.
        protocol: how quality is measured against it.
        comparison: where to put a comparison picture of the middle frame, a PNG.
        overwrite: replace results that exist.
        encoding: choices for a video output.
    """

    start: int = 0
    num_frames: int | None = None
    window: int | None = None
    overlap: int | None = None
    strategy: str = "auto"
    memory_budget: int | None = None
    tile: int | None = None
    gt: str | os.PathLike | None = None
    protocol: Protocol = Protocol()
    comparison: str | os.PathLike | None = None
    overwrite: bool = False
    encoding: Encoding = Encoding()


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


def _open_gt(stack: ExitStack, source: FrameSource, options: RestoreOptions, scale: int) -> Iterator[Frame] | None:
    if options.gt is None:
        return None
    gt = stack.enter_context(open_source(options.gt))
    if (gt.height, gt.width) != (scale * source.height, scale * source.width):
        raise MediaError(
            f"{options.gt}: ground truth of {gt.width}x{gt.height} does not fit: the input is "
            f"{source.width}x{source.height}, so it must be {scale * source.width}x{scale * source.height}"
        )
    return gt.frames(options.start, options.num_frames)


def _next_gt(gt_frames: Iterator[Frame], options: RestoreOptions, index: int) -> np.ndarray:
    gt = next(gt_frames, None)
    if gt is None:
        raise MediaError(
            f"{options.gt}: ground truth ends before frame {index}; it must have as many frames as the input"
        )
    return gt.rgb


def _upsampled_alpha(alpha: np.ndarray | None, scale: int) -> np.ndarray | None:
    if alpha is None:
        return None
    return bicubic_upsample(np.repeat(alpha[..., None], 3, axis=2), scale)[..., 0]


def quality_csv_path(output: str | os.PathLike) -> Path:
    """Where the per-frame figures of ``output`` go: beside it, its name plus ``_quality.csv``."""
    output = Path(output)
    return output.with_name(f"{output.stem}_quality.csv")


def restore_video(
    input_path: str | os.PathLike,
    output_path: str | os.PathLike,
    net: nn.Module,
    options: RestoreOptions = RestoreOptions(),
    *,
    on_open: Callable[[FrameSource], None] | None = None,
    progress: Callable[[float], None] | None = None,
) -> RestoreResult:
    """Restore a video file, a folder of images or an image x4.

    Everything appears under its final name at the end or not at all. Timestamps, audio, rotation, pixel shape and
    colour description of a video are carried over; transparency of images is enlarged bicubically, and grey
    images stay grey.

    Args:
        input_path: video file, folder of images or image.
        output_path: video file, or folder for PNG files.
        net: ``BasicVSRNet`` or ``IconVSRNet`` in evaluation mode, on the device that is to compute.
        options: what to restore and how to keep it.
        on_open: called with the input when it is open and the output has proved writable.
        progress: called with the number of frames done since the last call, see :func:`restore_frames`.

    Raises:
        MediaError: an input or output cannot be used; the text says which, why, and what to do.
    """
    scale = net.scale
    with ExitStack() as stack:
        source = stack.enter_context(open_source(input_path))
        gt_frames = _open_gt(stack, source, options, scale)
        sink = open_sink(
            output_path,
            source,
            scale=scale,
            start=options.start,
            num_frames=options.num_frames,
            overwrite=options.overwrite,
            encoding=options.encoding,
        )
        quality_path = quality_csv_path(output_path) if gt_frames is not None else None
        csv_file = _partial(stack, quality_path, options.overwrite)
        picture_file = _partial(stack, options.comparison, options.overwrite)
        if on_open is not None:
            on_open(source)
        quality = QualityLog(options.protocol) if gt_frames is not None else None
        picture_index = options.start + (expected_frames(source, options) or 1) // 2

        pending: deque[Frame] = deque()

        def incoming() -> Iterator[np.ndarray]:
            for frame in source.frames(options.start, options.num_frames):
                pending.append(frame)
                yield frame.rgb

        versions: dict[str, np.ndarray] = {}
        with sink:
            restored = restore_frames(
                net,
                incoming(),
                strategy=options.strategy,
                memory_budget=options.memory_budget,
                tile=options.tile,
                window=options.window,
                overlap=options.overlap,
                num_frames=expected_frames(source, options),
                work_dir=os.path.dirname(os.path.abspath(output_path)),
                progress=progress,
            )
            for index, hr in enumerate(restored, start=options.start):
                frame = pending.popleft()
                sink.write(replace(frame, rgb=hr, alpha=_upsampled_alpha(frame.alpha, scale)))
                gt = None if gt_frames is None else _next_gt(gt_frames, options, index)
                if quality is not None:
                    quality.add(index, frame.rgb, hr, gt)
                # Until the frame asked for comes, so that a shorter file than announced has a picture as well.
                if picture_file is not None and index <= picture_index:
                    versions = {"bicubic": bicubic_upsample(frame.rgb), type(net).__name__.removesuffix("Net"): hr}
                    if gt is not None:
                        versions["ground truth"] = gt
        if csv_file is not None:
            csv_file.path.write_text(quality.to_csv())
            csv_file.commit()
        if picture_file is not None:
            shown = {label: to_uint8(rgb) for label, rgb in versions.items()}
            comparison_picture(shown, main=list(shown)[1]).save(picture_file.path)
            picture_file.commit()
        return RestoreResult(sink.num_written, quality, quality_path, [*source.notes, *sink.notes])


def _partial(stack: ExitStack, path: str | os.PathLike | None, overwrite: bool) -> PartialFile | None:
    """Reserve a side file that is removed again unless it is committed."""
    if path is None:
        return None
    partial = PartialFile(Path(path), overwrite=overwrite)
    stack.callback(partial.discard)
    return partial
