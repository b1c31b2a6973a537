"""Frames of a video file."""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import chain
from pathlib import Path

import av
import numpy as np
from av.codec.context import Flags
from av.error import FFmpegError
from av.video.frame import PictureType

from vsr_plugin.errors import MediaError
from vsr_plugin.media.clock import Clock, PictureTimes, file_start, has_clock, known_rate, survey_timing
from vsr_plugin.media.colour import ToRGB, describe
from vsr_plugin.media.deinterlacing import DEINTERLACE, whole_frames
from vsr_plugin.media.display import Orientation, read_cropping
from vsr_plugin.media.quantiser import step_of_video
from vsr_plugin.media.source import Entry, Frame, FrameSource, Notes
from vsr_plugin.media.video_file import (
    display_matrix,
    is_attached_picture,
    matroska_end,
    open_input,
    pick_video_stream,
    read_orientation,
    reason,
)

_DEFAULT_RATE = Fraction(25)
# Places of a grid for each frame, at most; the others are filled up with empty packets.
_FINEST_GRID = 4
# Seconds before a moment at which a video is sought for it: broadcasts have no index, and one may land in them behind
# the key frame.
STEPS_BACK = (0, 1, 5, 20)


@dataclass
class _Tally:
    """What happened while one pass decoded: counts of packets, of pictures in the file, and of frames made of them."""

    faults: int = 0
    discarded: int = 0
    corrupt: int = 0
    pictures: int = 0
    frames: int = 0
    filtered: bool = False
    jumps: int = 0
    last_fault: str = ""

    @property
    def is_clean(self) -> bool:
        """Whether every packet so far has become one frame, so that frames can be counted from any of them."""
        return not (self.faults or self.discarded or self.corrupt or self.filtered or self.jumps)


