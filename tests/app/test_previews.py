"""Previews are made once, kept, and given up when they are stopped or the oldest of too many."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Event

import numpy as np
import pytest
from PIL import Image

from vsr_plugin.app.choices import Choice
from vsr_plugin.app.previews import Previews, frame_at
from vsr_plugin.errors import VSRError
from vsr_plugin.inference.storage import SWEPT
from vsr_plugin.restoration import RestoreOptions
from vsr_plugin.restoration.preview import excerpt


@pytest.fixture(scope="module")
def film(films, make_film):
    """30 frames, each of its own brightness."""
    pictures = [np.full((32, 48, 3), 20 + 7 * number, np.uint8) for number in range(30)]
    return make_film(films / "grey.mp4", n=30, pictures=pictures)


@pytest.fixture
def choice(films):
    return Choice(str(films / "small.pth"), RestoreOptions(clean="off"))


@pytest.fixture
def previews(tmp_path):
    return Previews("cpu", tmp_path)


def test_a_preview_is_made_once(previews, film, choice) -> None:
    done = []
    out = film.with_name("out.mp4")
    assert previews.kept(film, out, choice, 0.4) is None
    shown = previews.make(film, out, choice, 0.4, done.append, Event())
    assert sum(done) == 5
    assert shown.size == (128, 192)
    assert shown.estimate.num_frames == 30
    with Image.open(io.BytesIO(shown.pictures["enlarged"])) as picture:
        assert picture.size == (192, 128)
        assert abs(np.asarray(picture).mean() - (20 + 7 * 10)) < 4  # frame 10 is shown at 0.4 s
    assert previews.make(film, out, choice, 0.4, done.append, Event()) is shown
    assert previews.kept(film, out, choice, 0.4) is previews.find(shown.key) is shown
    assert sum(done) == 5
    for other in (replace(choice, options=RestoreOptions(clean="off", strength=0.5)),):
        assert previews.kept(film, out, other, 0.4) is None
    assert previews.kept(film, out.with_suffix(""), choice, 0.4) is None


def test_the_oldest_make_room(tmp_path, film, choice) -> None:
    previews, out = Previews("cpu", tmp_path, capacity=1), film.with_name("out.mp4")
    first, second = (previews.make(film, out, choice, at, lambda count: None, Event()) for at in (0.2, 0.6))
    assert previews.find(first.key) is None
    assert previews.find(second.key) is second


def test_a_preview_that_is_stopped_is_not_kept(previews, film, choice) -> None:
    stop = Event()
    out = film.with_name("out.mp4")
    with pytest.raises(VSRError, match="stopped"):
        previews.make(film, out, choice, 0.4, lambda count: stop.set(), stop)
    assert previews.kept(film, out, choice, 0.4) is None
    with pytest.raises(VSRError, match="stopped"):
        previews.clip(film, choice, 0.4, 2.0, stop)


def test_a_clip_is_made_once(previews, film, choice, media) -> None:
    clip = previews.clip(film, choice, 0.6, 0.4, Event())
    found = media.probe(clip)
    assert (found.size, len(found.pts)) == ((128, 192), 10)
    made = clip.stat().st_mtime_ns
    assert previews.clip(film, choice, 0.6, 0.4, Event()).stat().st_mtime_ns == made


def test_a_clip_that_was_stopped_is_made_when_it_is_asked_for_again(
    previews, film, choice, media, tmp_path, monkeypatch
) -> None:
    stop = Event()

    def stopping(*args, **words):
        def progress(count: float) -> None:
            if any(tmp_path.glob(f".*.job/shots/*/*/**/{SWEPT}")):  # something that is worth keeping
                stop.set()

        return excerpt(*args, progress=progress, **words)

    with monkeypatch.context() as patch:
        patch.setattr("vsr_plugin.app.previews.excerpt", stopping)
        with pytest.raises(VSRError, match="stopped"):
            previews.clip(film, choice, 0.6, 0.8, stop)
    assert len(list(tmp_path.glob(".*.job"))) == 1
    assert len(media.probe(previews.clip(film, choice, 0.6, 0.8, Event())).pts) == 20


def test_a_clip_that_two_ask_for_is_made_for_both(previews, film, choice) -> None:
    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(previews.clip, film, choice, 0.6, 0.4, Event()) for _ in range(2)]
        first, second = (clip.result() for clip in both)
    assert first == second
    assert first.is_file()


def test_parts_of_networks_are_refused(previews, film) -> None:
    part, out = Choice("footage_cleaning", RestoreOptions()), film.with_name("out.mp4")
    with pytest.raises(VSRError, match="which is a part and cannot restore a video"):
        previews.make(film, out, part, 0.0, lambda count: None, Event())


@pytest.mark.parametrize(("moment", "number"), [(0.0, 0), (0.4, 10), (1.16, 29), (9.0, 29)])
def test_the_frame_of_a_moment(film, moment, number) -> None:
    assert abs(frame_at(film, moment).mean() - (20 + 7 * number)) < 4
