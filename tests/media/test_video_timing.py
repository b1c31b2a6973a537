"""Rates, timestamps, durations, audio and rotation survive the way through."""

from fractions import Fraction
from itertools import pairwise
from types import SimpleNamespace

import av
import numpy as np
import pytest

from vsr_plugin.errors import MediaError
from vsr_plugin.media import Encoding, clock, open_sink, open_source

VARIABLE = [(0, 20), (20, 33), (53, 7), (60, 100), (160, 41), (201, 20), (221, 33), (254, 7), (261, 97)]


@pytest.mark.parametrize(
    ("rate", "unit"),
    [
        (Fraction(25), Fraction(1, 12800)),
        (Fraction(30000, 1001), Fraction(1, 30000)),
        (Fraction(24000, 1001), Fraction(1, 24000)),
        (Fraction(50), Fraction(1, 50)),
    ],
)
@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
def test_constant_rate_is_kept_exactly(media, tmp_path, rate, unit, suffix):
    clip = media.make_clip(tmp_path / "in.mp4", rate=rate, unit=unit)
    media.copy(clip, tmp_path / f"out{suffix}")
    before, after = media.probe(clip), media.probe(tmp_path / f"out{suffix}")
    assert after.rate == before.rate == rate
    assert (after.time_base, after.pts, after.duration) == (unit, before.pts, before.duration)
    assert after.size == (128, 192)


@pytest.mark.parametrize("b_frames", [0, 2])
def test_variable_rate_is_kept_exactly(media, tmp_path, b_frames):
    def setup(container, stream):
        stream.codec_context.max_b_frames = b_frames

    clip = media.make_clip(
        tmp_path / "in.mp4",
        unit=Fraction(1, 1000),
        times=VARIABLE,
        setup=setup,
        options={"crf": "10", "preset": "medium"},
    )
    media.copy(clip, tmp_path / "out.mp4")
    before, after = media.probe(clip), media.probe(tmp_path / "out.mp4")
    assert before.pts == [pts for pts, _ in VARIABLE]
    assert (after.time_base, after.pts, after.duration) == (Fraction(1, 1000), before.pts, before.duration)
    if not b_frames:
        # With reordered frames the input's container counts its rate from decoding times.
        assert after.rate == before.rate


def test_variable_rate_in_matroska(media, tmp_path):
    clip = media.make_clip(tmp_path / "in.mkv", unit=Fraction(1, 1000), times=VARIABLE)
    media.copy(clip, tmp_path / "out.mkv")
    assert media.probe(tmp_path / "out.mkv").pts == [pts for pts, _ in VARIABLE]


@pytest.mark.parametrize("n", [7, 10])
def test_rate_through_matroska_stays_exact(media, tmp_path, n):
    ntsc = Fraction(30000, 1001)
    clip = media.make_clip(tmp_path / "in.mkv", rate=ntsc, unit=Fraction(1, 30000), n=n)
    source, _ = media.copy(clip, tmp_path / "out.mp4")
    after = media.probe(tmp_path / "out.mp4")
    assert (after.rate, after.duration) == (ntsc, 1001 * n)
    assert after.pts == [1001 * i for i in range(n)]
    assert (source.num_frames, source.num_frames_estimate) == (None, n)


def test_variable_rate_from_matroska_to_mp4(media, tmp_path):
    clip = media.make_clip(tmp_path / "in.mkv", unit=Fraction(1, 1000), times=VARIABLE)
    media.copy(clip, tmp_path / "out.mp4")
    after = media.probe(tmp_path / "out.mp4")
    assert (after.time_base, after.pts) == (Fraction(1, 1000), [pts for pts, _ in VARIABLE])


def test_a_clock_that_starts_late_starts_at_zero(media, tmp_path):
    times = [(51200 + 512 * i, 512) for i in range(8)]
    clip = media.make_clip(tmp_path / "in.mp4", times=times)
    media.copy(clip, tmp_path / "whole.mp4")
    assert media.probe(tmp_path / "whole.mp4").pts == [t - 51200 for t, _ in times]
    media.copy(clip, tmp_path / "part.mp4", start=2, num_frames=3)
    assert media.probe(tmp_path / "part.mp4").pts == [0, 512, 1024]


def test_frames_carry_durations_and_the_part_asked_for(media, tmp_path):
    clip = media.make_clip(tmp_path / "in.mp4", unit=Fraction(1, 1000), times=VARIABLE)
    with open_source(clip) as source:
        everything = list(source.frames())
        part = list(source.frames(3, 4))
        assert source.num_frames == source.num_frames_estimate == len(everything) == 9
    assert [(f.pts, f.duration) for f in everything] == VARIABLE
    assert [f.pts for f in part] == [f.pts for f in everything[3:7]]
    assert np.array_equal(part[0].rgb, everything[3].rgb)


