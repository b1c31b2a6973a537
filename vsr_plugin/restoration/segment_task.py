"""Segments of one process: restored frames are given what belongs to them, encoded, scored, and let count."""

from collections.abc import Callable
from functools import partial

import numpy as np

from vsr_plugin.evaluation import Protocol
from vsr_plugin.media import Frame, FrameSource
from vsr_plugin.media.segmented import SegmentedOutput, SegmentWriter
from vsr_plugin.ops.resize import bicubic_resize
from vsr_plugin.restoration.ground_truth import GroundTruth
from vsr_plugin.restoration.job import JobFolder, SegmentRecord
from vsr_plugin.restoration.pipeline import BackgroundWriter
from vsr_plugin.restoration.quality_log import QualityLog
from vsr_plugin.restoration.shots import Piece


class SegmentMaker:
    """Makes segments one after the other; see :class:`SegmentTask`.

    Args:
        source: where the frames come from, for the transparency of images.
        label: what results are called in a comparison picture.
        start: frame of the source that is frame 0 of the output.
        job: takes what is finished.
        output: makes the segments.
        first_pts: called for the timestamp of frame 0.
        gt: the ground truth.
        protocol: how quality is measured against it.
        picture_index: number of the frame whose versions are kept for a comparison picture.
    """

    def __init__(
        self,
        source: FrameSource,
        *,
        label: str,
        start: int,
        job: JobFolder,
        output: SegmentedOutput,
        first_pts: Callable[[], int | None],
        gt: GroundTruth | None,
        protocol: Protocol,
        picture_index: int | None,
    ) -> None:
        self._source, self._label, self._start, self._job, self._output = source, label, start, job, output
        self._first_pts, self._gt, self._protocol, self._picture_index = first_pts, gt, protocol, picture_index
        self._open: SegmentWriter | None = None

    def begin(self, piece: Piece, segment: range) -> "SegmentTask":
        """The segment that holds so many frames of a piece; those before it must have ended when it gets its first."""
        return SegmentTask(self, piece, segment)

    def hold(self, indices: range) -> None:
        """Say that frames come after later ones; see :meth:`GroundTruth.hold`."""
        if self._gt is not None:
            self._gt.hold(indices)

    def close(self) -> None:
        """Forget a segment that has not ended, and close the ground truth."""
        if self._open is not None:
            self._open.discard()
            self._open = None
        if self._gt is not None:
            self._gt.close()

    def write(self, first: int, frame: Frame) -> None:
        """Encode a frame into the segment that begins with frame ``first`` of the output."""
        if self._open is None:
            self._open = self._output.open_segment(first, self._first_pts())
        self._open.write(frame)

    def commit(self, piece_stop: int, log: QualityLog) -> None:
        """Complete the segment that is open and let it count; see :class:`SegmentRecord`."""
        segment, self._open = self._open.commit(), None
        self._job.record(SegmentRecord(segment, piece_stop, log.rows))

    def to_frame(self, piece: Piece, i: int, hr: np.ndarray) -> Frame:
        """An HR array with what belongs to it."""
        info = piece.infos[i - piece.margin]
        alpha = None
        if info.alpha:
            # Read again here, so that a long folder does not keep the transparency of all its images in memory.
            lr = next(self._source.frames(self._start + piece.start + i - piece.margin, 1))
            alpha = bicubic_resize(np.repeat(lr.alpha[..., None], 3, axis=2), self._output.size)[..., 0]
        return Frame(hr, alpha=alpha, grey=info.grey, pts=info.pts, duration=info.duration, name=info.name)

    def examine(self, index: int, lr: np.ndarray, hr: np.ndarray, log: QualityLog, last: int) -> None:
        """Score a frame, and keep its versions if it may be the one for the comparison picture.

        Args:
            index: its number.
            lr: the input.
            hr: the output.
            log: takes the figures.
            last: number of the last frame of its segment, which stands in for a later one that never comes.
        """
        gt = None if self._gt is None else self._gt.at(index)
        if gt is not None:
            log.add(self._start + index, lr, hr, gt)
        if self._picture_index is not None and index == min(self._picture_index, last):
            versions = {"bicubic": bicubic_resize(lr, hr.shape[:2]), self._label: hr}
            if gt is not None:
                versions["ground truth"] = gt
            self._job.keep_versions(index, versions)

    def new_log(self) -> QualityLog:
        """A log for the figures of one segment."""
        return QualityLog(self._protocol)


class SegmentTask:
    """One segment on its way; what it does, it does in the writing thread.

    Args:
        maker: it.
        piece: whose frames they are.
        segment: which of them, as indices into the piece's frames.
    """

    def __init__(self, maker: SegmentMaker, piece: Piece, segment: range) -> None:
        self._maker, self._piece, self._segment = maker, piece, segment
        self._shift = piece.start - piece.margin
        self._log = maker.new_log()

    def write(self, writer: BackgroundWriter, i: int, frame: Callable[[], np.ndarray]) -> None:
        """Have frame ``i`` of the piece, which ``frame`` brings, encoded and examined."""
        writer.submit(partial(self.write_now, i, frame))

    def write_now(self, i: int, frame: Callable[[], np.ndarray]) -> None:
        """The same in this thread, which must be the one that writes."""
        hr = frame()
        self._maker.write(self._segment.start + self._shift, self._maker.to_frame(self._piece, i, hr))
        last = self._segment.stop - 1 + self._shift
        self._maker.examine(i + self._shift, self._piece.frames[i], hr, self._log, last)

    def commit(self) -> None:
        """Complete the segment and let it count, in the writing thread."""
        self._maker.commit(self._piece.start + len(self._piece.infos), self._log)
