"""The work of one process at a job: pieces in, finished segments out."""

import shutil
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import partial

import torch.nn as nn

from vsr_plugin.inference.planning import Plan
from vsr_plugin.inference.sequence import restore_sequence
from vsr_plugin.inference.transfers import FrameDownload
from vsr_plugin.inference.windows import ContributionFile, blend, contribution
from vsr_plugin.restoration.job import JobFolder
from vsr_plugin.restoration.pipeline import BackgroundWriter
from vsr_plugin.restoration.segment_task import SegmentMaker
from vsr_plugin.restoration.shots import Piece


class PieceWorker:
    """Restores pieces and writes what they keep into the segments that are not finished yet.

    Args:
        nets_for: called with a piece for the network that restores it, in evaluation mode, on the device that computes,
            and for its ``precise_net``; see :func:`vsr_plugin.inference.sequence.restore_sequence`.
        job: what is finished, and where windows leave what they contribute to others.
        segments: makes what becomes finished; it is closed at the end.
        size: rows and columns of the output.
        plan_for: called with a piece for how to restore it.
        wait_until: waits for a condition that another process brings about; false if there is none to wait for.
        progress: called with numbers of frames that are done, in halves.
        on_note: called with every line of ``notes`` as soon as there is something to tell.

    Attributes:
        notes: lines worth telling a person, as the keys of a dict, which keep their order.
    """

    def __init__(
        self,
        nets_for: Callable[[Piece], tuple[nn.Module, Callable[[], nn.Module] | None]],
        *,
        job: JobFolder,
        segments: SegmentMaker,
        size: tuple[int, int],
        plan_for: Callable[[Piece], Plan],
        wait_until: Callable[[Callable[[], bool]], bool],
        progress: Callable[[float], None],
        on_note: Callable[[str], None],
    ) -> None:
        self._nets_for, self._job, self._segments, self._size = nets_for, job, segments, size
        self._plan_for, self._wait_until = plan_for, wait_until
        self._progress, self._on_note = progress, on_note
        self.notes: dict[str, None] = {}
        self._stopping = threading.Event()

    def run(self, pieces: Iterable[Piece]) -> None:
        """Restore all pieces; frames are encoded in a thread beside the computation."""
        with ExitStack() as stack:
            stack.enter_context(closing(self._segments))
            # The writer may wait for another process: told to stop before it is waited for, and while it is.
            stack.enter_context(self._stopping_on_error())
            writer = stack.enter_context(BackgroundWriter())
            stack.enter_context(self._stopping_on_error())
            for piece in pieces:
                self._restore(piece, writer)

    @contextmanager
    def _stopping_on_error(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self._stopping.set()
            raise

    def _restore(self, piece: Piece, writer: BackgroundWriter) -> None:
        shift = piece.start - piece.margin
        segments = piece.segments()
        missing = [segment for segment in segments if self._job.find(segment.start + shift) is None]
        reported = sum(map(len, segments)) - sum(map(len, missing))
        self._progress(reported)
        if missing:
            wanted = range(missing[0].start, missing[-1].stop)

            def on_step(i: int) -> None:
                nonlocal reported
                if i in wanted and reported < len(piece.infos):
                    reported += 0.5
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
                size=self._size,
                precise_net=precise_net,
                on_step=on_step,
                on_note=self._note,
            )
            write = self._write_window if piece.is_window else self._write
            with closing(restored):
                write(piece, missing, restored, writer)
        writer.submit(partial(_clean_up, piece))
        self._progress(len(piece.infos) - reported)

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
    ) -> None:
        todo = iter(missing)
        segment, task = next(todo), None
        for i, hr in restored:
            if i == segment.stop:
                # Not before a frame of the next segment has come: by then the engine has kept what it needs to go on.
                writer.submit(task.commit)
                segment, task = next(todo), None
            if i in segment:
                if task is None:
                    task = self._segments.begin(piece, segment)
                task.write(writer, i, FrameDownload(hr, piece.frames[i]).frame)
            if i + 1 == missing[-1].stop:
                break
        writer.submit(task.commit)

    def _write_window(
        self,
        piece: Piece,
        missing: list[range],
        restored: Iterator[tuple[int, object]],
        writer: BackgroundWriter,
    ) -> None:
        """Write what is the window's own, and last of all the frames that the one before contributes to.

        That one may be in the hands of another process, which is not waited for before there is nothing else to do.
        """
        core = piece.segments()[-1]
        lead, tail = range(piece.margin, core.start), range(core.stop, core.stop + piece.tail)
        task = self._segments.begin(piece, core) if core in missing else None
        own = ContributionFile(piece.folder / "lead")
        left = ContributionFile(self._job.tails / f"{piece.start + len(piece.infos):08d}")
        self._segments.hold(range(piece.start, piece.start + len(lead)))
        for i, hr in restored:
            if i in lead:
                writer.submit(partial(own.write, i - lead.start, contribution(hr)))
            elif i in tail:
                writer.submit(partial(left.write, i - tail.start, contribution(hr)))
            elif task is not None:
                task.write(writer, i, FrameDownload(hr, piece.frames[i]).frame)
            if i + 1 == (tail or core).stop:
                break
        # A window counts when its segments do, so what it leaves to the next one must be there before.
        if tail:
            writer.submit(left.commit)
        if task is not None:
            writer.submit(task.commit)
        if lead:
            writer.submit(own.commit)
            writer.submit(partial(self._write_lead, piece, lead, own))

    def _write_lead(self, piece: Piece, lead: range, own: ContributionFile) -> None:
        before = ContributionFile(self._job.tails / f"{piece.start:08d}")

        def is_decided() -> bool:
            # The window before counts only when what it leaves is there.
            return before.is_whole or self._stopping.is_set() or self._job.has_end(piece.start)

        if not self._wait_until(is_decided) or not before.is_whole:
            return  # this process ends, or a file of the job was removed, which shows when the segments are joined
        task = self._segments.begin(piece, lead)
        for position, i in enumerate(lead):
            like = piece.frames[i]
            shape = *self._size, like.shape[2]
            contributions = before.read(position, shape), own.read(position, shape)
            task.write_now(i, partial(blend, *contributions, position, len(lead), like))
        task.commit()
        before.remove()


def _clean_up(piece: Piece) -> None:
    """Give back what a finished piece has used."""
    piece.frames.close()
    with suppress(FileNotFoundError):
        shutil.rmtree(piece.folder)
