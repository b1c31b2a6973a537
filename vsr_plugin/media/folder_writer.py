"""Frames into a folder of PNG files."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np

from vsr_plugin.errors import MediaError
from vsr_plugin.files import PartialFolder
from vsr_plugin.media.frame import Frame
from vsr_plugin.media.image_file import encode_png
from vsr_plugin.media.image_folder import ImageFolderSource
from vsr_plugin.media.sink import FrameSink
from vsr_plugin.media.source import FrameSource


def check_folder_output(source: FrameSource) -> list[str]:
    """Return notes on what PNG files cannot say of the source.

    Raises:
        MediaError: two images share a stem.
    """
    notes = []
    if isinstance(source, ImageFolderSource):
        seen: dict[str, str] = {}
        for file in source.files:
            if file.stem in seen:
                raise MediaError(
                    f"{source.path}: {seen[file.stem]} and {file.name} would both become {file.stem}.png; "
                    "rename one of them"
                )
            seen[file.stem] = file.name
    if not source.orientation.is_upright:
        notes.append("the frames are turned upright, as the video asks to be shown")
    ratio = source.sample_aspect_ratio
    if ratio not in (None, 1):
        notes.append(
            f"the video's pixels are not square ({ratio.numerator}:{ratio.denominator}); "
            "the images keep them as they are"
        )
    return notes


def png_path(frame: Frame, folder: Path, index: int) -> Path:
    """Return where a frame is written: under its source's stem, or ``index`` for a video."""
    return folder / f"{frame.name if frame.name is not None else f'{index:08d}'}.png"


def write_png(frame: Frame, source: FrameSource, folder: Path, index: int) -> list[str]:
    """Write an upscaled frame upright under its :func:`png_path`; return notes.

    Raises:
        OSError: the disk is full.
    """
    notes = []
    turn = source.orientation.apply
    alpha = None if frame.alpha is None else np.ascontiguousarray(turn(frame.alpha))
    upright = replace(frame, rgb=np.ascontiguousarray(turn(frame.rgb)), alpha=alpha)
    if frame.grey and alpha is not None and frame.rgb.dtype == np.uint16:
        notes.append("16-bit grey images with transparency are written as RGBA")
    png_path(frame, folder, index).write_bytes(encode_png(upright))
    return notes


class PNGFolderSink(FrameSink):
    """Writes ``00000000.png`` and so on for a video, the source's stems for images.

    Video frames are turned upright, since an image beside others carries no display matrix.
    """

    kind = "folder"

    def __init__(self, path: Path, source: FrameSource, *, scale: int | Fraction, overwrite: bool) -> None:
        """Raises ``MediaError`` if the folder holds files already or two images share a stem."""
        super().__init__(path, source, scale)
        for line in check_folder_output(source):
            self._note(line)
        self._partial = PartialFolder(path, overwrite=overwrite)

    def _write(self, frame: Frame) -> None:
        try:
            for line in write_png(frame, self._source, self._partial.path, self.num_written):
                self._note(line)
        except OSError as error:
            raise self._failed(error) from error

    def _finish(self) -> None:
        try:
            others = self._partial.commit()
        except OSError as error:
            raise self._failed(error) from error
        if others:
            self._note(f"{self.path}: {others} files that were there before are left as they were")

    def _failed(self, error: OSError) -> MediaError:
        return MediaError(
            f"{self.path}: writing failed after {self.num_written} images ({error.strerror}); "
            "nothing is left there, free space or choose another place"
        )

    def discard(self) -> None:
        """Remove the hidden folder."""
        self._partial.discard()
