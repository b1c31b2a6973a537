"""When packets and pictures of a file are due, counted from its start as players count.

The clock of a file may begin anywhere; that of a recorded broadcast may jump; some containers say of a picture only
when it is decoded, and files of nothing but a coded stream have no clock.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
from av.error import FFmpegError

from vsr_plugin.media.video_file import demux, is_attached_picture, open_input

# Files that were cut and joined without care declare the unit of their timestamps as their frame rate.
_IMPOSSIBLE_RATE = 1000
# FFmpeg's flags of formats: no timestamps, and timestamps that may jump.
_NO_CLOCK, _MAY_JUMP = 0x80, 0x200
# Seconds by which a packet may be late, or early, and still be of the same clock: FFmpeg's rules for broadcasts, and
# for all else, of which the timestamps are wrong beyond.
_LATE, _EARLY = 10, Fraction(1, 10)
_WRONG = 30 * 3600
# So many packets wait at most for the picture, to see whether its clock has jumped as theirs has.
_MOST_WAITING = 500
# Containers that keep one time a packet, that of decoding.
_WITH_ONE_TIME = {"avi", "asf"}


def has_clock(container: av.container.InputContainer) -> bool:
    """Whether a file says when its pictures are shown; streams without a container do not."""
    return not int(container.format.flags) & _NO_CLOCK


def has_one_time(container: av.container.InputContainer) -> bool:
    """Whether packets say only when they are decoded."""
    return container.format.name in _WITH_ONE_TIME


def _starts(container: av.container.InputContainer) -> dict[int, Fraction]:
    """The second of a file's clock at which each picture and sound begins, by stream; of those that say so."""
    return {
        stream.index: stream.start_time * stream.time_base
        for stream in container.streams
        if stream.type in ("audio", "video") and stream.start_time is not None and not is_attached_picture(stream)
    }


def _is_far(starts: dict[int, Fraction], index: int, picture: int) -> bool:
    """Whether a stream is so far from the picture that it cannot belong to it at that time."""
    return index in starts and picture in starts and abs(starts[index] - starts[picture]) > _WRONG


def file_start(container: av.container.InputContainer, picture: av.VideoStream) -> Fraction:
    """The second of a file's clock at which its first picture or sound is due; 0 if it does not say."""
    starts = _starts(container)
    near = (start for index, start in starts.items() if not _is_far(starts, index, picture.index))
    return min(near, default=Fraction(0))


@dataclass
class _Run:
    """Where a stream is: the part of the file between two jumps, and the file's time of its last packet in ticks."""

    part: int = 0
    last: int | None = None
    due: int = 0


