"""Interlaced video becomes whole frames, with the timestamps of its frames or fields."""

from fractions import Fraction
from itertools import pairwise

import av
import av.filter
import numpy as np
import pytest

from vsr_plugin.errors import MediaError
from vsr_plugin.media import open_source
from vsr_plugin.media.deinterlacing import DEINTERLACE

HEIGHT, WIDTH = 48, 64


def moments(count, height=HEIGHT, width=WIDTH):
    """A grey bar with soft edges that moves two pixels from one moment to the next."""
    x = np.arange(width)
    bars = [255 * np.exp(-(((x - 12 - 2 * i) / 4) ** 2)) for i in range(count)]
    return [np.repeat(np.tile(bar, (height, 1))[..., None], 3, axis=2).astype(np.uint8) for bar in bars]


def weave(first, second):
    """A picture with the even lines of one moment and the odd lines of the next."""
    picture = first.copy()
    picture[1::2] = second[1::2]
    return picture


def flagged_as(order, rgb):
    """The picture as a frame that says which of its fields comes first, which the encoder takes over."""
    picture = av.VideoFrame.from_ndarray(rgb, format="rgb24")
    graph = av.filter.Graph()
    begin = graph.add_buffer(width=WIDTH, height=HEIGHT, format=picture.format, time_base=Fraction(1, 25))
    graph.link_nodes(begin, graph.add("setfield", order), graph.add("buffersink")).configure()
    graph.vpush(picture)
    return graph.vpull()


@pytest.fixture
def make_interlaced(media, tmp_path):
    """Write a lossless video of ``n`` frames whose fields are of 2n moments, first the even lines unless told."""

    def make(n=6, *, suffix=".mp4", order="tff", flagged=True, **options):
        fields = moments(2 * n)
        pairs = list(zip(fields[::2], fields[1::2], strict=True))
        pictures = [weave(a, b) if order == "tff" else weave(b, a) for a, b in pairs]
        if flagged:
            pictures = [flagged_as(order, picture) for picture in pictures]
        interlaced = {"flags": "+ildct+ilme"} if flagged else {}
        path = tmp_path / f"in{suffix}"
        return media.make_clip(
            path, n=n, size=(HEIGHT, WIDTH), pictures=pictures,
            options={"qp": "0", "preset": "ultrafast", **interlaced}, **options,
        )  # fmt: skip

    return make


@pytest.fixture
def make_telecined(media, tmp_path):
    """Write a lossless video of 30000/1001 frames/s of ``n`` frames of film, and return it with the film."""

    def make(n=20, *, suffix=".mp4", pictures=None, **options):
        film = moments(n, height=96, width=128)
        # Two fields of a frame of film, then three, in turn.
        fields = [film[i] for i in range(n) for _ in range(2 + i % 2)]
        pairs = list(zip(fields[::2], fields[1::2], strict=False))
        path = tmp_path / f"in{suffix}"
        media.make_clip(
            path, size=(96, 128), pictures=[weave(a, b) for a, b in pairs], unit=Fraction(1, 30000),
            n=len(pairs), rate=Fraction(30000, 1001), options={"qp": "0", "preset": "ultrafast"}, **options,
        )  # fmt: skip
        return path, film

    return make


def read(path, **options):
    with open_source(path, **options) as source:
        frames = list(source.frames())
    return source, frames


def flags(path):
    with av.open(str(path)) as container:
        return [bool(picture.interlaced_frame) for picture in container.decode(video=0)]


def length(source, frames):
    return float((frames[-1].pts + frames[-1].duration - frames[0].pts) * source.time_base)


def said(source):
    return [line for line in source.notes if "interlaced" in line]


def error(frames, expected):
    """Largest mean absolute difference of a frame; the borders, where the bar may be cut, count too."""
    assert len(frames) == len(expected)
    return max(np.abs(a.rgb.astype(float) - b).mean() for a, b in zip(frames, expected, strict=True))


