"""Times of files that were recorded, joined or cut without care: as players show them, never lost at the end."""

from fractions import Fraction
from itertools import pairwise

import av
import numpy as np
import pytest
from av.error import ArgumentError, InvalidDataError

from vsr_plugin.data.clips import VideoClip
from vsr_plugin.errors import MediaError
from vsr_plugin.media import Encoding, open_segmented, open_sink, open_source
from vsr_plugin.media.stream_copy import StreamCopier

RATE = 25


def moving(n, size=(48, 64)):
    """Pictures that tell frames apart, and make encoders use B-frames."""
    wide = np.random.default_rng(0).integers(0, 256, (size[0], size[1] + 2 * n, 3), np.uint8)
    wide = np.asarray([np.convolve(row, np.ones(9) / 9, "same") for row in wide.reshape(size[0], -1)])
    wide = wide.reshape(size[0], -1, 3).astype(np.uint8)
    return [np.ascontiguousarray(wide[:, 2 * i : 2 * i + size[1]]) for i in range(n)]


def with_b_frames(container, stream):
    stream.codec_context.max_b_frames = 2


def remux(source, target, change=lambda packet, number: None, streams=None):
    """Copy packets one by one; ``change`` gets each and its number among those of its kind."""
    with av.open(str(source)) as given, av.open(str(target), "w") as output:
        copies = {s.index: output.add_stream_from_template(s) for s in given.streams}
        counts = dict.fromkeys(("video", "audio"), 0)
        for packet in given.demux():
            if packet.dts is None or not packet.size:
                continue
            kind = packet.stream.type
            change(packet, counts[kind])
            counts[kind] += 1
            packet.stream = copies[packet.stream.index]
            output.mux(packet)
    return target


def seconds(path, kind="video"):
    """Times of a stream's packets in order, as stored."""
    with av.open(str(path)) as container:
        stream = next(s for s in container.streams if s.type == kind)
        return sorted(float(p.pts * p.time_base) for p in container.demux(stream) if p.size)


def sounds(path):
    """Content and second of each audio packet that is heard."""
    with av.open(str(path)) as container:
        packets = container.demux(container.streams.audio[0])
        return [(bytes(p), float(p.pts * p.time_base)) for p in packets if p.size and not p.is_discard]


def shown(path):
    """Times of the frames that a player shows."""
    with av.open(str(path)) as container:
        if container.format.name == "avi":  # where FFmpeg makes up times of pictures
            return [float(p.dts * p.time_base) for p in container.demux(video=0) if p.size]
        return [float(frame.pts * frame.time_base) for frame in container.decode(video=0)]


def grid(n, rate=RATE):
    return pytest.approx([i / rate for i in range(n)], abs=0.002)


# -- starts ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("offset", ["53126", "95441.5"])  # the latter is taken for a time before zero
@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi"])
def test_any_start_becomes_zero(media, tmp_path, offset, suffix):
    sound = "mp3" if suffix == ".avi" else "aac"  # of which transport streams keep a kind that AVI cannot hold
    clip = media.make_clip(
        tmp_path / "in.ts", n=20, audio=sound, setup=with_b_frames, container_options={"output_ts_offset": offset}
    )
    before = seconds(clip), seconds(clip, "audio")
    assert abs(before[0][0]) > 1
    media.copy(clip, tmp_path / f"out{suffix}", scale=1)
    after = shown(tmp_path / f"out{suffix}"), seconds(tmp_path / f"out{suffix}", "audio")
    assert len(after[0]) == 20
    assert min(after[0][0], after[1][0]) == pytest.approx(0, abs=0.025)
    # Picture and sound are as far apart as they were, but for the half packet to which AVI rounds.
    distance = before[0][0] - before[1][0]
    assert after[0][0] - after[1][0] == pytest.approx(0 if suffix == ".avi" else distance, abs=0.012)


