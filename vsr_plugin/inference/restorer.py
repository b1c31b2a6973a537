"""Restore any iterable of frames with a network, in bounded memory."""

import functools
import tempfile
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from pathlib import Path

import numpy as np
import torch.nn as nn
from torch import Tensor

from vsr_plugin.acceleration import PRECISIONS, accelerate_with_fallback, check_network, decided
from vsr_plugin.inference.cleaning import cleaned_as_seen
from vsr_plugin.inference.output_size import OutputSize
from vsr_plugin.inference.planning import MemoryModel, Plan, default_budget, make_plan
from vsr_plugin.inference.scene_cuts import split_shots
from vsr_plugin.inference.sequence import restore_sequence
from vsr_plugin.inference.storage import FrameStore
from vsr_plugin.inference.windows import blend, contribution
from vsr_plugin.models.propagation import with_forgetting
from vsr_plugin.models.vsr_net import with_ensemble
from vsr_plugin.ops.frames import (
    Frame,
    check_frame,
    check_same_kind,
    downloaded,
    frame_to_rgb,
    shrink_frame,
)
from vsr_plugin.ops.resize import frame_sides
from vsr_plugin.ops.windows import check_windows, cut_windows
from vsr_plugin.settings import budget_in_bytes, check_share


def _report(progress: Callable[[float], None], half: float, counted: range, i: int) -> None:
    if i in counted:
        progress(half)


def _checked(frames: Iterable[Frame]) -> Iterator[Frame]:
    """Frames as they come, all of one kind and size; raises as :func:`restore_frames`."""
    first = None
    for frame in frames:
        check_frame(frame)
        first = frame if first is None else first
        check_same_kind(frame, first)
        yield frame


