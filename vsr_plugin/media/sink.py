"""Frames into a video or a folder in one go."""

from __future__ import annotations

import shutil
from fractions import Fraction

from vsr_plugin.errors import MediaError
from vsr_plugin.files import make_working_folder
from vsr_plugin.media.segmented import SegmentedOutput, SegmentWriter
from vsr_plugin.media.source import Frame, FrameSource


def scaled_size(source: FrameSource, scale: int | Fraction) -> tuple[int, int]:
    """Return rows and columns of the output; raises ``ValueError`` where they are not whole."""
    if scale <= 0:
        raise ValueError(f"scale must be positive, got {scale}")
    height, width = source.height * scale, source.width * scale
    if int(height) != height or int(width) != width:
        raise ValueError(f"scale {scale} makes no whole pixels of {source.width}x{source.height}")
    return int(height), int(width)


class FrameSink:
    """Takes frames one by one; the result appears under its final name when ``with`` ends well.

    Meanwhile it is the one segment of an output in a hidden working folder. On any exception, ``KeyboardInterrupt``
    included, nothing appears and what was written is removed.

    Attributes:
        path: The output.
        kind: ``'video'`` or ``'folder'``.
        notes: Lines worth telling a person; complete when ``with`` has ended.
        num_written: Frames taken so far.
        folder: Hidden, on the output's disk, and removed at the end: a place for other unfinished things as well.
    """

    def __init__(self, output: SegmentedOutput) -> None:
        """Raises ``MediaError`` if the output cannot be made, see :meth:`SegmentedOutput.prepare`."""
        self.path, self.kind, self.notes = output.path, output.kind, output.notes
        self.num_written, self.folder = 0, output.folder
        self._output = output
        self._writer: SegmentWriter | None = None
        make_working_folder(self.folder, output.path)
        try:
            output.prepare()
        except BaseException:
            self.discard()
            raise

    def write(self, frame: Frame) -> None:
        """Write an upscaled frame, ``(h * scale, w * scale, 3)``, as the source would show it.

        Args:
            frame: ``pts``, ``duration``, ``name``, ``grey`` and (upscaled) ``alpha`` copied from
                the frame it was made from.

        Raises:
            MediaError: the disk is full, or the encoder fails.
            ValueError: the shape or the dtype is not what the sink was opened for.
        """
        if self._writer is None:
            self._writer = self._output.open_segment(0, frame.pts)
        self._writer.write(frame)
        self.num_written += 1

    def discard(self) -> None:
        """Close everything and remove what was written; also called by a ``with`` that fails."""
        if self._writer is not None:
            self._writer.discard()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> FrameSink:
        return self

    def __exit__(self, exc_type: type[BaseException] | None, *exc_info: object) -> None:
        try:
            if exc_type is None:
                if self._writer is None:
                    raise MediaError(f"{self.path}: no frame was written; nothing is left there")
                self._output.finish([self._writer.commit()])
        finally:
            self.discard()
