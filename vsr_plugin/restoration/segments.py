"""Encoded segments: restored frames are given what belongs to them, encoded, scored, and let count."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

import numpy as np

from vsr_plugin.files import NewFile
from vsr_plugin.inference.windows import ContributionFile, blend
from vsr_plugin.media import Frame, FrameSource
from vsr_plugin.media.segmented import SegmentedOutput, SegmentWriter
from vsr_plugin.ops.frames import to_uint8
from vsr_plugin.ops.resize import bicubic_resize
from vsr_plugin.restoration.job import JobFolder, SegmentRecord
from vsr_plugin.restoration.options import RestoreOptions
from vsr_plugin.restoration.quality import QualityLog


@dataclass(frozen=True)
class Work:
    """What all shots of a job have in common; can be pickled, so that other processes restore them.

    Attributes:
        source: the input.
        gt: the ground truth, if there is one.
        net: the network in evaluation mode, on the device that computes; a worker process puts it on its own.
        options: what is asked for.
        output: makes segments.
        job: keeps what is finished.
        forgets_from: length in frames from which on a shot is restored with the network's forgetting.
        picture_index: number of the frame whose versions are kept for a comparison picture.
        budget: memory in bytes of each worker.
        threads: of the CPU of each worker.
    """

    source: FrameSource
    gt: FrameSource | None
    net: object
    options: RestoreOptions
    output: SegmentedOutput
    job: JobFolder
    forgets_from: int
    picture_index: int | None
    budget: int
    threads: int


class OpenSegment:
    """One segment on its way. A worker has one at a time, and what this does, it does in the thread that writes.

    Args:
        work: the job.
        frames: which frames of the output.
        first_pts: timestamp of frame 0.
    """

    def __init__(self, work: Work, frames: range, first_pts: int | None) -> None:
        self._work, self._frames, self._first_pts = work, frames, first_pts
        self._writer: SegmentWriter | None = None
        self._log = QualityLog(work.options.protocol)
        self._last: np.ndarray | None = None

    def write(self, index: int, lr: Frame, hr: np.ndarray, gt: np.ndarray | None) -> None:
        """Encode and examine a frame.

        Args:
            index: its number.
            lr: the frame of the input, with what belongs to it.
            hr: the restored pixels ``(H, W, 3)``.
            gt: those of the ground truth.
        """
        work = self._work
        if self._writer is None:
            self._writer = work.output.open_segment(self._frames.start, self._first_pts)
        alpha = lr.alpha
        if alpha is not None:
            alpha = bicubic_resize(np.repeat(alpha[..., None], 3, axis=2), work.output.size)[..., 0]
        self._writer.write(replace(lr, rgb=hr, alpha=alpha))
        self._last = hr
        if gt is not None:
            self._log.add(work.options.start + index, lr.rgb, hr, gt)
        # The last frame of its segment stands in for a later one that never comes.
        if work.picture_index is not None and index == min(work.picture_index, self._frames[-1]):
            versions = {"bicubic": bicubic_resize(lr.rgb, hr.shape[:2])}
            versions[type(work.net).__name__.removesuffix("Net")] = hr
            if gt is not None:
                versions["ground truth"] = gt
            work.job.keep_versions(index, versions)

    def commit(self) -> None:
        """Complete the segment, let it count, and let its last frame be seen."""
        writer, self._writer = self._writer, None
        self._work.job.record(SegmentRecord(writer.commit(), self._log.rows))
        self._work.job.show_newest(self._work.source.orientation.apply(to_uint8(self._last)))

    def discard(self) -> None:
        """Forget it unless it counts."""
        if self._writer is not None:
            self._writer.discard()
            self._writer = None


class Joint:
    """The frames around the joint of two windows, which are blended of what either gives.

    Each window leaves its contribution in a file, in any order; who finds both there makes the segment, without
    reading the input again.

    Args:
        job: the job.
        frames: their numbers.
    """

    def __init__(self, job: JobFolder, frames: range) -> None:
        self._job, self._frames = job, frames
        stem = f"{frames.start:08d}"
        self._inputs = job.joints / f"{stem}.npz"
        #: Of the window that ends here, and of the one that begins.
        self.before, self.after = (ContributionFile(job.joints / f"{stem}.{side}") for side in ("before", "after"))

    @property
    def is_made(self) -> bool:
        """Whether its segment counts."""
        return self._job.find(self._frames.start) is not None

    def lacks(self, contribution: ContributionFile) -> bool:
        """Whether a contribution is still to come."""
        return not contribution.is_whole and not self.is_made

    def keep_inputs(self, lrs: list[Frame], gts: list[np.ndarray | None]) -> None:
        """Keep what beside the contributions is needed; the window that begins does, before it commits its own."""
        described = [(lr.grey, lr.pts, lr.duration, lr.name) for lr in lrs]
        arrays = {f"lr{i}": lr.rgb for i, lr in enumerate(lrs)}
        arrays |= {f"alpha{i}": lr.alpha for i, lr in enumerate(lrs) if lr.alpha is not None}
        arrays |= {f"gt{i}": gt for i, gt in enumerate(gts) if gt is not None}
        with NewFile(self._inputs) as file:
            np.savez(file, described=json.dumps(described), **arrays)

    def make(self, work: Work, first_pts: int | None) -> None:
        """Make the segment, unless a contribution is still to come.

        Args:
            work: the job.
            first_pts: timestamp of frame 0.
        """
        if self.is_made or not (self.before.is_whole and self.after.is_whole):
            return
        segment = OpenSegment(work, self._frames, first_pts)
        try:
            with np.load(self._inputs) as stored:
                for position, (index, about) in enumerate(
                    zip(self._frames, json.loads(str(stored["described"])), strict=True)
                ):
                    rgb, alpha, gt = (stored.get(f"{kind}{position}") for kind in ("lr", "alpha", "gt"))
                    lr = Frame(rgb, alpha, *about)
                    shape = *work.output.size, rgb.shape[2]
                    both = (side.read(position, shape) for side in (self.before, self.after))
                    segment.write(index, lr, blend(*both, position, len(self._frames), rgb), gt)
            segment.commit()
        finally:
            segment.discard()
        self.remove()

    def remove(self) -> None:
        """Give the space back."""
        for path in (self.before.path, self.after.path, self._inputs):
            path.unlink(missing_ok=True)
