"""What follows from a source, a target and an encoding before the first frame: units, formats, tags."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
from av.codec.context import Flags

from vsr_plugin.media.colour import output_colour
from vsr_plugin.media.encoding import NO_COLOUR_TAGS, Encoding, choose_pix_fmt, encoder_options, find_codec
from vsr_plugin.media.images.image_folder import ImageFolderSource
from vsr_plugin.media.source import FrameSource, Notes
from vsr_plugin.media.video_reader import VideoSource

#: FFmpeg's names of the containers that can be written.
MUXERS = {
    ".mp4": "mp4",
    ".m4v": "mp4",
    ".mov": "mov",
    ".mkv": "matroska",
    ".webm": "webm",
    ".avi": "avi",
}
_DEFAULT_RATE = Fraction(25)
_MOVIE_CLOCK = 48000
# Codecs whose streams hold the shape of a pixel; that of others stands in the container alone, and PyAV writes it into
# those of the MP4 family only.
_HOLD_PIXEL_SHAPE = ("h264", "hevc", "mpeg4", "mjpeg")
# Ticks a second of the finest clock of a stream in MP4.
_FINEST_CLOCK = 1_000_000


class VideoLayout:
    """Every decision about a video output; equal arguments give equal layouts in any process.

    Attributes:
        target: The output file.
        source: Where the frames come from.
        size: Rows and columns of the frames, before any turn.
        whole: All frames of the source will come: timestamps and audio stay as they are.
            Otherwise both are moved so that the first frame is at zero.
        from_first_frame: The first frame is at zero, and sound before it is left out. AVI has no other way.
        has_edit_lists: The container can hold sound that is not played.
        muxer: FFmpeg's name of the container.
        codec: FFmpeg's name of the encoder.
        pix_fmt: Pixel format to encode in.
        colour: How the output's samples are described.
        bake: Frames are turned upright, because the container cannot say that they should be.
        height: Rows of the encoded picture (turned, if ``bake``).
        width: Columns of the encoded picture.
        rate: Frames per second.
        unit: Unit of the output's timestamps in seconds.
        source_unit: Unit of the frames' ``pts`` and ``duration`` in seconds.
        longest_gap: The most that one frame may come after another, in ``unit``; ``None`` if there is no limit.
        has_slots: Timestamps are numbers of slots for one frame each, so frames that come too fast take the next ones.
        notes: Lines worth telling a person.
    """

    def __init__(
        self, target: Path, source: FrameSource, *, size: tuple[int, int], whole: bool, encoding: Encoding
    ) -> None:
        """Raises ``MediaError`` if codec, pixel format, quality or size do not go together."""
        self.target, self.source, self.size, self.whole = target, source, size, whole
        self.notes = Notes()
        self.muxer = MUXERS[target.suffix.lower()]
        self.from_first_frame = not whole or self.muxer == "avi"
        self.has_edit_lists = self.muxer in ("mp4", "mov")
        # FFmpeg fills up no more places of AVI with empty packets; and MP4 keeps durations in 31 bits.
        self.longest_gap = {"avi": 60_000, "mp4": (1 << 31) - 1, "mov": (1 << 31) - 1}.get(self.muxer)
        self.codec = find_codec(encoding.codec).name
        self._options = encoder_options(self.codec, encoding)
        self.bake = self._must_bake()
        self._set_timing(encoding)
        self.height, self.width = size
        if self.bake:
            self.height, self.width = source.orientation.size(self.height, self.width)
        self.pix_fmt, notes = choose_pix_fmt(
            find_codec(self.codec), encoding.pix_fmt, source.bit_depth, self.height, self.width
        )
        self.notes.add(*notes)
        self.colour = output_colour(source.colour, self.pix_fmt)
        if self.codec in NO_COLOUR_TAGS:
            self.notes.add(f"{self.codec} cannot say which colour matrix it uses; players guess it from the size")
        is_held = self.has_edit_lists or find_codec(self.codec).canonical_name in _HOLD_PIXEL_SHAPE
        if source.sample_aspect_ratio not in (None, 1) and not is_held:
            self.notes.add(
                f"the shape of pixels ({source.sample_aspect_ratio}) is not carried into a {target.suffix} file with "
                f"{self.codec}; choose .mp4{'' if self.muxer == 'webm' else ' or libx264'}"
            )

    def _must_bake(self) -> bool:
        orientation = self.source.orientation
        if orientation.is_upright:
            return False
        carried = hasattr(av.VideoStream, "set_display_matrix") and (
            self.muxer in ("mp4", "mov")
            # Matroska stores an angle, which no mirror image has.
            or (self.muxer in ("matroska", "webm") and not orientation.mirrors)
        )
        if not carried:
            self.notes.add("the frames are turned upright, because the output cannot carry the video's rotation")
        return not carried

    def _set_timing(self, encoding: Encoding) -> None:
        source = self.source
        self._frame_ticks: int | None = None
        self.has_slots = False
        if isinstance(source, ImageFolderSource):
            self.rate = _DEFAULT_RATE
            if encoding.frame_rate is None:
                self.notes.add(f"images have no frame rate; {_DEFAULT_RATE} frames per second are used")
            else:
                # So that 23.976023976 is 24000/1001, and both parts fit into 32 bits.
                self.rate = Fraction(encoding.frame_rate).limit_denominator(10_000)
            self.unit = self.source_unit = 1 / self.rate
            self._reorder = True
            return
        if encoding.frame_rate is not None and source.has_own_rate:
            self.notes.add("the frame rate is the video's own; the one asked for is for images")
        self.rate = source.average_rate
        self.unit = self.source_unit = source.time_base
        self._reorder = source.constant_rate
        if self.muxer == "avi":
            # AVI counts frames; any finer unit would be filled up with empty ones.
            self.rate = source.grid_rate
            self.unit, self._frame_ticks = 1 / self.rate, 1
            self.has_slots = True
            if not source.constant_rate:
                self.notes.add(f"AVI has no variable frame rate; frames are put on a grid of {self.rate} per second")
        elif self.muxer in ("matroska", "webm"):
            if not self._is_in_milliseconds():
                self.notes.add(f"{self.target.suffix} stores timestamps in milliseconds; they are rounded to that")
        elif source.constant_rate and (1 / (self.rate * self.unit)).denominator != 1:
            # A constant rate whose timestamps were rounded, as Matroska does: a unit in which the
            # rate is exact keeps it exact.
            self.unit, self._frame_ticks = Fraction(1, self.rate.numerator), self.rate.denominator
        if self.has_edit_lists and self.unit.denominator > _FINEST_CLOCK:
            # In the source's nanoseconds, say, MP4 could not show a frame for longer than two seconds.
            self.unit, self._frame_ticks, self.has_slots = Fraction(1, _FINEST_CLOCK), None, True

    def _is_in_milliseconds(self) -> bool:
        source = self.source
        step = 1 / source.average_rate if source.constant_rate else source.time_base
        return (step * 1000).denominator == 1

    def muxer_options(self) -> dict[str, str]:
        """Return the container's options."""
        if not self.has_edit_lists:
            return {"avoid_negative_ts": "disabled"}
        ticks = self.unit.denominator
        # The file's own clock, 1000 by default, limits how exact the length of a stream is.
        options = {"movie_timescale": str(ticks * -(-_MOVIE_CLOCK // ticks))}
        if isinstance(self.source, VideoSource):
            # Keeps the unit of timestamps, which the muxer would otherwise double up to 10000.
            options["video_track_timescale"] = str(ticks)
        return options

    def encoder_options(self) -> dict[str, str]:
        """Return the encoder's options."""
        return dict(self._options)

    def configure(self, context: av.VideoCodecContext) -> None:
        """Set up an encoder that is not open yet."""
        context.width, context.height, context.pix_fmt = self.width, self.height, self.pix_fmt
        context.time_base = self.unit
        context.flags |= Flags.frame_duration
        if not self._reorder or self.muxer == "avi":
            # With reordered frames the container's sample durations, and so the length of the
            # stream, are only right when all durations are equal.
            context.max_b_frames = 0
        ratio = self.source.sample_aspect_ratio
        if ratio is not None:
            turned = self.bake and self.source.orientation.transpose
            context.sample_aspect_ratio = 1 / ratio if turned else ratio
        context.colorspace, context.color_range = self.colour.matrix, self.colour.range
        context.color_primaries, context.color_trc = self.colour.primaries, self.colour.transfer

    def new_encoder(self, *, global_header: bool) -> av.VideoCodecContext:
        """Return an encoder outside any container, set up like the one inside.

        Args:
            global_header: As the flag of the stream in the container says; parameter sets are
                then left out of the packets.
        """
        context = av.CodecContext.create(self.codec, "w")
        # What a stream added to a container starts with; a bare encoder starts at 200 kbit/s.
        context.bit_rate, context.bit_rate_tolerance = 0, 128000
        context.framerate = self.rate
        context.options = self.encoder_options()
        self.configure(context)
        if global_header:
            context.flags |= Flags.global_header
        return context

    def offset(self, first_pts: int | None) -> int:
        """Return what to take off all timestamps, in ``source_unit``, given the first one (``None``: images)."""
        return first_pts if self.from_first_frame and first_pts is not None else 0

    def after(self, last: int | None, time: int) -> int:
        """Return the timestamp for a frame due at ``time`` when the frame before has the timestamp ``last``."""
        return time if last is None or not self.has_slots else max(time, last + 1)

    def in_units(self, ticks: int) -> int:
        """Return a source timestamp in ``unit``, on the grid of frames if there is one."""
        if self._frame_ticks is None:
            return round(ticks * (self.source_unit / self.unit))
        return round(ticks * self.source_unit * self.rate) * self._frame_ticks