def test_chapters_and_subtitles_move_with_the_start(media, tmp_path):
    def setup(container, stream):
        places = [("before", 1000, 2000), ("across", 3000, 4100), ("marker", 4100, 4100), ("rest", 4100, 4400)]
        container.set_chapters(
            [
                {"id": i, "start": start, "end": end, "time_base": Fraction(1, 1000), "metadata": {"title": title}}
                for i, (title, start, end) in enumerate(places, 1)
            ]
        )

    clip = media.make_clip(tmp_path / "in.mkv", setup=setup, times=[(51200 + 512 * i, 512) for i in range(10)])
    media.copy(clip, tmp_path / "out.mkv", scale=1)
    with av.open(str(tmp_path / "out.mkv")) as container:
        found = [(c["metadata"]["title"], c["start"] * c["time_base"]) for c in container.chapters()]
    # What is before the first frame is left out, and a chapter of no length is not.
    assert found[:2] == [("across", 0), ("marker", Fraction(1, 10))]


@pytest.mark.parametrize("kind", ["audio", "video"])
def test_sound_on_a_clock_of_its_own_begins_with_the_picture(media, tmp_path, kind):
    """Reported of a camera's recorder: times of sound counted from 1970, so that players wait for decades."""

    def wall_time(packet, number):
        if packet.stream.type == kind:
            shift = round(Fraction(1_749_550_000) / packet.time_base)
            packet.pts, packet.dts = packet.pts + shift, packet.dts + shift

    clip = remux(media.make_clip(tmp_path / "plain.mp4", n=50, audio="aac"), tmp_path / "in.mkv", wall_time)
    for suffix in (".mp4", ".mkv", ".avi"):
        _, sink = media.copy(clip, tmp_path / f"out{suffix}", scale=1)
        assert shown(tmp_path / f"out{suffix}")[0] == pytest.approx(0, abs=0.025)
        assert seconds(tmp_path / f"out{suffix}", "audio")[0] == pytest.approx(0, abs=0.025)
        assert any("timed by another clock" in line for line in sink.notes)


def test_broadcasts_without_any_time(media, tmp_path):
    clip = media.make_clip(tmp_path / "in.ts", n=20)
    data, place = bytearray(clip.read_bytes()), 0
    while (place := data.find(b"\0\0\1\xe0", place)) >= 0:
        data[place + 7] &= 0x3F  # neither time of presentation nor of decoding
        place += 4
    clip.write_bytes(data)
    media.copy(clip, tmp_path / "out.mp4", scale=1)
    assert shown(tmp_path / "out.mp4") == grid(20)


# -- jumps -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("offset", [0, 98, -3])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_where_the_clock_jumps_picture_and_sound_go_on_together(media, tmp_path, offset, suffix):
    parts = [
        media.make_clip(
            tmp_path / f"{i}.ts", n=50, audio="aac", setup=with_b_frames,
            container_options={"output_ts_offset": str(start), "muxdelay": "0"},
        )
        for i, start in enumerate((10, 12 + offset))
    ]  # fmt: skip
    first = sounds(parts[0])
    begin = seconds(parts[0])[0]
    (tmp_path / "in.ts").write_bytes(b"".join(part.read_bytes() for part in parts))
    target = tmp_path / f"out{suffix}"
    source, _ = media.copy(tmp_path / "in.ts", target, scale=1)
    jumped = "the clock of the video jumps once; picture and sound go on there without a gap"
    assert (jumped in source.notes) == (offset != 0)
    times = shown(target)
    assert np.diff(times) == pytest.approx(np.full(99, 1 / RATE), abs=0.002)
    after = sounds(target)
    # Every packet of either part is where it was beside the picture, unless it overlaps the sound of the first part.
    assert len(after) >= 2 * len(first) - 6
    for content, second in after:
        # In a transport stream, a packet of AAC has a header of 7 bytes.
        expected = [t - begin + times[0] for packet, t in first if packet[7:] == content]
        assert any(second == pytest.approx(t + 2 * k, abs=0.03) for t in expected for k in (0, 1))


def test_sound_that_is_away_for_long_does_not_move_the_picture(media, tmp_path):
    clip = media.make_clip(tmp_path / "plain.mp4", n=16 * RATE, size=(32, 32), audio="aac")
    with av.open(str(clip)) as given, av.open(str(tmp_path / "in.ts"), "w") as output:
        copies = {s.index: output.add_stream_from_template(s) for s in given.streams}
        for packet in given.demux():
            away = packet.stream.type == "audio" and packet.pts is not None and 2 < packet.pts * packet.time_base < 14
            if packet.size and not away:
                packet.stream = copies[packet.stream.index]
                output.mux(packet)
    source, _ = media.copy(tmp_path / "in.ts", tmp_path / "out.mkv", scale=1)
    assert not any("jumps" in line for line in source.notes)
    times = seconds(tmp_path / "out.mkv", "audio")
    assert max(np.diff(times)) == pytest.approx(12, abs=0.1)
    assert np.diff(shown(tmp_path / "out.mkv")) == pytest.approx(np.full(16 * RATE - 1, 1 / RATE), abs=0.002)


