"""The steps of restoring one input into one output as a job."""

import functools
import os
import shutil
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import torch
import torch.nn as nn

from vsr_plugin.acceleration import PRECISIONS, accelerate_with_fallback, missing_kernels
from vsr_plugin.acceleration.precision import feature_dtype
from vsr_plugin.errors import MediaError
from vsr_plugin.files import PartialFile, write_whole
from vsr_plugin.inference.planning import MemoryModel, Plan, default_budget, make_plan
from vsr_plugin.inference.spilling import needed_bytes
from vsr_plugin.media import FrameSource
from vsr_plugin.media.segmented import SegmentedOutput
from vsr_plugin.models.propagation.forgetting import LONG, USUAL_RATE, with_forgetting
from vsr_plugin.ops.frames import to_uint8
from vsr_plugin.restoration import fingerprint
from vsr_plugin.restoration.ground_truth import GroundTruth, surplus_note
from vsr_plugin.restoration.job import JobFolder, SegmentRecord
from vsr_plugin.restoration.options import RestoreOptions, RestoreResult, expected_frames, quality_csv_path
from vsr_plugin.restoration.pipeline import Prefetcher, until
from vsr_plugin.restoration.quality_log import QualityLog
from vsr_plugin.restoration.segment_task import SegmentMaker
from vsr_plugin.restoration.sharing import Sharing
from vsr_plugin.restoration.shot_worker import PieceWorker
from vsr_plugin.restoration.shots import Piece, PieceCutter, PiecePlan
from vsr_plugin.visualization import comparison_picture

#: Share of the free disk up to which ``auto`` takes the exact strategy on a CPU where the whole sequence would fit.
_DISK_SHARE = 0.25