def test_start_beyond_the_end_is_an_error(media, tmp_path):
    clip = media.make_clip(tmp_path / "in.mp4", n=3)
    with open_source(clip) as source, pytest.raises(MediaError, match=r"has 3 frames.*start 3"):
        list(source.frames(3))


def test_fewer_frames_than_asked_is_a_note(media, tmp_path):
    clip = media.make_clip(tmp_path / "in.mp4", n=3)
    with open_source(clip) as source:
        assert len(list(source.frames(1, 10))) == 2
        assert any("2 frames from 1 on exist, 10 were asked for" in line for line in source.notes)


def test_raw_stream_without_timestamps(media, tmp_path):
    clip = media.make_clip(tmp_path / "in.h264", format="h264", n=6)
    source, _ = media.copy(clip, tmp_path / "out.mp4")
    assert any("no timestamp" in line for line in source.notes)
    after = media.probe(tmp_path / "out.mp4")
    assert len(after.pts) == 6
    assert len(set(np.diff(after.pts))) == 1
    assert after.rate == source.average_rate


def test_avi_gets_a_grid_of_frames(media, tmp_path):
    clip = media.make_clip(tmp_path / "in.mp4", rate=Fraction(30000, 1001), unit=Fraction(1, 30000))
    media.copy(clip, tmp_path / "out.avi")
    after = media.probe(tmp_path / "out.avi")
    assert after.rate == Fraction(30000, 1001)
    assert len(after.pts) == 10


def test_frames_that_come_in_bursts_take_the_next_slots_of_avi(media, tmp_path):
    # At 25 frames a second on average, the second and the fifth are due when a slot is taken.
    starts = [0, 10, 80, 120, 125, 200, 245, 290, 330, 370]
    times = [(start, after - start) for start, after in pairwise([*starts, 400])]
    clip = media.make_clip(tmp_path / "in.mp4", unit=Fraction(1, 1000), times=times)
    _, sink = media.copy(clip, tmp_path / "out.avi")
    assert "AVI has no variable frame rate; frames are put on a grid of 25 per second" in sink.notes
    after = media.probe(tmp_path / "out.avi")
    assert len(after.pts) == 10
    slots = [(pts - after.pts[0]) * after.time_base * after.rate for pts in after.pts]
    assert all(b > a for a, b in pairwise(slots))
    # No frame is farther from its time than the burst before it made it wait.
    assert max(abs(slot * 40 - start) for slot, start in zip(slots, starts, strict=True)) <= 40


@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
def test_audio_of_a_real_clip_is_copied_unchanged(media, tmp_path, real_clip, suffix):
    clip, out = real_clip("bigbuckbunny"), tmp_path / f"out{suffix}"
    media.copy(clip, out, scale=1, encoding=Encoding(preset="ultrafast", quality=40))
    assert media.packets(out) == media.packets(clip)
    before, after = media.probe(clip), media.probe(out)
    assert (after.rate, after.duration, after.pts) == (before.rate, before.duration, before.pts)


def test_audio_with_priming_and_matroska(media, tmp_path):
    clip = media.make_clip(tmp_path / "in.mp4", n=20, audio="aac")
    media.copy(clip, tmp_path / "out.mp4")
    assert media.packets(tmp_path / "out.mp4") == media.packets(clip)
    media.copy(clip, tmp_path / "out.mkv")
    # The priming packet is hidden by an edit list, which Matroska has not.
    assert media.packets(clip)[0][1] == -1024
    assert [p[0] for p in media.packets(tmp_path / "out.mkv")] == [p[0] for p in media.packets(clip)][1:]
    assert media.packets(tmp_path / "out.mkv")[0][1] == media.probe(tmp_path / "out.mkv").pts[0] == 0


def test_audio_of_a_part_starts_at_zero_with_it(media, tmp_path):
    clip = media.make_clip(tmp_path / "in.mp4", n=50, audio="aac")
    media.copy(clip, tmp_path / "out.mp4", start=10, num_frames=25)
    original = {payload: pts for payload, pts, _ in media.packets(clip)}
    kept = media.packets(tmp_path / "out.mp4")
    begin, length = 10 * 1920, 25 * 1920
    inside = [pts for pts in original.values() if begin <= pts < begin + length]
    assert len(kept) == len(inside)
    assert all(0 <= pts < length for _, pts, _ in kept)
    assert media.probe(tmp_path / "out.mp4").pts[0] == 0


def test_audio_can_be_dropped(media, tmp_path):
    clip = media.make_clip(tmp_path / "in.mp4", audio="aac")
    _, sink = media.copy(clip, tmp_path / "out.mp4", encoding=Encoding(audio=False))
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert not container.streams.audio
    assert any("audio is left out" in line for line in sink.notes)


