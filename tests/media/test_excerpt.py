"""Parts of video files: what they hold is enough to decode a run of frames with its times, and not much more."""

import copy
from itertools import islice

import av
import numpy as np
import pytest

from vsr_plugin.media import open_source
from vsr_plugin.media.excerpt import VideoExcerpts, write_excerpt

N = 120
KINDS = {
    "mp4": dict(name="in.mp4", audio="aac", options=dict(g="12", bf="3", crf="12")),
    "mkv": dict(name="in.mkv", options=dict(g="12", bf="2", crf="12")),
    "ts": dict(name="in.ts", options=dict(g="12", bf="2", crf="12")),
    "avi": dict(name="in.avi", codec="mpeg4", options=dict(g="12")),
    "webm": dict(name="in.webm", codec="libvpx-vp9", options=dict(g="12", crf="20", deadline="realtime")),
}


@pytest.fixture(params=KINDS)
def source(request, media, tmp_path):
    settings = dict(KINDS[request.param])
    noise = np.random.default_rng(0).integers(0, 256, (N, 64, 96, 3), np.uint8)
    path = tmp_path / settings.pop("name")

    def reorder(container, stream):
        stream.codec_context.max_b_frames = 2 if "bf" in settings["options"] else 0

    return open_source(media.make_clip(path, n=N, size=(64, 96), pictures=list(noise), setup=reorder, **settings))


def test_frames_and_their_times_come_out_of_a_part(source, tmp_path):
    whole = list(source.frames())
    excerpts = VideoExcerpts(source)
    (tmp_path / "part").mkdir()
    here = copy.copy(source)
    here.path = tmp_path / "part" / source.path.name
    for first, count in ((0, 5), (50, 13), (N - 9, 9)):
        entry = whole[first].entry
        assert entry is not None
        body = list(excerpts.body(entry, first + count))
        write_excerpt(here.path, excerpts.size, [*excerpts.head, *body])
        assert here.path.stat().st_size == source.path.stat().st_size
        found = list(islice(here.frames(first, entry=entry), count))
        assert len(found) == count
        for frame, expected in zip(found, whole[first:], strict=False):
            assert (frame.pts, frame.duration) == (expected.pts, expected.duration)
            np.testing.assert_array_equal(frame.rgb, expected.rgb)


def test_a_part_is_bounded_by_its_frames(media, tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (400, 64, 96, 3), np.uint8)
    path = media.make_clip(
        tmp_path / "in.mp4", n=400, size=(64, 96), pictures=list(noise), options=dict(g="10", crf="1")
    )
    source = open_source(path)
    entry = next(source.frames(200)).entry
    with av.open(str(path)) as container:
        packets = sorted((p.pts, p.size) for p in container.demux(video=0) if p.size)
    needed = sum(size for _, size in packets[entry.number : 240 + 33])
    excerpts = VideoExcerpts(source)
    sent = sum(len(data) for _, data in excerpts.body(entry, 240))
    # Both ends are whole blocks, and what is read at the beginning is in the head.
    assert needed <= sent + 65536
    assert sent <= needed + 4 * 32768
    assert sum(len(data) for _, data in excerpts.head) < path.stat().st_size / 4
