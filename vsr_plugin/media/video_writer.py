"""Frames into a video file in one go, with the source's timing, audio, colour and orientation."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

from vsr_plugin.errors import MediaError
from vsr_plugin.files import PartialFile
from vsr_plugin.media.encoding import Encoding
from vsr_plugin.media.frame import Frame
from vsr_plugin.media.sink import FrameSink
from vsr_plugin.media.source import FrameSource
from vsr_plugin.media.video_container import VideoContainer
from vsr_plugin.media.video_encoder import VideoEncoder
from vsr_plugin.media.video_file import MEDIA_FAULTS, reason
from vsr_plugin.media.video_layout import VideoLayout


class VideoSink(FrameSink):
    """Encodes frames and copies audio into a hidden file that gets its name at the end.

    Args:
        path: The output file.
        source: Where the frames come from.
        scale: Enlargement of the frames.
        whole: All frames of the source will come: timestamps and audio stay as they are.
            Otherwise both are moved so that the first frame is at zero.
        overwrite: Replace an existing file.
        encoding: Codec, quality, pixel format, audio, frame rate of images.

    Raises:
        MediaError: the output cannot be made as asked.
    """

    kind = "video"

    def __init__(
        self,
        path: Path,
        source: FrameSource,
        *,
        scale: int | Fraction,
        whole: bool,
        overwrite: bool,
        encoding: Encoding,
    ) -> None:
        super().__init__(path, source, scale)
        self._layout = VideoLayout(path, source, size=self._size, whole=whole, encoding=encoding)
        self._offset: int | None = None
        self._end = Fraction(0)
        self._container: VideoContainer | None = None
        self._partial = PartialFile(path, overwrite=overwrite)
        try:
            self._container = VideoContainer(self._layout, self._partial.path, audio=encoding.audio)
            self._encoder = VideoEncoder(self._layout, self._container.encoder)
        except BaseException:
            self.discard()
            raise
        for line in (*self._layout.notes, *self._container.notes):
            self._note(line)

    def _write(self, frame: Frame) -> None:
        layout, index = self._layout, self.num_written
        pts = layout.pts(frame, index)
        if self._offset is None:
            self._offset = layout.offset(frame.pts)
            self._container.begin(pts)
        self._end = (pts + (frame.duration or 1)) * layout.source_unit
        try:
            packets = self._encoder.encode(frame, index, self._offset)
            self._container.mux(packets, until=pts * layout.source_unit)
        except MEDIA_FAULTS as error:
            raise self._failed(error) from error

    def _finish(self) -> None:
        try:
            self._container.mux(self._encoder.flush(), until=self._end)
            self._container.close(self._end)
            for line in self._container.notes:
                self._note(line)
            self._partial.commit()
        except MEDIA_FAULTS as error:
            raise self._failed(error) from error

    def _failed(self, error: BaseException) -> MediaError:
        return MediaError(
            f"{self.path}: writing failed after {self.num_written} frames ({reason(error)}); "
            "nothing is left there, free space or choose another place"
        )

    def discard(self) -> None:
        """Close the encoder and remove the hidden file."""
        if self._container is not None:
            self._container.abandon()
        self._partial.discard()
