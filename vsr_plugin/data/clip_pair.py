"""A ground-truth clip with its LR frames, stored or made while reading; and which pairs a data set consists of."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
from mmengine.logging import print_log

from vsr_plugin.data.clips import Clip, ImageClip, Window, find_clips, read_clip_names
from vsr_plugin.data.degradations import BY_PIPELINE, DEGRADATIONS, Degradation
from vsr_plugin.errors import DataError


class ClipPair:
    """GT and LR frames of one clip, aligned; ground truth whose sides are no multiples of the scale is cropped.

    LR frames are stored, or made here, or neither: then somebody makes them of what is read.

    Making one touches no file.

    Args:
        gt: ground truth.
        lq: LR frames; None to make them by ``degradation``.
        scale: sides of GT over sides of LR.
        degradation: how LR frames are made where ``lq`` is None.
    """

    def __init__(self, gt: Clip, lq: Clip | None, *, scale: int, degradation: Degradation | None = None) -> None:
        self.gt = gt
        self.lq = lq
        self.scale = scale
        self._degradation = degradation
        self._checked = False

    @property
    def name(self) -> str:
        """Name of the clip, that of its ground truth."""
        return self.gt.name

    @property
    def num_frames(self) -> int:
        """Number of frames of the ground truth, which those of the LR clip are checked against."""
        return self.gt.num_frames

    @property
    def lr_size(self) -> tuple[int, int]:
        """Rows and columns of the LR frames."""
        return self.gt.height // self.scale, self.gt.width // self.scale

    @property
    def crops_gt(self) -> bool:
        """Whether the ground truth loses rows or columns at the bottom or on the right."""
        return bool(self.gt.height % self.scale or self.gt.width % self.scale)

    def check(self) -> None:
        """See whether GT and LR fit together, by file lists and headers; done once.

        Raises:
            DataError: they do not, or one of them is incomplete.
        """
        if self._checked:
            return
        self._check_size()
        if self.lq is not None:
            self._check_frames()
        self._checked = True

    def _check_size(self) -> None:
        gt, lq, scale = self.gt, self.lq, self.scale
        if min(self.lr_size) < 1:
            raise DataError(
                f"clip {self.name} ({gt.path}): frames of {gt.width}x{gt.height} are too small for scale {scale}"
            )
        if lq is not None and (lq.height, lq.width) != self.lr_size:
            raise DataError(
                f"clip {self.name}: frame {lq.frame_name(0)} of LR is {lq.width}x{lq.height} ({lq.path}), of ground "
                f"truth {gt.width}x{gt.height} ({gt.path}); for scale {scale} LR must be "
                f"{self.lr_size[1]}x{self.lr_size[0]}, make it anew or choose the folder that belongs to it"
            )

    def _check_frames(self) -> None:
        gt, lq = self.gt, self.lq
        if gt.num_frames != lq.num_frames:
            raise DataError(
                f"clip {self.name}: ground truth has {gt.num_frames} frames ({gt.path}), LR {lq.num_frames} "
                f"({lq.path}); get the missing ones or make LR anew"
            )
        if isinstance(gt, ImageClip) and isinstance(lq, ImageClip):
            first, other = gt.frame_name(0), lq.frame_name(0)
            # Names of one pattern count the same frames; others, such as 0001x4 beside 0001, tell nothing.
            if first != other and re.sub(r"\d+", "0", first) == re.sub(r"\d+", "0", other):
                raise DataError(
                    f"clip {self.name}: ground truth begins with frame {first} ({gt.path}), LR with {other} "
                    f"({lq.path}); remove what only one of them has"
                )

    def read(self, indices: Sequence[int], window: Window | None = None) -> tuple[np.ndarray | None, np.ndarray]:
        """Read the same part of LR and GT frames.

        Args:
            indices: Frame numbers from 0.
            window: In LR pixels; None for whole frames.

        Returns:
            LR ``(t, h, w, 3)`` and GT ``(t, scale * h, scale * w, 3)``, uint8 RGB. LR frames made here are those
            that degrading the whole GT frames gives, bit for bit. ``None`` in place of LR frames that are neither
            stored nor made here.

        Raises:
            DataError: a frame is damaged, or the two do not fit together.
        """
        self.check()
        if window is None:
            window = Window(0, 0, *self.lr_size)
        gt_window = window.scaled(self.scale)
        if self.lq is not None:
            return self.lq.read(indices, window), self.gt.read(indices, gt_window)
        if self._degradation is None:
            return None, self.gt.read(indices, gt_window)
        around = self._with_margin(gt_window)
        gts = self.gt.read(indices, around)
        # One by one, since a degradation needs several times the memory of its frames.
        lrs = [self._degradation.downsample(gt, self.scale) for gt in gts]
        if around == gt_window:
            return np.stack(lrs), gts
        above, before = gt_window.top - around.top, gt_window.left - around.left
        inner = Window(above // self.scale, before // self.scale, window.height, window.width)
        lrs = np.stack([lr[inner.slices] for lr in lrs])
        return lrs, np.ascontiguousarray(gts[(slice(None), *inner.scaled(self.scale).slices)])

    def _with_margin(self, window: Window) -> Window:
        """Enlarge a GT window by what the degradation looks at, within the frame."""
        margin = self._degradation.margin(self.scale)
        height, width = (self.scale * side for side in self.lr_size)
        top, left = max(0, window.top - margin), max(0, window.left - margin)
        bottom = min(height, window.top + window.height + margin)
        right = min(width, window.left + window.width + margin)
        return Window(top, left, bottom - top, right - left)


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
