"""The work of one process at a job: pieces in, finished chunks out."""

import shutil
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import partial

import numpy as np
import torch.nn as nn

from vsr_plugin.datasets.degradations import bicubic_resize
from vsr_plugin.evaluation import Protocol
from vsr_plugin.inference.fading import ContributionFile, blend, contribution
from vsr_plugin.inference.ground_truth import GroundTruth
from vsr_plugin.inference.job import ChunkRecord, JobFolder
from vsr_plugin.inference.pieces import Piece
from vsr_plugin.inference.pipeline import BackgroundWriter
from vsr_plugin.inference.planning import Plan
from vsr_plugin.inference.quality_log import QualityLog
from vsr_plugin.inference.sequence import restore_sequence
from vsr_plugin.inference.transfers import FrameDownload
from vsr_plugin.media import Frame, FrameSource
from vsr_plugin.media.chunked import ChunkedOutput, ChunkWriter


class PieceWorker:
    """Restores pieces and writes what they keep into the chunks that are not finished yet.

    Args:
        nets_for: called with a piece for the network that restores it, in evaluation mode, on the device that computes,
            and for its ``precise_net``; see :func:`vsr_plugin.inference.sequence.restore_sequence`.
        source: where the frames come from, for the transparency of images.
        label: what results are called in a comparison picture.
        start: frame of the source that is frame 0 of the output.
        job: what is finished, and where to put what becomes so.
        output: makes the chunks, and says of what size the frames are.
        plan_for: called with a piece for how to restore it.
        wait_until: waits for a condition that another process brings about; false if there is none to wait for.
        first_pts: called for the timestamp of frame 0.
        gt: the ground truth.
        protocol: how quality is measured against it.
        picture_index: number of the frame whose versions are kept for a comparison picture.
        progress: called with numbers of frames that are done, in halves.
        on_note: called with every line of ``notes`` as soon as there is something to tell.

    Attributes:
        notes: lines worth telling a person, as the keys of a dict, which keep their order.
    """

    def __init__(
        self,
        nets_for: Callable[[Piece], tuple[nn.Module, Callable[[], nn.Module] | None]],
        source: FrameSource,
        *,
        label: str,
        start: int,
        job: JobFolder,
        output: ChunkedOutput,
        plan_for: Callable[[Piece], Plan],
        wait_until: Callable[[Callable[[], bool]], bool],
        first_pts: Callable[[], int | None],
        gt: GroundTruth | None,
        protocol: Protocol,
        picture_index: int | None,
        progress: Callable[[float], None],
        on_note: Callable[[str], None],
    ) -> None:
        self._nets_for, self._source, self._start = nets_for, source, start
        self._label, self._job, self._output = label, job, output
        self._plan_for, self._wait_until = plan_for, wait_until
        self._first_pts, self._gt, self._protocol = first_pts, gt, protocol
        self._picture_index, self._progress, self._on_note = picture_index, progress, on_note
        self.notes: dict[str, None] = {}
        self._stopping = threading.Event()

    def run(self, pieces: Iterable[Piece]) -> None:
        """Restore all pieces; frames are encoded in a thread beside the computation."""
        with ExitStack() as stack:
            if self._gt is not None:
                stack.enter_context(closing(self._gt))
            current = stack.enter_context(closing(_ChunkTask.Current()))
            # The writer may wait for another process: told to stop before it is waited for, and while it is.
            stack.enter_context(self._stopping_on_error())
            writer = stack.enter_context(BackgroundWriter())
            stack.enter_context(self._stopping_on_error())
            for piece in pieces:
                self._restore(piece, writer, current)

    @contextmanager
    def _stopping_on_error(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self._stopping.set()
            raise

    def _restore(self, piece: Piece, writer: BackgroundWriter, current: "_ChunkTask.Current") -> None:
        shift = piece.start - piece.margin
        chunks = piece.chunks()
        missing = [chunk for chunk in chunks if self._job.find(chunk.start + shift) is None]
        told = sum(map(len, chunks)) - sum(map(len, missing))
        self._progress(told)
        if missing:
            wanted = range(missing[0].start, missing[-1].stop)

            def on_step(i: int) -> None:
                nonlocal told
                if i in wanted and told < len(piece.infos):
                    told += 0.5
                    self._progress(0.5)

            plan = self._plan_for(piece)
            net, precise_net = self._nets_for(piece)
            rate = net.forgetting
            forgetting = f", still pixels forget {rate:g} per frame (--forgetting)" if rate else ""
            how = f"in {plan.windows}" if piece.is_part else f"as {plan}"
            self._note(f"restored {how}{forgetting}")
            restored = restore_sequence(
                net,
                piece.frames,
                plan,
                folder=piece.folder,
                persistent=True,
                first_frame=piece.margin if piece.is_window else missing[0].start,
                size=self._output.size,
                precise_net=precise_net,
                on_step=on_step,
                on_note=self._note,
            )
            write = self._write_window if piece.is_window else self._write
            with closing(restored):
                write(piece, missing, restored, writer, current)
        writer.submit(partial(_clean_up, piece))
        self._progress(len(piece.infos) - told)

    def _note(self, line: str) -> None:
        if line not in self.notes:
            self.notes[line] = None
            self._on_note(line)

    def _write(
        self,
        piece: Piece,
        missing: list[range],
        restored: Iterator[tuple[int, object]],
        writer: BackgroundWriter,
        current: "_ChunkTask.Current",
    ) -> None:
        todo = iter(missing)
        chunk, task = next(todo), None
        for i, hr in restored:
            if i == chunk.stop:
                # Not before a frame of the next chunk has come: by then the engine has kept what it goes on from there.
                writer.submit(task.commit)
                chunk, task = next(todo), None
            if i in chunk:
                if task is None:
                    task = _ChunkTask(self, piece, chunk, current)
                writer.submit(partial(task.write, i, FrameDownload(hr, piece.frames[i]).frame))
            if i + 1 == missing[-1].stop:
                break
        writer.submit(task.commit)

    def _write_window(
        self,
        piece: Piece,
        missing: list[range],
        restored: Iterator[tuple[int, object]],
        writer: BackgroundWriter,
        current: "_ChunkTask.Current",
    ) -> None:
        """Write what is the window's own, and last of all the frames that the one before contributes to.

        That one may be in the hands of another process, which is not waited for before there is nothing else to do.
        """
        core = piece.chunks()[-1]
        lead, tail = range(piece.margin, core.start), range(core.stop, core.stop + piece.tail)
        task = _ChunkTask(self, piece, core, current) if core in missing else None
        own = ContributionFile(piece.folder / "lead")
        left = ContributionFile(self._job.tails / f"{piece.start + len(piece.infos):08d}")
        if self._gt is not None:
            self._gt.hold(range(piece.start, piece.start + len(lead)))
        for i, hr in restored:
            if i in lead:
                writer.submit(partial(own.write, i - lead.start, contribution(hr)))
            elif i in tail:
                writer.submit(partial(left.write, i - tail.start, contribution(hr)))
            elif task is not None:
                writer.submit(partial(task.write, i, FrameDownload(hr, piece.frames[i]).frame))
            if i + 1 == (tail or core).stop:
                break
        # A window counts when its chunks do, so what it leaves to the next one must be there before.
        if tail:
            writer.submit(left.commit)
        if task is not None:
            writer.submit(task.commit)
        if lead:
            writer.submit(own.commit)
            writer.submit(partial(self._write_lead, piece, lead, own, current))

    def _write_lead(self, piece: Piece, lead: range, own: ContributionFile, current: "_ChunkTask.Current") -> None:
        before = ContributionFile(self._job.tails / f"{piece.start:08d}")

        def is_decided() -> bool:
            # The window before counts only when what it leaves is there.
            return before.is_whole or self._stopping.is_set() or self._job.has_end(piece.start)

        if not self._wait_until(is_decided) or not before.is_whole:
            return  # this process ends, or a file of the job was removed, which shows when the chunks are joined
        task = _ChunkTask(self, piece, lead, current)
        for position, i in enumerate(lead):
            like = piece.frames[i]
            shape = *self._output.size, like.shape[2]
            contributions = before.read(position, shape), own.read(position, shape)
            task.write(i, partial(blend, *contributions, position, len(lead), like))
        task.commit()
        before.remove()

    def open_chunk(self, first: int) -> ChunkWriter:
        """Begin a chunk."""
        return self._output.open_chunk(first, self._first_pts())

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
            last: number of the last frame of its chunk, which stands in for a later one that never comes.
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
        """A log for the figures of one chunk."""
        return QualityLog(self._protocol)

    def record(self, record: ChunkRecord) -> None:
        """Let a chunk count."""
        self._job.record(record)


class _ChunkTask:
    """One chunk on its way; its methods run in the writing thread."""

    class Current:
        """The chunk that is open, so that it can be closed whatever happens."""

        writer: ChunkWriter | None = None

        def close(self) -> None:
            """Forget an unfinished chunk."""
            if self.writer is not None:
                self.writer.discard()
                self.writer = None

    def __init__(self, worker: PieceWorker, piece: Piece, chunk: range, current: Current) -> None:
        self._worker, self._piece, self._current = worker, piece, current
        self._shift = piece.start - piece.margin
        self._chunk = chunk
        self._log = worker.new_log()

    def write(self, i: int, frame: Callable[[], np.ndarray]) -> None:
        """Encode and examine a frame, which ``frame`` brings."""
        worker, current = self._worker, self._current
        hr = frame()
        if current.writer is None:
            current.writer = worker.open_chunk(self._chunk.start + self._shift)
        current.writer.write(worker.to_frame(self._piece, i, hr))
        last = self._chunk.stop - 1 + self._shift
        worker.examine(i + self._shift, self._piece.frames[i], hr, self._log, last)

    def commit(self) -> None:
        """Complete the chunk and let it count."""
        chunk = self._current.writer.commit()
        self._current.writer = None
        stop = self._piece.start + len(self._piece.infos)
        self._worker.record(ChunkRecord(chunk, stop, self._log.rows))


def _clean_up(piece: Piece) -> None:
    """Give back what a finished piece has used."""
    piece.frames.close()
    with suppress(FileNotFoundError):
        shutil.rmtree(piece.folder)