def test_audio_that_the_container_cannot_hold_fails_at_opening(media, tmp_path):
    clip = media.make_clip(tmp_path / "in.mp4", audio="aac")
    with (
        open_source(clip) as source,
        pytest.raises(MediaError, match=r"\.webm file cannot hold .*aac.*--no-audio"),
    ):
        open_sink(tmp_path / "out.webm", source, encoding=Encoding(codec="libvpx-vp9"))
    assert {p.name for p in tmp_path.iterdir()} == {"in.mp4"}


def test_audio_that_is_refused_with_the_header_fails_at_opening(media, tmp_path):
    clip = media.make_clip(tmp_path / "in.mkv", audio="flac", n=3)
    with (
        open_source(clip) as source,
        pytest.raises(MediaError, match=r"a \.mov file cannot hold .* flac audio; choose"),
    ):
        open_sink(tmp_path / "out.mov", source)
    assert {p.name for p in tmp_path.iterdir()} == {"in.mkv"}


@pytest.mark.parametrize(
    ("channels", "target", "layout"),
    [(2, "out.mp4", "stereo"), (2, "out.mov", "2 channels"), (9, "out.mkv", "9 channels")],
)
def test_sound_of_which_no_one_says_what_channels_it_has(media, tmp_path, channels, target, layout):
    picture = media.make_clip(tmp_path / "picture.mkv", n=10)
    samples = np.random.default_rng(0).integers(-9999, 9999, (1, channels * 19200), np.int16)
    given = "stereo" if channels == 2 else "FL+FR+FC+LFE+BL+BR+FLC+FRC+BC"
    with av.open(str(picture)) as video, av.open(str(tmp_path / "in.mkv"), "w") as output:
        stream = output.add_stream_from_template(video.streams.video[0])
        sound = output.add_stream("pcm_s16le", rate=48000, layout=given)
        for packet in video.demux():
            if packet.dts is not None:
                packet.stream = stream
                output.mux(packet)
        frame = av.AudioFrame.from_ndarray(samples, format="s16", layout=given)
        frame.sample_rate = 48000
        output.mux(sound.encode(frame))
        output.mux(sound.encode(None))
    media.copy(tmp_path / "in.mkv", tmp_path / target, scale=1)
    with av.open(str(tmp_path / target)) as container:
        assert container.streams.audio[0].layout.name == layout
        heard = np.concatenate([frame.to_ndarray() for frame in container.decode(audio=0)], axis=1)
    np.testing.assert_array_equal(heard, samples)


def test_title_and_chapters_are_copied(media, tmp_path):
    def setup(container, stream):
        container.metadata["title"] = "A walk"
        stream.metadata.update(language="jpn", title="Main")
        chapter = {"id": 1, "start": 0, "end": 200, "time_base": Fraction(1, 1000)}
        chapter["metadata"] = {"title": "One"}
        container.set_chapters([chapter])

    clip = media.make_clip(tmp_path / "in.mkv", setup=setup)
    media.copy(clip, tmp_path / "out.mkv")
    assert media.probe(tmp_path / "out.mkv").metadata["title"] == "A walk"
    with av.open(str(tmp_path / "out.mkv")) as container:
        assert [c["metadata"]["title"] for c in container.chapters()] == ["One"]
        tags = container.streams.video[0].metadata
        assert (tags["language"], tags["title"]) == ("jpn", "Main")


CORNERS = np.full((32, 48, 3), 128, np.uint8)
CORNERS[:16, :24] = (220, 40, 40)
CORNERS[16:, :24] = (40, 60, 220)


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
@pytest.mark.parametrize("angle", [90, 180, -90])
def test_rotation_is_carried_over(media, tmp_path, suffix, angle):
    clip = media.make_clip(
        tmp_path / "in.mp4",
        pictures=[CORNERS.copy() for _ in range(3)],
        n=3,
        setup=lambda container, stream: stream.set_display_rotation(angle),
    )
    media.copy(clip, tmp_path / f"out{suffix}")
    before, after = media.probe(clip), media.probe(tmp_path / f"out{suffix}")
    assert after.rotation in (before.rotation, before.rotation + 360, before.rotation - 360)
    assert after.size == (128, 192)


@pytest.mark.parametrize(("angle", "turns"), [(90, 1), (180, 2), (-90, 3)])
@pytest.mark.parametrize("mirrored", [False, True])
def test_rotation_is_baked_into_images(media, tmp_path, angle, turns, mirrored):
    import cv2

    clip = media.make_clip(
        tmp_path / "in.mp4",
        pictures=[CORNERS.copy() for _ in range(2)],
        n=2,
        setup=lambda container, stream: stream.set_display_rotation(angle, hflip=mirrored),
    )
    media.copy(clip, tmp_path / "out", scale=1)
    picture = cv2.imread(str(tmp_path / "out" / "00000000.png"))[..., ::-1].astype(int)
    # Angles count counter-clockwise, as np.rot90 does; PyAV mirrors after it turns.
    upright = np.rot90(CORNERS, turns)
    upright = upright[:, ::-1] if mirrored else upright
    assert picture.shape == upright.shape
    assert np.abs(picture - upright).mean() < 6


