"""Restore a video or a folder of images into a video or a folder: files in, files out.

The work is a job (:mod:`vsr_plugin.restoration.job`) of shots (:mod:`vsr_plugin.restoration.shots`): it can be killed
and resumed, and an executor (:mod:`vsr_plugin.restoration.executors`) runs the shots in this process or in others.
"""

import errno
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event

import torch.nn as nn

from vsr_plugin.acceleration import PRECISIONS, missing_kernels
from vsr_plugin.defaults import AUTO, LONG, USUAL_RATE
from vsr_plugin.errors import MediaError, give_hint
from vsr_plugin.files import PartialFile, write_whole
from vsr_plugin.media import FrameSource, open_segmented, open_source
from vsr_plugin.media.segmented import SegmentedOutput
from vsr_plugin.models.alignment import DeformableAlignment
from vsr_plugin.models.cleaning import clean_by
from vsr_plugin.models.propagation import with_forgetting
from vsr_plugin.models.vsr_net import with_ensemble
from vsr_plugin.ops.frames import to_uint8
from vsr_plugin.restoration import fingerprint
from vsr_plugin.restoration.executors import Executor, ThisProcess
from vsr_plugin.restoration.footage import cleaning_for, shrink_hint
from vsr_plugin.restoration.job import JobFolder, SegmentRecord
from vsr_plugin.restoration.options import RestoreOptions, expected_frames
from vsr_plugin.restoration.outputs import check_results, quality_csv_path
from vsr_plugin.restoration.pipeline import Prefetcher
from vsr_plugin.restoration.quality import QualityLog, check_ground_truth, surplus_note
from vsr_plugin.restoration.segments import Joint, Work
from vsr_plugin.restoration.shots import Scan, Shot, ShotPlan
from vsr_plugin.restoration.worker import plan_shot, shot_is_done
from vsr_plugin.visualization.comparison import comparison_picture

#: What a disk can do wrong; what writes results says so by itself.
_DISK_FAULTS = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EIO,
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.EMFILE,
    errno.ENFILE,
}


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


def restore_video(
    input_path: str | os.PathLike | FrameSource,
    output_path: str | os.PathLike,
    net: nn.Module,
    options: RestoreOptions = RestoreOptions(),
    *,
    on_open: Callable[[FrameSource], None] | None = None,
    progress: Callable[[float], None] | None = None,
    on_note: Callable[[str], None] | None = None,
    executor: Executor | None = None,
) -> RestoreResult:
    """Restore a video file, a folder of images or an image, enlarged as the network does or to the size asked for.

    Everything appears under its final name at the end or not at all. Timestamps, audio, rotation, pixel shape and
    colour description of a video are carried over; transparency of images is resized bicubically, and grey
    images stay grey.

    What is finished is kept in a hidden folder beside the output, ``.NAME.job``, until the end. If the work is stopped
    by anything, it goes on there with ``resume``, and the result is that of a run that was not stopped; with
    ``overwrite`` instead it starts afresh, and with neither it refuses.

    Args:
        input_path: video file, folder of images or image; or one of them that is open already.
        output_path: video file, or folder for PNG files.
        net: a ``VSRNet``, such as ``BasicVSRNet``, in evaluation mode, on the device that is to compute.
        options: what to restore and how to keep it.
        on_open: called with the input when it is open and the output has proved writable.
        progress: called with the number of frames done since the last call, see :func:`restore_frames`; it is negative
            where another worker has to do again what one had done that was killed.
        on_note: called with a line for a person when it is decided how something is restored, and when that changes on
            the way; the notes of the result hold those too.
        executor: what runs the work, by default this process on the device of ``net``.

    Returns:
        What was produced.

    Raises:
        MediaError: an input or output cannot be used, or belongs to another job; the text says which, why, and what
            to do.
        VSRError: the memory does not suffice, all workers were ended, the network cannot forget as asked, the
            output would be larger than a video can be, or is too small to be compared with ground truth.
    """
    if options.scene_cuts not in ("auto", "on", "off"):
        raise ValueError(f"`scene_cuts` must be 'auto', 'on' or 'off', got {options.scene_cuts!r}")
    with ExitStack() as stack:
        source = input_path if isinstance(input_path, FrameSource) else open_asked(input_path, options)
        size = options.output_size.of_source(source, net.scale)
        gt = _open_gt(stack, source, options, size)
        job = JobFolder(check_results(output_path, source, gt, options))
        output = open_segmented(
            output_path,
            source,
            job.path,
            size=size,
            start=options.start,
            num_frames=options.num_frames,
            overwrite=options.overwrite,
            encoding=options.encoding,
        )
        task = _Restoration(source, gt, net, options, job, output, executor or ThisProcess(), on_note)
        try:
            task.begin(output_path)
            if on_open is not None:
                on_open(source)
            if not task.joined:
                task.work(progress or (lambda count: None))
            return task.finish(output_path)
        except BaseException as error:
            hint = job.leave()
            if isinstance(error, OSError) and error.errno in _DISK_FAULTS:
                failed = MediaError(
                    f"{error.filename or job.path}: unfinished work cannot be kept there ({error.strerror}); free "
                    "space or choose another place for the output"
                )
                give_hint(failed, hint)
                raise failed from error
            give_hint(error, hint)
            raise


