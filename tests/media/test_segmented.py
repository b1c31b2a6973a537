"""Outputs that are joined from segments are those of one pass, whatever the order in which segments came."""

from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

import av
import numpy as np
import pytest
from PIL import Image

from vsr_plugin.errors import MediaError
from vsr_plugin.media import Encoding, open_segmented, open_source
from vsr_plugin.media.open import scaled_size
from vsr_plugin.media.video_segments import reordering

VARIABLE = [(0, 20), (20, 33), (53, 7), (60, 100), (160, 41), (201, 20), (221, 33), (254, 7), (261, 97)]


def copy_segmented(
    media, clip, target, folder, *, segment=4, scale=4, start=0, num_frames=None, backwards=False, **options
):
    """Read, enlarge, write in segments, possibly the last one first; return the output for its notes."""
    folder.mkdir()
    with open_source(clip) as source:
        output = open_segmented(
            target, source, folder, size=scaled_size(source, scale), start=start, num_frames=num_frames, **options
        )
        output.prepare()
        frames = list(source.frames(start, num_frames))
    firsts = range(0, len(frames), segment)
    segments = []
    for first in reversed(firsts) if backwards else firsts:
        writer = output.open_segment(first, frames[0].pts)
        for frame in frames[first : first + segment]:
            writer.write(replace(frame, rgb=media.enlarge(frame.rgb, scale)))
        segments.append(writer.commit())
    assert not target.exists()
    output.finish(sorted(segments, key=lambda segment: segment.first))
    assert output.is_finished()
    return output


def video_packets(path):
    with av.open(str(path)) as container:
        return [
            (p.pts, p.dts, p.duration, p.is_keyframe) for p in container.demux(container.streams.video[0]) if p.size
        ]


def assert_like_one_pass(media, segmented, one_pass, tolerance=2.0):
    a, b = media.probe(segmented), media.probe(one_pass)
    assert vars(a) == vars(b)
    with open_source(segmented) as first, open_source(one_pass) as second:
        for x, y in zip(first.frames(), second.frames(), strict=True):
            assert (x.pts, x.duration) == (y.pts, y.duration)
            assert np.abs(x.rgb.astype(int) - y.rgb).mean() < tolerance * (257 if x.rgb.dtype == np.uint16 else 1)


@pytest.mark.parametrize(
    ("codec", "suffix"),
    [
        ("libx264", ".mp4"),
        ("libx264", ".mkv"),
        ("libx264", ".avi"),
        ("libx265", ".mov"),
        ("libvpx-vp9", ".webm"),
        ("libsvtav1", ".mp4"),
        ("ffv1", ".mkv"),
        ("prores_ks", ".mov"),
        ("mpeg4", ".avi"),
        ("libx264rgb", ".mkv"),
    ],
)
@pytest.mark.parametrize("n", [1, 13])
def test_codecs_and_containers(media, tmp_path, codec, suffix, n):
    clip = media.make_clip(tmp_path / "in.mp4", n=n, size=(64, 80))
    encoding = Encoding(codec=codec)
    one, many = tmp_path / f"one{suffix}", tmp_path / f"many{suffix}"
    media.copy(clip, one, encoding=encoding, scale=1)
    copy_segmented(media, clip, many, tmp_path / "job", encoding=encoding, scale=1)
    assert_like_one_pass(media, many, one)
    packets = video_packets(many)
    assert len(packets) == n
    if suffix not in (".mkv", ".webm"):  # which store no decoding times
        assert all(later[1] > earlier[1] for earlier, later in pairwise(packets))
        assert all(pts >= dts for pts, dts, *_ in packets)
    keys = {pts for pts, *_, key in packets if key}
    assert set(media.probe(many).pts[::4]) <= keys


def test_reordered_frames_stay_reordered(media, tmp_path):
    rng = np.random.default_rng(0)
    base = rng.integers(0, 256, (64, 160, 3), np.uint8)
    pictures = [np.ascontiguousarray(base[:, i : i + 80]) for i in range(24)]
    clip = media.make_clip(tmp_path / "in.mp4", n=24, size=(64, 80), pictures=pictures)
    media.copy(clip, tmp_path / "one.mp4", scale=1)
    copy_segmented(media, clip, tmp_path / "many.mp4", tmp_path / "job", segment=12, scale=1)
    assert any(pts != dts for pts, dts, *_ in video_packets(tmp_path / "many.mp4")[3:])
    assert_like_one_pass(media, tmp_path / "many.mp4", tmp_path / "one.mp4", tolerance=4)


def test_reordering_counts_places():
    assert reordering(np.array([0, 1, 2])) == 0
    assert reordering(np.array([0, 4, 2, 1, 3])) == 2
    assert reordering(np.array([], np.int64)) == 0


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_variable_rate(media, tmp_path, suffix):
    clip = media.make_clip(tmp_path / "in.mp4", unit=Fraction(1, 1000), times=VARIABLE)
    media.copy(clip, tmp_path / f"one{suffix}")
    copy_segmented(media, clip, tmp_path / f"many{suffix}", tmp_path / "job")
    assert_like_one_pass(media, tmp_path / f"many{suffix}", tmp_path / f"one{suffix}")