class VideoSource(FrameSource):
    """A video file; see :class:`FrameSource` for the common attributes.

    Attributes:
        stream_index: Number of the stream that is read.
        start: The second of the file's own clock that is 0 here, for picture, sound and all.
        first_time: When the first frame is shown, in seconds from there.
        display_matrix: The container's display matrix, nine integers, or ``None``.
        num_attachments: Files that are attached, fonts of the subtitles mostly.
        metadata: The container's tags (title, artist, ...).
        stream_tags: Language and title of the stream.
        grid_rate: Frames per second that hold all frames at their times, as far as FFmpeg can tell.
    """

    kind = "video"

    def __init__(
        self,
        path: Path,
        *,
        assume_matrix: str | None = None,
        deinterlace: str = "auto",
        frame_rate: Fraction | None = None,
    ) -> None:
        """Read the header and decode one frame; ``frame_rate`` is for files without timestamps.

        Raises:
            MediaError: the file is no video or nothing in it decodes.
        """
        super().__init__(path)
        self._patched = False
        self._begin: Entry | None = None
        with open_input(path) as container:
            picture = pick_video_stream(container, path)
            self.stream_index, unit = picture.index, picture.time_base
            self.start = file_start(container, picture)
        tally = _Tally()
        first = self._first(tally)
        if first is None:
            # A part of a video without the picture that all others build on: what decodes of it is a patchwork.
            self._patched = True
            first = self._first(_Tally())
        if first is None:
            why = f" ({tally.last_fault})" if tally.last_fault else ""
            raise MediaError(
                f"{path}: no frame of the video decodes{why}; the file is damaged or cut off, get a whole copy"
            )
        # Where the file says otherwise than its pictures do, none of these is before the beginning.
        first_time = Fraction(0) if first.pts is None else first.pts * unit
        self.first_time, self.start = max(first_time, Fraction(0)), self.start + min(first_time, Fraction(0))
        with open_input(path) as container:
            self._read_stream(container, container.streams[self.stream_index], frame_rate)
        self._read_frame(first, assume_matrix)
        self._choose_fields(first, deinterlace)

    @functools.cached_property
    def quantiser_step(self) -> float | None:
        """See :meth:`FrameSource.quantiser_step`."""
        return step_of_video(self.path, self.stream_index)

    def _first(self, tally: _Tally) -> av.VideoFrame | None:
        with closing(self._decoded(tally)) as pictures:
            return next(pictures, None)

    def _read_stream(
        self, container: av.container.InputContainer, stream: av.VideoStream, frame_rate: Fraction | None
    ) -> None:
        self.has_own_rate = has_clock(container)
        index = list(stream.index_entries)
        # Of what an edit list leaves out from a key frame on, nothing is in the index; and AVI counts empty packets,
        # by which it shows a frame once more, as frames. The index of a cut-off AVI is lost.
        self._listed = (len(index) if len(index) > 1 else stream.frames) if stream.frames else None
        # An edit list cuts frames off that are in the file and listed.
        self.num_frames = self._listed and (self._listed - sum(entry.is_discard for entry in index) or None)
        size = self.path.stat().st_size
        self._all_there = len(index) == self._listed and all(entry.pos + entry.size <= size for entry in index)
        self.time_base = Fraction(stream.time_base)
        rate = known_rate(container, stream)
        if not self.has_own_rate and frame_rate is not None:
            rate = Fraction(frame_rate).limit_denominator(10_000)
        if rate is None:
            way = "" if self.has_own_rate else " (--fps says another)"
            self.notes.add(f"the video declares no frame rate; {_DEFAULT_RATE} frames per second are assumed{way}")
        self.average_rate = rate or _DEFAULT_RATE
        self.constant_rate, self._counted = survey_timing(self.path, stream, self.average_rate)
        guessed = stream.guessed_rate
        finer = not self.constant_rate and guessed and 1 < guessed / self.average_rate <= _FINEST_GRID
        self.grid_rate = Fraction(guessed) if finer else self.average_rate
        if not self.has_own_rate:
            self.time_base = Fraction(1, self.average_rate.numerator)
        self.sample_aspect_ratio = stream.sample_aspect_ratio or None
        self._duration = stream.duration
        seconds = None
        if stream.duration:
            seconds = stream.duration * self.time_base
        elif container.duration:
            seconds = Fraction(container.duration, av.time_base)
        self._seconds = seconds
        # Of VP8 and VP9 in WebM it is no part of the picture, and not decoded.
        self._has_alpha_beside = stream.metadata.get("alpha_mode") == "1"
        self.stream_tags = {k: v for k, v in stream.metadata.items() if k in ("language", "title")}
        declared_end = matroska_end(stream)
        self._declared_end = None if declared_end is None else declared_end - self.start
        self.codec = stream.codec_context.codec.canonical_name  # of AV1 the name would be its decoder's
        bits = stream.bit_rate * seconds if stream.bit_rate and seconds else 8 * size
        pixels = stream.codec_context.width * stream.codec_context.height
        frames = self.num_frames or (seconds and round(seconds * self.average_rate))
        self.bits_per_pixel = float(bits) / (frames * pixels) if frames and pixels else None
        self.metadata = dict(container.metadata)
        self.audio_indices = tuple(s.index for s in container.streams.audio)
        self.has_subtitles = bool(container.streams.subtitles)
        pixels_of = stream.codec_context.height, stream.codec_context.width
        number = [s.index for s in container.streams.video if not is_attached_picture(s)].index(stream.index)
        self._cropping = read_cropping(self.path, container.format.name, number, pixels_of)
        self.num_attachments = sum(s.type == "attachment" for s in container.streams)
        has_chapters = hasattr(container, "chapters") and bool(container.chapters())
        others = [
            s.type
            for s in container.streams
            if s.index != stream.index
            and s.type not in ("audio", "subtitle", "attachment")
            and not is_attached_picture(s)
            # In MP4 the chapters' names are a track of their own.
            and not (has_chapters and s.type == "data" and s.name == "bin_data")
        ]
        if others:
            kinds = ", ".join(f"{others.count(kind)} {kind}" for kind in sorted(set(others)))
            self.notes.add(f"further streams are not copied: {kinds}")
        if any(is_attached_picture(s) for s in container.streams.video):
            self.notes.add("the cover picture is not copied")

    def _read_frame(self, first: av.VideoFrame, assume_matrix: str | None) -> None:
        self._stored_size = first.height, first.width
        self._shown = self._cropping.slices(*self._stored_size)
        self.height, self.width = (side.stop - side.start for side in self._shown)
        if any(self._cropping):
            self.notes.add(
                f"of the picture, {first.width}x{first.height}, {self.width}x{self.height} are shown, as the file says"
            )
        components = first.format.components
        self.bit_depth = 8 if first.format.has_palette else max(c.bits for c in components)
        self.colour, notes = describe(first, assume_matrix)
        self.notes.add(*notes)
        if any(c.is_alpha for c in components) or self._has_alpha_beside:
            self.notes.add("the video has an alpha channel; it is dropped")
        self.display_matrix = display_matrix(first)
        orientation = read_orientation(self.display_matrix)
        if orientation is None:
            self.notes.add("the video asks to be shown at an angle that is no quarter turn; it is left as it is")
            self.display_matrix, orientation = None, Orientation()
        self.orientation = orientation

    def _choose_fields(self, first: av.VideoFrame, deinterlace: str) -> None:
        """Decide whether frames are deinterlaced, and count in those that come of it."""
        interlaced = bool(first.interlaced_frame)
        self._deinterlace, way = deinterlace, DEINTERLACE[deinterlace]
        if way.filters and (interlaced or deinterlace != "auto"):
            said = "is interlaced" if interlaced else "does not say that it is interlaced"
            self.notes.add(f"the video {said}; whole frames are made of {way.made_of} (--deinterlace {deinterlace})")
        elif interlaced:
            self.notes.add("the video is interlaced; its frames are treated as progressive (--deinterlace off)")
        self._picture_rate = self.average_rate
        if way.ratio < 1 and not self.constant_rate:
            raise MediaError(
                f"{self.path}: its frames follow at changing distances, so it holds no film in a fixed pattern; "
                "use --deinterlace auto or on"
            )
        self.average_rate, self.grid_rate = self.average_rate * way.ratio, self.grid_rate * way.ratio
        # In a unit in which frames are as far apart as pictures were in the old one, or a multiple.
        finer = way.ratio.numerator
        self.time_base, self._duration = self.time_base / finer, self._duration and finer * self._duration
        if way.ratio.denominator > 1:
            self._counted, self.num_frames = self.num_frames or self._counted, None
        self.num_frames, self._counted = (
            count and math.ceil(count * way.ratio) for count in (self.num_frames, self._counted)
        )

    @property
    def num_frames_exact(self) -> int | None:
        """``num_frames`` if the file has an index and all that it lists, else ``None``."""
        return self.num_frames if self._all_there else None

    @property
    def num_frames_estimate(self) -> int | None:
        """``num_frames``, else the packets counted, else duration times rate, else ``None``."""
        known = self.num_frames or self._counted
        if known is not None or self._seconds is None:
            return known
        return max(1, round(self._seconds * self.average_rate))

    def frames(self, start: int = 0, num_frames: int | None = None, entry: Entry | None = None) -> Iterator[Frame]:
        """Decode frames in order of presentation; see :meth:`FrameSource.frames`.

        Every frame has ``pts`` and ``duration`` in units of ``time_base``. A duration is the
        distance to the next frame, because containers list it in another order where frames are
        reordered; the last one comes from the length of the stream. Memory: two frames.
        """
        self._check_range(start, num_frames)
        stop = None if num_frames is None else start + num_frames
        if entry is not None and not 0 <= entry.number <= start:
            raise ValueError(f"entry must be at most at frame {start}, got {entry}")
        entry = entry or self._begin
        tally = _Tally(filtered=self._deinterlace not in ("auto", "off"))
        to_rgb = ToRGB(self.colour, self.bit_depth)
        timestamps = _Timestamps(self)
        pending: Frame | None = None
        found = self._decoded(tally) if entry is None else self._decoded_from(tally, timestamps, entry)
        with closing(found) as decoded:
            entry = None
            pictures = self._check_sizes(decoded)
            if self._deinterlace == "auto":
                pictures = self._whole_from_first_interlaced(pictures, tally)
            elif self._deinterlace != "off":
                pictures = whole_frames(pictures, self._deinterlace, self.path, self._picture_rate)
            for picture in pictures:
                pts = timestamps.next(picture)
                number = tally.frames
                if not (tally.is_clean and timestamps.are_real):
                    entry = None
                elif picture.key_frame and picture.pict_type == PictureType.I:
                    entry = Entry(number, pts, timestamps.first)
                tally.frames += 1
                if pending is not None:
                    yield replace(pending, duration=pts - pending.pts)
                    pending = None
                if stop is not None and number >= stop:
                    return
                if number >= start:
                    rgb = np.ascontiguousarray(to_rgb(picture)[self._shown])
                    pending = Frame(rgb, pts=pts, duration=timestamps.duration(picture), entry=entry)
            self._report(tally, timestamps, pending)
            if pending is not None:
                whole = tally.pictures == self._listed
                yield replace(pending, duration=timestamps.last_duration(pending, whole))
            if tally.frames <= start:
                raise self._too_short(start, tally.frames)
            if stop is not None and tally.frames < stop:
                self.notes.add(f"{tally.frames - start} frames from {start} on exist, {num_frames} were asked for")

    def entered_at(self, seconds: float) -> VideoSource:
        """See :meth:`FrameSource.entered_at`: the same video from the last key frame up to a moment on."""
        entered = copy.copy(self)  # `whole` of which stays what it is
        entered.notes = Notes()  # what a whole pass finds is not known from a part
        for earlier in STEPS_BACK:
            begin = self._key_frame_at(max(Fraction(seconds) - earlier, Fraction(0)))
            if begin is not None and begin[1] <= seconds:
                pts, entered.first_time = begin
                entered._begin = Entry(0, pts, pts)
                entered.num_frames = entered._listed = entered._counted = None
                entered._seconds = self._seconds and max(self._seconds - begin[1], 1 / self.average_rate)
                break
        return entered

    def _key_frame_at(self, seconds: Fraction) -> tuple[int, Fraction] | None:
        """Timestamp and time of the first key frame that decodes where a moment is sought; ``None`` if none does."""
        with open_input(self.path) as container:
            stream = self._open_decoder(container)
            with suppress(FFmpegError):  # some files cannot be sought in
                container.seek(round((seconds + self.start) / stream.time_base), stream=stream)
                with closing(_decode(container, stream, _Tally(), self.start)) as pictures:
                    for picture in pictures:
                        if picture.key_frame and picture.pict_type == PictureType.I and picture.pts is not None:
                            return picture.pts, picture.pts * stream.time_base
        return None

    def _decoded(self, tally: _Tally) -> Iterator[av.VideoFrame]:
        """Yield what decodes from the beginning on."""
        with open_input(self.path) as container:
            yield from _decode(container, self._open_decoder(container), tally, self.start)

    def _open_decoder(self, container: av.container.InputContainer) -> av.VideoStream:
        stream = container.streams[self.stream_index]
        stream.thread_type = "AUTO"
        if self._patched:
            stream.codec_context.flags |= int(Flags.output_corrupt)
        return stream

    def _decoded_from(self, tally: _Tally, timestamps: _Timestamps, entry: Entry) -> Iterator[av.VideoFrame]:
        """Yield what decodes from ``entry`` on, from the beginning where it is not found."""
        for earlier in STEPS_BACK:
            with open_input(self.path) as container:
                stream = self._open_decoder(container)
                pictures = _decode(container, stream, tally, self.start)
                first = None
                with suppress(FFmpegError):  # some files cannot be sought in
                    self.seek(container, stream, entry, earlier)
                    # Where a group of pictures is open, some that belong before its key frame come first, and damaged.
                    first = next(
                        (picture for picture in pictures if picture.pts is not None and picture.pts >= entry.pts), None
                    )
                if first is not None and first.pts == entry.pts and first.key_frame:
                    tally.faults = tally.discarded = tally.corrupt = 0
                    tally.frames, tally.pictures = entry.number, entry.number + 1
                    timestamps.first = entry.first_pts
                    yield first
                    yield from pictures
                    return
        tally.faults = tally.discarded = tally.corrupt = tally.pictures = 0
        yield from self._decoded(tally)

    def seek(
        self, container: av.container.InputContainer, stream: av.VideoStream, entry: Entry, earlier: float
    ) -> None:
        """Go to ``entry``, or where a file says so many seconds before it.

        Raises:
            FFmpegError: the file cannot be sought in.
        """
        sought = entry.pts * stream.time_base + self.start - earlier
        container.seek(round(sought / stream.time_base), stream=stream)

    def _whole_from_first_interlaced(self, pictures: Iterator[av.VideoFrame], tally: _Tally) -> Iterator[av.VideoFrame]:
        """Pass pictures on as they are, until one says that it is interlaced."""
        for number, picture in enumerate(pictures):
            if picture.interlaced_frame:
                tally.filtered = True
                if number:
                    self.notes.add(
                        f"frames from {number} on are interlaced; whole frames are made of them (--deinterlace auto)"
                    )
                yield from whole_frames(chain([picture], pictures), "auto", self.path, self._picture_rate)
                return
            yield picture

    def _check_sizes(self, pictures: Iterator[av.VideoFrame]) -> Iterator[av.VideoFrame]:
        for number, picture in enumerate(pictures):
            if (picture.height, picture.width) != self._stored_size:
                height, width = self._stored_size
                raise MediaError(
                    f"{self.path}: frame {number} is {picture.width}x{picture.height}, the frames before are "
                    f"{width}x{height}; split the video where its size changes"
                )
            yield picture

    def _report(self, tally: _Tally, timestamps: _Timestamps, last: Frame | None) -> None:
        expected = None if self._listed is None else self._listed - tally.discarded
        if expected is not None and tally.pictures < expected:
            self.notes.add(
                f"the video is cut off or damaged: {tally.pictures} of {expected} frames decode, those are used"
            )
        elif expected is None and last is not None and self._is_cut_off(last):
            self.notes.add(
                f"the video is cut off: it declares {float(self._declared_end):.2f} s, frames decode up to "
                f"{float(last.pts * self.time_base):.2f} s; the {tally.frames} frames that do are used"
            )
        elif tally.faults:
            self.notes.add(
                f"the video is damaged: {tally.faults} packets do not decode ({tally.last_fault}); "
                f"the {tally.frames} frames that do are used"
            )
        if tally.corrupt:
            self.notes.add(f"{tally.corrupt} frames are damaged and shown as the decoder patched them")
        if tally.jumps:
            times = "once" if tally.jumps == 1 else f"{tally.jumps} times"
            self.notes.add(f"the clock of the video jumps {times}; picture and sound go on there without a gap")
        if timestamps.missing:
            self.notes.add(
                f"{timestamps.missing} frames have no timestamp; it is made from {self.average_rate} frames per second"
            )
        if timestamps.disordered:
            self.notes.add(f"{timestamps.disordered} frames have a timestamp out of order; it is replaced")

    def _is_cut_off(self, last: Frame) -> bool:
        """Whether the declared end is more than two frames after the start of the last one."""
        return self._declared_end is not None and self._declared_end - last.pts * self.time_base > 2 / self.average_rate