def open_asked(path: str | os.PathLike, options: RestoreOptions) -> FrameSource:
    """Open an input as the options say; see :func:`vsr_plugin.media.open_source`."""
    return open_source(path, deinterlace=options.deinterlace, frame_rate=options.encoding.frame_rate)


def _open_gt(
    stack: ExitStack, source: FrameSource, options: RestoreOptions, size: tuple[int, int]
) -> FrameSource | None:
    if options.gt is None:
        return None
    gt = stack.enter_context(open_source(options.gt))
    check_ground_truth(gt, source, size, options)
    return gt


class _Restoration:
    """One restoration: beginning, work and end, each once and in this order."""

    def __init__(
        self,
        source: FrameSource,
        gt: FrameSource | None,
        net: nn.Module,
        options: RestoreOptions,
        job: JobFolder,
        output: SegmentedOutput,
        executor: Executor,
        on_note: Callable[[str], None] | None,
    ) -> None:
        rate, self._forgets_from = _forgetting(source, net, options)
        self._source, self._gt, self._net = source, gt, with_forgetting(with_ensemble(net, options.ensemble), rate)
        self._options, self._job, self._output, self._executor = options, job, output, executor
        self._told = on_note or (lambda line: None)
        self._notes: dict[str, None] = {}  # which keep their order
        self._cleaned: str | None = None
        self._scan: Scan | None = None
        self.joined = False

    def begin(self, output_path: str | os.PathLike) -> None:
        """Make or find the job, and find out whether its results can be written."""
        # What was asked for and does not fit together is known before a frame is read.
        if self._options.precision != AUTO:
            self._executor.check_precision(self._net, self._options.precision)
            plan_shot(self._work_of(self._options.budget or sys.maxsize), self._options.strategy, 1)
        cleaning = cleaning_for(self._source, self._options.clean, self._net)
        self._net, self._cleaned = clean_by(self._net, cleaning.strength, cleaning.step), cleaning.why
        if self._options.precision == AUTO:
            self._options = replace(self._options, precision=self._fastest_precision())
            self._executor.check_precision(self._net, self._options.precision)
        options, job = self._options, self._job
        settings = fingerprint.of_job(self._source, self._net, options, self._output, self._forgets_from)
        resumed = job.begin(settings, resume=options.resume, overwrite=options.overwrite)
        if options.resume:
            note = f"resumed: {job.done_before()}" if resumed else "nothing to resume; started afresh"
            self._notes[note] = None
        self.joined = job.completed is not None or self._output.is_finished()
        if self.joined:
            return
        self._output.prepare()
        had = job.resources or {}
        # Plans of another budget give the same result; a job that was killed for its memory may go on with less. With
        # another number of threads the last bits of some convolutions are others.
        self._work = self._work_of(options.budget or had.get("budget"), had.get("threads"))
        plan_shot(self._work, options.strategy, 1)
        job.keep_resources(self._work.budget, self._work.threads)
        # Whether these can be written is known before the long work as well.
        for path in (quality_csv_path(output_path) if options.gt is not None else None, options.comparison):
            if path is not None:
                PartialFile(Path(path), overwrite=options.overwrite).discard()

    def _work_of(self, budget: int | None, threads: int | None = None) -> Work:
        """What workers are told, with so many bytes and threads, or what the executor has."""
        options = self._options
        return Work(
            source=self._source,
            gt=self._gt,
            net=self._net,
            options=options,
            output=self._output,
            job=self._job,
            forgets_from=self._forgets_from,
            picture_index=None if options.comparison is None else (expected_frames(self._source, options) or 1) // 2,
            budget=budget or self._executor.default_budget(self._net),
            threads=threads or self._executor.default_threads(),
        )

    def _fastest_precision(self) -> str:
        """That of the job which is gone on with, so that its frames go together; else the fastest here."""
        begun = self._job.begun_with("precision") if self._options.resume else None
        if begun in PRECISIONS:
            return begun
        trial = self._executor.fastest_precision(self._net)
        self._note(str(trial))
        return trial.precision

    def work(self, progress: Callable[[float], None]) -> None:
        """Restore all that is not done yet."""
        options, source, stop = self._options, self._source, Event()
        # Where nothing is enlarged, reduced frames would come out smaller.
        asks = options.shrink == 1 and options.clean == "auto" and not options.resume and self._net.scale > 1
        hint = shrink_hint(source) if asks else None
        for line in filter(None, (self._cleaned, hint)):
            self._note(line)
        scan = Scan(source, options.start, options.num_frames, self._shot_plan(), self._job.shots_list)
        joints: dict[range, int | None] = {}  # and the timestamp of frame 0

        def left(shots: Iterable[Shot]) -> Iterator[Shot]:
            for shot in shots:
                joints.update(dict.fromkeys(shot.joints, shot.first_pts))
                if shot_is_done(self._work, shot):
                    progress(len(shot))
                else:
                    yield shot

        def on_done(shot: Shot) -> None:
            for frames in shot.joints:
                Joint(self._job, frames).make(self._work, shot.first_pts)

        with Prefetcher(scan.shots(stop), ahead=0, stop=stop) as shots:
            self._executor.run(self._work, left(shots), stop, on_done=on_done, progress=progress, on_note=self._note)
        for frames, first_pts in joints.items():  # of windows that were done before
            Joint(self._job, frames).make(self._work, first_pts)
        self._scan = scan
        further = [missing_kernels(self._net, options.precision)]
        if self._gt is not None:
            further.append(surplus_note(self._gt, source, options))
        if self._executor.workers > 1 and scan.num_shots == 1:
            further.append("the input is one shot, which one worker restores (--strategy window makes more of it)")
        self._notes.update(dict.fromkeys(filter(None, further)))

    def _note(self, line: str) -> None:
        if line not in self._notes:
            self._notes[line] = None
            self._told(line)

    def _shot_plan(self) -> ShotPlan:
        options = self._options
        cuts = options.scene_cuts == "on" or (options.scene_cuts == "auto" and self._source.kind == "video")
        if options.strategy != "window":
            return ShotPlan(cuts)
        plan = plan_shot(self._work, "window", None)
        return ShotPlan(cuts, plan.block - 2 * plan.overlap, plan.overlap)

    def finish(self, output_path: str | os.PathLike) -> RestoreResult:
        """Join the segments and give all results their names."""
        quality = None
        if (num_frames := self._job.completed) is None:
            num_frames, quality = self._complete(output_path)
        self._job.remove()
        notes = list(dict.fromkeys([*self._notes, *self._source.notes, *self._output.notes]))
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
        if position != self._scan.num_frames:
            raise MediaError(
                f"{self._output.path}: frame {position} is missing among the finished ones; the input has changed "
                "meanwhile or a file of the job was removed, start afresh with --overwrite in place of --resume"
            )


def _forgetting(source: FrameSource, net: nn.Module, options: RestoreOptions) -> tuple[float, int]:
    """The rate, and the length in frames from which on a shot is restored with it."""
    if options.forgetting is not None:
        return options.forgetting, 0
    # Deformable alignment weighs what it takes over by itself, and nobody has measured whether such networks drift.
    drifts = net.alignment.needs_flow and not isinstance(net.alignment, DeformableAlignment)
    if net.forgetting or source.kind != "video" or not drifts:
        return net.forgetting, 0
    return USUAL_RATE, LONG