@pytest.mark.parametrize("order", ["tff", "bff"])
def test_a_frame_of_each_frame(make_interlaced, order):
    path, expected = make_interlaced(order=order), moments(12)[::2]
    source, frames = read(path)
    assert said(source) == ["the video is interlaced; whole frames are made of its frames (--deinterlace auto)"]
    _, combed = read(path, deinterlace="off")
    # A frame is that of the first of its fields.
    assert error(frames, expected) < 3
    assert error(combed, expected) > 2 * error(frames, expected)
    assert [(f.pts, f.duration) for f in frames] == [(f.pts, f.duration) for f in combed]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_frame_of_each_field(make_interlaced, suffix):
    path = make_interlaced(suffix=suffix)
    plain, _ = read(path, deinterlace="off")
    source, frames = read(path, deinterlace="fields")
    assert error(frames, moments(12)) < 3
    assert source.average_rate == 2 * plain.average_rate == 50
    assert source.time_base == plain.time_base / 2
    assert source.num_frames_estimate == 12
    assert source.constant_rate
    seconds = [float(f.pts * source.time_base) for f in frames]
    assert np.diff(seconds) == pytest.approx(np.full(11, 0.02))
    assert float(frames[-1].duration * source.time_base) == pytest.approx(0.02)


def test_a_part_is_that_part_of_the_whole(make_interlaced):
    path = make_interlaced()
    for mode in ("auto", "fields"):
        _, frames = read(path, deinterlace=mode)
        with open_source(path, deinterlace=mode) as source:
            part = list(source.frames(2, 3))
        assert [f.pts for f in part] == [f.pts for f in frames[2:5]]
        assert all(np.array_equal(a.rgb, b.rgb) for a, b in zip(part, frames[2:5], strict=True))


@pytest.mark.parametrize(("mode", "count"), [("auto", 1), ("on", 1), ("fields", 2)])
def test_a_single_frame(make_interlaced, mode, count):
    _, frames = read(make_interlaced(n=1), deinterlace=mode)
    assert len(frames) == count
    assert all(b.pts > a.pts for a, b in pairwise(frames))


def test_progressive_video_is_left_alone(media, tmp_path):
    path = media.make_clip(tmp_path / "in.mp4", n=4)
    source, frames = read(path)
    _, plain = read(path, deinterlace="off")
    assert said(source) == []
    assert all(np.array_equal(a.rgb, b.rgb) for a, b in zip(frames, plain, strict=True))


def test_interlaced_from_some_frame_on(media, tmp_path):
    fields = moments(20)
    woven = [flagged_as("tff", weave(a, b)) for a, b in zip(fields[8::2], fields[9::2], strict=True)]
    path = media.make_clip(
        tmp_path / "in.mkv", n=10, size=(HEIGHT, WIDTH), pictures=[*fields[:8:2], *woven],
        codec="ffv1", options={"level": "3"},
    )  # fmt: skip
    source, frames = read(path)
    _, plain = read(path, deinterlace="off")
    assert flags(path) == [False] * 4 + [True] * 6
    assert said(source) == ["frames from 4 on are interlaced; whole frames are made of them (--deinterlace auto)"]
    assert all(np.array_equal(a.rgb, b.rgb) for a, b in zip(frames[:4], plain[:4], strict=True))
    assert error(frames, fields[::2]) < 3 < error(plain, fields[::2])
    assert [(f.pts, f.duration) for f in frames] == [(f.pts, f.duration) for f in plain]


def test_video_that_does_not_say_so(make_interlaced):
    path, expected = make_interlaced(flagged=False), moments(12)[::2]
    _, combed = read(path)
    source, frames = read(path, deinterlace="on")
    assert said(source) == [
        "the video does not say that it is interlaced; whole frames are made of its frames (--deinterlace on)"
    ]
    assert error(combed, expected) > 2 * error(frames, expected)


def test_left_as_it_is(make_interlaced):
    source, _ = read(make_interlaced(), deinterlace="off")
    assert said(source) == ["the video is interlaced; its frames are treated as progressive (--deinterlace off)"]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_film(make_telecined, suffix):
    path, film = make_telecined(suffix=suffix)
    source, frames = read(path, deinterlace="film")
    plain, woven = read(path)
    assert len(woven) == 25
    assert said(source) == [
        "the video does not say that it is interlaced; "
        "whole frames are made of the fields that are of one frame of film (--deinterlace film)"
    ]
    # Chroma, of half the lines, is not quite that of the film where fields of two frames were encoded together.
    assert error(frames, film) < 1
    assert source.num_frames is None
    assert source.num_frames_estimate == 20
    assert source.average_rate == Fraction(24000, 1001)
    seconds = [float(f.pts * source.time_base) for f in frames]
    assert np.diff(seconds) == pytest.approx(np.full(19, 1001 / 24000), abs=1e-3)
    length = float((frames[-1].pts + frames[-1].duration - frames[0].pts) * source.time_base)
    assert length == pytest.approx(
        float((woven[-1].pts + woven[-1].duration - woven[0].pts) * plain.time_base), abs=2e-3
    )
    with open_source(path, deinterlace="film") as again:
        part = list(again.frames(7, 4))
    assert all(np.array_equal(a.rgb, b.rgb) for a, b in zip(part, frames[7:11], strict=True))