@pytest.mark.parametrize("suffix", [".avi", ".mkv"])
def test_rotation_is_baked_where_the_container_has_none(media, tmp_path, suffix):
    clip = media.make_clip(
        tmp_path / "in.mp4",
        pictures=[CORNERS.copy() for _ in range(2)],
        n=2,
        setup=lambda container, stream: stream.set_display_rotation(90, hflip=suffix == ".mkv"),
    )
    _, sink = media.copy(clip, tmp_path / f"out{suffix}", scale=1)
    assert media.probe(tmp_path / f"out{suffix}").size == (48, 32)
    assert any("turned upright" in line for line in sink.notes)


def test_pixel_shape_is_kept(media, tmp_path, real_clip):
    out = tmp_path / "out.mp4"
    media.copy(real_clip("carphone_pristine"), out, num_frames=3)
    assert media.probe(out).aspect == Fraction(128, 117)


@pytest.mark.parametrize(("suffix", "codec", "kept"), [(".mkv", "libx264", True), (".mkv", "ffv1", False)])
def test_pixel_shape_that_a_file_does_not_hold_is_told(media, tmp_path, suffix, codec, kept):
    clip = media.make_clip(tmp_path / "in.mp4", n=3, tags=dict(sample_aspect_ratio=Fraction(16, 15)))
    _, sink = media.copy(clip, tmp_path / f"out{suffix}", scale=1, encoding=Encoding(codec=codec))
    assert (media.probe(tmp_path / f"out{suffix}").aspect == Fraction(16, 15)) is kept
    assert any("shape of pixels (16/15) is not carried" in line for line in sink.notes) is not kept


def test_an_average_rate_of_large_numbers():
    rate = Fraction(2**31 - 1, 71582788)
    stream = SimpleNamespace(average_rate=rate, guessed_rate=rate)
    known = clock.known_rate(SimpleNamespace(format=SimpleNamespace(flags=0)), stream)
    assert known == pytest.approx(rate)
    assert 2 * known.numerator < 2**31  # a whole frame of two fields


def test_a_rate_that_cannot_be_one(media, tmp_path):
    clip = media.make_clip(tmp_path / "in.mkv", n=5)
    copied = tmp_path / "copied.mkv"
    with av.open(str(clip)) as video, av.open(str(copied), "w") as output:
        stream = output.add_stream_from_template(video.streams.video[0])
        for packet in video.demux():
            if packet.dts is not None:
                packet.stream = stream
                output.mux(packet)
    with av.open(str(copied)) as video:
        assert video.streams.video[0].average_rate in (12800, None)  # a unit of time, or nothing with PyAV 17
    source, _ = media.copy(copied, tmp_path / "out.mkv", scale=1)
    assert source.average_rate == 25
    assert not any("cut off" in line for line in source.notes)
    assert media.probe(tmp_path / "out.mkv").rate == 25


def test_the_number_of_frames_is_exact_or_not_told(media, tmp_path):
    clip = media.make_clip(tmp_path / "in.mp4", n=12, container_options={"movflags": "faststart"})
    step = 512  # from the first timestamp below zero to zero, an edit list cuts off
    edited = media.make_clip(tmp_path / "edited.mp4", times=[((i - 4) * step, step) for i in range(12)])
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(clip.read_bytes()[:-50])
    for path, count in ((clip, 12), (edited, 8), (cut, None), (media.make_clip(tmp_path / "in.mkv"), None)):
        with open_source(path) as source:
            assert source.num_frames_exact == count
            assert count is None or len(list(source.frames())) == count


def test_a_unit_too_fine_for_mp4(media, tmp_path):
    """In ticks of the source's unit a frame is shown for more than the 31 bits that MP4 has."""
    times = [0, 1, 6, 7]
    clip = media.make_clip(tmp_path / "in.avi", n=4, unit=Fraction(1, 25), times=[(time, 1) for time in times])
    unit = Fraction(2_000_000_011, 66_666_667)
    content = bytearray(clip.read_bytes())
    scale = content.index(b"strh") + 8 + 20
    content[scale : scale + 8] = unit.numerator.to_bytes(4, "little") + unit.denominator.to_bytes(4, "little")
    clip.write_bytes(content)
    assert open_source(clip).time_base == unit
    media.copy(clip, tmp_path / "out.mp4", scale=1)
    found = media.probe(tmp_path / "out.mp4")
    assert [float(pts * found.time_base) for pts in found.pts] == pytest.approx([30 * time for time in times], rel=1e-6)
