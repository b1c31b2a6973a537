"""Frames on their way to another machine: what is read there is what is read here."""

from threading import Event

import cv2
import numpy as np
import pytest

from vsr_plugin.errors import MediaError
from vsr_plugin.media import open_source
from vsr_plugin.restoration import sending
from vsr_plugin.restoration.sending import NotSentError, Sender, Way, received


@pytest.fixture
def elsewhere(monkeypatch):
    """No machine has the files of another one."""
    monkeypatch.setattr(sending, "_is_here", lambda sent: False)


@pytest.fixture
def video(media, tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (40, 32, 48, 3), np.uint8)
    return open_source(
        media.make_clip(tmp_path / "in.mp4", n=40, size=(32, 48), pictures=list(noise), options={"g": "8"})
    )


@pytest.fixture(params=["8 bits", "16 bits", "transparent"])
def folder(request, tmp_path):
    (tmp_path / "in").mkdir()
    depth = np.uint16 if request.param == "16 bits" else np.uint8
    channels = 4 if request.param == "transparent" else 3
    rng = np.random.default_rng(1)
    for i in range(12):
        image = rng.integers(0, np.iinfo(depth).max, (16, 24, channels), depth)
        cv2.imwrite(str(tmp_path / "in" / f"{i:03d}.png"), image)
    return open_source(tmp_path / "in")


def send(source, first, count, way, *, start=0, entry=None, put=lambda value: value):
    sender = Sender(source, start, put)
    try:
        return sender.send(first, count, entry, way, Event())
    finally:
        sender.close()


def same(found, expected):
    found, expected = list(found), list(expected)
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one.rgb, other.rgb)
        assert (one.alpha is None) == (other.alpha is None)
        if one.alpha is not None:
            np.testing.assert_array_equal(one.alpha, other.alpha)
        assert (one.pts, one.duration, one.name, one.grey) == (other.pts, other.duration, other.name, other.grey)


def test_by_the_path_where_the_file_is_the_same(video, tmp_path):
    sent = send(video, 3, 5, Way.PATH)
    assert sent.parts == ()
    assert received(video, sent, None, tmp_path) is video
    video.path.touch()
    with pytest.raises(NotSentError) as error:
        received(video, sent, None, tmp_path)
    assert error.value.way == Way.BYTES
    video.path.unlink()
    with pytest.raises(NotSentError):
        received(video, sent, None, tmp_path)


def test_bytes_of_a_video(video, elsewhere, tmp_path):
    whole = list(video.frames())
    entry = whole[14].entry
    assert 0 < entry.number <= 14
    sent = send(video, 12, 6, Way.BYTES, start=2, entry=entry)
    assert (sent.way, sent.first) == (Way.BYTES, 14)
    (tmp_path / "there").mkdir()
    there = received(video, sent, lambda part: part, tmp_path / "there")
    video.path.unlink()
    same(there.frames(14, 6, entry), whole[14:20])
    # From the beginning it cannot be read, so the frames are asked for.
    with pytest.raises(NotSentError) as error:
        there.frames(14, 6)
    assert error.value.way == Way.FRAMES


def test_frames_of_a_video_without_an_entry(video, elsewhere, tmp_path):
    whole = list(video.frames())
    sent = send(video, 12, 6, Way.BYTES)
    assert sent.way == Way.FRAMES
    there = received(video, sent, lambda part: part, tmp_path)
    video.path.unlink()
    same(there.frames(12, 6), whole[12:18])
    same(there.frames(15, 1), whole[15:16])


def test_images(folder, elsewhere, tmp_path):
    whole = list(folder.frames())
    sent = send(folder, 4, 3, Way.BYTES, start=1)
    assert [name for part in sent.parts for name, _ in part] == ["005.png", "006.png", "007.png"]
    (tmp_path / "there").mkdir()
    there = received(folder, sent, lambda part: part, tmp_path / "there")
    for path in folder.files:
        path.unlink()
    same(there.frames(5, 3), whole[5:8])
    same(there.frames(6, 1), whole[6:7])


def test_images_as_frames(folder, elsewhere, tmp_path, monkeypatch):
    whole = list(folder.frames())
    there = received(
        folder,
        sending.replace(
            send(folder, 2, 3, Way.BYTES), way=Way.FRAMES, parts=([sending._packed(frame) for frame in whole[2:5]],)
        ),
        lambda part: part,
        tmp_path,
    )
    same(there.frames(2, 3), whole[2:5])


def test_many_bytes_go_in_parts(video, folder, elsewhere, tmp_path, monkeypatch):
    monkeypatch.setattr(sending, "_PART_BYTES", 4000)
    objects = []

    def put(value):
        objects.append(value)
        return len(objects) - 1

    whole = list(video.frames())
    sent = send(video, 5, 20, Way.FRAMES, put=put)
    assert len(sent.parts) == len(objects) > 3
    same(received(video, sent, objects.__getitem__, tmp_path).frames(5, 20), whole[5:25])


def test_an_image_that_is_gone_is_named(folder, tmp_path):
    folder.files[3].unlink()
    with pytest.raises(MediaError, match=r"003\.png: cannot be read any more \(No such file"):
        send(folder, 2, 3, Way.BYTES)


def test_an_animation_is_sent_as_frames(elsewhere, tmp_path):
    from PIL import Image

    rng = np.random.default_rng(2)
    pictures = [Image.fromarray(rng.integers(0, 256, (8, 8, 4), np.uint8), "RGBA") for _ in range(4)]
    pictures[0].save(tmp_path / "in.png", save_all=True, append_images=pictures[1:], duration=40)
    source = open_source(tmp_path / "in.png")
    whole = list(source.frames())
    sent = send(source, 1, 2, Way.BYTES)
    assert sent.way == Way.FRAMES
    same(received(source, sent, lambda part: part, tmp_path).frames(1, 2), whole[1:3])
