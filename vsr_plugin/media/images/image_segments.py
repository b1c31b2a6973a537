"""A folder of PNG files that is made of segments."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from vsr_plugin.errors import MediaError
from vsr_plugin.files import PartialFile, PartialFolder, sync
from vsr_plugin.media.colour import PRIMARIES_BT2020, TRANSFER_HDR, UNSPECIFIED
from vsr_plugin.media.image_file import code_points_chunk, encode_png, profile_chunk
from vsr_plugin.media.images.image_folder import ImageFolderSource
from vsr_plugin.media.segmented import Segment, SegmentedOutput, SegmentWriter
from vsr_plugin.media.source import Frame, FrameSource


class PNGSegments(SegmentedOutput):
    """``00000000.png`` and so on for a video, the source's stems for images; in the working folder until the end.

    Video frames are turned upright, since an image beside others carries no display matrix.
    """

    kind = "folder"

    def __init__(
        self, path: Path, source: FrameSource, folder: Path, *, size: tuple[int, int], overwrite: bool
    ) -> None:
        """Raises ``MediaError`` if two images share a stem."""
        super().__init__(path, source, folder, size=size, overwrite=overwrite)
        if isinstance(source, ImageFolderSource):
            _check_stems(source)
        if not source.orientation.is_upright:
            self.notes.add("the frames are turned upright, as the video asks to be shown")
        ratio = source.sample_aspect_ratio
        if ratio not in (None, 1):
            shape = f"{ratio.numerator}:{ratio.denominator}"
            self.notes.add(f"the video's pixels are not square ({shape}); the images keep them as they are")

    @property
    def images(self) -> Path:
        """Where the images are until the end."""
        return self.folder / "images"

    def prepare(self) -> None:
        self._partial()

    def _partial(self) -> PartialFolder | PartialFile:
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
            self.notes.add(*segment.notes)
        if others:
            self.notes.add(f"{self.path}: {others} files that were there before are left as they were")

    def is_finished(self) -> bool:
        return self._mark.exists() and not self.images.exists()


class PNGFile(PNGSegments):
    """One PNG file, of one image."""

    kind = "image"

    def _partial(self) -> PartialFile:
        self.images.mkdir(exist_ok=True)
        image = self.images / f"{self._source.files[0].stem}.png"
        return PartialFile(self.path, overwrite=self._overwrite or self._mark.exists(), path=image)

    def is_finished(self) -> bool:
        return self._mark.exists() and self.path.exists() and not any(self.images.glob("*.png"))


def _check_stems(source: ImageFolderSource) -> None:
    seen: dict[str, str] = {}
    for file in source.files:
        if file.stem in seen:
            raise MediaError(
                f"{source.path}: {seen[file.stem]} and {file.name} would both become {file.stem}.png; "
                "rename one of them"
            )
        seen[file.stem] = file.name


class _PNGSegment(SegmentWriter):
    def __init__(self, output: PNGSegments, source: FrameSource, first: int) -> None:
        super().__init__(output, first)
        self._turn, self._images, self._source = source.orientation.apply, output.images, source
        self._written: list[Path] = []

    def _write(self, frame: Frame, index: int) -> None:
        alpha = None if frame.alpha is None else np.ascontiguousarray(self._turn(frame.alpha))
        upright = replace(frame, rgb=np.ascontiguousarray(self._turn(frame.rgb)), alpha=alpha)
        if frame.grey and alpha is not None and frame.rgb.dtype == np.uint16:
            self.segment.notes.add("16-bit grey images with transparency are written as RGBA")
        path = self._images / f"{f'{index:08d}' if frame.name is None else frame.name}.png"
        self._written.append(path)
        path.write_bytes(encode_png(upright, _colour_chunks(self._source, frame)))

    def _commit(self) -> None:
        # Every file is written in one go and written again with the same content if the segment is.
        for path in self._written:
            sync(path)

    def discard(self) -> None:
        pass


def _colour_chunks(source: FrameSource, frame: Frame) -> list[tuple[bytes, bytes]]:
    """What says in a PNG how its values stand for colours, where that is not as everybody takes them."""
    if isinstance(source, ImageFolderSource) and (profile := source.profiles.get(frame.name)):
        return [profile_chunk(profile)]
    colour = source.colour
    hdr = colour.transfer in TRANSFER_HDR
    if not hdr and colour.primaries != PRIMARIES_BT2020:
        return []
    # What is HDR has the primaries of BT.2020 if it does not say (ITU-R BT.2100).
    primaries = PRIMARIES_BT2020 if colour.primaries == UNSPECIFIED else colour.primaries
    return [code_points_chunk(replace(colour, primaries=primaries))]