class _Timestamps:
    """Gives every frame a timestamp that is later than the one before."""

    def __init__(self, source: VideoSource) -> None:
        self._source = source
        self._step = 1 / (source.average_rate * source.time_base)
        self.first: int | None = None
        self._anchor, self._since_anchor = Fraction(0), Fraction(0)
        self._last: int | None = None
        self.missing = 0
        self.disordered = 0

    def next(self, picture: av.VideoFrame) -> int:
        """Return the timestamp of the next frame in units of the source's time base."""
        pts = self._in_units(picture.pts, picture)
        if pts is not None and (self._last is None or pts > self._last):
            self._anchor, self._since_anchor = Fraction(pts), Fraction(0)
        else:
            if pts is None:
                self.missing += 1
            else:
                self.disordered += 1
            # Counted from the last real timestamp, so that rounding does not add up. Half a frame after it, so that
            # the next one can have its own time, if this one's is the same as that of the frame before.
            if self._last is not None:
                self._since_anchor += 1 if self._since_anchor or pts is None else Fraction(1, 2)
            made = round(self._anchor + self._since_anchor * self._step)
            pts = made if self._last is None else max(made, self._last + 1)
        if self.first is None:
            self.first = pts
        self._last = pts
        return pts

    @property
    def are_real(self) -> bool:
        """Whether every timestamp so far was the file's own."""
        return not (self.missing or self.disordered)

    def duration(self, picture: av.VideoFrame) -> int | None:
        """Return how long the picture says that it is shown, in units of the source's time base."""
        return self._in_units(picture.duration or None, picture)

    def _in_units(self, ticks: int | None, picture: av.VideoFrame) -> int | None:
        if ticks is not None and picture.time_base and Fraction(picture.time_base) != self._source.time_base:
            return round(ticks * Fraction(picture.time_base) / self._source.time_base)
        return ticks

    def last_duration(self, frame: Frame, whole: bool) -> int:
        """Return how long the last frame is shown; ``whole`` when all listed frames decoded."""
        total = self._source._duration
        if whole and total and self.first is not None:
            rest = total - (frame.pts - self.first)
            if rest > 0:
                return rest
        return frame.duration or max(1, round(self._step))