class Clock:
    """Puts the packets of a file on one clock that starts at 0 and does not jump.

    Where the picture's clock jumps, the file goes on with another offset, for all streams: the picture without a gap,
    and sound and subtitles as far from it as they were. Streams meet a jump at different places of the file, so each
    goes over to the next offset for itself.

    Args:
        container: A file that was just opened or sought in.
        picture: The video stream that leads.
        start: The second of the file's clock that becomes 0, by default what the file says itself.

    Attributes:
        moved: By stream that is on a clock of its own, what is added to its times so that it begins with the picture.
    """

    def __init__(
        self, container: av.container.InputContainer, picture: av.VideoStream, start: Fraction | None = None
    ) -> None:
        self._container, self._picture, self._lead = container, picture, picture.index
        may_jump = int(container.format.flags) & _MAY_JUMP
        late, early = (_LATE, _EARLY) if may_jump else (_WRONG, _WRONG)
        self._offsets = [-file_start(container, picture) if start is None else -start]
        self._units = {stream.index: stream.time_base for stream in container.streams}
        # Whole ticks, since there are many packets.
        self._late = {index: int(late / unit) for index, unit in self._units.items()}
        self._early = {index: int(early / unit) for index, unit in self._units.items()}
        self._shifts: dict[tuple[int, int], int] = {}  # of a stream in a part
        starts = _starts(container)
        self.moved = {
            index: round((starts[picture.index] - start) / self._units[index])
            for index, start in starts.items()
            if _is_far(starts, index, picture.index)
        }
        self._runs = {stream.index: _Run() for stream in container.streams}
        self._timed = {stream.index for stream in container.streams if stream.type in ("audio", "video")}
        # Of pictures, packets of broadcasts do not say how long they are shown.
        rate = picture.guessed_rate or picture.average_rate
        self._step = round(1 / (rate * picture.time_base)) if rate else 0

    @property
    def jumps(self) -> int:
        """How many there were so far."""
        return len(self._offsets) - 1

    def packets(self, streams: Iterable[av.stream.Stream]) -> Iterator[av.Packet]:
        """Yield the packets of some streams in the order of the file, each stream's empty one at its end.

        Raises:
            FFmpegError: the file is damaged.
        """
        streams = list(streams)
        wanted = {stream.index for stream in streams}
        leads = [] if self._lead in wanted else [self._picture]
        waiting: list[av.Packet] = []
        for packet in demux(self._container, [*streams, *leads]):
            index = packet.stream.index
            if moved := self.moved.get(index):
                _move(packet, moved)
            if not waiting and (part := self._part(packet)) is not None:
                self._set(packet, part)
                if index in wanted:
                    yield packet
                continue
            waiting.append(packet)
            ready, waiting = self._settle(waiting, all_of_them=len(waiting) > _MOST_WAITING)
            yield from (packet for packet in ready if packet.stream.index in wanted)
        ready, _ = self._settle(waiting, all_of_them=True)
        yield from (packet for packet in ready if packet.stream.index in wanted)

    def _settle(self, waiting: list[av.Packet], *, all_of_them: bool) -> tuple[list[av.Packet], list[av.Packet]]:
        """Set the times of packets; those that have to wait for the picture come back apart."""
        ready, still, stuck = [], [], set()
        for packet in sorted(waiting, key=lambda packet: packet.stream.index != self._lead):
            index = packet.stream.index
            part = None if index in stuck else self._part(packet)
            if part is None and not all_of_them:
                stuck.add(index)
                still.append(packet)
            else:
                if part is None:
                    self._put_right(packet)
                self._set(packet, self._runs[index].part if part is None else part)
                ready.append(packet)
        return ready, still

    def _part(self, packet: av.Packet) -> int | None:
        """The part of the file that a packet belongs to; ``None`` where the picture has to tell."""
        index = packet.stream.index
        run = self._runs[index]
        if index not in self._timed:
            now = self._time(self._lead)
            return min(range(len(self._offsets)), key=lambda part: abs(self._at(packet, part) - now))
        dts = packet.dts
        if dts is None or run.last is None:
            return self._runs[self._lead].part if run.last is None else run.part
        if dts - run.due <= self._late[index] and dts >= run.last - self._early[index]:
            return run.part
        unit = self._units[index]
        if index == self._lead:
            self._offsets.append(self._time(index) - packet.dts * unit)
            return self.jumps
        due = self._time(index)
        for part in range(run.part + 1, len(self._offsets)):
            if abs(self._at(packet, part) - due) <= _LATE:
                return part
        lead = self._runs[self._lead]
        behind = lead.last is not None and packet.dts * unit - lead.last * self._units[self._lead] <= _LATE
        # Sound that was away for a while and comes back beside the picture.
        return run.part if packet.dts > run.due and behind and lead.part == run.part else None

    def _put_right(self, packet: av.Packet) -> None:
        """Let a packet whose stream's clock jumps alone begin where the one before ends."""
        run = self._runs[packet.stream.index]
        if packet.dts is not None and run.last is not None and packet.stream.index in self._timed:
            _move(packet, run.due - packet.dts)

    def _at(self, packet: av.Packet, part: int) -> Fraction:
        ticks = packet.pts if packet.dts is None else packet.dts
        return (ticks or 0) * self._units[packet.stream.index] + self._offsets[part]

    def _time(self, index: int) -> Fraction:
        """When the next packet of a stream is due."""
        run = self._runs[index]
        return run.due * self._units[index] + self._offsets[run.part]

    def _set(self, packet: av.Packet, part: int) -> None:
        index, dts = packet.stream.index, packet.dts
        run = self._runs[index]
        run.part = part
        if dts is not None:
            run.last, run.due = dts, dts + (packet.duration or (self._step if index == self._lead else 0))
        shift = self._shifts.get((index, part))
        if shift is None:
            shift = self._shifts[index, part] = round(self._offsets[part] / self._units[index])
        if shift:
            _move(packet, shift)