class RestoreTask:
    """One restoration in one process: beginning, work and end, each once and in this order."""

    def __init__(
        self,
        source: FrameSource,
        net: nn.Module,
        options: RestoreOptions,
        job: JobFolder,
        output: SegmentedOutput,
        sharing: Sharing,
    ) -> None:
        self._source, self._options = source, options
        rate, self._forgets_from = _forgetting(source, net, options)
        self._net = with_forgetting(net, rate)
        self._job, self._output, self._sharing = job, output, sharing
        self._notes: list[str] = []
        self._num_frames: int | None = None
        self.joined = False

    def begin(self, output_path: str | os.PathLike) -> None:
        """Make or find the job, and find out whether its results can be written; the first process does."""
        if self._sharing.is_first:
            self._prepare(output_path)
        self._sharing.wait()
        self.joined = self._is_joined()

    def _is_joined(self) -> bool:
        return self._job.completed is not None or self._output.is_finished()

    def _prepare(self, output_path: str | os.PathLike) -> None:
        options, job = self._options, self._job
        device = next(self._net.parameters()).device
        feature_dtype(options.precision, device)  # which says if there is none
        settings = fingerprint.of_job(self._source, self._net, options, self._output.size, self._forgets_from)
        resumed = job.begin(settings, resume=options.resume, overwrite=options.overwrite)
        if options.resume:
            self._notes.append(f"resumed: {job.done_before()}" if resumed else "nothing to resume; started afresh")
        if self._is_joined():
            return
        self._output.prepare()
        had = resumed and job.has_resources
        # Plans of another budget give the same result; a job that was killed for its memory may go on with less.
        budget = options.memory_budget or (
            job.budget if had else default_budget(device) // self._sharing.sharers(device)
        )
        # What does not fit together is known before a frame is read.
        self._make_plan(budget, options.strategy, 1)
        job.keep_resources(budget, job.threads if had else torch.get_num_threads())
        # Whether these can be written is known before the long work as well.
        for path in (quality_csv_path(output_path) if options.gt is not None else None, options.comparison):
            if path is not None:
                PartialFile(Path(path), overwrite=options.overwrite).discard()

    def work(self, gt: FrameSource | None, progress: Callable[[float], None], on_note: Callable[[str], None]) -> None:
        """Restore the pieces that fall to this process; notes are told at once, and kept for the result."""
        options, job, source = self._options, self._job, self._source
        budget = job.budget
        cutter = PieceCutter(
            self._piece_plan(), job.pieces, lambda number, start: self._wanted(number, start, progress)
        )

        @functools.cache  # one for each rate of forgetting: each keeps what it has packed or recorded
        def nets_at(rate: float) -> tuple[nn.Module, Callable[[], nn.Module] | None]:
            return accelerate_with_fallback(with_forgetting(self._net, rate), options.precision)

        segments = SegmentMaker(
            source,
            label=type(self._net).__name__.removesuffix("Net"),
            start=options.start,
            job=job,
            output=self._output,
            first_pts=lambda: cutter.first_pts,
            gt=None if gt is None else GroundTruth(gt, options.start, options.num_frames),
            protocol=options.protocol,
            picture_index=self._picture_index(),
        )
        worker = PieceWorker(
            lambda piece: nets_at(self._net.forgetting if len(piece.frames) >= self._forgets_from else 0.0),
            job=job,
            segments=segments,
            size=self._output.size,
            plan_for=lambda piece: self._plan(piece, budget),
            wait_until=self._sharing.wait_until,
            progress=progress,
            on_note=on_note,
        )
        stop = threading.Event()
        frames = source.frames(options.start, options.num_frames)
        threads = torch.get_num_threads()
        torch.set_num_threads(job.threads)
        try:
            with closing(frames), closing(cutter), Prefetcher(cutter.pieces(until(stop, frames)), stop=stop) as pieces:
                worker.run(pieces)
        finally:
            torch.set_num_threads(threads)
        self._num_frames = cutter.num_frames
        self._notes.extend(worker.notes)
        if note := missing_kernels(self._net, options.precision):
            self._notes.append(note)
        if gt is not None and (note := surplus_note(gt, source, options)):
            self._notes.append(note)
        if self._sharing.world > 1 and cutter.num_pieces == 1:
            self._notes.append(
                "the video is one piece, which one process restores; the others wait (--strategy window makes more)"
            )

    def _piece_plan(self) -> PiecePlan:
        options = self._options
        cuts = options.scene_cuts == "on" or (options.scene_cuts == "auto" and self._source.kind == "video")
        if options.strategy != "window":
            return PiecePlan(cuts)
        plan = self._make_plan(self._job.budget, "window", None)
        return PiecePlan(cuts, plan.block - 2 * plan.overlap, plan.overlap)

    def _make_plan(self, budget: int, strategy: str, num_frames: int | None) -> Plan:
        options = self._options
        return make_plan(
            MemoryModel(
                self._net,
                self._source.height,
                self._source.width,
                PRECISIONS[options.precision].itemsize,
                self._output.size,
            ),
            budget,
            num_frames=num_frames,
            strategy=strategy,
            tile=options.tile,
            window=options.window,
            overlap=options.overlap,
        )

    def _plan(self, piece: Piece, budget: int) -> Plan:
        """How to restore a piece; the same in a resumed run, since the budget is kept with the job."""
        length, strategy = len(piece.frames), self._options.strategy
        if strategy == "window":
            return self._make_plan(budget, "auto", length)
        on_cpu = next(self._net.parameters()).device.type == "cpu"
        if strategy == "auto" and on_cpu and self._has_room(length):
            strategy = "exact"  # which costs no time there, and a killed run goes on inside the piece
        return self._make_plan(budget, strategy, length)

    def _has_room(self, length: int) -> bool:
        pixels = self._source.height * self._source.width
        needed = needed_bytes(self._net, length, pixels, length, states=True)
        return needed < _DISK_SHARE * shutil.disk_usage(self._job.path).free

    def _wanted(self, number: int, start: int, progress: Callable[[float], None]) -> bool:
        if not self._sharing.mine(number):
            return False
        done = self._job.has_piece(start)
        progress(done)
        return not done

    def _picture_index(self) -> int | None:
        if self._options.comparison is None:
            return None
        return (expected_frames(self._source, self._options) or 1) // 2

    def finish(self, output_path: str | os.PathLike) -> RestoreResult:
        """Join the segments and give all results their names."""
        quality = None
        if (num_frames := self._job.completed) is None:
            num_frames, quality = self._complete(output_path)
        self._job.remove()
        notes = [*self._notes, *self._source.notes, *self._output.notes]
        return RestoreResult(num_frames, quality, quality and quality_csv_path(output_path), notes)

    def _complete(self, output_path: str | os.PathLike) -> tuple[int, QualityLog | None]:
        """Number of frames and their quality, when everything has its name."""
        options = self._options
        records = list(self._job.records())
        if not self.joined:
            self._check_complete(records)
            self._output.finish([record.segment for record in records])
        quality = None
        overwrite = options.overwrite or self.joined
        if options.gt is not None:
            quality = QualityLog(options.protocol, [row for record in records for row in record.quality])
            table = quality.to_csv()
            write_whole(quality_csv_path(output_path), lambda path: path.write_text(table), overwrite=overwrite)
        if options.comparison is not None:
            shown = {label: to_uint8(rgb) for label, rgb in self._job.last_versions().items()}
            picture = comparison_picture(shown, main=list(shown)[1])
            write_whole(Path(options.comparison), picture.save, overwrite=overwrite)
        num_frames = sum(record.segment.frames for record in records)
        self._job.complete(num_frames)
        return num_frames, quality

    def _check_complete(self, records: list[SegmentRecord]) -> None:
        if not records:
            raise MediaError(f"{self._output.path}: no frame was written; nothing is left there")
        position = 0
        for record in records:
            if record.segment.first != position:
                break
            position += record.segment.frames
        if position != self._num_frames:
            raise MediaError(
                f"{self._output.path}: frame {position} is missing among the finished ones; the input has changed "
                "meanwhile or a file of the job was removed, start afresh with --overwrite in place of --resume"
            )


def _forgetting(source: FrameSource, net: nn.Module, options: RestoreOptions) -> tuple[float, int]:
    """The rate, and the length in frames from which on a piece is restored with it."""
    if options.forgetting is not None:
        return options.forgetting, 0
    if net.forgetting or source.kind != "video" or not net.alignment.needs_flow:
        return net.forgetting, 0
    return USUAL_RATE, LONG