@pytest.mark.parametrize(("rate", "n"), [(Fraction(30000, 1001), 7), (Fraction(30000, 1001), 10)])
def test_rounded_constant_rate_stays_exact(media, tmp_path, rate, n):
    clip = media.make_clip(tmp_path / "in.mkv", rate=rate, unit=Fraction(1, 30000), n=n)
    copy_segmented(media, clip, tmp_path / "out.mp4", tmp_path / "job")
    after = media.probe(tmp_path / "out.mp4")
    assert (after.rate, after.duration, after.pts) == (rate, 1001 * n, [1001 * i for i in range(n)])


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_audio_of_the_whole_and_of_a_part(media, tmp_path, suffix):
    clip = media.make_clip(tmp_path / "in.mp4", n=50, audio="aac", times=[(5120 + 512 * i, 512) for i in range(50)])
    for name, part in (("whole", {}), ("part", dict(start=10, num_frames=25))):
        one, many = tmp_path / f"{name}1{suffix}", tmp_path / f"{name}2{suffix}"
        media.copy(clip, one, **part)
        copy_segmented(media, clip, many, tmp_path / name, backwards=True, **part)
        assert media.packets(many) == media.packets(one)
        assert_like_one_pass(media, many, one)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi"])
def test_rotation_and_tags(media, tmp_path, suffix):
    def setup(container, stream):
        container.metadata["title"] = "A walk"
        stream.set_display_rotation(90)

    clip = media.make_clip(tmp_path / "in.mp4", n=6, size=(64, 80), setup=setup)
    one, many = tmp_path / f"one{suffix}", tmp_path / f"many{suffix}"
    media.copy(clip, one, scale=1)
    output = copy_segmented(media, clip, many, tmp_path / "job", scale=1)
    assert_like_one_pass(media, many, one)
    assert any("turned upright" in line for line in output.notes) == (suffix == ".avi")


@pytest.mark.parametrize("codec", ["libx264", "libx264rgb", "libx265", "libvpx-vp9", "libsvtav1", "ffv1"])
def test_encoders_repeat_themselves(media, tmp_path, codec):
    clip = media.make_clip(tmp_path / "in.mp4", n=4, size=(32, 48))
    results = []
    for i in range(5):
        copy_segmented(media, clip, tmp_path / f"{i}.mkv", tmp_path / f"job{i}", encoding=Encoding(codec=codec))
        results.append((tmp_path / f"job{i}" / "segments" / "00000000.packets").read_bytes())
    assert results == results[:1] * 5


def test_order_of_work_does_not_show(media, tmp_path):
    clip = media.make_clip(tmp_path / "in.mp4", n=14, audio="aac")
    copy_segmented(media, clip, tmp_path / "a.mp4", tmp_path / "a")
    copy_segmented(media, clip, tmp_path / "b.mp4", tmp_path / "b", backwards=True)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_folder(media, tmp_path):
    clip = media.make_clip(tmp_path / "in.mp4", n=6)
    media.copy(clip, tmp_path / "one")
    copy_segmented(media, clip, tmp_path / "many", tmp_path / "job", backwards=True)
    names = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert sorted(path.name for path in (tmp_path / "many").iterdir()) == names
    for name in names:
        assert np.array_equal(Image.open(tmp_path / "many" / name), Image.open(tmp_path / "one" / name))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("old.mp4", {}, "exists already; pass --overwrite"),
        ("nowhere/out.mp4", {}, "nowhere does not exist"),
        ("out.webm", dict(encoding=Encoding(codec="libvpx-vp9")), r"cannot hold .*aac.*--no-audio"),
        ("out.webm", {}, r"\.webm file cannot hold libx264"),
    ],
)
def test_faults_are_found_before_the_work(media, tmp_path, name, options, message):
    clip = media.make_clip(tmp_path / "in.mp4", audio="aac")
    (tmp_path / "old.mp4").write_bytes(b"old")
    (tmp_path / "job").mkdir()
    with open_source(clip) as source, pytest.raises(MediaError, match=message):
        open_segmented(tmp_path / name, source, tmp_path / "job", size=scaled_size(source, 4), **options).prepare()


def test_a_segment_that_is_cut_off_is_found(media, tmp_path):
    clip = media.make_clip(tmp_path / "in.mp4", n=8)
    (tmp_path / "job").mkdir()
    with open_source(clip) as source:
        output = open_segmented(tmp_path / "out.mp4", source, tmp_path / "job", size=scaled_size(source, 1))
        output.prepare()
        frames = list(source.frames())
        writer = output.open_segment(0, frames[0].pts)
        for frame in frames:
            writer.write(frame)
        segment = writer.commit()
        path = output.segment_path(0)
        path.write_bytes(path.read_bytes()[:-5])
        with pytest.raises(MediaError, match=r"is cut off; delete .*job and start again"):
            output.finish([segment])
    assert not (tmp_path / "out.mp4").exists()


def test_bursts_across_segments_take_the_next_slots_of_avi(media, tmp_path):
    clip = media.make_clip(tmp_path / "in.mp4", unit=Fraction(1, 1000), times=VARIABLE, size=(64, 80))
    one, many = tmp_path / "one.avi", tmp_path / "many.avi"
    media.copy(clip, one)
    copy_segmented(media, clip, many, tmp_path / "job", segment=1, backwards=True, overwrite=False, encoding=Encoding())
    times = [pts for pts, *_ in video_packets(many)]
    assert len(times) == len(VARIABLE)
    assert all(b > a for a, b in pairwise(times))
    assert times == [pts for pts, *_ in video_packets(one)]
