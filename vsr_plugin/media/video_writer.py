"""Frames into a video file, with the source's timing, audio, colour and orientation."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.codec.context import Flags

from vsr_plugin.errors import MediaError

from .atomic import PartialFile
from .audio_copy import AudioCopier
from .colour import Colour, FromRGB, output_colour
from .encoding import NO_COLOUR_TAGS, Encoding, choose_pix_fmt, encoder_options, find_codec
from .frame import Frame
from .image_folder import ImageFolderSource
from .orientation import scale_display_matrix
from .sink import FrameSink
from .source import FrameSource
from .video_file import MEDIA_FAULTS, file_url, open_input, reason
from .video_reader import VideoSource

_MUXERS = {
    ".mp4": "mp4",
    ".m4v": "mp4",
    ".mov": "mov",
    ".mkv": "matroska",
    ".webm": "webm",
    ".avi": "avi",
}
_DEFAULT_RATE = Fraction(25)
_MOVIE_CLOCK = 48000
# Tags that describe the file they came from rather than the film.
_CONTAINER_TAGS = {"major_brand", "minor_version", "compatible_brands", "encoder", "duration"}


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
        self._scale = scale
        self._whole = whole
        self._muxer = _MUXERS[path.suffix.lower()]
        self._audio: AudioCopier | None = None
        self._container: av.container.OutputContainer | None = None
        self._offset: int | None = None
        self._end = Fraction(0)
        codec = find_codec(encoding.codec)
        options = encoder_options(codec.name, encoding)
        self._bake = self._must_bake()
        self._set_timing(encoding)
        height, width = self._size
        if self._bake:
            height, width = source.orientation.size(height, width)
        pix_fmt, notes = choose_pix_fmt(codec, encoding.pix_fmt, source.bit_depth, height, width)
        for line in notes:
            self._note(line)
        colour = output_colour(source.colour, pix_fmt)
        if codec.name in NO_COLOUR_TAGS:
            self._note(f"{codec.name} cannot say which colour matrix it uses; players guess it from the size")
        self._to_picture = FromRGB(colour, pix_fmt)
        self._partial = PartialFile(path, overwrite=overwrite)
        try:
            self._container = av.open(
                file_url(self._partial.path), "w", format=self._muxer, container_options=self._muxer_options()
            )
            self._add_video(codec.name, options, pix_fmt, width, height)
            self._tag_colour(colour)
            if isinstance(source, VideoSource):
                self._copy_side_information(source, encoding.audio)
            elif source.has_alpha:
                self._note("a video has no transparency here; the images' alpha is dropped")
            self._container.start_encoding()
        except MediaError:
            self.discard()
            raise
        except MEDIA_FAULTS as error:
            # Some muxers list an audio codec and refuse it only when they write their header.
            audio = ", or drop the audio with --no-audio" if self._audio is not None else ""
            self.discard()
            raise MediaError(
                f"{path}: cannot be written as {codec.name} {pix_fmt} {width}x{height} in {path.suffix} "
                f"({reason(error)}); choose another codec or container such as .mkv{audio}"
            ) from error
        except BaseException:
            self.discard()
            raise

    def _must_bake(self) -> bool:
        """Whether frames are turned because the container cannot say that they should be."""
        orientation = self._source.orientation
        if orientation.is_upright:
            return False
        carried = hasattr(av.VideoStream, "set_display_matrix") and (
            self._muxer in ("mp4", "mov")
            # Matroska stores an angle, which no mirror image has.
            or (self._muxer in ("matroska", "webm") and not orientation.mirrors)
        )
        if not carried:
            self._note("the frames are turned upright, because the output cannot carry the video's rotation")
        return not carried

    def _set_timing(self, encoding: Encoding) -> None:
        source = self._source
        if isinstance(source, ImageFolderSource):
            self._rate = Fraction(encoding.frame_rate or _DEFAULT_RATE)
            if encoding.frame_rate is None:
                self._note(f"images have no frame rate; {_DEFAULT_RATE} frames per second are used")
            self._unit = self._source_unit = 1 / self._rate
            self._reorder = True
            self._frame_ticks = None
            return
        if encoding.frame_rate is not None:
            self._note("the frame rate is the video's own; the one asked for is for images")
        self._rate = source.average_rate
        self._unit = self._source_unit = source.time_base
        self._reorder = source.constant_rate
        self._frame_ticks: int | None = None
        if self._muxer == "avi":
            # AVI counts frames; any finer unit would be filled up with empty ones.
            self._unit, self._frame_ticks = 1 / self._rate, 1
            if not source.constant_rate:
                self._note(f"AVI has no variable frame rate; frames are put on a grid of {self._rate} per second")
        elif self._muxer in ("matroska", "webm"):
            if not self._is_in_milliseconds():
                self._note(f"{self.path.suffix} stores timestamps in milliseconds; they are rounded to that")
        elif source.constant_rate and (1 / (self._rate * self._unit)).denominator != 1:
            # A constant rate whose timestamps were rounded, as Matroska does: a unit in which the
            # rate is exact keeps it exact.
            self._unit, self._frame_ticks = Fraction(1, self._rate.numerator), self._rate.denominator

    def _is_in_milliseconds(self) -> bool:
        source = self._source
        step = 1 / source.average_rate if source.constant_rate else source.time_base
        return (step * 1000).denominator == 1

    def _muxer_options(self) -> dict[str, str]:
        if self._muxer not in ("mp4", "mov"):
            return {"avoid_negative_ts": "disabled"}
        ticks = self._unit.denominator
        # The file's own clock, 1000 by default, limits how exact the length of a stream is.
        options = {"movie_timescale": str(ticks * -(-_MOVIE_CLOCK // ticks))}
        if isinstance(self._source, VideoSource):
            # Keeps the unit of timestamps, which the muxer would otherwise double up to 10000.
            options["video_track_timescale"] = str(ticks)
        return options

    def _add_video(self, codec: str, options: dict[str, str], pix_fmt: str, width: int, height: int) -> None:
        try:
            stream = self._container.add_stream(codec, rate=self._rate, options=options)
        except ValueError as error:
            raise MediaError(
                f"{self.path}: a {self.path.suffix} file cannot hold {codec} video; choose another codec "
                "(libx264 for .mp4 .mov .mkv, libvpx-vp9 for .webm) or container"
            ) from error
        stream.width, stream.height, stream.pix_fmt = width, height, pix_fmt
        stream.time_base = self._unit
        context = stream.codec_context
        context.time_base = self._unit
        context.flags |= Flags.frame_duration
        if not self._reorder or self._muxer == "avi":
            # With reordered frames the container's sample durations, and so the length of the
            # stream, are only right when all durations are equal.
            context.max_b_frames = 0
        ratio = self._source.sample_aspect_ratio
        if ratio is not None:
            turned = self._bake and self._source.orientation.transpose
            context.sample_aspect_ratio = 1 / ratio if turned else ratio
        self._stream = stream

    def _tag_colour(self, colour: Colour) -> None:
        context = self._stream.codec_context
        context.colorspace, context.color_range = colour.matrix, colour.range
        context.color_primaries, context.color_trc = colour.primaries, colour.transfer

    def _copy_side_information(self, source: VideoSource, audio: bool) -> None:
        if not self._bake and source.display_matrix is not None:
            self._stream.set_display_matrix(scale_display_matrix(source.display_matrix, self._scale))
        tags = {k: v for k, v in source.metadata.items() if k not in _CONTAINER_TAGS}
        self._container.metadata.update(tags)
        if self._whole and hasattr(self._container, "set_chapters"):
            with open_input(source.path) as container:
                chapters = container.chapters()
            if chapters:
                self._container.set_chapters(chapters)
        if source.audio_indices and audio:
            self._audio = AudioCopier(source.path, self._container, self.path)
        elif source.audio_indices:
            self._note("the audio is left out as asked")

    def _write(self, frame: Frame) -> None:
        rgb = frame.rgb
        if self._bake:
            rgb = np.ascontiguousarray(self._source.orientation.apply(rgb))
        pts = self.num_written if frame.pts is None else frame.pts
        duration = frame.duration or 1
        if self._offset is None:
            self._offset = 0 if self._whole or frame.pts is None else pts
            if self._audio is not None and not self._whole:
                self._audio.trim(pts * self._source_unit)
        picture = self._to_picture(rgb)
        picture.time_base = self._unit
        picture.pts = self._in_units(pts - self._offset)
        picture.duration = max(1, self._in_units(duration))
        self._end = (pts + duration) * self._source_unit
        try:
            self._container.mux(self._stream.encode(picture))
            if self._audio is not None:
                self._audio.copy_until(pts * self._source_unit)
        except MEDIA_FAULTS as error:
            raise self._failed(error) from error

    def _in_units(self, ticks: int) -> int:
        """Return a source timestamp in the encoder's unit, on the grid of frames if there is one."""
        if self._frame_ticks is None:
            return ticks
        return round(ticks * self._source_unit * self._rate) * self._frame_ticks

    def _finish(self) -> None:
        try:
            self._container.mux(self._stream.encode(None))
            if self._audio is not None:
                self._audio.copy_until(None if self._whole else self._end)
                self.notes.extend(self._audio.notes)
            self._close()
            self._partial.commit()
        except MEDIA_FAULTS as error:
            raise self._failed(error) from error

    def _failed(self, error: BaseException) -> MediaError:
        return MediaError(
            f"{self.path}: writing failed after {self.num_written} frames ({reason(error)}); "
            "nothing is left there, free space or choose another place"
        )

    def _close(self) -> None:
        audio, container = self._audio, self._container
        self._audio = self._container = None
        try:
            if audio is not None:
                audio.close()
        finally:
            if container is not None:
                container.close()

    def discard(self) -> None:
        """Close the encoder and remove the hidden file."""
        try:
            self._close()
        except MEDIA_FAULTS:
            # The trailer of a file that is thrown away may fail for the reason that brought us here.
            pass
        finally:
            self._partial.discard()