def restore_frames(
    net: nn.Module,
    frames: Iterable[Frame],
    *,
    strategy: str = "auto",
    memory_budget: int | str | None = None,
    precision: str = "fp32",
    tile: int | None = None,
    window: int | None = None,
    overlap: int | None = None,
    scene_cuts: bool = False,
    forgetting: float | None = None,
    scale: float | None = None,
    height: int | None = None,
    clean: float | str | None = None,
    strength: float = 1.0,
    shrink: float = 1.0,
    ensemble: int | None = None,
    num_frames: int | None = None,
    work_dir: str | None = None,
    progress: Callable[[float], None] | None = None,
    on_plan: Callable[[Plan], None] | None = None,
    on_note: Callable[[str], None] | None = None,
) -> Iterator[Frame]:
    """Restore frames, one by one, in order, enlarged as the network does or to the size asked for.

    Args:
        net: a ``VSRNet``, such as ``BasicVSRNet``, in evaluation mode, on the device that is to compute.
        frames: RGB arrays ``(h, w, 3)`` of ``uint8`` or ``uint16``, or floating-point tensors ``(3, h, w)`` in
            [0, 1]; all of one size.
        strategy: ``'whole'``: the sequence in memory at once, as in the paper, if it fits into the budget;
            ``'exact'``: the same result in bounded memory for any length, frames and intermediate features on disk,
            taken in place of ``'whole'`` where that does not fit; ``'window'``: one pass over overlapping windows, an
            approximation; ``'auto'``: whole or exact.
        memory_budget: bytes that may be used, or a size such as ``'8G'``; by default half of the memory that is free,
            or most of a GPU's.
        precision: of features, ``'fp32'``, ``'bf16'`` or ``'fp16'``, or ``'int16'``, see
            :func:`vsr_plugin.acceleration.accelerate`; flow, sampling positions and output are float32 in
            all of them, and a sequence in which a number overflows is repeated in float32. ``'auto'`` for the fastest
            on the device, see :func:`vsr_plugin.acceleration.fastest_precision`.
        tile: side of spatial tiles in LR pixels; by default only where a frame does not fit otherwise. Tiles change
            the result by rounding alone.
        window: frames kept of each window.
        overlap: frames that a window reads beyond each end. Around a joint of two windows the last and first frames are
            the mean of both.
        scene_cuts: restart propagation where the picture changes to another shot. The tool does so for video files;
            here it is off, since a sequence of an evaluation must not be cut.
        forgetting: share of its propagated features that a still pixel loses per frame, against the drift of long
            shots; by default the network's own, which is 0 as in the paper. The tool takes 0.1 for long scenes.
        scale: sides of the output over those of the frames, rounded to the nearest pixel; by default the network's own.
            To any other size the restored frames are resized bicubically before they are clipped and rounded.
        height: in place of it, rows of the output; the columns follow, see
            :class:`vsr_plugin.inference.output_size.OutputSize`.
        clean: share of what cleaning changes in the frames before they are propagated, 0 (or ``'off'``) for none, 1 for
            all; by the network's own cleaning, or the one that ships, which is made for compressed footage, and goes by
            how coarsely quantised the first frames look. ``'auto'`` for all of it where they look compressed. ``None``
            for what the network does by itself, which is nothing unless it was made with a cleaning, as RealBasicVSR
            is.
        strength: share of the restored frame in the output, the rest being bicubic enlargement of the frame as it came.
        shrink: reduce the frames by this factor first, for footage that holds no detail at its full size; the output
            is so much smaller unless ``scale`` or ``height`` sets it.
        ensemble: restore so many times, 2, 4 or 8, mirrored and transposed, and take the mean: better, for as many
            times the time; see :mod:`vsr_plugin.inference.ensemble`. By default what the network has, which is once.
        num_frames: how many frames will come, if known; those that fit into the budget then stay in memory.
        work_dir: folder for what goes to disk; by default the system's folder for temporary files.
        progress: called during the work with the number of frames done since the last call, in halves: a frame
            counts once for the way backward in time and once for the way forward, of an ensemble by its share.
        on_plan: called with the plan of every sequence.
        on_note: called with a line for a person when something was changed on the way, such as after running out
            of memory.

    Yields:
        Frames of the same kind and dtype, ``net.scale`` times as high and wide unless another size is asked for,
        clipped to the range of the kind.

    Raises:
        ValueError: a frame is none, such as the ``None`` that OpenCV gives for an unreadable file, or of another kind
            or size, ``window`` < 1 or ``overlap`` < 0, ``forgetting`` is not in [0, 1), or the network has no flow to
            tell what is still.
        VSRError: the network restores no sequences or has been accelerated, the budget is too small for one frame, a
            strategy, precision, size or ensemble does not exist, or the device has no arithmetic for the precision.
        MediaError: the disk is full.

    Example:
        >>> from vsr_plugin.models import BasicVSRNet
        >>> net = BasicVSRNet(mid_channels=8, num_blocks=1).eval()
        >>> clip = [np.zeros((16, 24, 3), np.uint8)] * 3
        >>> [hr.shape for hr in restore_frames(net, clip)]
        [(64, 96, 3), (64, 96, 3), (64, 96, 3)]
        >>> next(restore_frames(net, clip, scale=1.5)).shape
        (24, 36, 3)
    """
    check_windows(window, overlap)
    asked = OutputSize(scale, height, shrink)
    check_share("strength", strength)
    check_network(net)
    frames = _checked(frames)
    net, frames = cleaned_as_seen(net, frames, clean)
    if forgetting is not None:
        net = with_forgetting(net, forgetting)
    if ensemble is not None:
        net = with_ensemble(net, ensemble)
    shots = split_shots(frames, frame_to_rgb) if scene_cuts else [frames]
    precision = decided(net, precision)
    nets = accelerate_with_fallback(net, precision)
    for shot in shots:
        yield from _restore_shot(
            shot,
            net,
            nets,
            asked,
            functools.partial(make_plan, strategy=strategy, tile=tile, window=window, overlap=overlap),
            budget=None if memory_budget is None else budget_in_bytes(memory_budget),
            feature_bytes=PRECISIONS[precision].itemsize,
            num_frames=None if scene_cuts else num_frames,
            work_dir=work_dir,
            strength=strength,
            progress=progress,
            on_plan=on_plan,
            on_note=on_note,
        )