def _decode(
    container: av.container.InputContainer, stream: av.VideoStream, tally: _Tally, start: Fraction
) -> Iterator[av.VideoFrame]:
    """Yield what decodes of ``stream``, counting in ``tally`` what does not."""
    clock, times = Clock(container, stream, start), PictureTimes(container)
    packets = clock.packets([stream])
    while True:
        try:
            packet = next(packets, None)
        except FFmpegError as error:
            # Reading stops here, but the decoder still holds frames that it has read.
            tally.faults, tally.last_fault = tally.faults + 1, reason(error)
            packet = None
        tally.jumps = clock.jumps
        try:
            if packet is not None:
                times.sent(packet)
            pictures = stream.decode(packet)
        except EOFError:
            # The demuxer has flushed the decoder already.
            return
        except FFmpegError as error:
            tally.faults, tally.last_fault = tally.faults + 1, reason(error)
            pictures = []
            if packet is not None:
                times.lost(packet)
        if packet is not None:
            tally.discarded += bool(packet.size and packet.is_discard)
        for picture in pictures:
            tally.corrupt += bool(picture.is_corrupt)
            tally.pictures += 1
            picture.pts = times.of(picture)
            if picture.time_base is None:  # as that of one that comes out of the decoder at the very end
                picture.time_base = stream.time_base
            yield picture
        if packet is None:
            return
