"""What is wrong with a clip before anyone trains on it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from vsr_plugin.data.clip_pair import ClipPair
from vsr_plugin.data.clips import Clip, ImageClip
from vsr_plugin.data.preparation.processes import Tick
from vsr_plugin.data.preparation.sets import SetClip
from vsr_plugin.errors import DataError, MediaError
from vsr_plugin.media.image_file import read_header

SCALE = 4


@dataclass
class Findings:
    """What looking at a clip has shown.

    Args:
        clip: the clip.
        frames: length; 0 if it could not be told.
        height: rows of a ground-truth frame.
        width: columns.
        faults: lines on what must be mended.
        prints: digests of the first and the middle frame, by which copies are recognised; none of a frame of one
            colour, since many clips begin in black.
    """

    clip: SetClip
    frames: int = 0
    height: int = 0
    width: int = 0
    faults: list[str] = field(default_factory=list)
    prints: tuple[bytes, ...] = ()


def examine(clip: SetClip, tick: Tick) -> Findings:
    """Look at every frame's name and size, decode the first and the last, and compare LR with ground truth.

    Faults are returned and not raised, so that one run tells about all clips.
    """
    findings = Findings(clip)
    try:
        gt = clip.gt
        frames = gt.num_frames
        ends = _decode_some(gt)
        findings.prints = tuple(hashlib.sha1(frame.data).digest() for frame in ends[:2] if np.ptp(frame))
        findings.frames, findings.height, findings.width = frames, gt.height, gt.width
        _check_sizes(gt)
        ClipPair(gt, None, scale=SCALE).check()
        for lr in clip.lr.values():
            ClipPair(gt, lr, scale=SCALE).check()
            _decode_some(lr)
            _check_sizes(lr)
    except DataError as error:
        findings.faults.append(str(error))
    tick(1)
    return findings


def _decode_some(clip: Clip) -> np.ndarray:
    """First, middle and last frame; a video decodes as a whole for it."""
    last = clip.num_frames - 1
    return clip.read([0, last // 2, last])


def _check_sizes(clip: Clip) -> None:
    if not isinstance(clip, ImageClip):
        # One size for all frames is in the nature of a packed clip; a video was decoded to its end.
        return
    for file in clip.files:
        try:
            header = read_header(clip.path / file)
        except MediaError as error:
            raise DataError(f"clip {clip.name}: {error}") from error
        if (header.height, header.width) != (clip.height, clip.width):
            raise DataError(
                f"clip {clip.name} ({clip.path}): {file} is {header.width}x{header.height}, {clip.files[0]} is "
                f"{clip.width}x{clip.height}; all frames of a clip must have one size"
            )


def find_leaks(findings: Iterable[Findings]) -> list[str]:
    """Lines on clips that train and are copies of clips that validate or test, by their first and middle frames."""
    findings = list(findings)
    training = {print_: f for f in findings if f.clip.split == "train" for print_ in f.prints}
    lines = []
    for held_out in findings:
        if held_out.clip.split != "train":
            copy = next((training[print_] for print_ in held_out.prints if print_ in training), None)
            if copy is not None:
                lines.append(
                    f"clip {copy.clip.name} trains and has frames of clip {held_out.clip.name}, which is to "
                    f"{'validate' if held_out.clip.split == 'val' else 'test'}; take one of them away"
                )
    return lines