def _restore_shot(
    frames: Iterable[Frame],
    net: nn.Module,
    nets: tuple[nn.Module, Callable[[], nn.Module] | None],
    asked: OutputSize,
    plan_for: Callable[..., Plan],
    *,
    budget: int | None,
    feature_bytes: int,
    num_frames: int | None,
    work_dir: str | None,
    strength: float,
    progress: Callable[[float], None] | None,
    on_plan: Callable[[Plan], None] | None,
    on_note: Callable[[str], None] | None,
) -> Iterator[Frame]:
    """Restore frames that are propagated as one sequence, or in windows; see :func:`restore_frames`."""
    frames = iter(frames)
    first = next(frames, None)
    if first is None:
        return
    device = next(net.parameters()).device
    fast_net, precise_net = nets
    size = asked.of(*frame_sides(first), net.scale)
    if asked.shrink > 1:
        first, frames = shrink_frame(first, asked.shrink), (shrink_frame(frame, asked.shrink) for frame in frames)
    model = MemoryModel(net, *frame_sides(first), feature_bytes, size)
    choose = functools.partial(plan_for, model, default_budget(device) if budget is None else budget)
    plan = choose(num_frames=num_frames)
    incoming = chain([first], frames)
    with tempfile.TemporaryDirectory(prefix="vsr_plugin-", dir=work_dir) as folder:
        run = functools.partial(
            restore_sequence,
            fast_net,
            folder=Path(folder),
            size=size,
            strength=strength,
            precise_net=precise_net,
            on_note=on_note,
        )
        if plan.strategy == "window":
            if on_plan is not None:
                on_plan(plan)
            choose_for = functools.partial(choose, strategy="auto")
            yield from _restore_windows(run, choose_for, incoming, first, plan, progress, 0.5 / net.ensemble)
            return
        # As many stay in memory as this plan has there: all that fit if their number is known or whole is asked for,
        # else a block of the exact strategy, whatever the plan will be when they have come.
        store = FrameStore(Path(folder), max_in_memory=plan.block)
        try:
            for frame in incoming:
                store.append(frame)
            plan = choose(num_frames=len(store))
            if on_plan is not None:
                on_plan(plan)
            half = 0.5 / net.ensemble
            on_step = None if progress is None else functools.partial(_report, progress, half, range(len(store)))
            yield from downloaded((hr for _, hr in run(store, plan, on_step=on_step)), first)
        finally:
            store.close()


def _restore_windows(
    run: Callable[..., Iterator[tuple[int, Tensor]]],
    choose: Callable[..., Plan],
    incoming: Iterator[Frame],
    first: Frame,
    plan: Plan,
    progress: Callable[[float], None] | None,
    half: float,
) -> Iterator[Frame]:
    before: list[np.ndarray] = []  # what the last window has contributed to the frames around the joint
    for part in cut_windows(incoming, plan.block - 2 * plan.overlap, plan.overlap):
        on_step = None if progress is None else functools.partial(_report, progress, half, part.keep)
        wanted = len(part.keep) + len(part.tail)
        restored = run(
            part.frames,
            choose(num_frames=len(part.frames)),
            first_frame=part.keep.start,
            stop_frame=part.keep.start + wanted,
            on_step=on_step,
        )
        # The frames beyond have served the backward branch; going forward through them would be wasted.
        kept = islice((hr for _, hr in restored), wanted)
        for position, hr in enumerate(islice(kept, len(part.lead))):
            yield blend(before[position], contribution(hr).frame(), position, len(part.lead), first)
        yield from downloaded(islice(kept, len(part.core)), first)
        before = [contribution(hr).frame() for hr in kept]
