"""A folder of PNG files that is made of segments."""

from __future__ import annotations

from pathlib import Path

from vsr_plugin.files import PartialFolder, sync
from vsr_plugin.media.folder_writer import check_folder_output, png_path, write_png
from vsr_plugin.media.frame import Frame
from vsr_plugin.media.segmented import Segment, SegmentedOutput, SegmentWriter
from vsr_plugin.media.source import FrameSource


class PNGSegments(SegmentedOutput):
    """Images in the working folder, moved at the end."""

    def __init__(
        self, path: Path, source: FrameSource, folder: Path, *, size: tuple[int, int], overwrite: bool
    ) -> None:
        super().__init__(path, source, folder, size=size, overwrite=overwrite)
        self.notes.extend(check_folder_output(source))
        self.images = folder / "images"

    def prepare(self) -> None:
        self._partial()

    def _partial(self) -> PartialFolder:
        # A run that was killed while it moved its files goes on with that.
        overwrite = self._overwrite or self._mark.exists()
        return PartialFolder(self.path, overwrite=overwrite, path=self.images)

    def open_segment(self, first: int, start: int | None) -> SegmentWriter:
        return _PNGSegment(self, self._source, first)

    def finish(self, segments: list[Segment]) -> None:
        try:
            partial = self._partial()
            self._mark.touch()
            others = partial.commit()
        except OSError as error:
            raise self.failed(sum(segment.frames for segment in segments), error) from error
        for segment in segments:
            for line in segment.notes:
                self._note(line)
        if others:
            self._note(f"{self.path}: {others} files that were there before are left as they were")

    def is_finished(self) -> bool:
        return self._mark.exists() and not self.images.exists()


class _PNGSegment(SegmentWriter):
    def __init__(self, output: PNGSegments, source: FrameSource, first: int) -> None:
        super().__init__(output, first)
        self._source, self._images = source, output.images
        self._written: list[Path] = []

    def _write(self, frame: Frame, index: int) -> None:
        self._written.append(png_path(frame, self._images, index))
        for line in write_png(frame, self._source, self._images, index):
            if line not in self.segment.notes:
                self.segment.notes.append(line)

    def _commit(self) -> None:
        # Every file is written in one go and written again with the same content if the segment is.
        for path in self._written:
            sync(path)

    def discard(self) -> None:
        pass
