"""Videos that are entered in the middle give the frames that decoding from the beginning gives, to the last bit."""

from fractions import Fraction
from itertools import accumulate

import numpy as np
import pytest

from vsr_plugin.media import VideoSource, open_source

N = 60
OPEN = {"x264-params": "keyint=12:min-keyint=4:open-gop=1:bframes=3:b-adapt=0:scenecut=0", "crf": "20"}
CLOSED = {"crf": "20", "g": "12"}
#: Distances of frames in a variable rate, in milliseconds.
UNEVEN = [20 + 7 * (i * i % 11) for i in range(N)]
MPEG2 = dict(codec="mpeg2video", options={"g": "12", "b": "2M"}, bframes=2, rate=Fraction(25), unit=Fraction(1, 25))
KINDS = {
    "closed.mp4": dict(options=CLOSED),
    "open.mp4": dict(options=OPEN, bframes=3),
    "open.mkv": dict(options=OPEN, bframes=3),
    "open.ts": dict(options=OPEN, bframes=3),
    "mpeg2.mkv": MPEG2,
    "mpeg2.ts": MPEG2,
    "mpeg4.avi": dict(codec="mpeg4", options={"g": "12", "q": "4"}),
    "hevc.mp4": dict(
        codec="libx265", options={"x265-params": "keyint=12:min-keyint=4:open-gop=1:bframes=3:log-level=error"}
    ),
    "vp9.webm": dict(codec="libvpx-vp9", options={"g": "12", "crf": "30", "b": "0"}, unit=Fraction(1, 1000)),
    "uneven.mkv": dict(options=OPEN, bframes=3, unit=Fraction(1, 1000),
                       times=list(zip(accumulate([0, *UNEVEN[:-1]]), UNEVEN, strict=True))),
    "uneven.mp4": dict(options=CLOSED, unit=Fraction(1, 1000),
                       times=list(zip(accumulate([0, *UNEVEN[:-1]]), UNEVEN, strict=True))),
}  # fmt: skip


def make(media, path, bframes=0, **options):
    rng = np.random.default_rng(0)
    wide = rng.integers(0, 256, (64, 64 + 2 * N, 3), np.uint8)
    pictures = [np.ascontiguousarray(wide[:, 2 * i : 2 * i + 64]) for i in range(N)]

    def setup(container, stream):
        stream.codec_context.max_b_frames = bframes

    return media.make_clip(path, n=N, size=(64, 64), pictures=pictures, setup=setup, **options)


def check_equal(ours, expected):
    assert [(f.pts, f.duration) for f in ours] == [(f.pts, f.duration) for f in expected]
    assert all(np.array_equal(a.rgb, b.rgb) for a, b in zip(ours, expected, strict=True))


@pytest.mark.parametrize("name", KINDS)
def test_entered_in_the_middle(media, tmp_path, monkeypatch, name):
    source = open_source(make(media, tmp_path / name, **KINDS[name]))
    whole = list(source.frames())
    entries = list(dict.fromkeys(frame.entry for frame in whole if frame.entry is not None))
    assert len(entries) >= 3
    from_the_beginning = []
    decoded = VideoSource._decoded
    monkeypatch.setattr(
        VideoSource, "_decoded", lambda self, tally: from_the_beginning.append(True) or decoded(self, tally)
    )
    for entry in entries:
        assert whole[entry.number].pts == entry.pts
        for start in (entry.number, min(entry.number + 5, N - 1)):
            for count in (1, 20, None):
                stop = N if count is None else min(start + count, N)
                check_equal(list(source.frames(start, count, entry)), whole[start:stop])
    assert not from_the_beginning or name.endswith(".ts")


def test_where_frames_cannot_be_counted_there_is_no_entry(media, tmp_path):
    path = make(media, tmp_path / "in.mkv", **KINDS["open.mkv"])
    assert not any(frame.entry for frame in open_source(path, deinterlace="on").frames())
    source = open_source(path)
    whole = list(source.frames())
    (last,) = dict.fromkeys(frame.entry for frame in whole[-1:])
    # A file that has changed, or cannot be entered there, is decoded from its beginning.
    check_equal(list(source.frames(50, None, last._replace(pts=last.pts + 1))), whole[50:])


@pytest.mark.parametrize("hole", [200, 20_000])
def test_a_damaged_file_is_entered_only_where_that_changes_nothing(media, tmp_path, hole):
    path = make(media, tmp_path / "in.mkv", **KINDS["open.mkv"])
    data = bytearray(path.read_bytes())
    data[len(data) // 3 : len(data) // 3 + hole] = bytes(hole)
    path.write_bytes(data)
    source = open_source(path)
    damaged = list(source.frames())
    for entry in dict.fromkeys(frame.entry for frame in damaged if frame.entry is not None):
        check_equal(list(source.frames(entry.number, None, entry)), damaged[entry.number :])


def test_an_entry_behind_the_start(media, tmp_path):
    source = open_source(make(media, tmp_path / "in.mp4", **KINDS["closed.mp4"]))
    frame = list(source.frames())[-1]
    with pytest.raises(ValueError, match="entry must be at most at frame 3"):
        next(source.frames(3, 1, frame.entry))


@pytest.mark.parametrize("name", KINDS)
def test_a_moment_is_reached_without_decoding_all_before_it(media, tmp_path, name):
    source = open_source(make(media, tmp_path / name, **KINDS[name]))
    expected = list(source.frames())
    moment = float(expected[40].pts * source.time_base)
    entered = source.entered_at(moment)
    ours = list(entered.frames())
    assert 20 <= len(ours) <= 20 + 2 * 12
    check_equal(ours[:-1], expected[-len(ours) : -1])  # how long the last one is shown only the whole file tells
    check_equal(list(entered.frames(3, 4)), expected[-len(ours) + 3 : -len(ours) + 7])
    assert source.num_frames_estimate == 60
    assert next(source.entered_at(0.0).frames(59)).pts == expected[-1].pts