# -- sound that does not fit -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi"])
def test_times_of_sound_that_repeat_or_go_back(media, tmp_path, suffix):
    last = {}

    def repeat(packet, number):
        if packet.stream.type == "audio":
            if number in (5, 9):
                packet.pts = packet.dts = last["pts"] - (number == 9)
            last["pts"] = packet.pts

    clip = media.make_clip(tmp_path / "plain.mp4", n=20, audio="aac")
    sloppy = remux(clip, tmp_path / "in.mkv", repeat)
    media.copy(sloppy, tmp_path / f"out{suffix}", scale=1)
    after = media.packets(tmp_path / f"out{suffix}")
    # What begins before the picture is left out in AVI.
    before = [content for content, *_ in media.packets(sloppy)]
    assert [content for content, *_ in after] == before[suffix == ".avi" :]
    # Matroska allows equal ones, which it rounds to.
    assert (
        all(b[2] >= a[2] for a, b in pairwise(after))
        if suffix == ".mkv"
        else all(b[2] > a[2] for a, b in pairwise(after))
    )
    times = shown(tmp_path / f"out{suffix}")
    assert [time - times[0] for time in times] == grid(20)


def test_joining_is_rehearsed_before_the_work(media, tmp_path, monkeypatch):
    class Refusing:
        """An output that takes so many packets of sound and no more."""

        def __init__(self, output, taken):
            self.output, self.left = output, taken

        def __getattr__(self, name):
            return getattr(self.output, name)

        def mux_one(self, packet):
            if packet.stream.type == "audio":
                self.left -= 1
                if self.left < 0:
                    raise InvalidDataError(1094995529, "Invalid data found when processing input")
            self.output.mux_one(packet)

    plain = StreamCopier.__init__
    taken = 3

    def init(self, layout, output, **options):
        plain(self, layout, output, **options)
        self._output = Refusing(output, taken)

    monkeypatch.setattr(StreamCopier, "__init__", init)
    clip = media.make_clip(tmp_path / "in.mp4", n=20, audio="aac")
    with (
        open_source(clip) as source,
        pytest.raises(MediaError, match=r"takes none of the aac audio; convert it first .*--no-a"),
    ):
        open_sink(tmp_path / "out.mp4", source)
    assert {path.name for path in tmp_path.iterdir()} == {"in.mp4"}
    # A few that do not fit are left out: nothing is lost for them after the last frame was computed.
    packets = len(media.packets(clip))
    taken = packets - 2
    _, sink = media.copy(clip, tmp_path / "out.mp4", scale=1)
    assert f"2 of {packets} packets of the aac audio do not fit into the output; they are left out" in sink.notes
    assert len(media.packets(tmp_path / "out.mp4")) == taken


def test_the_picture_is_kept_when_sound_cannot_be_joined(media, tmp_path, monkeypatch):
    """Muxers hold packets back, so that one that does not fit may be told with another, or at the very end."""
    rest = StreamCopier.copy_rest
    calls = []

    def fail_at_the_end(self, end):
        rest(self, end)
        calls.append(1)
        if len(calls) > 1:
            raise ArgumentError(22, "Invalid argument")

    monkeypatch.setattr(StreamCopier, "copy_rest", fail_at_the_end)
    clip = media.make_clip(tmp_path / "in.mp4", n=20, audio="aac")
    _, sink = media.copy(clip, tmp_path / "out.mp4", scale=1)
    assert "sound and subtitles could not be joined (Invalid argument); the picture is there alone" in sink.notes
    assert shown(tmp_path / "out.mp4") == grid(20)
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert not container.streams.audio