def _move(packet: av.Packet, ticks: int) -> None:
    """Add to the times of a packet."""
    pts, dts = packet.pts, packet.dts
    if pts is not None:
        packet.pts = pts + ticks
    if dts is not None:
        packet.dts = dts + ticks


class PictureTimes:
    """Says when decoded pictures are shown, given the packets that went into the decoder.

    Where a container keeps one time a packet, these times in order are those of the pictures in order. Elsewhere the
    picture's own time counts, and as soon as that goes back more often than the time of decoding does, the latter
    (FFmpeg's best effort).

    Args:
        container: The file.
    """

    def __init__(self, container: av.container.InputContainer) -> None:
        self._none, self._sorted = not has_clock(container), has_one_time(container)
        self._sent: list[int] = []
        self._last_pts = self._last_dts = None
        self._faulty_pts = self._faulty_dts = 0

    def sent(self, packet: av.Packet) -> None:
        """Take note of a packet before it goes into the decoder."""
        time = packet.pts if packet.dts is None else packet.dts
        if self._sorted and packet.size and time is not None:
            heapq.heappush(self._sent, time)

    def lost(self, packet: av.Packet) -> None:
        """Forget a packet that does not decode."""
        time = packet.pts if packet.dts is None else packet.dts
        if time in self._sent:
            self._sent.remove(time)
            heapq.heapify(self._sent)

    def of(self, picture: av.VideoFrame) -> int | None:
        """The time of the next picture, in its unit; ``None`` where the file does not say."""
        pts, dts = picture.pts, picture.dts
        if self._none:
            return None
        if self._sorted:
            return heapq.heappop(self._sent) if self._sent else pts
        if dts is not None:
            self._faulty_dts += self._last_dts is not None and dts <= self._last_dts
        if pts is not None:
            self._faulty_pts += self._last_pts is not None and pts <= self._last_pts
        if (pts, dts) != (None, None):
            self._last_dts = pts if dts is None else dts
            self._last_pts = dts if pts is None else pts
        own = pts is not None and (self._faulty_pts <= self._faulty_dts or dts is None)
        return pts if own else dts


def known_rate(container: av.container.InputContainer, stream: av.VideoStream) -> Fraction | None:
    """Return the average rate in frames per second, the guessed one without it, and none that cannot be one.

    Of a stream without a container, FFmpeg makes up an average; what counts is what the stream says itself. The average
    of a long video may be a fraction of so large numbers that twice of it is none that FFmpeg takes.
    """
    rates = (stream.average_rate, stream.guessed_rate) if has_clock(container) else (stream.codec_context.framerate,)
    for rate in rates:
        if rate and rate < _IMPOSSIBLE_RATE:
            return Fraction(rate).limit_denominator(1_000_000)
    return None


def survey_timing(path: Path, stream: av.VideoStream, rate: Fraction) -> tuple[bool, int | None]:
    """Tell whether frames follow at equal distances, and how many there are if that was counted.

    The container's index answers where it lists every frame. Otherwise (Matroska, transport
    streams) all packets are read once, without decoding; timestamps may be off by their rounding.
    """
    times = sorted(entry.timestamp for entry in stream.index_entries)
    if stream.frames and len(times) == stream.frames:
        step = times[1] - times[0] if len(times) > 1 else stream.duration
        even = all(b - a == step for a, b in pairwise(times))
        return even and stream.duration in (None, step * len(times)), None
    times = []
    with open_input(path) as container:
        picture = container.streams[stream.index]
        one_time = has_one_time(container)
        try:
            for packet in Clock(container, picture).packets([picture]):
                if packet.size and not packet.is_discard:
                    times.append(packet.dts if one_time else packet.pts)
        except FFmpegError:
            # The reader meets the same fault and tells about it.
            pass
        if None in times or not has_clock(container):
            return True, len(times) or None
    times.sort()
    step = 1 / (rate * stream.time_base)
    even = all(abs(time - times[0] - i * step) <= 1 for i, time in enumerate(times))
    return even, len(times) or None
