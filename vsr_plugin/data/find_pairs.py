"""Which clips a data set consists of, each with its LR frames."""

from __future__ import annotations

import os
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from mmengine.logging import print_log

from vsr_plugin.data.clip_pair import ClipPair
from vsr_plugin.data.clips import Clip, find_clips, read_clip_names
from vsr_plugin.data.degradations import BY_PIPELINE, DEGRADATIONS
from vsr_plugin.errors import DataError

_WILDCARDS = set("*?[")


def find_pairs(
    gt_root: Path,
    lq_root: Path | None = None,
    *,
    ann_file: str | os.PathLike | None = None,
    include: Sequence[str] | None = None,
    exclude: Sequence[str] | None = None,
    degradation: str | None = None,
    scale: int = 4,
) -> list[ClipPair]:
    """Find clips and pair them by name; see :class:`~.clip_dataset.ClipDataset` for the arguments.

    None is opened yet. Where LR frames have to be made, the log says so.

    Raises:
        DataError: a root, a named clip or its LR is missing, or nothing is left.
    """
    clips = _choose(gt_root, ann_file, include, exclude)
    if lq_root is not None and lq_root.exists():
        lq_clips = _find_lq(gt_root, lq_root, clips)
        return [ClipPair(clip, lq_clips[name], scale=scale) for name, clip in clips.items()]
    absent = "no lq_root is given" if lq_root is None else f"{lq_root} does not exist"
    if degradation is None:
        raise DataError(f"{gt_root}: {absent}; give the folder of LR frames, or degradation='BI' or 'BD' to make them")
    if degradation == BY_PIPELINE:
        return [ClipPair(clip, None, scale=scale) for clip in clips.values()]
    print_log(f"{gt_root}: LR frames are made by {degradation} x1/{scale} while reading, {absent}", logger="current")
    return [ClipPair(clip, None, scale=scale, degradation=DEGRADATIONS[degradation]) for clip in clips.values()]


def _choose(
    gt_root: Path,
    ann_file: str | os.PathLike | None,
    include: Sequence[str] | None,
    exclude: Sequence[str] | None,
) -> dict[str, Clip]:
    names = None if ann_file is None else read_clip_names(ann_file)
    if names is None and include and not any(_WILDCARDS & set(pattern) for pattern in include):
        names = list(include)
    clips = find_clips(gt_root, names)
    if include:
        # A name that is missing must not make a test set smaller in silence.
        absent = [pattern for pattern in include if not any(_matches(name, [pattern]) for name in clips)]
        if absent:
            raise DataError(f"{gt_root}: there is no clip {absent[0]} to include; correct or remove it")
        clips = {name: clip for name, clip in clips.items() if _matches(name, include)}
    if exclude:
        clips = {name: clip for name, clip in clips.items() if not _matches(name, exclude)}
        if not clips:
            raise DataError(f"{gt_root}: all clips are excluded; exclude fewer")
    return clips


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(name == pattern or fnmatchcase(name, pattern) for pattern in patterns)


def _find_lq(gt_root: Path, lq_root: Path, clips: dict[str, Clip]) -> dict[str, Clip]:
    if [clip.path for clip in clips.values()] == [gt_root]:
        # Two single clips need not have one name.
        found = find_clips(lq_root)
        if [clip.path for clip in found.values()] == [lq_root]:
            return dict(zip(clips, found.values(), strict=True))
    return find_clips(lq_root, clips)