@pytest.mark.parametrize("seconds_long", [90_000, 2**40])
def test_a_packet_that_says_that_it_lasts_for_days(media, tmp_path, seconds_long):
    clip = media.make_clip(tmp_path / "plain.mp4", n=20, audio="aac")
    longer = remux(clip, tmp_path / "in.mkv")
    with av.open(str(longer)) as given:
        last = max(p.pts for p in given.demux(audio=0) if p.size)

    def long(packet, number):
        if packet.stream.type == "audio" and packet.pts == last:
            packet.duration = seconds_long * 1000

    remux(longer, tmp_path / "long.mkv", long)
    media.copy(tmp_path / "long.mkv", tmp_path / "out.mp4", scale=1)
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert container.duration < 2_000_000


def test_what_an_edit_list_hides_is_not_heard(media, tmp_path):
    """As ``ffmpeg -ss 1.05 -i long.mp4 -c copy cut.mp4`` cuts: packets from a key frame on, some before zero."""
    clip = media.make_clip(tmp_path / "long.mp4", n=60, audio="aac", options={"g": "20", "crf": "20"})

    def earlier(packet, number):
        shift = round(Fraction(21, 20) / packet.time_base)
        packet.pts, packet.dts = packet.pts - shift, packet.dts - shift

    cut = remux(clip, tmp_path / "cut.mp4", earlier)
    heard, frames = sounds(cut), shown(cut)
    assert len(heard) < len(media.packets(cut)) - 40
    for suffix in (".mp4", ".mkv", ".avi"):
        source, _ = media.copy(cut, tmp_path / f"out{suffix}", scale=1)
        # The edit list begins behind the second key frame, so that the index has less than the file's tables.
        assert not any("damaged" in line for line in source.notes)
        assert source.num_frames_exact in (None, len(frames))
        assert len(shown(tmp_path / f"out{suffix}")) == len(frames)
        after = sounds(tmp_path / f"out{suffix}")
        assert len(after) == pytest.approx(len(heard), abs=2)
        first = shown(tmp_path / f"out{suffix}")[0] - frames[0]
        for content, second in after:
            assert any(second - first == pytest.approx(t, abs=0.025) for packet, t in heard if packet == content)


@pytest.mark.parametrize("codec", ["aac", "mp3", "ac3", "pcm_s16le", "mp2"])
def test_sound_that_starts_late_starts_late_in_avi(media, tmp_path, codec):
    clip = media.make_clip(tmp_path / "plain.mkv", n=50, audio=codec)

    def later(packet, number):
        if packet.stream.type == "audio":
            shift = round(Fraction(7, 10) / packet.time_base)
            packet.pts, packet.dts = packet.pts + shift, packet.dts + shift

    late = remux(clip, tmp_path / "in.mkv", later)
    begin = seconds(late, "audio")[0] - seconds(late)[0]
    assert begin > 0.6
    media.copy(late, tmp_path / "out.avi", scale=1)
    after = seconds(tmp_path / "out.avi", "audio")
    assert after[0] == pytest.approx(begin, abs=0.02)
    assert [c for c, _ in sounds(tmp_path / "out.avi")] == [c for c, _ in sounds(late)]
    assert shown(tmp_path / "out.avi") == grid(50)


def test_sound_before_the_picture_is_left_out_in_avi(media, tmp_path):
    clip = media.make_clip(tmp_path / "plain.mkv", n=50, audio="aac")

    def later(packet, number):
        if packet.stream.type == "video":
            shift = round(Fraction(1, 2) / packet.time_base)
            packet.pts, packet.dts = packet.pts + shift, packet.dts + shift

    media.copy(remux(clip, tmp_path / "in.mkv", later), tmp_path / "out.avi", scale=1)
    heard = sounds(clip)
    after = sounds(tmp_path / "out.avi")
    assert shown(tmp_path / "out.avi") == grid(50)
    for content, second in after:
        assert any(second + 0.5 == pytest.approx(t, abs=0.025) for packet, t in heard if packet == content)


def test_gaps_that_avi_cannot_have_are_refused_at_opening(media, tmp_path):
    clip = media.make_clip(tmp_path / "plain.mkv", n=50, audio="pcm_s16le")

    def apart(packet, number):
        if packet.stream.type == "audio" and packet.pts * packet.time_base > 1:
            packet.pts, packet.dts = packet.pts + 500, packet.dts + 500

    gap = remux(clip, tmp_path / "in.mkv", apart)
    with (
        open_source(gap) as source,
        pytest.raises(MediaError, match=r"keep the times of the pcm_s16le audio; choose .mkv, or"),
    ):
        open_sink(tmp_path / "out.avi", source)
    media.copy(gap, tmp_path / "out.mkv", scale=1)
    assert max(np.diff(seconds(tmp_path / "out.mkv", "audio"))) > 0.4