@pytest.mark.parametrize("n", [1, 2, 3, 6])
def test_less_film_than_a_cycle(make_telecined, n):
    path, _ = make_telecined(n)
    _, frames = read(path, deinterlace="film")
    assert len(frames) == n
    assert all(b.pts > a.pts for a, b in pairwise(frames))


def test_film_cut_off_is_reported(make_telecined):
    path, _ = make_telecined(40, suffix=".mkv")
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 3 // 4])
    source, frames = read(path, deinterlace="film")
    assert 20 < len(frames) < 40
    assert any(f"; the {len(frames)} frames that do are used" in line for line in source.notes)


def test_film_of_changing_rate(make_interlaced):
    path = make_interlaced(n=4, unit=Fraction(1, 1000), times=[(0, 40), (40, 40), (80, 120), (200, 40)])
    with pytest.raises(
        MediaError, match="changing distances, so it holds no film in a fixed pattern; use --deinterlace"
    ):
        open_source(path, deinterlace="film")


def test_film_of_more_bits(media, tmp_path):
    path = media.make_clip(
        tmp_path / "in.mkv", n=6, size=(48, 64), codec="ffv1", pix_fmt="yuv422p10le", options={"level": "3"}
    )
    with pytest.raises(MediaError, match=r"\(the filters take yuv\w+, not yuv422p10le\); use --deinterlace on or off"):
        read(path, deinterlace="film")


def test_pixels_in_another_arrangement(media, tmp_path):
    path = media.make_clip(tmp_path / "in.mkv", n=3, codec="ffv1", pix_fmt="bgr0", options={"level": "3"})
    (_, frames), (_, plain) = (read(path, deinterlace=mode) for mode in ("on", "off"))
    assert error(frames, [frame.rgb for frame in plain]) < 3
    with pytest.raises(MediaError, match="not bgr0"):
        read(path, deinterlace="film")


def test_odd_sizes_and_more_bits(media, tmp_path):
    path = media.make_clip(
        tmp_path / "in.mkv", n=3, size=(35, 47), codec="ffv1", pix_fmt="yuv422p10le", options={"level": "3"}
    )
    source, frames = read(path, deinterlace="on")
    assert source.bit_depth == 10
    assert [(f.rgb.shape, f.rgb.dtype) for f in frames] == [((35, 47, 3), np.uint16)] * 3


def test_variable_frame_rate(make_interlaced):
    times = [(0, 40), (40, 40), (80, 120), (200, 40)]
    _, frames = read(make_interlaced(n=4, unit=Fraction(1, 1000), times=times), deinterlace="fields")
    assert [f.pts for f in frames] == [0, 40, 80, 120, 160, 280, 400, 520]  # the last one as far as the one before


def test_a_video_too_flat_for_it(media, tmp_path):
    path = media.make_clip(tmp_path / "in.mkv", n=2, size=(2, 16), codec="ffv1", options={"level": "3"})
    with pytest.raises(MediaError, match=r"in\.mkv: cannot be deinterlaced \(.*\); use --deinterlace off"):
        read(path, deinterlace="on")


def test_what_cannot_be_asked_for(media, tmp_path):
    path = media.make_clip(tmp_path / "in.mp4", n=1)
    with pytest.raises(ValueError, match=f"deinterlace must be one of {', '.join(DEINTERLACE)}, got 'yes'"):
        open_source(path, deinterlace="yes")
    with pytest.raises(MediaError, match="images are not deinterlaced; leave --deinterlace fields out"):
        open_source(tmp_path, deinterlace="fields")