@pytest.mark.parametrize(
    ("name", "codec", "sound", "target", "way"),
    [("in.asf", "wmv2", "wmav2", "out.mp4", "choose .avi, or"), ("in.mkv", "libx264", "libopus", "out.avi", ".mkv or")],
)
def test_only_containers_that_hold_a_sound_are_proposed(media, tmp_path, name, codec, sound, target, way):
    clip = media.make_clip(tmp_path / name, codec=codec, audio=sound, options={"g": "12"}, unit=Fraction(1, 25))
    with open_source(clip) as source, pytest.raises(MediaError, match="cannot hold") as error:
        open_sink(tmp_path / target, source)
    assert way in str(error.value)
    named = [word for word in str(error.value).replace(",", " ").split() if word in (".mkv", ".mp4", ".mov", ".avi")]
    for suffix in set(named) - {tmp_path.joinpath(target).suffix}:
        media.copy(clip, tmp_path / f"named{suffix}", scale=1)


# -- pictures --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["in.avi", "in.asf", "in.mp4", "in.mkv"])
@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
def test_b_frames_come_in_order_and_without_gaps(media, tmp_path, name, codec):
    pictures = moving(30)
    clip = media.make_clip(
        tmp_path / name, n=30, size=(48, 64), pictures=pictures, codec=codec, setup=with_b_frames, options={"q": "3"},
        unit=Fraction(1, 25),
    )  # fmt: skip
    with open_source(clip) as source:
        frames = list(source.frames())
        times = [float(frame.pts * source.time_base) for frame in frames]
        assert source.constant_rate
        assert not any("order" in line or "damaged" in line for line in source.notes)
    assert [t - times[0] for t in times] == grid(30)
    for frame, picture in zip(frames, pictures, strict=True):
        errors = [np.abs(frame.rgb.astype(int) - other).mean() for other in pictures]
        assert errors[[other is picture for other in pictures].index(True)] == min(errors)
    media.copy(clip, tmp_path / "out.mp4", scale=1)
    assert media.probe(tmp_path / "out.mp4").rate == 25


def test_time_of_decoding_where_that_of_pictures_goes_back(media, tmp_path):
    """Matroska of a program that wrote times of decoding as those of pictures."""
    clip = media.make_clip(
        tmp_path / "plain.mp4", n=30, size=(48, 64), pictures=moving(30), setup=with_b_frames,
        options={"crf": "20"}, unit=Fraction(1, 25),
    )  # fmt: skip

    def wrong(packet, number):
        packet.pts = packet.dts

    media.copy(remux(clip, tmp_path / "in.mkv", wrong), tmp_path / "out.mkv", scale=1)
    times = shown(tmp_path / "out.mkv")
    assert len(times) == 30
    assert times[-1] - times[0] <= 31 / RATE
    assert max(np.diff(times)) <= 2.1 / RATE


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [("in.h264", "libx264", {}), ("in.hevc", "libx265", {"x265-params": "log-level=none"})],
)
def test_streams_without_a_container(media, tmp_path, name, codec, options):
    clip = media.make_clip(
        tmp_path / name, codec=codec, n=12, rate=Fraction(10), unit=Fraction(1, 10), size=(64, 64), options=options,
        format=name.split(".")[1],
    )  # fmt: skip
    media.copy(clip, tmp_path / "own.mp4", scale=1)
    assert media.probe(tmp_path / "own.mp4").rate == 10
    assert shown(tmp_path / "own.mp4") == grid(12, 10)
    ntsc = Fraction(30000, 1001)
    with open_source(clip, frame_rate=ntsc) as source:
        encoding = Encoding(frame_rate=ntsc)
        (tmp_path / "job").mkdir()
        output = open_segmented(tmp_path / "b.mp4", source, tmp_path / "job", size=(64, 64), encoding=encoding)
        assert not any("the video's own" in line for line in output.notes)
        assert source.average_rate == output.layout.rate == ntsc
        assert [frame.pts * source.time_base for frame in source.frames()] == [i / ntsc for i in range(12)]


def test_frames_that_avi_shows_once_more_are_not_missing(media, tmp_path):
    numbers = [0, 1, 2, 3, 6, 7, 8, 9]
    clip = media.make_clip(
        tmp_path / "in.avi", codec="mpeg4", times=[(i, 1) for i in numbers], unit=Fraction(1, 10), rate=Fraction(10)
    )
    source, _ = media.copy(clip, tmp_path / "out.mp4", scale=1)
    assert not any("damaged" in line for line in source.notes)
    assert shown(tmp_path / "out.mp4") == pytest.approx([i / 10 for i in numbers], abs=0.002)
    with open_source(clip) as source:
        assert [frame.duration for frame in source.frames()] == [1, 1, 1, 3, 1, 1, 1, 1]
    data = clip.read_bytes()
    clip.write_bytes(data[: data.index(b"idx1") - 50])
    source, _ = media.copy(clip, tmp_path / "cut.mp4", scale=1)
    assert any("damaged" in line for line in source.notes)


def test_avi_gets_the_grid_on_which_frames_are(media, tmp_path):
    """A first frame that is shown twice as long makes the average rate 24.5, of which no frame is at its time."""
    times = [(0, 80)] + [(80 + 40 * i, 40) for i in range(48)]
    clip = media.make_clip(tmp_path / "in.mp4", unit=Fraction(1, 1000), times=times)
    media.copy(clip, tmp_path / "out.avi", scale=1)
    assert media.probe(tmp_path / "out.avi").rate == 25
    assert shown(tmp_path / "out.avi") == pytest.approx([time / 1000 for time, _ in times])


def test_a_part_without_a_key_frame_gives_what_the_decoder_makes_of_it(media, tmp_path):
    clip = media.make_clip(tmp_path / "plain.mp4", n=20, options={"g": "100", "crf": "20"})
    with av.open(str(clip)) as given, av.open(str(tmp_path / "in.mkv"), "w") as output:
        copy = output.add_stream_from_template(given.streams.video[0])
        for packet in given.demux():
            if packet.size and not packet.is_keyframe:
                packet.stream = copy
                output.mux(packet)
    with open_source(tmp_path / "in.mkv") as source:
        assert len(list(source.frames())) > 10
        assert any("damaged and shown as the decoder patched them" in line for line in source.notes)


def test_attached_fonts(media, tmp_path):
    clip = media.make_clip(tmp_path / "plain.mp4")
    font = b"\0\1\0\0" * 100
    with av.open(str(clip)) as given, av.open(str(tmp_path / "in.mkv"), "w") as output:
        copy = output.add_stream_from_template(given.streams.video[0])
        output.add_attachment("font.ttf", "application/x-truetype-font", font)
        for packet in given.demux():
            if packet.size:
                packet.stream = copy
                output.mux(packet)
    media.copy(tmp_path / "in.mkv", tmp_path / "out.mkv", scale=1)
    with av.open(str(tmp_path / "out.mkv")) as container:
        (stream,) = (s for s in container.streams if s.type == "attachment")
        assert (stream.name, stream.mimetype, stream.data) == ("font.ttf", "application/x-truetype-font", font)
    _, sink = media.copy(tmp_path / "in.mkv", tmp_path / "out.mp4", scale=1)
    assert any("1 attached files" in line and ".mkv does" in line for line in sink.notes)


@pytest.mark.parametrize("suffix", [".avi", ".mkv", ".mov"])
def test_tags_in_another_encoding(media, tmp_path, suffix):
    def setup(container, stream):
        container.metadata["title"] = "QQQQcafe"

    clip = media.make_clip(tmp_path / f"in{suffix}", codec="mpeg4", setup=setup)
    data = clip.read_bytes()
    assert b"QQQQcafe" in data
    clip.write_bytes(data.replace(b"QQQQcafe", b"QQQQcaf\xe9"))
    media.copy(clip, tmp_path / "out.mkv", scale=1)
    assert media.probe(tmp_path / "out.mkv").metadata["title"] == "QQQQcaf�"
    assert VideoClip("in", clip).num_frames == 10
